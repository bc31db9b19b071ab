"""The image's score and what is known of the person, together.

One multinomial logistic model, as plain numbers in the manifest; training fits it and judges it with these same
functions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.manifest import Covariate, Fusion

if TYPE_CHECKING:
    from osteo_edge.arrays import Doubles, Reals


def fuse(fusion: Fusion, logits: Reals, values: Mapping[str, float]) -> Doubles:
    """Fused logits (labels,) of one picture.

    Args:
        logits: (labels,) of the image alone.
        values: name -> number of what is known; sex is 1 for female, yes is 1.
    """
    return design(fusion.covariates, logits, values) @ np.asarray(fusion.kernel) + np.asarray(fusion.bias)  # type: ignore[no-any-return]


def design(covariates: Sequence[Covariate], logits: Reals, values: Mapping[str, float]) -> Doubles:
    """The model's inputs: centred image logits, standardised covariates (0 where missing), and what is missing."""
    scores = np.asarray(logits, np.float64)
    known = [values.get(covariate.name, math.nan) for covariate in covariates]
    missing = [float(math.isnan(value)) for value in known]
    standard = [
        0.0 if math.isnan(value) else (value - covariate.mean) / covariate.deviation
        for covariate, value in zip(covariates, known, strict=True)
    ]
    return np.concatenate([scores - scores.mean(), standard, missing])


def weighs_picture(fusion: Fusion) -> bool:
    """Whether the fitted model heeds the picture at all; penalties may have taken every weight from it."""
    return any(weight for row in fusion.kernel[: len(fusion.bias)] for weight in row)


def outside_support(fusion: Fusion, values: Mapping[str, float]) -> tuple[tuple[str, str], ...]:
    """Pairs of covariate and label that training never saw together: no radiograph of the label had such a value."""
    return tuple(
        (covariate.name, label)
        for covariate in fusion.covariates
        for label, (low, high) in covariate.support.items()
        if covariate.name in values and not low <= values[covariate.name] <= high
    )
