"""What a model must beat: scores from everything but the knees, on the same folds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from osteo_edge.images.formats import read_header
from osteo_edge.images.reader import decode
from train.data.dataset import LABELS, Dataset, RadiographRow
from train.data.split import Groups
from train.fitting.regions import cross_validate, mean_figures
from train.networks.linear import fit_linear
from train.runs.arrays import Doubles, Integers, Reals
from train.runs.config import Choice, Linear

THUMBNAIL_PX = 64
RING_PX = 4
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")


def baseline_scores(dataset: Dataset, fold_of: Integers, linear: Linear, *, seed: int) -> dict[str, Doubles]:
    """Out-of-fold probabilities, (radiographs, labels), by the name of each baseline.

    ``age_sex`` is left out where the table gives neither.
    """
    labels = np.array(dataset.label_indices)
    metadata, rings = describe_files([row.path for row in dataset.radiographs])
    persons = np.array([_describe_person(row) for row in dataset.radiographs])
    scores = {"majority": _class_shares(labels)}
    if np.isfinite(persons).any():
        scores["age_sex"] = _out_of_fold(logistic(), persons, labels, fold_of)
    scores["file_metadata"] = _out_of_fold(logistic(), metadata, labels, fold_of)
    scores["border_ring"] = _out_of_fold_linear(rings, labels, dataset.groups, fold_of, linear, seed=seed)
    return scores


def describe_files(paths: Sequence[Path]) -> tuple[Doubles, Doubles]:
    """What files say without their knees.

    Returns:
        Metadata (files, 9): width, height, their ratio, the logarithm of the size in bytes, bits per pixel as
        stored, and the format; and the picture's outer ring (files, values), grey levels of 0 to 1.
    """
    described = [_describe_file(path) for path in paths]
    return np.array([metadata for metadata, _ in described]), np.array([ring for _, ring in described])


def _describe_file(path: Path) -> tuple[list[float], Doubles]:
    data = path.read_bytes()
    header = read_header(data)
    radiograph = decode(data, source=str(path))
    formats = [float(header.format == name) for name in _FORMATS]
    size = [float(header.width_px), float(header.height_px), header.width_px / header.height_px, math.log(len(data))]
    return [*size, float(radiograph.bit_depth), *formats], outer_ring(radiograph.pixels)


def outer_ring(pixels: NDArray[np.integer]) -> Doubles:
    """The outermost sixteenth of the picture on every side, as a thumbnail's values."""
    small = cv2.resize(pixels, (THUMBNAIL_PX, THUMBNAIL_PX), interpolation=cv2.INTER_AREA)
    inside = np.zeros(small.shape, bool)
    inside[RING_PX:-RING_PX, RING_PX:-RING_PX] = True
    return small[~inside] / np.iinfo(pixels.dtype).max


def _describe_person(row: RadiographRow) -> tuple[float, float]:
    return row.covariates.get("age_years", math.nan), row.covariates.get("sex", math.nan)


def _class_shares(labels: Integers) -> Doubles:
    """The same shares for every picture. Not fold by fold: a constant must not turn into a ranking of folds."""
    nothing = np.zeros((len(labels), 1))
    return DummyClassifier(strategy="prior").fit(nothing, labels).predict_proba(nothing)  # type: ignore[no-any-return]


def logistic() -> BaseEstimator:
    """Logistic regression on a table with gaps, every class weighing the same."""
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    return make_pipeline(imputer, StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))


def _out_of_fold(classifier: BaseEstimator, features: Doubles, labels: Integers, fold_of: Integers) -> Doubles:
    scores = np.empty((len(labels), len(LABELS)))
    for fold in np.unique(fold_of):
        test = fold_of == fold
        scores[test] = classifier.fit(features[~test], labels[~test]).predict_proba(features[test])
    return scores


def _out_of_fold_linear(
    features: Reals, labels: Integers, groups: Groups, fold_of: Integers, linear: Linear, *, seed: int
) -> Doubles:
    scores = np.empty((len(labels), len(LABELS)))
    for fold in np.unique(fold_of):
        test = fold_of == fold
        classifier = fit_linear(features[~test], labels[~test], np.asarray(groups)[~test], linear, seed=seed)
        scores[test] = classifier.predict_proba(features[test])
    return scores


def permuted_macro_auc(
    features: Reals,
    labels: Integers,
    groups: Groups,
    linear: Linear,
    *,
    folds: int,
    permutations: int,
    seed: int,
) -> list[float]:
    """Macro AUC of the linear classifier when labels are shuffled over groups: at chance, or something leaks.

    Folds are drawn anew for each permutation, so that every class is in each of them again.
    """
    rng = np.random.default_rng(seed)
    choice = Choice(repeats=1, folds=folds)
    aucs = []
    for _ in range(permutations):
        shuffled = _shuffle_groups(labels, groups, rng)
        scores = cross_validate(features, shuffled, groups, choice, linear, seed=seed)
        aucs.append(mean_figures(scores, shuffled)["macro_auc"])
    return aucs


def _shuffle_groups(labels: Integers, groups: Groups, rng: np.random.Generator) -> Integers:
    label_of = dict(zip(groups, labels.tolist(), strict=True))
    shuffled = dict(zip(label_of, rng.permutation(list(label_of.values())), strict=True))
    return np.array([shuffled[group] for group in groups], np.int64)
