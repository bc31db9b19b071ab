"""Score vectors: one a knee, their mean a picture, and probabilities from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from osteo_edge.arrays import Doubles, Floats, Reals


def mean_logits(knees: Sequence[Floats] | Floats) -> Doubles:
    """The picture's logits, (labels,) float64: the mean over its accepted knees."""
    return np.mean(np.asarray(knees, np.float64), axis=0)  # type: ignore[no-any-return]


def likeliest(probabilities: Mapping[str, float]) -> str:
    """The label of the highest probability, the first of equals."""
    return max(probabilities, key=lambda name: probabilities[name])


def median(probabilities: Mapping[str, float]) -> str:
    """The label in the middle of labels that are degrees of one thing, in order: the expected distance is least from it."""
    below, half = 0.0, sum(probabilities.values()) / 2
    for label, share in probabilities.items():
        below += share
        if below >= half:
            return label
    return label  # the sum's last digits


def softmax(logits: Reals) -> Doubles:
    """Probabilities, (..., labels) float64 summing to one along the last axis."""
    shifted = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]
