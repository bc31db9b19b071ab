"""Answers and predictions made up for tests of what is said of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from osteo_edge.answered import Answer, Knee, ModelIdentity
from osteo_edge.joints import Box, Joint
from osteo_edge.labels import Laterality, Mode, Status
from osteo_edge.prediction import Prediction
from osteo_edge.questions import BONE_DENSITY, PossibleAnswer, Question
from osteo_edge.records import FrozenMapping

HARDWARE = Question(
    name="hardware",
    title="hardware in the joint",
    unit="knee",
    answers=(
        PossibleAnswer("none_seen", ("plain",), "No hardware seen by this test."),
        PossibleAnswer("hardware", ("metal",), "Hardware in the joint."),
    ),
    unsure="This test cannot tell whether there is hardware.",
    next_step="Compare it with earlier pictures.",
)


GRADES = Question(
    name="wear",
    title="wear",
    unit="knee",
    answers=(
        PossibleAnswer("no_wear", ("w0",), "No wear found by this test; it misses cases."),
        PossibleAnswer("wear", ("w1", "w2"), "Signs of wear."),
    ),
    unsure="This test cannot tell whether there is wear.",
)

# As bundles ask it that grade by Kellgren and Lawrence.
OSTEOARTHRITIS = Question(
    name="osteoarthritis",
    title="osteoarthritis",
    unit="knee",
    answers=(
        PossibleAnswer("no_definite_signs", ("kl0", "kl1"), "No definite signs of osteoarthritis."),
        PossibleAnswer("signs", ("kl2", "kl3", "kl4"), "Signs of osteoarthritis."),
    ),
    unsure="This test cannot tell whether there are signs of osteoarthritis.",
)


# With degrees for people.
ARTHROSIS = Question(
    name="arthrosis",
    title="arthrosis",
    unit="knee",
    answers=(
        PossibleAnswer("no_definite_signs", ("kl0", "kl1"), "No definite signs of arthrosis; this misses cases."),
        PossibleAnswer("signs", ("kl2", "kl3", "kl4"), "Signs of arthrosis."),
    ),
    unsure="This test cannot tell.",
    next_step="Ask a doctor if the knee troubles you.",
    degrees=("0", "1", "2", "3", "4"),
    scale="grade {} of 4 (Kellgren-Lawrence)",
)


def an_answer(asked: Question = BONE_DENSITY, **changes: Any) -> Answer:
    """Reported, by its first answer."""
    shares = FrozenMapping(dict.fromkeys(asked.labels, 1 / len(asked.labels)))
    plain: Mapping[str, Any] = {
        "asked": asked,
        "status": Status.REPORTED,
        "findings": (),
        "notes": (),
        "mode": Mode.IMAGE,
        "probabilities": shares,
        "image_probabilities": shares,
        "label_set": asked.labels[:1],
        "covariates_used": FrozenMapping(),
        "members_answered": 1,
        "knees": (),
        "model": ModelIdentity("b", "1", "0" * 64, "onnxruntime", "fp32", 1),
        "intended_use": f"research on {asked.title}",
    }
    return Answer(**{**plain, **changes})


def told(record: Mapping[str, Any]) -> dict[str, Any]:
    """The first answer in a prediction's JSON."""
    return dict(record["answers"][0])


def a_prediction(*answers: Answer, **changes: Any) -> Prediction:
    plain: Mapping[str, Any] = {
        "source": "image.png",
        "digest": "0" * 64,
        "answers": answers,
        "joints": (),
        "timings_ms": FrozenMapping({"read": 1.0}),
    }
    return Prediction(**{**plain, **changes})


def with_first(prediction: Prediction, **changes: Any) -> Prediction:
    """The same, its first answer changed."""
    return replace(prediction, answers=(replace(prediction.first, **changes), *prediction.answers[1:]))


def a_knee(asked: Question, label_set: tuple[str, ...], side: Laterality | None, *, x_px: float = 100.0) -> Knee:
    shares = FrozenMapping({label: 1 / len(label_set) if label in label_set else 0.0 for label in asked.labels})
    told = asked.answer_of(label_set)
    joint = Joint(x_px, 100.0, 80.0, 1.0, side)
    return Knee(joint, Box(0, 0, 10, 10), shares, label_set, told.code if told else None)
