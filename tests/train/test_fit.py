"""A whole run on a handful of small synthetic radiographs, with random weights: that it runs, not that it learns."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from osteo_edge.images.region import Joint
from train.__main__ import main
from train.config import PROJECT, Candidate, Choice, Config, Evaluation, read_config
from train.run import Run, RunError, load_run
from train.synthetic import write_dataset

SHIPPED = PROJECT / "train" / "configs" / "knee-mobilenet_v2.toml"
COUNT = 40
WITHOUT_KNEE_PX = 10


class FixedFinder:
    """Knees in the middle of the picture: one, or two in a wide one; none in the narrowest."""

    def find(self, pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> tuple[Joint, ...]:
        height, width = pixels.shape
        if width <= WITHOUT_KNEE_PX:
            return ()
        places = (0.3, 0.7) if width > 0.9 * height else (0.5,)
        return tuple(Joint(place * width, height / 2, 0.3 * width, 1.0, None) for place in places)


def _tiny(config: Config) -> Config:
    return replace(
        config,
        backbone="mobilenet_v2_0.35",
        weights="random",
        folds=2,
        candidates=(Candidate("joint", 0.65, 0.65, 0.65, 32, 32), Candidate("leg", 0.8, 1.6, 2.2, 64, 32)),
        linear=replace(config.linear, inner_folds=2, inverse_penalties=(1e-3, 1e-1)),
        choice=Choice(repeats=1, folds=2),
        augmentation=replace(config.augmentation, views=3),
        training=replace(
            config.training, trainable_from="block_16_expand", max_epochs=1, validation_folds=2, validation_parts=1
        ),
        evaluation=Evaluation(resamples=20, permutations=1, coverages=(0.8,)),
    )


@pytest.fixture(scope="module")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("radiographs")
    labels = write_dataset(folder, count=COUNT, seed=3, scale=0.1)
    _add_picture_without_knee(folder, labels)
    return folder


def _add_picture_without_knee(folder: Path, labels: Path) -> None:
    import cv2

    cv2.imwrite(str(folder / "strip.png"), np.random.default_rng(0).integers(0, 255, (40, WITHOUT_KNEE_PX), np.uint8))
    header, *_ = labels.read_text().splitlines()
    cells = {"file": "strip.png", "label": "normal", "patient_group": "strip"}
    row = ",".join(cells.get(column, "") for column in header.split(","))
    labels.write_text(labels.read_text().rstrip("\n") + "\n" + row + "\n")


@pytest.fixture(scope="module")
def run(radiographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    from train.fit import fit

    output = tmp_path_factory.mktemp("run")
    config = _tiny(read_config(SHIPPED))
    fit(config, FixedFinder(), "fixed", data=radiographs, output=output, config_text=SHIPPED.read_text())
    return load_run(output)


def test_folder_is_complete_and_holds_no_picture(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} == {
        *("config.toml", "split.json", "regions.json", "oof.json", "metrics.json", "curves.json", "weights.npz", "run.json"),
        *("curves.png", "roc.png", "confusion.png", "reliability.png"),
    }


def test_nothing_tells_of_files_or_machine(run: Run, radiographs: Path) -> None:
    for path in run.folder.glob("*.json"):
        text = path.read_text()
        assert str(radiographs) not in text
        assert ".png" not in text


def test_network_is_the_one_that_was_measured(run: Run) -> None:
    network = run.network()
    shape = (1, run.input.height_px, run.input.width_px, 1)
    assert network.predict(np.zeros(shape, np.float32), verbose=0)["logits"].shape == (1, len(run.labels))
    assert run.region.name in ("joint", "leg")


def test_every_radiograph_is_scored_or_counted_as_lost(run: Run, radiographs: Path) -> None:
    scores = json.loads((run.folder / "oof.json").read_text())["radiographs"]
    strip = hashlib.sha256((radiographs / "strip.png").read_bytes()).hexdigest()
    assert len(scores) == COUNT
    assert strip not in scores
    assert run.training_digests == set(scores)
    assert json.loads((run.folder / "run.json").read_text())["without_knee"] == [strip]
    assert run.metrics["radiographs"]["without_knee_by_label"] == {"normal": 1, "osteopenia": 0, "osteoporosis": 0}
    assert {len(one["logits"]) for one in scores.values()} == {3}


def test_figures_stand_beside_baselines(run: Run) -> None:
    baselines = {"majority", "age_sex", "file_metadata", "border_ring", "frozen_features"}
    assert set(run.metrics["baselines"]) == set(run.metrics["model_less_baseline"]) == baselines
    assert run.metrics["baselines"]["majority"]["macro_auc"] == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert run.metrics["model"]["balanced_accuracy"].keys() == {"value", "low", "high"}
    assert [one["coverage"] for one in run.metrics["conformal"]] == [0.8]


def test_damaged_folder_is_refused(run: Run, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"run\.json: cannot be read"):
        load_run(tmp_path)


def test_help_lists_every_command() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for name in ("fit", "finder", "synthetic"):
        assert name in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config", "absent.toml"], "absent.toml: cannot be read"),
        (["--config", str(SHIPPED), "--finder", "absent.npz"], "absent.npz: the knee finder cannot be read"),
        (["--config", str(SHIPPED), "--finder", __file__], "finder"),
    ],
)
def test_command_answers_in_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["fit", "--data", str(tmp_path), "--output", str(tmp_path / "run"), *options])
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1
    assert not (tmp_path / "run").exists()
