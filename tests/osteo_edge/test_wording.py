"""The sentences for people: which piece says what, and that nobody is told nonsense."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from osteo_edge import Answer, Mode, Status, findings, wording
from osteo_edge.cli import exit_codes
from osteo_edge.findings import NOT_SUPPORTED, PICTURE_ADDS_NOTHING, UNPROVEN, UNSURE, Finding
from osteo_edge.wording import (
    HIGHER_CHANCE,
    NO_SIGN,
    NOT_SURE,
    REJECTIONS,
    advice,
    next_step,
    reason,
    sentence,
    sentence_of,
)
from tests.answers import an_answer

LABELS = ("normal", "osteopenia", "osteoporosis")
AGES = [None, *(age / 2 for age in range(36, 241))]
SEXES = (None, "female", "male")


def told(*codes: str, notes: tuple[str, ...] = (), labels: tuple[str, ...] = ("normal",), **known: object) -> Answer:
    """An answer with these findings; referred where there are any."""
    return an_answer(
        status=Status.REFERRED if codes else Status.REPORTED,
        findings=tuple(Finding(code, MESSAGES.get(code, f"told of {code}")) for code in codes),
        notes=tuple(Finding(code, "told") for code in notes),
        mode=Mode.FUSED if "picture_adds_nothing" in codes else Mode.IMAGE,
        label_set=labels,
        **known,
    )


def rejected(code: str, message: str = "told why") -> Answer:
    return replace(told(code), status=Status.REJECTED, findings=(Finding(code, message),), label_set=(), mode=None)


MESSAGES = {"picture_adds_nothing": "from age and sex alone (the picture does not count in it)"}
LOW = ("osteopenia", "osteoporosis")
ALONE = "From age and sex alone (the picture does not count in it): "


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2], LABELS[1:], *((label,) for label in LABELS)])
def test_of_a_person_of_whom_nothing_is_known_the_sets_alone_speak(labels: tuple[str, ...]) -> None:
    how_much = " How low, it cannot tell." if labels == LOW else ""
    assert told(labels=labels).message == f"{sentence_of(labels)}{how_much}"
    assert sentence_of(labels) in (HIGHER_CHANCE, NO_SIGN, NOT_SURE)


@pytest.mark.parametrize(
    ("prediction", "pieces"),
    [
        (told(labels=("osteoporosis",), age_years=70, sex="female"), (HIGHER_CHANCE, "", "")),
        (told(labels=LOW), (HIGHER_CHANCE, "How low, it cannot tell.", "")),
        (
            told("not_sure", labels=LABELS, age_years=67, sex="female"),
            ("This test cannot tell from this picture.", "", "DXA is advised for women of 65 and over."),
        ),
        (
            told("unproven", labels=("osteoporosis",), age_years=50, sex="male"),
            (
                "This test cannot tell from this picture.",
                "The test was not shown to tell more than chance.",
                "For men it is not settled who gains from DXA; ask a doctor about it if you have risk factors.",
            ),
        ),
        (
            told(
                "outside_support", "picture_adds_nothing", notes=("picture_disagrees",), labels=LOW, age_years=64, sex="female"
            ),
            (
                "This test has not learnt from persons like this one and cannot tell.",
                "It has seen nobody like this for one of the answers that it can give.",
                "Before 65, DXA is advised for women after menopause who have risk factors.",
            ),
        ),
        (
            told("picture_adds_nothing", labels=("osteoporosis",)),
            (f"{ALONE}higher chance of low bone density: ask about a DXA scan.", "", ""),
        ),
        (
            told("picture_adds_nothing", "not_sure", notes=("picture_disagrees",), labels=LOW),
            (
                f"{ALONE}higher chance of low bone density: ask about a DXA scan.",
                "How low, it cannot tell. The picture's own score points the other way.",
                "",
            ),
        ),
        (
            told("picture_adds_nothing", notes=("picture_disagrees",), age_years=70, sex="female"),
            (
                f"{ALONE}no sign of low bone density; this misses cases.",
                "The picture's own score points the other way.",
                "DXA is advised for women of 65 and over.",
            ),
        ),
        (
            told("picture_adds_nothing", "not_sure", labels=LABELS),
            (f"{ALONE}this test cannot tell.", "", "If you are over 65 or have risk factors, ask about a DXA scan."),
        ),
    ],
)
def test_the_three_pieces(prediction: Answer, pieces: tuple[str, str, str]) -> None:
    assert (sentence(prediction), reason(prediction), next_step(prediction)) == pieces
    assert prediction.message == " ".join(piece for piece in pieces if piece)


@pytest.mark.parametrize("code", REJECTIONS)
def test_what_is_unfit_has_its_own_sentence_and_what_to_do_and_is_no_unreadable_file(code: str) -> None:
    prediction = rejected(code)
    assert "cannot be read" not in prediction.message
    assert sentence(prediction).endswith(".")
    assert next_step(prediction).endswith(".")
    assert exit_codes.of_finding(code) in (exit_codes.NO_ANSWER, exit_codes.TOO_LARGE)
    others = [sentence(rejected(other)) for other in REJECTIONS if other != code]
    same = {"too_many_pixels", "too_many_bytes"}
    assert code in same or sentence(prediction) not in others


def test_a_file_that_cannot_be_read_says_why() -> None:
    prediction = rejected("truncated", "the PNG file is truncated")
    assert prediction.message == "This picture cannot be read. The PNG file is truncated."
    assert exit_codes.of_finding("truncated") == exit_codes.UNREADABLE


@pytest.mark.parametrize("code", wording.FOLDERS)
def test_a_folder_without_pictures_is_no_picture(code: str) -> None:
    prediction = rejected(code, "nothing in it; look elsewhere")
    assert "folder" in sentence(prediction)
    assert "picture cannot" not in sentence(prediction)
    assert (reason(prediction), next_step(prediction)) == ("Nothing in it; look elsewhere.", "")
    assert exit_codes.of_finding(code) == exit_codes.UNREADABLE


def test_every_way_of_being_unfit_has_its_sentence() -> None:
    assert set(REJECTIONS) == {*findings.UNFIT, *findings.TOO_LARGE}


def test_every_referral_is_no_sentence() -> None:
    for code in (UNPROVEN, NOT_SUPPORTED, PICTURE_ADDS_NOTHING, UNSURE):
        assert exit_codes.of_finding(code) == exit_codes.NO_ANSWER


@pytest.mark.parametrize("sex", SEXES)
def test_the_advice_suits_every_age_and_sex(sex: str | None) -> None:
    for age in AGES:
        for nothing_found in (True, False):
            text = advice(age, sex, nothing_found=nothing_found)
            assert text.endswith(".")
            assert not re.search("T-score|you have osteoporosis|diagnos", text)
            if age is not None:
                assert "If you are" not in text, "the age is known"
                assert ("65 and over" in text) == (age >= 65 and sex != "male"), (age, sex, text)
                assert ("Before 65" in text) == (40 <= age < 65 and sex != "male"), (age, sex, text)
                assert ("menopause" in text) <= (40 <= age < 65 and sex != "male")
            if sex == "male":
                assert not re.search("women|menopause|65", text)
            if sex == "female":
                assert not re.search(r"\b[Mm]en\b", text)


@pytest.mark.parametrize(
    ("age", "sex", "said"),
    [
        (None, None, "If you are over 65 or have risk factors"),
        (None, "female", "If you are over 65 or have risk factors"),
        (None, "male", "For men it is not settled"),
        (18, "female", "At this age DXA is not advised as a rule"),
        (39.9, None, "At this age DXA is not advised as a rule"),
        (40, "female", "Before 65, DXA is advised for women after menopause"),
        (64.9, None, "Before 65, DXA is advised for women after menopause who have risk factors. Men with risk factors"),
        (65, "female", "DXA is advised for women of 65 and over."),
        (65, None, "DXA is advised for women of 65 and over. Men with risk factors"),
        (120, "male", "For men it is not settled"),
    ],
)
def test_the_table_of_advice(age: float | None, sex: str | None, said: str) -> None:
    for nothing_found in (True, False):
        assert advice(age, sex, nothing_found=nothing_found).startswith(said)


@pytest.mark.parametrize("codes", [(), ("not_sure",), ("unproven",), ("picture_adds_nothing",), ("outside_support",)])
def test_no_message_names_a_class_or_diagnoses(codes: tuple[str, ...]) -> None:
    for labels in (LABELS, LOW, LABELS[:1], LABELS[2:]):
        for age in (None, 18.0, 50.0, 67.0):
            message = told(*codes, labels=labels, age_years=age).message
            assert not re.search("normal|osteopenia|osteoporosis|T-score", message)
            assert message.count("  ") == 0
            assert (
                "picture" not in message.replace("the picture does not count in it", "") or "picture_adds_nothing" not in codes
            )
