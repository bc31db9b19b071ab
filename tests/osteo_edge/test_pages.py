"""Pages of answers: all that is to stand on them does, no name does, and the same answer gives the same bytes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import typst

from osteo_edge.clinical.advice import risk_of
from osteo_edge.errors import ReportError
from osteo_edge.findings import NO_KNEE, Finding
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import Laterality, Status
from osteo_edge.prediction import Prediction
from osteo_edge.questions import BONE_DENSITY
from osteo_edge.records import FrozenMapping
from osteo_edge.reports.pages import captions, pdf
from osteo_edge.reports.pages.answers import Answered, as_answered, read_answers
from osteo_edge.reports.pages.catalogue import LANGUAGES, catalogue_of
from osteo_edge.reports.pages.html import to_html
from osteo_edge.reports.pages.page import Page, page_of
from osteo_edge.reports.pages.pdf import to_pdf
from osteo_edge.reports.pages.picture import film_of, thumbnail_of
from osteo_edge.reports.pages.summary import ROWS_A_PART
from osteo_edge.reports.pages.writing import Pages, Wanted, stated_time
from osteo_edge.wording import BURNED_IN
from tests.answers import ARTHROSIS, a_knee, a_prediction, an_answer

MADE = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)
PERSON = {"age_years": 67.0, "sex": "female", "weight_kg": 58.0}


@pytest.fixture(scope="module")
def two_knees(example: Path) -> Prediction:
    """Of the example's bytes: one question of each knee, another of the picture, and a person with scores."""
    knees = (
        a_knee(ARTHROSIS, ("kl2", "kl3"), Laterality.RIGHT),
        a_knee(ARTHROSIS, ("kl0", "kl1"), Laterality.LEFT, x_px=600.0),
    )
    graded = an_answer(ARTHROSIS, knees=knees, lead=0, label_set=("kl2", "kl3"), status=Status.REPORTED)
    unsure = an_answer(
        BONE_DENSITY, status=Status.REFERRED, label_set=BONE_DENSITY.labels, findings=(Finding("unproven", "it was not shown"),)
    )
    return a_prediction(graded, unsure, source=str(example), digest=sha256_hex(example.read_bytes()), risk=risk_of(PERSON))


def rejected(source: str, digest: str | None, finding: Finding) -> Prediction:
    nothing = FrozenMapping[float]()
    answer = an_answer(
        ARTHROSIS,
        status=Status.REJECTED,
        findings=(finding,),
        mode=None,
        label_set=(),
        probabilities=nothing,
        image_probabilities=nothing,
        members_answered=0,
    )
    return a_prediction(answer, source=source, digest=digest)


def answered_of(prediction: Prediction) -> Answered:
    return as_answered(prediction.to_dict())


def page(prediction: Prediction, language: str = "en", **options: Any) -> Page:
    answered = answered_of(prediction)
    return page_of(answered, film_of(answered, answered.source), catalogue_of(language), made=MADE, **options)


def words_of(html: bytes) -> str:
    """What a reader sees of it."""
    body = html.decode().partition("<body>")[2]
    return " ".join(re.sub(r"<[^>]+>", " ", body).split())


def sheets(one: Page) -> int:
    """How many sheets the PDF has, counted by the same template drawn instead of printed."""
    data = {"page": json.dumps(pdf._plain(one))}
    folder = [str(pdf.FONTS)]
    drawn = typst.compile(
        str(pdf._TEMPLATE), format="png", ppi=10, sys_inputs=data, font_paths=folder, ignore_system_fonts=True
    )
    return len(drawn) if isinstance(drawn, list) else 1


