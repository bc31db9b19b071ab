"""One next step: every row of the table is reached, and no combination contradicts itself or what is advised."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osteo_edge import Status, wording
from osteo_edge.clinical.advice import (
    NO_PICTURE,
    TABLE,
    USPSTF,
    Evidence,
    Picture,
    Row,
    Who,
    next_step,
    picture_of,
    row_of,
    who_is,
)
from osteo_edge.clinical.assessment import assess
from osteo_edge.clinical.known import read_known
from tests.answers import an_answer

HIGHER, NO_SIGN, UNANSWERED = Picture("higher_chance", True), Picture("no_sign", True), Picture(None, True)
PICTURES = (NO_PICTURE, HIGHER, NO_SIGN, UNANSWERED)
ASKS = ("DXA is advised", "ask a doctor about", "ask about a DXA scan", "DXA is still advised", "it is advised for women")


def step(picture: Picture = NO_PICTURE, **known: Any) -> Any:
    return next_step(assess(read_known(known)), picture)


# Of each row somebody of whom it speaks.
REACHED = {
    "child": ({"age": 12}, HIGHER),
    "score_woman_from_65": ({"age": 67, "sex": "female", "weight": 58}, NO_SIGN),
    "score_man": ({"age": 70, "sex": "male", "weight": 70}, NO_SIGN),
    "score": ({"age": 55, "sex": "female", "weight": 58}, NO_SIGN),
    "fracture": ({"age": 30, "prior_fracture": "yes"}, NO_SIGN),
    "picture_higher_chance": ({"age": 50, "sex": "female", "weight": 90}, HIGHER),
    "woman_from_65": ({"age": 65, "sex": "female", "weight": 100}, NO_SIGN),
    "young_adult": ({"age": 39, "sex": "female", "weight": 50}, NO_SIGN),
    "scores_below_woman": ({"age": 50, "sex": "female", "weight": 90}, NO_SIGN),
    "woman_before_65": ({"age": 64, "sex": "female"}, NO_SIGN),
    "scores_below_man": ({"age": 60, "sex": "male", "weight": 100}, NO_PICTURE),
    "man": ({"sex": "male"}, UNANSWERED),
    "somebody_from_65": ({"age": 65}, NO_SIGN),
    "somebody_before_65": ({"age": 64.9}, NO_SIGN),
    "somebody_without_sign": ({"weight": 60}, NO_SIGN),
    "somebody_without_answer": ({"sex": "female"}, UNANSWERED),
    "somebody": ({"weight": 60}, NO_PICTURE),
}


def test_somebody_is_named_for_every_row() -> None:
    assert list(REACHED) == [row.code for row in TABLE]


@pytest.mark.parametrize("code", REACHED)
def test_every_row_is_reached(code: str) -> None:
    known, picture = REACHED[code]
    found = step(picture, **known)
    row = next(row for row in TABLE if row.code == code)
    assert (found.code, found.sentence) == (code, row.sentence)
    assert found.source.endswith(row.source)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.code)
def test_every_row_is_one_sentence_with_a_source(row: Row) -> None:
    assert row.sentence.endswith(".")
    assert not re.search(r"[.!?] ", row.sentence)
    assert row.source
    assert len(row.sentence) < 250
    for never in ("osteoporosis", "you have osteo", "T-score", "treat", "medic", "diagnos"):
        assert never not in row.sentence


def test_the_table_speaks_to_everybody_of_anything() -> None:
    for who, evidence in itertools.product(Who, Evidence):
        assert row_of(who, evidence)


def test_what_speaks_for_a_scan_is_never_calmed_down() -> None:
    for who, evidence in itertools.product(set(Who) - {Who.CHILD}, Evidence):
        sentence = row_of(who, evidence).sentence
        is_reason = evidence in (Evidence.SCORE_IN_RANGE, Evidence.FRACTURE, Evidence.PICTURE_HIGHER_CHANCE)
        assert not (is_reason and re.search(r"No sign|not advised|No score", sentence)), (who, evidence)
        assert not is_reason or re.search(r"ask (a doctor )?about", sentence)
        assert any(asks in sentence for asks in ASKS) or "ask" in sentence


@pytest.mark.parametrize(
    ("known", "who"),
    [
        ({"age": 17.9}, Who.CHILD),
        ({"age": 18}, Who.YOUNG_ADULT),
        ({"age": 39.9, "sex": "male"}, Who.YOUNG_ADULT),
        ({"age": 40, "sex": "male"}, Who.MAN),
        ({"age": 40, "sex": "female"}, Who.WOMAN_BEFORE_65),
        ({"age": 64.9, "sex": "female"}, Who.WOMAN_BEFORE_65),
        ({"age": 65, "sex": "female"}, Who.WOMAN_FROM_65),
        ({"age": 65}, Who.SOMEBODY_FROM_65),
        ({"age": 64.9}, Who.SOMEBODY_BEFORE_65),
        ({"sex": "male"}, Who.MAN),
        ({"sex": "female"}, Who.SOMEBODY),
        ({}, Who.SOMEBODY),
    ],
)
def test_to_whom_something_is_said(known: dict[str, Any], who: Who) -> None:
    assert who_is(read_known(known)) is who


def test_sources_name_the_scores_that_speak_and_their_cut_offs() -> None:
    found = step(age=58, sex="female", weight=56, estrogen_use="no")
    assert found.scores == ("ost", "orai")
    assert found.source.startswith("cut-off of OST (1 or less) and ORAI (9 or more) by its authors; ")
    assert "(B)" in found.source
    assert "insufficient evidence (I)" in step(age=70, sex="male", weight=70).source
    below = step(age=50, sex="female", weight=90)
    assert (below.scores, below.source.partition(";")[0]) == ((), "cut-off of OST (1 or less) by its authors")
    assert step(age=70, sex="female").source == f"{USPSTF}: women of 65 and over (B)"


def test_one_score_in_its_range_outweighs_the_others_and_the_picture() -> None:
    known = {"age": 58, "sex": "female", "weight": 69, "estrogen_use": "no", "prior_fracture": "no"}
    found = next_step(assess(read_known(known)), NO_SIGN)
    assert (found.code, found.scores) == ("score", ("orai",))


@pytest.mark.parametrize("sex", [None, "female", "male"])
@pytest.mark.parametrize("age", [None, 18.0, 39.9, 40.0, 64.9, 65.0, 90.0])
def test_without_scores_the_same_is_advised_as_beside_a_picture_without_a_weight(age: float | None, sex: str | None) -> None:
    """``wording`` has its own sentences, which are read on every prediction of bone density; they must not drift apart."""
    known = {name: value for name, value in (("age", age), ("sex", sex)) if value is not None}
    alone = wording.advice(age, sex, nothing_found=False)
    in_one_sentence = alone.rstrip(".").replace(". Men", "; men")
    assert step(**known).sentence.startswith(in_one_sentence)


def test_only_a_reported_answer_to_bone_density_counts() -> None:
    reported = an_answer(status=Status.REPORTED, label_set=("normal",))
    assert picture_of([reported]) == NO_SIGN
    assert picture_of([an_answer(status=Status.REPORTED, label_set=("osteopenia", "osteoporosis"))]) == HIGHER
    for status in (Status.REFERRED, Status.REJECTED):
        assert picture_of([an_answer(status=status, label_set=("normal",))]) == UNANSWERED
    assert picture_of([]) == UNANSWERED


class OtherAnswer:
    """What is read of an answer to another question."""

    question = "osteoarthritis"

    def __init__(self, status: Status, answer: str | None) -> None:
        self.status, self.answer = status, answer


@pytest.mark.parametrize("answer", ["no_sign", "higher_chance", "signs", "no_definite_signs", None])
@pytest.mark.parametrize("status", Status)
def test_what_is_said_of_osteoarthritis_changes_nothing(answer: str | None, status: Status) -> None:
    for bones in ([], [an_answer(status=Status.REPORTED, label_set=("normal",))]):
        other = OtherAnswer(status, answer)
        assert picture_of([other, *bones]) == picture_of([*bones, other]) == picture_of(bones)


KNOWN = st.fixed_dictionaries(
    {},
    optional={
        "age": st.floats(1, 120),
        "sex": st.sampled_from(["female", "male"]),
        "weight": st.floats(25, 250),
        "estrogen_use": st.sampled_from(["yes", "no"]),
        "estrogen_ever": st.just("yes"),
        "prior_fracture": st.sampled_from(["yes", "no"]),
        "rheumatoid_arthritis": st.sampled_from(["yes", "no"]),
        "after_menopause": st.sampled_from(["yes", "no"]),
        "asian_ethnicity": st.sampled_from(["yes", "no"]),
        "black_ethnicity": st.sampled_from(["yes", "no"]),
    },
)


@settings(deadline=None)
@given(KNOWN, st.sampled_from(PICTURES))
def test_no_combination_contradicts_itself(known: dict[str, Any], picture: Picture) -> None:
    assessment = assess(read_known(known))
    found, person = next_step(assessment, picture), assessment.person
    is_adult_woman_from_65 = person.sex == "female" and person.age_years is not None and person.age_years >= 65
    if assessment.in_range:
        assert found.scores
        assert "range where" in found.sentence
        assert "ask a doctor about one" in found.sentence
    if is_adult_woman_from_65:
        assert re.search("DXA|reason to ask", found.sentence)
        assert "not settled" not in found.sentence
    if person.sex == "male":
        assert "menopause" not in found.sentence
        assert "women" not in found.sentence
    if "No sign" in found.sentence:
        assert picture == NO_SIGN
        assert not assessment.computed
    if "No score" in found.sentence:
        assert assessment.computed
        assert not assessment.in_range
    if picture.bone_density is None:
        assert "The picture shows" not in found.sentence
        assert "No sign" not in found.sentence
    if person.age_years is not None and person.age_years < 18:
        assert found.code == "child"
    assert found == next_step(assessment, picture)


@settings(deadline=None)
@given(KNOWN)
def test_a_reassuring_picture_never_takes_advice_back(known: dict[str, Any]) -> None:
    """Whoever is sent to ask about a scan without a picture is sent with one that shows no sign."""
    assessment = assess(read_known(known))
    without, with_it = next_step(assessment), next_step(assessment, NO_SIGN)
    if without.code != "somebody":
        assert with_it == without
    assert "DXA" in with_it.sentence or with_it.code == "child"
