"""The networks of a run's folds, kept by a run or trained again: each must give the scores that were recorded of it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from osteo_edge.images import reader
from osteo_edge.images.preprocess import prepare
from osteo_edge.joints import box_around
from tests.train.fitting.test_fit import FixedFinder, _fit, _tiny
from train.data.dataset import read_dataset
from train.fitting.fold_networks import FOLD_NETWORKS_FILE, load_fold_networks
from train.fitting.refitting import refit_folds
from train.runs.config import PROJECT, read_config
from train.runs.folder import Run, RunError, load_run
from train.runs.scores import MODEL, read_scores
from train.synthetic import write_dataset

pytestmark = pytest.mark.slow  # trains

SHIPPED = PROJECT / "train" / "configs" / "knee-mobilenet_v2.toml"


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiographs")
    write_dataset(folder, count=40, seed=3, scale=0.1)
    return folder


@pytest.fixture(scope="module")
def run(radiographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    output = tmp_path_factory.mktemp("run")
    _fit(radiographs, output)
    return load_run(output)


def test_every_fold_gives_its_recorded_scores_on_what_it_held_back(run: Run, radiographs: Path) -> None:
    """Shown what the runtime shows, not training's own crops."""
    recorded = read_scores(run.folder)[MODEL]
    path_of = {row.sha256: row.path for row in read_dataset(radiographs).radiographs}
    seen: set[str] = set()
    for fold in load_fold_networks(run):
        assert not fold.training & fold.held_back
        assert fold.training | fold.held_back == set(recorded.digests)
        network = fold.network()
        for digest in fold.held_back:
            pixels = reader.read(path_of[digest]).pixels
            joints = FixedFinder().find(pixels)
            knees = np.concatenate([prepare(pixels, box_around(joint, fold.region), fold.input) for joint in joints])
            logits = np.asarray(network(knees, training=False)["logits"]).mean(axis=0)
            expected = recorded.logits[0, recorded.digests.index(digest)]
            np.testing.assert_allclose(logits - logits.mean(), expected - expected.mean(), atol=2e-3)
        seen |= fold.held_back
    assert seen == set(recorded.digests)


def test_folds_trained_again_are_the_same(run: Run, radiographs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    (folder / FOLD_NETWORKS_FILE).unlink()
    config = _tiny(read_config(SHIPPED))
    assert refit_folds(config, FixedFinder(), "fixed", dataset=read_dataset(radiographs), run=folder) < 1e-3
    for kept, again in zip(load_fold_networks(run), load_fold_networks(load_run(folder)), strict=True):
        assert (kept.region, kept.input, kept.training) == (again.region, again.input, again.training)
        for path, weights in kept.weights.items():
            np.testing.assert_allclose(again.weights[path], weights, atol=1e-2)
    assert not (folder / "cache").exists()


def test_folds_that_cannot_be_had_again_are_not_written(run: Run, radiographs: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    (folder / FOLD_NETWORKS_FILE).unlink()
    config = replace(_tiny(read_config(SHIPPED)), seed=7)
    with pytest.raises(RunError, match=r"others than those|off its recorded probabilities"):
        refit_folds(config, FixedFinder(), "fixed", dataset=read_dataset(radiographs), run=folder)
    assert not (folder / FOLD_NETWORKS_FILE).exists()


def test_missing_and_foreign_folds_are_told(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    with np.load(folder / "weights.npz") as stored:
        weights = dict(stored)
    np.savez_compressed(folder / "weights.npz", **{path: array * 2 for path, array in weights.items()})
    with pytest.raises(RunError, match="belongs to other weights"):
        next(load_fold_networks(load_run(folder)))
    (folder / FOLD_NETWORKS_FILE).unlink()
    with pytest.raises(RunError, match="python -m train fold-networks"):
        next(load_fold_networks(load_run(folder)))


def test_a_wrong_number_of_candidates_is_no_run(run: Run, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    regions = json.loads((folder / "regions.json").read_text())
    (folder / "regions.json").write_text(json.dumps(regions | {"candidates": [{"region": 1}]}))
    with pytest.raises(RunError, match="not the folder of a finished run"):
        load_run(folder)
