"""Folds that never part a patient's radiographs, stratified by label and acquisition."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from train.dataset import LABELS, Dataset, DatasetError

SPLIT_FILE = "split.json"

Indices = NDArray[np.int64]
Groups = Sequence[str] | NDArray[np.str_]


def make_split(dataset: Dataset, *, folds: int, seed: int) -> NDArray[np.int64]:
    """Fold of each radiograph, (radiographs,) int64.

    Raises:
        DatasetError: a class has fewer patient groups than there are folds.
    """
    require_groups(dataset, (folds,))
    strata = [f"{row.label} {row.acquisition}" for row in dataset.radiographs]
    fold_of = np.empty(len(strata), np.int64)
    for fold, (_, test) in enumerate(grouped_folds(strata, dataset.groups, folds=folds, seed=seed)):
        fold_of[test] = fold
    _require_every_label(dataset, fold_of, folds)
    return fold_of


def grouped_folds(
    strata: Sequence[str] | Indices, groups: Groups, *, folds: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Training and test indices of each fold; groups stay whole."""
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Strata (label x acquisition) may be smaller than the number of folds; the labels themselves are checked.
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from splitter.split(np.zeros(len(strata)), np.asarray(strata), np.asarray(groups))


def label_folds(labels: Indices, groups: Groups, *, folds: int, seed: int) -> Iterator[tuple[Indices, Indices]]:
    """As ``grouped_folds``, stratified by label, with every label on both sides of every fold.

    Raises:
        DatasetError: a label is missing on one side.
    """
    present = np.unique(labels)
    for training, test in grouped_folds(labels, groups, folds=folds, seed=seed):
        if np.unique(labels[training]).size < present.size or np.unique(labels[test]).size < present.size:
            raise DatasetError(f"a class is missing from one of {folds} inner folds; use more patients or fewer folds")
        yield training, test


def require_groups(dataset: Dataset, folds: Sequence[int]) -> None:
    """Refuse a dataset in which a class has too few patient groups to be split again and again.

    Args:
        folds: numbers of folds, each splitting the training part that the one before it leaves.

    Raises:
        DatasetError: names the class.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for row in dataset.radiographs:
        groups[row.label].add(row.patient_group)
    needed = next(count for count in itertools.count(1) if _suffices(count, folds))
    for label in LABELS:
        if len(groups[label]) < needed:
            nested = " inside ".join(str(count) for count in reversed(folds))
            raise DatasetError(f"{label} has {len(groups[label])} patient groups; {nested} folds need at least {needed}")


def _suffices(groups: int, folds: Sequence[int]) -> bool:
    """Whether every fold at every depth gets a group, and the innermost training part as well."""
    for count in folds:
        if groups < count:
            return False
        groups -= math.ceil(groups / count)
    return groups >= 1


def write_split(path: Path, dataset: Dataset, fold_of: NDArray[np.int64], *, seed: int) -> None:
    """Write fold numbers by the files' SHA-256, so that no name of a patient's file is told."""
    folds = {row.sha256: int(fold) for row, fold in zip(dataset.radiographs, fold_of, strict=True)}
    plain = {"schema_version": 1, "seed": seed, "folds": dict(sorted(folds.items()))}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def read_split(path: Path, dataset: Dataset, *, folds: int) -> NDArray[np.int64]:
    """Fold of each radiograph from the file of an earlier run.

    Raises:
        DatasetError: it is not a split of these radiographs into so many folds, or it parts a patient group.
    """
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))["folds"]
        fold_of = np.array([recorded[row.sha256] for row in dataset.radiographs], np.int64)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DatasetError(f"{path}: is not a split of these radiographs; remove it or give another") from error
    if set(fold_of.tolist()) != set(range(folds)):
        raise DatasetError(f"{path}: does not hold {folds} folds")
    _refuse_parted_groups(path, dataset, fold_of)
    _require_every_label(dataset, fold_of, folds)
    return fold_of


def _refuse_parted_groups(path: Path, dataset: Dataset, fold_of: NDArray[np.int64]) -> None:
    home: dict[str, int] = {}
    for group, fold in zip(dataset.groups, fold_of.tolist(), strict=True):
        if home.setdefault(group, fold) != fold:
            raise DatasetError(f"{path}: patient group {group!r} stands in two folds")


def _require_every_label(dataset: Dataset, fold_of: NDArray[np.int64], folds: int) -> None:
    labels = np.array([row.label for row in dataset.radiographs])
    for fold in range(folds):
        for label in LABELS:
            if label not in labels[fold_of == fold]:
                raise DatasetError(f"fold {fold} holds no {label}; use fewer folds or another seed")
