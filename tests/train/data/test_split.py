from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from train.data.dataset import LABELS, Dataset, DatasetError, RadiographRow
from train.data.split import label_folds, make_split, read_split, require_groups, write_split

FOLDS = 3


def _dataset(groups_per_label: int = 9) -> Dataset:
    """Every group has two radiographs; the groups of a label are shared among three acquisitions."""
    rows = [
        RadiographRow(Path(), f"{label}-{group}-{twin}", label, f"{label}{group}", "ABC"[group % 3])
        for label in LABELS
        for group in range(groups_per_label)
        for twin in range(2)
    ]
    return Dataset(tuple(rows))


def test_groups_stay_whole_and_strata_are_even() -> None:
    dataset = _dataset()
    fold_of = make_split(dataset, folds=FOLDS, seed=4)
    homes = {(row.patient_group, fold) for row, fold in zip(dataset.radiographs, fold_of.tolist(), strict=True)}
    assert len(homes) == len(set(dataset.groups))
    for label in LABELS:
        for acquisition in "ABC":
            member = [(row.label, row.acquisition) == (label, acquisition) for row in dataset.radiographs]
            assert np.bincount(fold_of[member], minlength=FOLDS).tolist() == [2, 2, 2]


def test_seed_decides() -> None:
    dataset = _dataset()
    assert np.array_equal(make_split(dataset, folds=FOLDS, seed=4), make_split(dataset, folds=FOLDS, seed=4))
    assert not np.array_equal(make_split(dataset, folds=FOLDS, seed=4), make_split(dataset, folds=FOLDS, seed=5))


def test_too_few_groups_names_the_class() -> None:
    dataset = Dataset(tuple(row for row in _dataset().radiographs if row.label != "normal" or row.patient_group < "normal2"))
    with pytest.raises(DatasetError, match="normal has 2 patient groups; 3 folds need at least 3"):
        make_split(dataset, folds=FOLDS, seed=1)


def test_nested_folds_need_more_groups() -> None:
    require_groups(_dataset(8), (2, 2, 2))
    with pytest.raises(DatasetError, match="7 patient groups; 2 inside 2 inside 2 folds need at least 8"):
        require_groups(_dataset(7), (2, 2, 2))


def test_split_file_is_reused(tmp_path: Path) -> None:
    dataset = _dataset()
    fold_of = make_split(dataset, folds=FOLDS, seed=1)
    write_split(tmp_path / "split.json", dataset, fold_of, seed=1)
    assert np.array_equal(read_split(tmp_path / "split.json", dataset, folds=FOLDS), fold_of)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folds: folds.pop("normal-0-0"), "is not a split of these radiographs"),
        (lambda folds: folds.update({"normal-0-0": (folds["normal-0-0"] + 1) % FOLDS}), "group 'normal0' stands in two"),
        (lambda folds: folds.update(dict.fromkeys(folds, 0)), "does not hold 3 folds"),
    ],
)
def test_wrong_split_file_is_refused(tmp_path: Path, change: object, message: str) -> None:
    dataset = _dataset()
    path = tmp_path / "split.json"
    write_split(path, dataset, make_split(dataset, folds=FOLDS, seed=1), seed=1)
    plain = json.loads(path.read_text())
    change(plain["folds"])  # type: ignore[operator]
    path.write_text(json.dumps(plain))
    with pytest.raises(DatasetError, match=message):
        read_split(path, dataset, folds=FOLDS)


def test_inner_fold_without_a_class_is_refused() -> None:
    labels = np.array([0, 0, 0, 0, 1])
    with pytest.raises(DatasetError, match="a class is missing"):
        list(label_folds(labels, list("abcde"), folds=2, seed=0))
