"""How a gate does on what it has not seen: each clinic's knees left out of fitting in turn, then each kind of anything else.

The rule: the limit is where gates that have not seen a clinic refuse 2 % of its knees, those that were varied among them, as a
mean over the clinics; the finder's score counts as much as leaves the fewest of the left-out kinds to pass at that limit, as a
mean over the kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from osteo_edge.arrays import Floats
from train.finder.judgement import interval, rounded
from train.gates.fitting import Mask, Material, fit
from train.gates.pictures import BONE, CROPS, STRETCHED, WHOLE_FILMS

REFUSED_KNEES = 0.02
BY_SCORE = (0.0, 2.0, 5.0, 8.0)
CLINICS = (WHOLE_FILMS, CROPS, STRETCHED)
# Kinds that are left out together, for they are alike.
KINDS = {
    "photographs": ("photograph",),
    "pages and screens": ("document", "chart", "screen"),
    "patterns": ("noise", "pattern", "shapes"),
    "tomographs and ultrasound": ("tomography",),
    "other radiographs, drawn bones": ("other radiograph", "hip or ankle", BONE),
    "parts of a joint": ("femur alone", "tibia alone", "half a joint"),
    "shuffled joints": ("shuffled",),
    "turned and inverted films": ("upside down", "sideways", "negative"),
}
LIMITS = np.linspace(-8, 8, 641)


@dataclass(frozen=True)
class Unseen:
    """What a gate says of windows of a clinic or kinds that it was fitted without.

    Attributes:
        logits: (n,) by the network alone; scores: (n,) the finder's.
        pictures: (n,) which a window is of.
    """

    name: str
    logits: Floats
    scores: Floats
    pictures: Sequence[str]

    def passing(self, by_score: float, limit: float) -> Mask:
        return self.logits + by_score * self.scores >= limit


def clinics_left_out(material: Material) -> Iterator[Unseen]:
    for clinic in CLINICS:
        yield _left_out(material, clinic, material.clinics == clinic, material.is_knee)


def kinds_left_out(material: Material) -> Iterator[Unseen]:
    for name, kinds in KINDS.items():
        yield _left_out(material, name, np.array([kind.startswith(kinds) for kind in material.kinds]), ~material.is_knee)


def _left_out(material: Material, name: str, out: Mask, asked_of: Mask) -> Unseen:
    judged = out & asked_of & material.counts
    logits = fit(material, ~out, members=1).logits(material.features[judged])
    return Unseen(name, logits, material.scores[judged], material.pictures[judged].tolist())


def choose(clinics: Sequence[Unseen], kinds: Sequence[Unseen]) -> tuple[float, float]:
    """How much the finder's score counts, and the limit in the logarithm of the odds, by the rule."""
    limits = {by_score: _limit(clinics, by_score) for by_score in BY_SCORE}
    best = min(BY_SCORE, key=lambda by_score: np.mean([one.passing(by_score, limits[by_score]).mean() for one in kinds]))
    return best, limits[best]


def _limit(clinics: Sequence[Unseen], by_score: float) -> float:
    def refused(limit: float) -> float:
        return float(np.mean([1 - one.passing(by_score, limit).mean() for one in clinics]))

    return float(max(limit for limit in LIMITS if refused(limit) <= REFUSED_KNEES))


def as_shares(unseen: Sequence[Unseen], by_score: float, limit: float) -> dict[str, Any]:
    """How many of the windows of each pass."""
    return {
        one.name: {
            "windows": len(one.logits),
            "pass": int(one.passing(by_score, limit).sum()),
            "pass_rate_95": interval(int(one.passing(by_score, limit).sum()), len(one.logits)),
        }
        for one in unseen
    }


def likeness(logit: float) -> float:
    return rounded(float(1 / (1 + np.exp(-logit))))
