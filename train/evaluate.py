"""Figures of merit on out-of-fold scores, with bootstrap intervals by patient."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from osteo_edge.manifest import Metric
from train.dataset import LABELS
from train.split import Groups

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NORMAL = 0
ECE_BINS = 10
INTERVAL_PERCENT = (2.5, 97.5)
COMPARED = ("macro_auc", "balanced_accuracy")


def figures_of_merit(labels: Integers, probabilities: Floats) -> dict[str, float]:
    """Every figure of one set of scores.

    Args:
        labels: (pictures,) places in ``LABELS``; every class must occur.
        probabilities: (pictures, labels) summing to one.
    """
    counts = np.array(confusion(labels, probabilities))
    right, recalls = counts.diagonal(), counts.diagonal() / counts.sum(axis=1)
    aucs = class_aucs(labels, probabilities)
    one_hot = np.eye(len(LABELS))[labels]
    return {
        "balanced_accuracy": float(recalls.mean()),
        "macro_auc": float(aucs.mean()),
        **{f"auc_{label}": float(area) for label, area in zip(LABELS, aucs, strict=True)},
        "auc_low_density": auc(labels != NORMAL, 1 - probabilities[:, NORMAL]),
        "macro_f1": float((2 * right / (counts.sum(axis=0) + counts.sum(axis=1))).mean()),
        **{f"recall_{label}": float(recall) for label, recall in zip(LABELS, recalls, strict=True)},
        "brier": float(((probabilities - one_hot) ** 2).sum(axis=1).mean()),
        "ece": expected_calibration_error(labels, probabilities),
    }


def class_aucs(labels: Integers, probabilities: Floats) -> Floats:
    """Area under the ROC curve of each class against the rest, (labels,)."""
    return np.array([auc(labels == place, probabilities[:, place]) for place in range(len(LABELS))])


def auc(truth: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the ROC curve from the rank sum (Hanley & McNeil, Radiology 1982), ties counted half.

    The same number as scikit-learn's, a hundred times faster: bootstrapping asks for it a hundred thousand times.
    """
    positives = int(truth.sum())
    rank_sum = rankdata(scores)[truth].sum() - positives * (positives + 1) / 2
    return float(rank_sum / (positives * (len(truth) - positives)))


def expected_calibration_error(labels: Integers, probabilities: Floats) -> float:
    """Mean gap between confidence and accuracy over ten equal bins of the confidence (Guo et al., ICML 2017)."""
    return float(sum(share * abs(accuracy - confidence) for share, confidence, accuracy in reliability(labels, probabilities)))


def reliability(labels: Integers, probabilities: Floats) -> list[tuple[float, float, float]]:
    """Share of the pictures, mean confidence and accuracy of each bin that is not empty."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * ECE_BINS).astype(int), ECE_BINS - 1)
    members = [bins == index for index in np.unique(bins)]
    return [(float(m.mean()), float(confidence[m].mean()), float(right[m].mean())) for m in members]


def confusion(labels: Integers, probabilities: Floats) -> list[list[int]]:
    """Counts by true label (rows) and likeliest label (columns)."""
    cells = labels * len(LABELS) + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=len(LABELS) ** 2).reshape(-1, len(LABELS)).tolist()


def resamples(groups: Groups, *, count: int, seed: int) -> Iterator[Integers]:
    """Indices of the pictures of as many patient groups as there are, drawn with replacement, ``count`` times."""
    members = [np.flatnonzero(np.asarray(groups) == group) for group in dict.fromkeys(groups)]
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])


def compare(
    labels: Integers, systems: Mapping[str, Floats], groups: Groups, *, model: str, count: int, seed: int
) -> tuple[dict[str, dict[str, Metric]], dict[str, dict[str, Metric]]]:
    """Figures with 95 % percentile intervals, all systems on the same resamples.

    Resamples in which a class does not occur are left out.

    Args:
        systems: name -> (pictures, labels) probabilities.
        model: the system whose advantage over each other one is wanted.

    Returns:
        name -> figure -> value and interval; and name -> figure -> paired difference, model less that system.
    """
    whole = {name: figures_of_merit(labels, scores) for name, scores in systems.items()}
    drawn = [
        {name: figures_of_merit(labels[chosen], scores[chosen]) for name, scores in systems.items()}
        for chosen in resamples(groups, count=count, seed=seed)
        if np.unique(labels[chosen]).size == len(LABELS)
    ]
    figures = {
        name: {figure: interval(value, [one[name][figure] for one in drawn]) for figure, value in values.items()}
        for name, values in whole.items()
    }
    differences = {
        name: {
            figure: interval(whole[model][figure] - values[figure], [one[model][figure] - one[name][figure] for one in drawn])
            for figure in COMPARED
        }
        for name, values in whole.items()
        if name != model
    }
    return figures, differences


def interval(value: float, drawn: Sequence[float]) -> Metric:
    """A figure and the 2.5th and 97.5th percentile of its bootstrap values."""
    low, high = np.percentile(drawn, INTERVAL_PERCENT) if drawn else (np.nan, np.nan)
    return Metric(value, float(low), float(high))