def test_all_that_was_answered_stands_on_the_page(two_knees: Prediction) -> None:
    words = words_of(to_html(page(two_knees)))
    for answer in two_knees.to_dict()["answers"]:
        for said in answer["told"]["knees"]:
            assert said["sentence"] in words
        for why in answer["told"]["why"]:
            assert why in words
        assert answer["told"]["next_step"] in words
        assert answer["intended_use"] in words
    assert "Right knee (by its fibula): Signs of arthrosis. Grade 2 or 3 of 4 (Kellgren-Lawrence)." in words
    assert words.count(BURNED_IN) == 2
    assert two_knees.risk is not None
    assert two_knees.risk.step.sentence in words
    assert two_knees.risk.step.source[1:] in words
    for outcome in two_knees.risk.assessment.outcomes:
        assert outcome.instrument.source in words
    assert "In the range where a DXA scan is advised (1 or less)" in words
    for known in (
        two_knees.digest,
        "67 years; female; 58 kg",
        "osteo-edge 0.1.0",
        "b 1, 0000000000000000",
        "2026-03-01 09:30 UTC",
    ):
        assert known in words


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_page_is_one_sheet_and_the_same_bytes_again(two_knees: Prediction, language: str) -> None:
    one = page(two_knees, language)
    assert sheets(one) == 1
    assert to_pdf(one).startswith(b"%PDF-")
    assert to_pdf(page(two_knees, language)) == to_pdf(one)
    assert to_html(page(two_knees, language)) == to_html(one)


def test_a_page_needs_nothing_beside_it_and_runs_nothing(two_knees: Prediction) -> None:
    html = to_html(page(two_knees)).decode()
    assert not re.findall(r"<(?:script|link|iframe|object|form)|\bon\w+=|https?://|url\((?!data:)", html)
    assert "default-src 'none'" in html


def test_the_film_has_frames_and_the_use_burned_in(two_knees: Prediction, example: Path) -> None:
    film = page(two_knees).film
    pixels = cv2.imdecode(np.frombuffer(film.data, np.uint8), cv2.IMREAD_COLOR)
    plain = page(rejected(str(example), two_knees.digest, Finding(NO_KNEE, "no knee joint was found in this picture"))).film
    without = cv2.imdecode(np.frombuffer(plain.data, np.uint8), cv2.IMREAD_COLOR)
    is_green = lambda one: (one[..., 1].astype(int) - one[..., 2] > 60).sum()  # noqa: E731
    assert is_green(pixels) > 50
    assert is_green(without) == 0
    assert pixels[905:].max() > 200  # letters on the strip below the film
    assert (film.caption, plain.caption) == (captions.BOXES, captions.NO_BOXES)
    assert 0 < len(thumbnail_of(film)) < 8000


@pytest.mark.parametrize(
    ("finding", "said", "advised"),
    [
        (Finding(NO_KNEE, "no knee joint was found in this picture"), "No knee was found", "Check that it shows a whole knee"),
        (Finding("truncated", "the PNG file ends too early"), "This picture cannot be read.", "The PNG file ends too early."),
    ],
)
def test_a_rejected_picture_has_a_page_that_says_why_and_what_to_do(finding: Finding, said: str, advised: str) -> None:
    one = page(rejected("gone.png", None, finding))
    words = words_of(to_html(one))
    assert said in words
    assert advised in words
    assert captions.NOT_FOUND in words
    assert sheets(one) == 1


def test_another_picture_in_its_place_is_not_shown(two_knees: Prediction) -> None:
    one = page(replace(two_knees, digest="0" * 64))
    assert not one.film.is_shown
    assert one.film.caption == captions.ANOTHER


def test_no_name_of_a_file_stands_on_a_page_unless_asked(tmp_path: Path) -> None:
    source = str(tmp_path / "Doe Jane 1950.png")
    prediction = rejected(source, None, Finding("unreadable", f"{source} cannot be read: Doe Jane 1950.png"))
    hidden, shown = to_html(page(prediction)), to_html(page(prediction, with_name=True))
    assert b"Doe" not in hidden
    assert b"Doe Jane 1950.png" in shown
    for with_names in (False, True):
        pages = Pages(Wanted(tmp_path, ("en",), False, with_names), 2, MADE)
        (written,) = pages.add(answered_of(prediction), source)
        (summary,) = pages.finish()
        assert ("Doe" in written.name) == with_names
        assert (b"Doe" in summary.read_bytes()) == with_names


