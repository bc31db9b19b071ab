"""The thresholds of the label sets that the runtime shows, fitted on out-of-fold probabilities: one for all classes.

Split-conformal prediction with the score 1 - p(class) (LAC; Sadinle, Lei and Wasserman, JASA 2019). Pooling
the folds' scores makes it cross-conformal (Vovk, 2015): close to the wanted coverage, not guaranteed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from osteo_edge.decision.conformal import label_set
from osteo_edge.manifest import Conformal
from osteo_edge.questions import BONE_DENSITY
from osteo_edge.wording import HIGHER_CHANCE, NO_SIGN, NOT_SURE, sentence_of
from train.data.dataset import LABELS
from train.runs.arrays import Doubles, Integers

# More than the rounding of the scores in ``oof.json`` moves a probability.
SCORES_ROUNDED_BY = 1e-4


def fit_threshold(true_probabilities: Doubles, coverage: float) -> Conformal:
    """The highest threshold that keeps enough true classes: ceil((n + 1) * coverage) of n.

    Args:
        true_probabilities: (pictures,) probability of each picture's true class.
    """
    count = len(true_probabilities)
    kept = math.ceil((count + 1) * coverage)
    threshold = float(np.sort(true_probabilities)[::-1][kept - 1]) if kept <= count else 0.0
    return Conformal(coverage=coverage, min_probabilities=(threshold,) * len(LABELS), calibration_size=count)


def describe(labels: Integers, probabilities: Doubles, coverage: float) -> dict[str, Any]:
    """The threshold and what it does to these same pictures: single answers and coverage, whole and by class."""
    fitted = fit_threshold(probabilities[np.arange(len(labels)), labels], coverage)
    sets = [label_set(dict(zip(LABELS, row, strict=True)), fitted, BONE_DENSITY) for row in probabilities.tolist()]
    covered = np.array([LABELS[label] in labels_shown for label, labels_shown in zip(labels, sets, strict=True)])
    return {
        "coverage": coverage,
        "min_probabilities": list(fitted.min_probabilities),
        "calibration_size": fitted.calibration_size,
        "single_label_share": float(np.mean([len(labels_shown) == 1 for labels_shown in sets])),
        "single_labels": sum(len(labels_shown) == 1 for labels_shown in sets),
        "single_labels_right": sum(labels_shown == (LABELS[label],) for label, labels_shown in zip(labels, sets, strict=True)),
        "sentences_by_label": _sentences_by_label(labels, sets),
        "covered_share": float(covered.mean()),
        "covered_share_by_label": {label: float(covered[labels == place].mean()) for place, label in enumerate(LABELS)},
    }


def describe_again(recorded: Mapping[str, Any], labels: Integers, probabilities: Doubles) -> dict[str, Any]:
    """What ``describe`` says today of the pictures of an earlier record.

    ``oof.json`` rounds its scores, and so would move the threshold, of which a bundle may hold the exact one: the record's
    own is kept.

    Raises:
        ValueError: the record is of other scores.
    """
    described, kept = describe(labels, probabilities, recorded["coverage"]), one_a_label(recorded)["min_probabilities"]
    if not np.allclose(described["min_probabilities"], kept, rtol=0, atol=SCORES_ROUNDED_BY):
        raise ValueError(f"the label sets of {recorded['coverage']:.0%} were fitted on other scores")
    return described | {"min_probabilities": kept}


def one_a_label(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A record of label sets with a threshold for each label, where an earlier one has ``min_probability`` for all of them."""
    plain = dict(recorded)
    if "min_probability" in plain:
        plain["min_probabilities"] = [plain.pop("min_probability")] * len(LABELS)
    return plain


def _sentences_by_label(labels: Integers, sets: Sequence[tuple[str, ...]]) -> dict[str, dict[str, int]]:
    """How many pictures of each class would be told which sentence."""
    told = Counter((LABELS[label], sentence_of(labels_shown)) for label, labels_shown in zip(labels, sets, strict=True))
    return {sentence: {label: told[label, sentence] for label in LABELS} for sentence in (HIGHER_CHANCE, NO_SIGN, NOT_SURE)}
