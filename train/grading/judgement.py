"""Figures of merit of graded knees, with bootstrap intervals by patient.

A resample of patients is a row of weights, one a knee, so that all resamples are evaluated at once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from train.grading.knees import GRADES
from train.grading.question import FIRST_DEFINITE
from train.judging.evaluate import INTERVAL_PERCENT, quadratic_kappa, weighted_auc

Grades = NDArray[np.int64]
Floats = NDArray[np.float64]

ECE_BINS = 15


def figures_of(grades: Grades, probabilities: Floats) -> dict[str, float]:
    """Every figure of one set of scores.

    Args:
        grades: (knees,) 0 to 4.
        probabilities: (knees, grades) summing to one.
    """
    figures = weighted_figures(grades, probabilities, np.ones((1, len(grades))))
    return {name: float(values[0]) for name, values in figures.items()}


def weighted_figures(grades: Grades, probabilities: Floats, weights: Floats) -> dict[str, Floats]:
    """As ``figures_of`` for each row of ``weights`` (resamples, knees): (resamples,) each."""
    named, middle = probabilities.argmax(axis=1), medians(probabilities)
    counts, of_medians = _counts(grades, named, weights), _counts(grades, middle, weights)
    total, of_grade = counts.sum(axis=(1, 2)), counts.sum(axis=2)
    right = counts.diagonal(axis1=1, axis2=2)
    recalls = np.divide(right, of_grade, out=np.zeros_like(right), where=of_grade > 0)
    definite = probabilities[:, FIRST_DEFINITE:].sum(axis=1)
    return {
        "quadratic_kappa": quadratic_kappa(counts),
        "accuracy": right.sum(axis=1) / total,
        "median_kappa": quadratic_kappa(of_medians),
        "median_accuracy": of_medians.diagonal(axis1=1, axis2=2).sum(axis=1) / total,
        "balanced_accuracy": recalls.mean(axis=1),
        "auc_definite": weighted_auc(grades >= FIRST_DEFINITE, definite, weights),
        "mean_absolute_error": weights @ np.abs(grades - named) / total,
        "ece": _calibration_error(grades == named, probabilities.max(axis=1), weights),
    }


def medians(probabilities: Floats) -> Grades:
    """(knees,): of each knee the grade that the runtime calls the median."""
    halves = probabilities.sum(axis=1, keepdims=True) / 2
    return np.minimum((probabilities.cumsum(axis=1) < halves).sum(axis=1), GRADES - 1)  # type: ignore[no-any-return]


def _counts(grades: Grades, named: Grades, weights: Floats) -> Floats:
    """(resamples, grades, grades): readers' grade by named grade."""
    cells = np.eye(GRADES * GRADES)[grades * GRADES + named]
    return (weights @ cells).reshape(-1, GRADES, GRADES)  # type: ignore[no-any-return]


def resampled_weights(patients: NDArray[np.str_], *, count: int, seed: int) -> Floats:
    """(count, knees): how often each knee counts when as many patients as there are were drawn with replacement."""
    _, owner = np.unique(patients, return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(owner.max() + 1, np.full(owner.max() + 1, 1 / (owner.max() + 1)), size=count)
    return drawn[:, owner].astype(np.float64)


def with_intervals(grades: Grades, probabilities: Floats, weights: Floats) -> dict[str, dict[str, float]]:
    """Name -> value, low and high: 95 % percentile intervals."""
    values, drawn = figures_of(grades, probabilities), weighted_figures(grades, probabilities, weights)
    return {name: {"value": values[name], **interval(drawn[name])} for name in values}


def differences(grades: Grades, probabilities: Floats, others: Floats, weights: Floats) -> dict[str, dict[str, float]]:
    """The figures of ``probabilities`` less those of ``others`` on the same knees, paired."""
    mine, theirs = figures_of(grades, probabilities), figures_of(grades, others)
    drawn, rival = weighted_figures(grades, probabilities, weights), weighted_figures(grades, others, weights)
    return {name: {"value": mine[name] - theirs[name], **interval(drawn[name] - rival[name])} for name in mine}


def confusion(grades: Grades, probabilities: Floats) -> list[list[int]]:
    """Rows: the graders' grade; columns: the likeliest one."""
    counts = np.bincount(grades * GRADES + probabilities.argmax(axis=1), minlength=GRADES * GRADES)
    return counts.reshape(GRADES, GRADES).tolist()


def interval(values: Floats) -> Mapping[str, float]:
    """95 % percentile interval of (resamples,) values; those without a meaning are left out."""
    low, high = np.nanpercentile(values, INTERVAL_PERCENT).tolist()
    return {"low": low, "high": high}


def _calibration_error(is_right: NDArray[np.bool_], confidence: Floats, weights: Floats) -> Floats:
    """Expected calibration error of the likeliest grade, in bins of equal numbers of knees."""
    order = np.argsort(confidence, kind="stable")
    gap = (confidence - is_right)[order]
    parts = np.array_split(np.arange(len(order)), ECE_BINS)
    ordered = weights[:, order]
    gaps = sum(np.abs(ordered[:, part] @ gap[part]) for part in parts)
    return gaps / ordered.sum(axis=1)  # type: ignore[no-any-return]
