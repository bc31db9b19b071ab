"""What is wrong with labels, groups and splits, given the pictures that are one."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.data.dataset import LABELS, Dataset, DatasetError
from train.research.audit.duplicates import Twin, tied_groups


@dataclass(frozen=True)
class Tie:
    """Radiographs that belong together and should not differ in something, but do.

    Attributes:
        files: their names within the folder.
        reason: what ties them: a patient group's name, or that they show one radiograph.
        values: what they differ in, one for each file: labels, groups or folds.
    """

    files: tuple[str, ...]
    reason: str
    values: tuple[str, ...]


def names_of(dataset: Dataset, folder: Path) -> list[str]:
    """Names of the files within the folder."""
    return [row.path.relative_to(folder).as_posix() for row in dataset.radiographs]


def class_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    """Radiographs and patient groups of each class, and radiographs by acquisition."""
    counts = {}
    for label in LABELS:
        rows = [row for row in dataset.radiographs if row.label == label]
        by_acquisition = Counter(row.acquisition for row in rows)
        counts[label] = {"radiographs": len(rows), "groups": len({row.patient_group for row in rows})} | {
            f"acquisition {name}": count for name, count in sorted(by_acquisition.items())
        }
    return counts


def copy_groups(count: int, twins: Iterable[Twin]) -> list[list[int]]:
    """Places of the pictures of each group of copies."""
    return _members(tied_groups(count, ((twin.first, twin.second) for twin in twins)))


def _members(group_of: Sequence[Any]) -> list[list[int]]:
    members: dict[Any, list[int]] = defaultdict(list)
    for place, group in enumerate(group_of):
        members[group].append(place)
    return [places for places in members.values() if len(places) > 1]


def contradictions(dataset: Dataset, names: Sequence[str], twins: Iterable[Twin]) -> list[Tie]:
    """Copies and patient groups that carry more than one label."""
    labels = [row.label for row in dataset.radiographs]
    return _differing(names, labels, _tied(dataset, twins))


def parted_copies(dataset: Dataset, names: Sequence[str], twins: Iterable[Twin]) -> list[Tie]:
    """Copies that stand under different patient groups, so that a grouped split may part them."""
    copies = [("one radiograph", places) for places in copy_groups(len(names), twins)]
    return _differing(names, dataset.groups, copies)


def spanning(dataset: Dataset, names: Sequence[str], twins: Iterable[Twin], folds: Mapping[str, int]) -> list[Tie]:
    """Copies and patient groups that stand in more than one fold of a split (SHA-256 -> fold)."""
    of_rows = [str(folds.get(row.sha256, "in no fold")) for row in dataset.radiographs]
    return _differing(names, of_rows, _tied(dataset, twins))


def _tied(dataset: Dataset, twins: Iterable[Twin]) -> list[tuple[str, list[int]]]:
    copies = [("one radiograph", places) for places in copy_groups(len(dataset.radiographs), twins)]
    groups = dataset.groups
    return copies + [(f"patient group {groups[places[0]]}", places) for places in _members(groups)]


def _differing(names: Sequence[str], values: Sequence[str], tied: Iterable[tuple[str, list[int]]]) -> list[Tie]:
    return [
        Tie(tuple(names[place] for place in places), reason, tuple(values[place] for place in places))
        for reason, places in tied
        if len({values[place] for place in places}) > 1
    ]


def read_folds(path: Path) -> dict[str, int]:
    """SHA-256 -> fold of a ``split.json``, whichever radiographs it is of.

    Unlike ``train.data.split.read_split`` it takes splits that part a group: finding those is what it is read for.

    Raises:
        DatasetError: it cannot be read or is no split.
    """
    try:
        folds = json.loads(path.read_text(encoding="utf-8"))["folds"]
        return {str(digest): int(fold) for digest, fold in folds.items()}
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DatasetError(f'{path}: is not a split; {{"folds": {{SHA-256: fold}}}} is needed') from error


def suggested_groups(dataset: Dataset, twins: Iterable[Twin]) -> list[str]:
    """Patient group of each radiograph, groups that copies tie together made one: the name of the first of them."""
    groups = dataset.groups
    first_place: dict[str, int] = {}
    by_group = [(first_place.setdefault(group, place), place) for place, group in enumerate(groups)]
    roots = tied_groups(len(groups), [*by_group, *((twin.first, twin.second) for twin in twins)])
    return [groups[root] for root in roots]
