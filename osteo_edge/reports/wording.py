"""The sentences for people. Class names are research codes and never stand alone in front of a person."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from osteo_edge.labels import BoneStatus, Status

if TYPE_CHECKING:
    from osteo_edge.prediction import Prediction

HIGHER_CHANCE = "Higher chance of low bone density: ask about a DXA scan."
NO_SIGN = "No sign found by this test; it misses cases. If you are over 65 or have risk factors, DXA is still advised."
NOT_SURE = "This test cannot tell from this picture. If you are over 65 or have risk factors, ask about a DXA scan."
NOT_LEARNT = (
    "This test has not learnt from persons like this one and cannot tell. If you are over 65 or have risk factors, ask about a "
    "DXA scan."
)
NOT_READ = "This picture cannot be read."
UNPROVEN = "unproven"
NOT_SUPPORTED = "outside_support"
PICTURE_ADDS_NOTHING = "picture_adds_nothing"
BURNED_IN = "AI research screening aid, not for diagnosis"


def sentence(prediction: Prediction) -> str:
    """What a person is told of a picture, and what it rests on where something is told and that is not the picture."""
    if prediction.status is Status.REJECTED:
        return NOT_READ
    answer = _answer(prediction)
    if answer in (NOT_SURE, NOT_LEARNT):
        return answer
    caveats = [f"{note.message.capitalize()}." for note in prediction.notes if note.code == PICTURE_ADDS_NOTHING]
    return " ".join([answer, *caveats])


def _answer(prediction: Prediction) -> str:
    # Neither an unproven bundle nor a person whose like was not in training gets a sentence such as "higher chance".
    codes = {finding.code for finding in prediction.findings}
    if NOT_SUPPORTED in codes:
        return NOT_LEARNT
    if UNPROVEN in codes:
        return NOT_SURE
    return sentence_of(prediction.label_set)


def sentence_of(label_set: Collection[str]) -> str:
    """It follows from the classes that could not be ruled out, not from the likeliest one."""
    if BoneStatus.NORMAL not in label_set:
        return HIGHER_CHANCE
    return NO_SIGN if len(label_set) == 1 else NOT_SURE
