"""One person's pictures over time: a change is told only beyond what the answers leave open."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from html import escape
from types import SimpleNamespace

import pytest

from osteo_edge.answered import ModelIdentity
from osteo_edge.clinical.advice import risk_of
from osteo_edge.findings import UNPROVEN, Finding
from osteo_edge.labels import Laterality, Status
from osteo_edge.reports.pages import captions, course
from osteo_edge.reports.pages.answers import as_answered
from osteo_edge.reports.pages.catalogue import LANGUAGES, catalogue_of
from osteo_edge.reports.pages.course import Change, Course, Dated, Steadiness, courses_of, steadiness_of
from osteo_edge.reports.pages.html import to_html
from osteo_edge.reports.pages.over_time import page_over_time
from osteo_edge.reports.pages.pdf import to_pdf
from tests.answers import ARTHROSIS, a_knee, a_prediction, an_answer

MADE = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
HEALTHY, UNSURE, WORN = ("kl0", "kl1"), ("kl1", "kl2"), ("kl2", "kl3")
MODEL = ModelIdentity("b", "1", "0" * 64, "onnxruntime", "fp32", 1)


def picture(day: str, right: tuple[str, ...], left: tuple[str, ...] = HEALTHY, **changes: object) -> Dated:
    knees = (a_knee(ARTHROSIS, right, Laterality.RIGHT), a_knee(ARTHROSIS, left, Laterality.LEFT, x_px=400.0))
    answer = an_answer(ARTHROSIS, knees=knees, lead=0, label_set=right, **changes)
    weight = {"age_years": 60.0, "sex": "female", "weight_kg": 70.0}
    prediction = a_prediction(answer, digest=day.replace("-", "").ljust(64, "0"), risk=risk_of(weight))
    return Dated(date.fromisoformat(day), as_answered(prediction.to_dict()))


def right_of(*pictures: Dated) -> Course:
    (course,) = [one for one in courses_of(pictures) if one.side == "right"]
    return course


@pytest.mark.parametrize(
    ("earlier", "later", "told"),
    [
        (HEALTHY, WORN, Change.HIGHER),
        (WORN, HEALTHY, Change.LOWER),
        (HEALTHY, UNSURE, Change.OPEN),
        (UNSURE, WORN, Change.OPEN),
        (HEALTHY, HEALTHY, Change.OPEN),
        (("kl1",), ("kl2",), Change.HIGHER),
    ],
)
def test_a_change_is_told_only_where_what_remains_is_apart(
    earlier: tuple[str, ...], later: tuple[str, ...], told: Change
) -> None:
    assert right_of(picture("2024-01-01", earlier), picture("2026-01-01", later)).overall is told
    # In whatever order they are given.
    assert right_of(picture("2026-01-01", later), picture("2024-01-01", earlier)).overall is told


def test_pictures_of_one_day_that_differ_as_much_speak_against_a_change() -> None:
    steady = [picture("2024-01-01", HEALTHY), picture("2024-01-01", UNSURE), picture("2026-01-01", WORN)]
    assert right_of(*steady).overall is Change.HIGHER
    assert right_of(*steady, picture("2026-01-01", HEALTHY)).overall is not Change.HIGHER
    differing = [picture("2024-01-01", HEALTHY), picture("2025-01-01", WORN), picture("2025-01-01", HEALTHY)]
    last = picture("2026-01-01", WORN)
    assert right_of(*differing, last).overall is Change.UNSTEADY


def test_nothing_is_told_between_models_or_without_an_answer() -> None:
    first, last = picture("2024-01-01", HEALTHY), picture("2026-01-01", WORN)
    other = picture("2026-01-01", WORN, model=replace(MODEL, digest="1" * 64))
    assert right_of(first, other).overall is Change.ANOTHER_MODEL
    unproven = picture("2026-01-01", WORN, status=Status.REFERRED, findings=(Finding(UNPROVEN, "it was not shown"),))
    assert right_of(first, unproven).overall is Change.NO_ANSWER
    assert right_of(first, last).overall is Change.HIGHER


def test_a_knee_that_was_seen_on_one_day_has_no_course() -> None:
    one_knee = an_answer(ARTHROSIS, knees=(a_knee(ARTHROSIS, WORN, Laterality.LEFT),), lead=0, label_set=WORN)
    later = Dated(date(2026, 1, 1), as_answered(a_prediction(one_knee).to_dict()))
    assert [course.side for course in courses_of([picture("2024-01-01", HEALTHY), later])] == ["left"]


@dataclass(frozen=True)
class Evidence:
    """As much of a bundle as carries evidence."""

    digest: str
    stability: bytes | None

    @property
    def manifest(self) -> SimpleNamespace:
        return SimpleNamespace(files={} if self.stability is None else {"evidence/stability.json": None})

    def read(self, path: str) -> bytes:
        assert self.stability is not None
        return self.stability


def test_how_steady_the_model_is_comes_from_its_own_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the sums over all changes of each folder alone."""
    whole = {"kind": "all of them", "name": "all of them"}
    rows = [
        {"kind": "resized", "name": "all of them", "knees": 30, "lost": 0, "crossed": 5, "changed": 9},
        whole | {"knees": 50, "lost": 2, "crossed": 1, "changed": 4},
        whole | {"knees": 40, "lost": 0, "crossed": 0, "changed": 3},
    ]
    (answer,) = picture("2026-01-01", WORN).answered.answers

    def found(stability: bytes | None, digest: str = MODEL.digest) -> Steadiness | None:
        monkeypatch.setattr(course, "open_bundle", lambda name: Evidence(digest, stability))
        return steadiness_of(answer)

    evidence = json.dumps({"rows": rows}).encode()
    assert found(evidence) == Steadiness(knees=88, other_answer=1, other_class=7)
    assert found(evidence, digest="1" * 64) is None
    assert found(None) is None
    assert found(b"no JSON") is None
    assert found(b'{"rows": []}') is None
    monkeypatch.undo()
    assert steadiness_of(answer) is None  # no such bundle is here


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_tells_each_knee_and_draws_it(language: str) -> None:
    pictures = [picture("2024-01-01", HEALTHY), picture("2025-06-01", UNSURE, UNSURE), picture("2026-01-01", WORN)]
    page = page_over_time(pictures, catalogue_of(language), made=MADE)
    html = to_html(page).decode()
    catalogue = catalogue_of(language)
    for told in (captions.CHANGE[Change.HIGHER], captions.CHANGE[Change.OPEN], captions.NOT_MEASURED, captions.SAME_PERSON):
        assert escape(catalogue.word(told)) in html
    assert "2024-01-01" in html
    assert "OST 2" in html
    svg = page.film.data.decode()
    assert svg.count("<circle") == 12  # two ends of a bar, two knees, three days
    assert re.findall(r">(kl\d)<", svg) == ["kl0", "kl1", "kl2", "kl3", "kl4"]
    assert to_pdf(page) == to_pdf(page_over_time(pictures[::-1], catalogue_of(language), made=MADE))
