"""Folds that never part a patient's radiographs, stratified by label and acquisition."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from train.data.dataset import LABELS, Dataset, DatasetError
from train.runs.arrays import Integers, Words

SPLIT_FILE = "split.json"

Indices = Integers
Groups = Sequence[str] | Words

PARTS = ("training", "validation", "test")


@dataclass(frozen=True)
class HoldOut:
    """Indices of the radiographs of each part, ascending, (radiographs,) int64. The validation part may be empty."""

    training: Indices
    validation: Indices
    test: Indices


def make_split(dataset: Dataset, *, folds: int, seed: int) -> Integers:
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
    yield from _grouped_folds(tuple(np.asarray(strata).tolist()), tuple(np.asarray(groups).tolist()), folds, seed)


# Of one training part every classifier asks for the same folds.
@lru_cache(maxsize=128)
def _grouped_folds(
    strata: tuple[str | int, ...], groups: tuple[str, ...], folds: int, seed: int
) -> tuple[tuple[Indices, Indices], ...]:
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Strata (label x acquisition) may be smaller than the number of folds; the labels themselves are checked.
        warnings.filterwarnings("ignore", message="The least populated class")
        parts = tuple(splitter.split(np.zeros(len(strata)), np.asarray(strata), np.asarray(groups)))
    for indices in itertools.chain(*parts):
        indices.setflags(write=False)
    return parts


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


def hold_out(dataset: Dataset, *, test_share: float, validation_share: float = 0.0, seed: int) -> HoldOut:
    """One split by patient group, stratified by label and acquisition, for a single training.

    The test part depends on its own share and the seed alone, hence protocols with and without a validation part are judged on
    the same radiographs.

    Args:
        test_share, validation_share: of all radiographs.

    Raises:
        DatasetError: a part would lack a class; names both.
        ValueError: the shares leave nothing to train on.
    """
    if not (0 < test_share < 1 and 0 <= validation_share < 1 - test_share):
        raise ValueError("the shares of the test and the validation part must leave something to train on")
    rng = np.random.default_rng(seed)
    rest, test = _split_off(dataset, np.arange(len(dataset.radiographs)), test_share, rng)
    training, validation = _split_off(dataset, rest, validation_share / (1 - test_share), rng)
    parts = HoldOut(training, validation, test)
    _require_every_part(dataset, parts)
    return parts


def _split_off(dataset: Dataset, whole: Indices, share: float, rng: np.random.Generator) -> tuple[Indices, Indices]:
    """What is kept and what is taken: groups of a label, ordered by acquisition, go where most is missing so far."""
    wanted = np.array([1 - share, share])
    taken = np.zeros(len(whole), bool)
    for label in LABELS:
        held = np.zeros(2)
        for places in _groups_in_order(dataset, whole, label, rng):
            part = int(np.argmax(wanted * (held.sum() + len(places)) - held)) if share > 0 else 0
            held[part] += len(places)
            taken[places] = part == 1
    return whole[~taken], whole[taken]


def _groups_in_order(dataset: Dataset, whole: Indices, label: str, rng: np.random.Generator) -> list[list[int]]:
    """Places in ``whole`` of each patient group of a label; shuffled within an acquisition."""
    places: dict[tuple[str, str], list[int]] = {}
    homes: dict[str, str] = {}
    for place, index in enumerate(whole.tolist()):
        row = dataset.radiographs[index]
        if row.label == label:
            acquisition = homes.setdefault(row.patient_group, row.acquisition)
            places.setdefault((acquisition, row.patient_group), []).append(place)
    shuffled = [list(places)[number] for number in rng.permutation(len(places))]
    return [places[key] for key in sorted(shuffled, key=lambda key: key[0])]


def _require_every_part(dataset: Dataset, parts: HoldOut) -> None:
    for name in PARTS:
        part = getattr(parts, name)
        if name == "validation" and part.size == 0:
            continue
        present = {dataset.radiographs[index].label for index in part}
        for label in LABELS:
            if label not in present:
                groups = len({row.patient_group for row in dataset.radiographs if row.label == label})
                raise DatasetError(
                    f"the {name} part holds no {label}, of which there are {groups} patient groups; give it more"
                )


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


def write_split(path: Path, dataset: Dataset, fold_of: Integers, *, seed: int) -> None:
    """Write fold numbers by the files' SHA-256, so that no name of a patient's file is told."""
    folds = {row.sha256: int(fold) for row, fold in zip(dataset.radiographs, fold_of, strict=True)}
    plain = {"schema_version": 1, "seed": seed, "folds": dict(sorted(folds.items()))}
    path.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")


def write_hold_out(path: Path, dataset: Dataset, parts: HoldOut, *, seed: int) -> None:
    """Write each part by the files' SHA-256."""
    digests = {name: sorted(dataset.radiographs[index].sha256 for index in getattr(parts, name)) for name in PARTS}
    path.write_text(json.dumps({"schema_version": 1, "seed": seed, "parts": digests}, indent=1) + "\n", encoding="utf-8")


def read_split(path: Path, dataset: Dataset, *, folds: int) -> Integers:
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


def _refuse_parted_groups(path: Path, dataset: Dataset, fold_of: Integers) -> None:
    home: dict[str, int] = {}
    for group, fold in zip(dataset.groups, fold_of.tolist(), strict=True):
        if home.setdefault(group, fold) != fold:
            raise DatasetError(f"{path}: patient group {group!r} stands in two folds")


def _require_every_label(dataset: Dataset, fold_of: Integers, folds: int) -> None:
    labels = np.array([row.label for row in dataset.radiographs])
    for fold in range(folds):
        for label in LABELS:
            if label not in labels[fold_of == fold]:
                raise DatasetError(f"fold {fold} holds no {label}; use fewer folds or another seed")
