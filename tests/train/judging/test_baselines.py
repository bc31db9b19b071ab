from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.dataset import LABELS, Dataset, RadiographRow
from train.judging import baselines
from train.judging.baselines import baseline_scores, describe_files, permuted_macro_auc
from train.judging.evaluate import figures_of_merit
from train.runs.config import Linear

COUNT = 36
LINEAR = Linear(pca_variance=0.9, inverse_penalties=(1e-3, 1e-1), inner_folds=2)
FOLD_OF = np.arange(COUNT) // 3 % 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Age tells the label; the border of the picture tells it too, its size does not."""
    folder = tmp_path_factory.mktemp("files")
    rng = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        label = LABELS[number % 3]
        path = folder / f"{number}.png"
        picture = rng.integers(0, 100, (80, 70), np.uint8)
        picture[:3] += np.uint8(50 * (number % 3))
        cv2.imwrite(str(path), picture)
        age = None if number % 9 == 0 else 30.0 + 20 * (number % 3) + rng.normal()
        rows.append(RadiographRow(path, str(number), label, str(number), "A", {} if age is None else {"age_years": age}))
    return Dataset(tuple(rows))


def test_shortcuts_are_found(dataset: Dataset) -> None:
    labels = np.array(dataset.label_indices)
    scores = baseline_scores(dataset, FOLD_OF, LINEAR, seed=0)
    aucs = {name: figures_of_merit(labels, one)["macro_auc"] for name, one in scores.items()}
    assert aucs["majority"] == 0.5
    assert aucs["age_sex"] > 0.8
    assert aucs["border_ring"] > 0.9


def test_noise_is_at_chance_out_of_fold(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many columns of noise that whoever sees a radiograph in training knows it by heart."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(baselines, "describe_files", lambda _: rng.normal(size=(2, COUNT, 200)))
    monkeypatch.setattr(baselines, "_describe_person", lambda _: rng.normal(size=200))
    labels = np.array(dataset.label_indices)
    by_heart = replace(LINEAR, pca_variance=0.99, inverse_penalties=(10.0,))
    scores = baseline_scores(dataset, FOLD_OF, by_heart, seed=0)
    assert scores.keys() == {"majority", "age_sex", "file_metadata", "border_ring"}
    for name, one in scores.items():
        assert 0.3 < figures_of_merit(labels, one)["macro_auc"] < 0.7, name


def test_without_persons_there_is_no_age_and_sex(dataset: Dataset) -> None:
    blank = Dataset(tuple(replace(row, covariates={}) for row in dataset.radiographs))
    assert "age_sex" not in baseline_scores(blank, FOLD_OF, LINEAR, seed=0)


def test_description_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "deep.png"
    picture = np.zeros((128, 64), np.uint16)
    picture[32:96, 16:48] = 65535
    cv2.imwrite(str(path), picture)
    metadata, rings = describe_files([path])
    assert metadata[0, [0, 1, 2, 4, 5, 6]].tolist() == [64, 128, 0.5, 16, 1, 0]
    assert metadata[0, 3] == pytest.approx(np.log(path.stat().st_size))
    assert rings.max() == 0


def test_shuffled_labels_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 3
    features = rng.normal(size=(COUNT, 10)) + 3 * np.eye(3)[labels] @ rng.normal(size=(3, 10))
    groups = [str(number // 6) + str(number % 3) for number in range(COUNT)]
    aucs = permuted_macro_auc(features, labels, groups, LINEAR, folds=3, permutations=6, seed=0)
    assert 0.3 < np.mean(aucs) < 0.7
