"""The sentences for people. Class names are research codes and never stand alone in front of a person.

A message has three pieces: the answer, the reason where it needs one, and the next step. What is advised follows the US
Preventive Services Task Force's statement of January 2025: DXA for women of 65 and over, and for younger women after menopause
who have risk factors; for men the evidence is insufficient. To a young adult neither is said.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Final

from osteo_edge.labels import BoneStatus, Mode, Status

if TYPE_CHECKING:
    from osteo_edge.images.quality import Finding
    from osteo_edge.prediction import Prediction

# Codes of findings and notes that decide what is said.
UNPROVEN: Final = "unproven"
NOT_SUPPORTED: Final = "outside_support"
PICTURE_ADDS_NOTHING: Final = "picture_adds_nothing"
UNSURE: Final = "not_sure"
PICTURE_DISAGREES: Final = "picture_disagrees"
IMMATURE: Final = "immature"
# Notes that a message says where they matter.
SPOKEN_NOTES: Final = (PICTURE_ADDS_NOTHING, PICTURE_DISAGREES)

_CANNOT_TELL: Final = "This test cannot tell from this picture."
_NO_SIGN_FOUND: Final = "No sign found by this test; it misses cases."
_NOT_LEARNT: Final = "This test has not learnt from persons like this one and cannot tell."
_STILL_ADVISED: Final = "If you are over 65 or have risk factors, DXA is still advised."
_ASK: Final = "If you are over 65 or have risk factors, ask about a DXA scan."

# What a person of whom nothing is known is told, and by these sentences training counts its label sets.
HIGHER_CHANCE: Final = "Higher chance of low bone density: ask about a DXA scan."
NO_SIGN: Final = f"{_NO_SIGN_FOUND} {_STILL_ADVISED}"
NOT_SURE: Final = f"{_CANNOT_TELL} {_ASK}"

NOT_READ: Final = "This picture cannot be read."
BURNED_IN: Final = "AI research screening aid, not for diagnosis"

WOMEN_FROM_YEARS: Final = 65
# Below it nobody is told of menopause or of age as a risk.
YOUNG_BELOW_YEARS: Final = 40
_YOUNG: Final = (
    "At this age DXA is not advised as a rule; ask a doctor about it if you have risk factors, such as a bone that broke in a "
    "slight fall."
)
_OLDER_WOMAN: Final = "DXA is advised for women of 65 and over."
_WOMAN: Final = "Before 65, DXA is advised for women after menopause who have risk factors."
_MAN: Final = "For men it is not settled who gains from DXA; ask a doctor about it if you have risk factors."
_OTHERS: Final = "Men with risk factors should ask a doctor about it."

# Code of what is wrong with a picture that is a sound file: what is said, and what to do.
UNFIT: Final[Mapping[str, tuple[str, str]]] = {
    "no_knee": (
        "No knee was found in this picture.",
        "Check that it shows a whole knee from the front, that it is upright, and that bone is bright in it.",
    ),
    "upside_down": ("This picture seems to be upside down.", "Turn it by 180 degrees and try again."),
    "sideways": ("This picture seems to lie on its side.", "Turn it upright and try again."),
    "inverted": (
        "This picture seems to be a negative, in which bone is dark.",
        "Exchange dark and bright, so that bone is bright, and try again.",
    ),
    "too_small": ("This picture is too small.", "Export it at its full size and try again."),
    "constant": ("This picture shows almost one single grey.", "Check how it was exposed and exported, and try again."),
    "colour": ("This picture is in colour.", "Give the radiograph itself: an export of it in grey."),
    "too_many_pixels": ("This picture is too large.", "Save it with fewer pixels and try again."),
    "too_many_bytes": ("This file is too large.", "Save the picture as a smaller file and try again."),
    "too_many_parts": ("This file consists of too many parts.", "Save the picture again, as a grey PNG for example."),
    IMMATURE: ("Below 18 years of age no answer is given.", "Ask a doctor."),
}
# The same of a folder; what to do stands in the finding's message.
FOLDERS: Final[Mapping[str, tuple[str, str]]] = {
    "no_pictures": ("There is no picture in this folder.", ""),
    "empty_folder": ("There is no picture in this folder.", ""),
    "unlisted_folder": ("This folder cannot be read.", ""),
}
# Of these the finding's message only says the answer again.
_NEEDS_NO_REASON: Final = ("no_knee", "constant")


class Direction(Enum):
    """Which way an answer points."""

    HIGHER_CHANCE = "higher chance of low bone density"
    NO_SIGN = "no sign of it"


def direction(label_set: Collection[str]) -> Direction | None:
    """It follows from the classes that could not be ruled out, not from the likeliest one; None where they tell neither."""
    if BoneStatus.NORMAL not in label_set:
        return Direction.HIGHER_CHANCE
    return Direction.NO_SIGN if len(label_set) == 1 else None


def sentence_of(label_set: Collection[str]) -> str:
    """What a set alone tells a person of whom nothing is known."""
    told = {Direction.HIGHER_CHANCE: HIGHER_CHANCE, Direction.NO_SIGN: NO_SIGN, None: NOT_SURE}
    return told[direction(label_set)]


def message(prediction: Prediction) -> str:
    """All that a person is told of a picture: the answer, the reason where it needs one, and the next step."""
    return " ".join(piece for piece in (answer(prediction), reason(prediction), next_step(prediction)) if piece)


def answer(prediction: Prediction) -> str:
    """The first piece, one sentence: what the test says, or that it cannot tell, or what is wrong with the picture.

    It begins with what it rests on where that is not the picture. Never empty.
    """
    if prediction.status is Status.REJECTED:
        return _rejection(prediction)[0]
    rests_on = _finding(prediction, PICTURE_ADDS_NOTHING)
    told = _direction(prediction)
    if _finding(prediction, NOT_SUPPORTED):
        return _NOT_LEARNT
    if rests_on:
        return f"{_capitalised(rests_on.message)}: {_WITHOUT_PICTURE[told]}"
    if told is None:
        return _CANNOT_TELL if prediction.mode is Mode.IMAGE else "This test cannot tell."
    return HIGHER_CHANCE if told is Direction.HIGHER_CHANCE else _NO_SIGN_FOUND


_WITHOUT_PICTURE: Final[Mapping[Direction | None, str]] = {
    Direction.HIGHER_CHANCE: "higher chance of low bone density: ask about a DXA scan.",
    Direction.NO_SIGN: "no sign of low bone density; this misses cases.",
    None: "this test cannot tell.",
}


def reason(prediction: Prediction) -> str:
    """The second piece: why there is no answer, or what speaks against it, in one or two sentences; empty where neither is."""
    return " ".join(_reasons(prediction))


def _reasons(prediction: Prediction) -> Iterator[str]:
    if prediction.status is Status.REJECTED:
        first = prediction.findings[0]
        if first.code not in _NEEDS_NO_REASON:
            yield f"{_capitalised(first.message).rstrip('.')}."
        return
    if _finding(prediction, NOT_SUPPORTED):
        yield "It has seen nobody like this for one of the answers that it can give."
    elif _finding(prediction, UNPROVEN):
        yield "The test was not shown to tell more than chance."
    elif prediction.status is Status.REFERRED and _direction(prediction) is Direction.HIGHER_CHANCE and _several(prediction):
        yield "How low, it cannot tell."
    if _direction(prediction) and _finding(prediction, PICTURE_DISAGREES):
        yield "The picture's own score points the other way."


def next_step(prediction: Prediction) -> str:
    """The third piece, one or two sentences: what to do with the picture, or what is advised for such a person.

    Empty where the answer says it (to ask about a DXA scan) or the reason does (what to do about a file that cannot be read).
    """
    if prediction.status is Status.REJECTED:
        return _rejection(prediction)[1]
    told = _direction(prediction)
    if told is Direction.HIGHER_CHANCE:
        return ""
    return advice(prediction.age_years, prediction.sex, nothing_found=told is Direction.NO_SIGN)


def advice(age_years: float | None, sex: str | None, *, nothing_found: bool) -> str:
    """What is advised for such an adult who is not told of a higher chance.

    Args:
        age_years: 18 or more; None where it is not known.
        sex: ``female``, ``male`` or None.
        nothing_found: whether the test found no sign; else it could not tell.
    """
    if age_years is None:
        if sex == "male":
            return _MAN
        return _STILL_ADVISED if nothing_found else _ASK
    if age_years < YOUNG_BELOW_YEARS:
        return _YOUNG
    if sex == "male":
        return _MAN
    for_women = _OLDER_WOMAN if age_years >= WOMEN_FROM_YEARS else _WOMAN
    return for_women if sex == "female" else f"{for_women} {_OTHERS}"


def _rejection(prediction: Prediction) -> tuple[str, str]:
    """What is said of a picture without an answer, by the first thing that is wrong with it, and what to do."""
    code = prediction.findings[0].code
    return UNFIT.get(code) or FOLDERS.get(code) or (NOT_READ, "")


def _direction(prediction: Prediction) -> Direction | None:
    """Neither an unproven bundle nor a person whose like was not in training gets a sentence such as "higher chance"."""
    if _finding(prediction, NOT_SUPPORTED) or _finding(prediction, UNPROVEN):
        return None
    return direction(prediction.label_set)


def _several(prediction: Prediction) -> bool:
    return len(prediction.label_set) > 1


def _finding(prediction: Prediction, code: str) -> Finding | None:
    return next((one for one in (*prediction.findings, *prediction.notes) if one.code == code), None)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
