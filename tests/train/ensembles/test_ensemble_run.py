from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from osteo_edge.manifest import Ensemble
from osteo_edge.records import parse_record
from train.data.dataset import LABELS, Dataset, read_dataset
from train.ensembles.nested import NestedLogits
from train.ensembles.nested_file import read_nested, together, write_nested
from train.ensembles.run import EnsembleConfig, read_ensemble_config, run_ensemble
from train.runs.config import ConfigError, Evaluation, FusionConfig, Linear
from train.runs.folder import RUN_FILE, RunError
from train.runs.scores import Scores, group_digests, write_scores
from train.synthetic import write_dataset

pytestmark = pytest.mark.slow  # trains

FOLDS = 3
LINEAR = Linear(0.9, (1e-2, 1.0), 2)
TEXT = """
name = "both"
data = "."
output = "out"
members = ["one", "two"]
ensemble = "stacking"
seed = 1

[linear]
pca_variance = 0.9
inverse_penalties = [0.1]
inner_folds = 2

[evaluation]
resamples = 100
permutations = 1
coverages = [0.9]
"""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder = tmp_path_factory.mktemp("radiographs")
    write_dataset(folder, count=60, seed=5, scale=0.1)
    return read_dataset(folder)


def _nested(labels: np.ndarray, fold_of: np.ndarray, seed: int) -> NestedLogits:
    rng = np.random.default_rng(seed)

    def logits(rows: np.ndarray) -> np.ndarray:
        return (np.eye(3)[labels[rows]] + rng.normal(size=(len(rows), 3)))[:, np.newaxis]

    everyone = np.arange(len(labels))
    return NestedLogits(fold_of, tuple(logits(everyone[fold_of != fold]) for fold in range(FOLDS)), logits(everyone))


@pytest.fixture
def members(dataset: Dataset, tmp_path: Path) -> tuple[str, ...]:
    """Two finished runs that know something of the labels."""
    labels = np.array(dataset.label_indices)
    digests = tuple(row.sha256 for row in dataset.radiographs)
    names = {group: number for number, group in enumerate(dict.fromkeys(dataset.groups))}
    fold_of = np.array([names[group] // 3 % FOLDS for group in dataset.groups])
    folders = []
    for seed, name in enumerate(("one", "two")):
        folder = tmp_path / name
        folder.mkdir()
        nested = _nested(labels, fold_of, seed)
        write_nested(folder, digests, nested)
        groups = group_digests(dataset.groups, digests)
        write_scores(folder, [Scores("model", digests, labels, groups, fold_of[np.newaxis], nested.outer[:, 0][np.newaxis])])
        (folder / RUN_FILE).write_text(json.dumps({"backbone": "mobilenet_v2_1.0"}))
        folders.append(str(folder))
    return tuple(folders)


def _config(members: tuple[str, ...]) -> EnsembleConfig:
    judged = Evaluation(resamples=100, permutations=1, coverages=(0.9,))
    fusion = FusionConfig(("age_years", "sex"), ("age_years",), 0.9)
    return EnsembleConfig("both", ".", "out", members, "stacking", 1, LINEAR, judged, fusion)


def test_nested_scores_come_back(dataset: Dataset, members: tuple[str, ...]) -> None:
    digests = [row.sha256 for row in dataset.radiographs]
    one, other = (read_nested(Path(folder), digests) for folder in members)
    both = together([one, other])
    assert both.outer.shape == (len(digests), 2, 3)
    np.testing.assert_array_equal(both.inner[1][:, 1], other.inner[1][:, 0])


def test_scores_of_other_radiographs_or_folds_are_refused(dataset: Dataset, members: tuple[str, ...]) -> None:
    digests = [row.sha256 for row in dataset.radiographs]
    with pytest.raises(RunError, match="other radiographs"):
        read_nested(Path(members[0]), digests[::-1])
    one = read_nested(Path(members[0]), digests)
    with pytest.raises(RunError, match="different folds"):
        together([one, replace(one, fold_of=(one.fold_of + 1) % FOLDS)])
    (Path(members[0]) / "nested.json").unlink()
    with pytest.raises(RunError, match="is missing"):
        read_nested(Path(members[0]), digests)


def test_an_ensemble_is_a_run_with_a_record_that_the_runtime_reads(
    dataset: Dataset, members: tuple[str, ...], tmp_path: Path
) -> None:
    output = tmp_path / "both"
    run_ensemble(_config(members), dataset, output, "text")
    plain = json.loads((output / "ensemble.json").read_text())
    assert plain["members"] == ["one", "two"]
    ensemble = parse_record(Ensemble, plain["ensemble"], where="ensemble")
    assert ensemble.kind == "stacking"
    assert np.shape(ensemble.layers[0].kernel) == (2 * len(LABELS), len(LABELS))
    metrics = json.loads((output / "metrics.json").read_text())
    assert metrics["model"]["macro_auc"]["value"] > 0.6
    assert {"one", "two", "ensemble_mean", "majority"} <= set(metrics["baselines"])
    assert (output / "fusion.json").exists()
    read_nested(output, [row.sha256 for row in dataset.radiographs])


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"one", "two"', '"one"', "at least two"),
        ('"one", "two"', '"one", "one"', "twice"),
        ('"stacking"', '"hierarchical"', "which a bundle can hold"),
        ("seed = 1", "seed = 1\nsplit = 2", "unknown key"),
    ],
)
def test_wrong_configurations_are_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = tmp_path / "ensemble.toml"
    file.write_text(TEXT)
    assert read_ensemble_config(file).ensemble == "stacking"
    file.write_text(TEXT.replace(before, after))
    with pytest.raises(ConfigError, match=message):
        read_ensemble_config(file)
