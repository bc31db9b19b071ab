"""Figures on the test part, for two or three classes, with intervals and beside what needs no knee."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from osteo_edge.manifest import Metric
from train.data.dataset import Dataset, RadiographRow
from train.data.split import Groups, HoldOut
from train.judging.baselines import logistic
from train.judging.evaluate import COMPARED, auc, interval, resamples
from train.runs.arrays import Doubles, Integers, Reals

Figures = dict[str, dict[str, Metric]]

AGE_AND_SEX = ("age_years", "sex")


def figures_of(labels: Integers, probabilities: Reals, classes: Sequence[str]) -> dict[str, float]:
    """Accuracy, balanced accuracy, macro AUC, macro F1, and each class's recall and precision.

    A class that is never answered has precision 0.

    Args:
        labels: (radiographs,) places in ``classes``; every class must occur.
        probabilities: (radiographs, classes).
    """
    counts = confusion(labels, probabilities, len(classes))
    right, true, told = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    recalls = right / true
    areas = [auc(labels == place, np.asarray(probabilities[:, place], np.float64)) for place in range(len(classes))]
    return {
        "accuracy": float(right.sum() / counts.sum()),
        "balanced_accuracy": float(recalls.mean()),
        "macro_auc": float(np.mean(areas)),
        "macro_f1": float((2 * right / (true + told)).mean()),
        **{f"recall_{name}": float(value) for name, value in zip(classes, recalls, strict=True)},
        **{f"precision_{name}": float(value) for name, value in zip(classes, right / np.maximum(told, 1), strict=True)},
    }


def confusion(labels: Integers, probabilities: Reals, classes: int) -> Integers:
    """Counts by true class (rows) and likeliest class (columns)."""
    cells = labels * classes + probabilities.argmax(axis=1)
    return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def judge(
    labels: Integers,
    systems: Mapping[str, Reals],
    groups: Groups,
    classes: Sequence[str],
    *,
    model: str,
    count: int,
    seed: int,
) -> tuple[Figures, Figures]:
    """As ``train.judging.evaluate.compare``, for any number of classes and with the accuracy that papers report.

    Returns:
        system -> figure -> value with its 95 % interval; and system -> figure -> paired difference, model less that system.
    """
    whole = {name: figures_of(labels, scores, classes) for name, scores in systems.items()}
    drawn = [
        {name: figures_of(labels[chosen], scores[chosen], classes) for name, scores in systems.items()}
        for chosen in resamples(groups, count=count, seed=seed)
        if np.unique(labels[chosen]).size == len(classes)
    ]
    figures = {
        name: {figure: interval(value, [one[name][figure] for one in drawn]) for figure, value in values.items()}
        for name, values in whole.items()
    }
    differences = {
        name: {
            figure: interval(
                whole[model][figure] - whole[name][figure], [one[model][figure] - one[name][figure] for one in drawn]
            )
            for figure in ("accuracy", *COMPARED)
        }
        for name in whole
        if name != model
    }
    return figures, differences


def rival_scores(dataset: Dataset, labels: Integers, metadata: Reals, parts: HoldOut, classes: int) -> dict[str, Reals]:
    """Probabilities (test radiographs, classes) of what needs no knee, fitted on the training part alone.

    ``majority`` answers the commonest class; ``age_sex`` is left out where the table gives neither.

    Args:
        metadata: (radiographs, values) of ``train.judging.baselines.describe_files``.
    """
    shares = np.bincount(labels[parts.training], minlength=classes) / len(parts.training)
    scores: dict[str, Reals] = {"majority": np.tile(shares, (len(parts.test), 1))}
    persons = describe_persons(dataset, AGE_AND_SEX)
    if np.isfinite(persons[parts.training]).any():
        scores["age_sex"] = _fit_and_score(persons, labels, parts)
    scores["file_metadata"] = _fit_and_score(metadata, labels, parts)
    return scores


def describe_persons(dataset: Dataset, columns: Sequence[str]) -> Doubles:
    """(radiographs, columns); NaN where the table does not say."""
    return np.array([_describe(row, columns) for row in dataset.radiographs])


def _describe(row: RadiographRow, columns: Sequence[str]) -> list[float]:
    return [row.covariates.get(column, math.nan) for column in columns]


def _fit_and_score(table: Reals, labels: Integers, parts: HoldOut) -> Reals:
    fitted = logistic().fit(table[parts.training], labels[parts.training])
    return fitted.predict_proba(table[parts.test])  # type: ignore[no-any-return]
