"""Whether the classes' people are alike: where they differ in age or sex, a picture's score may be no more than that."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from train.data.dataset import LABELS, Dataset
from train.runs.arrays import Doubles

# Standardised differences below it leave little bias (Stuart, Statistical Science 25:1-21, 2010).
LARGEST_DIFFERENCE = 0.25
AGE, SEX = "age_years", "sex"


@dataclass(frozen=True)
class Balance:
    """How far the classes differ in one thing.

    Attributes:
        means: class -> mean over its patients in whom it is known.
        difference: the largest between two classes, in pooled standard deviations of the two; NaN where it is known in fewer
            than two patients of a class, or never.
        known: share of the patients in whom it is known.
    """

    name: str
    means: Mapping[str, float]
    difference: float
    known: float

    @property
    def title(self) -> str:
        return "ages" if self.name == AGE else "sexes"

    @property
    def is_matched(self) -> bool:
        return self.difference <= LARGEST_DIFFERENCE

    @property
    def sentence(self) -> str:
        """What is said of it, in one sentence."""
        if math.isnan(self.difference):
            return "too few are known to tell whether the classes differ"
        shown = ", ".join(f"{label} {_shown(self.name, mean)}" for label, mean in self.means.items())
        return (
            f"{'mean' if self.name == AGE else 'women'} {shown}; at most {self.difference:.2f} standard deviations apart, "
            f"{'within' if self.is_matched else 'beyond'} the {LARGEST_DIFFERENCE:g} of matched groups"
        )


def balance_of(dataset: Dataset, name: str) -> Balance:
    """Compare the classes in a covariate, each patient group counting once."""
    values = {label: _by_patient(dataset, label, name) for label in LABELS}
    known = {label: one[np.isfinite(one)] for label, one in values.items()}
    patients = sum(len(one) for one in values.values())
    means = {label: float(one.mean()) for label, one in known.items() if one.size}
    differences = [_difference(one, other) for one, other in itertools.combinations(known.values(), 2)]
    share = sum(one.size for one in known.values()) / patients if patients else 0.0
    return Balance(name, means, float(np.max(differences)), share)


def _by_patient(dataset: Dataset, label: str, name: str) -> Doubles:
    """(patients,), NaN where unknown; the first radiograph of a patient speaks for all."""
    first = {row.patient_group: row for row in reversed(dataset.radiographs) if row.label == label}
    return np.array([row.covariates.get(name, math.nan) for row in first.values()], np.float64)


def _difference(one: Doubles, other: Doubles) -> float:
    """In pooled standard deviations; NaN where one of the two is of fewer than two patients."""
    if min(one.size, other.size) < 2:
        return math.nan
    apart, spread = abs(one.mean() - other.mean()), math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
    return float(apart / spread) if spread else (math.inf if apart else 0.0)


def _shown(name: str, mean: float) -> str:
    return f"{mean:.0f}" if name == AGE else f"{100 * mean:.0f} %"