def test_markup_in_what_is_told_is_text(two_knees: Prediction) -> None:
    """A bundle's sentences are others' text."""
    evil = "<b>bold</b> #panic() *x* $y$ \\u{41} & \u202eback."
    answer = replace(two_knees.answers[0], asked=replace(ARTHROSIS, next_step=evil), intended_use=evil)
    one = page(replace(two_knees, answers=(answer,)))
    html = to_html(one).decode()
    assert "<b>bold" not in html
    assert "\u202e" not in html
    assert to_pdf(one)


def test_pages_follow_from_json_alone(two_knees: Prediction, tmp_path: Path) -> None:
    record = json.dumps(two_knees.to_dict())
    (tmp_path / "one.json").write_text(record)
    (tmp_path / "several.json").write_text(f"[\n{record},\n{record}\n]\n")
    (tmp_path / "lines.jsonl").write_text(f"{record}\n{record}\n")
    direct = answered_of(two_knees)
    assert read_answers(tmp_path / "one.json") == [direct]
    assert read_answers(tmp_path / "several.json") == read_answers(tmp_path / "lines.jsonl") == [direct, direct]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "not valid JSON"),
        ("[1]", "no answer of this release"),
        ('{"schema_version": 5}', "no answer of this release"),
        ('{"schema_version": 6}', "is missing"),
        ("[" * 5000, "not valid JSON"),
    ],
)
def test_what_is_no_answer_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "answers.json"
    path.write_text(text)
    with pytest.raises(ReportError, match=told):
        read_answers(path)


@pytest.mark.parametrize("damaged", ["answers", "told", "findings", "knees", "model", "mode", "risk", "joints"])
@pytest.mark.parametrize("wrong", [7, [[]], {"a": 1}, "\ud800", [None]])
def test_a_damaged_answer_is_told(two_knees: Prediction, damaged: str, wrong: object) -> None:
    record = two_knees.to_dict()
    place = record if damaged in ("answers", "risk", "joints") else record["answers"][0]
    place[damaged] = wrong
    with pytest.raises(ReportError, match=damaged):
        as_answered(record)


def test_a_summary_counts_and_leads_to_every_page(
    two_knees: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteo_edge.reports.pages.summary.ROWS_A_PART", 2)
    assert ROWS_A_PART == 100
    pages = Pages(Wanted(tmp_path, ("en",), False, False), 3, MADE)
    for digit in "123":
        prediction = replace(two_knees, digest=digit * 64) if digit > "1" else two_knees
        pages.add(answered_of(prediction), prediction.source)
    (summary,) = pages.finish()
    words = words_of(summary.read_bytes())
    assert "Pictures: 3 Answered: 3 Cannot tell: 0 No answer: 0" in words
    parts = [summary.parent / name for name in re.findall(r'href="([^"]+part[^"]+)"', summary.read_text())]
    assert len(parts) == 2
    rows = [name for part in parts for name in re.findall(r'href="([^"]+)"', part.read_text())]
    assert sorted(rows) == sorted(path.name for path in tmp_path.glob("*.report.en.html"))
    assert len(rows) == 3
    assert parts[0].read_text().count("data:image/jpeg") == 1  # another picture lies where the second was


def test_a_page_states_the_time_that_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(int(MADE.timestamp())))
    assert stated_time() == MADE
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    with pytest.raises(ReportError, match="SOURCE_DATE_EPOCH"):
        stated_time()


def test_a_full_disk_is_told(two_knees: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("osteo_edge.reports.pages.sheets.write_file", full)
    pages = Pages(Wanted(tmp_path, ("en",), False, False), 1, MADE)
    with pytest.raises(ReportError, match="No space left"):
        pages.add(answered_of(two_knees), two_knees.source)
