"""A whole run on a handful of small synthetic radiographs, with random weights: that it runs, not that it learns."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from osteo_edge.joints import Joint
from train.__main__ import main
from train.data.dataset import read_dataset
from train.runs.config import PROJECT, Candidate, Choice, Config, Evaluation, read_config
from train.runs.folder import RUN_FILE, Run, RunError, load_run
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
        start="classes",
        weights="random",
        folds=2,
        candidates=(Candidate("joint", 0.65, 0.65, 0.65, 32, 32), Candidate("leg", 0.8, 1.6, 2.2, 64, 32)),
        linear=replace(config.linear, inner_folds=2, inverse_penalties=(1e-3, 1e-1)),
        choice=Choice(repeats=1, folds=2),
        augmentation=replace(config.augmentation, views=3),
        training=replace(
            config.training, trainable_from="block_16_expand", max_epochs=1, validation_folds=2, validation_parts=2
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


@dataclass
class Made:
    """What the steps of the run returned, by their names; of ``train`` the final network alone."""

    returned: dict[str, Any] = field(default_factory=dict)

    def noting(self, name: str, step: Any) -> Any:
        def noted(*arguments: Any, **options: Any) -> Any:
            self.returned[name] = step(*arguments, **options)
            return self.returned[name]

        return noted


@pytest.fixture(scope="module")
def made() -> Made:
    return Made()


@pytest.fixture(scope="module")
def run(radiographs: Path, made: Made, tmp_path_factory: pytest.TempPathFactory) -> Run:
    from train.fitting import fit

    output = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("gather", "run_folds", "stored_networks", "train"):
            patch.setattr(fit, name, made.noting(name, getattr(fit, name)))
        _fit(radiographs, output)
    return load_run(output)


def _fit(radiographs: Path, output: Path, config_text: str = "first") -> None:
    from train.fitting.fit import fit

    config = _tiny(read_config(SHIPPED))
    fit(config, FixedFinder(), "fixed", dataset=read_dataset(radiographs), output=output, config_text=config_text)


def test_folder_is_complete_and_holds_no_picture(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} == {
        *("config.toml", "split.json", "regions.json", "oof.json", "metrics.json", "curves.json", "weights.npz", "run.json"),
        *("curves.png", "roc.png", "confusion.png", "reliability.png"),
        *("nested.json", "fusion.json", "fusion_evaluation.json", "fold_networks.npz"),
        *("report.html", "results.csv", "results.xlsx"),
    }


def test_nothing_tells_of_files_or_machine(run: Run, radiographs: Path) -> None:
    for path in run.folder.glob("*.json"):
        text = path.read_text()
        assert str(radiographs) not in text
        assert ".png" not in text


def test_network_is_the_one_that_was_trained(run: Run, made: Made) -> None:
    trained = made.returned["train"].network
    shape = (4, run.input.height_px, run.input.width_px, 1)
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    expected, given = (network.predict(images, verbose=0)["logits"] for network in (trained, run.network()))
    assert np.ptp(expected, axis=0).min() > 0
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("step", ["run_folds", "train", "measure", "draw_figures", "describe_run"])
def test_interrupted_fit_leaves_the_old_run_whole(
    run: Run, made: Made, radiographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    output = Path(shutil.copytree(run.folder, tmp_path / "run"))
    _repeat_without_training(made, monkeypatch)
    monkeypatch.setattr(f"train.fitting.fit.{step}", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        _fit(radiographs, output, config_text="second")
    assert _files(output) == _files(run.folder)


@pytest.mark.slow
def test_a_folder_that_was_half_replaced_is_no_run(
    run: Run, made: Made, radiographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = Path(shutil.copytree(run.folder, tmp_path / "run"))
    _repeat_without_training(made, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", _move_unless_weights)
        with pytest.raises(KeyboardInterrupt):
            _fit(radiographs, output, config_text="second")
    assert (output / "config.toml").read_text() == "second"
    with pytest.raises(RunError, match=RUN_FILE):
        load_run(output)
    _fit(radiographs, output, config_text="third")
    assert (output / "config.toml").read_text() == "third"
    assert _files(output).keys() == _files(run.folder).keys()


def _repeat_without_training(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The costly steps return what they returned before; the cache lies in the new run's folder."""
    monkeypatch.setattr("train.fitting.fit.gather", lambda *arguments: replace(made.returned["gather"], cache=arguments[-1]))
    for name in ("run_folds", "stored_networks", "train"):
        monkeypatch.setattr(f"train.fitting.fit.{name}", lambda *_, name=name: made.returned[name])


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _move_unless_weights(source: Path, target: Path) -> None:
    if source.name == "weights.npz":
        raise KeyboardInterrupt
    os.rename(source, target)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_truncated_weights_are_refused(run: Run, tmp_path: Path, size: int) -> None:
    folder = Path(shutil.copytree(run.folder, tmp_path / "run"))
    os.truncate(folder / "weights.npz", size)
    with pytest.raises(RunError, match=r"weights\.npz: cannot be loaded"):
        load_run(folder).network()


def test_output_that_is_a_file_is_refused(radiographs: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.write_text("mine")
    with pytest.raises(RunError, match="run: cannot be the folder of a run"):
        _fit(radiographs, output)
    assert output.read_text() == "mine"


def test_every_radiograph_is_scored_or_counted_as_lost(run: Run, radiographs: Path) -> None:
    scores = json.loads((run.folder / "oof.json").read_text())["radiographs"]
    strip = hashlib.sha256((radiographs / "strip.png").read_bytes()).hexdigest()
    assert len(scores) == COUNT
    assert strip not in scores
    assert run.training_digests == set(scores)
    assert json.loads((run.folder / "run.json").read_text())["without_knee"] == [strip]
    assert run.metrics["radiographs"]["without_knee_by_label"] == {"normal": 1, "osteopenia": 0, "osteoporosis": 0}
    systems = json.loads((run.folder / "oof.json").read_text())["systems"]
    assert np.shape(systems["model"]["logits"]) == (1, COUNT, 3)


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


def test_command_hands_fit_what_it_takes(radiographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import train.fitting.fit

    parameters, calls = inspect.signature(train.fitting.fit.fit), []
    monkeypatch.setattr(train.fitting.fit, "fit", lambda *given, **named: calls.append(parameters.bind(*given, **named)))
    options = ["--config", str(SHIPPED), "--data", str(radiographs), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["fit", *options], catch_exceptions=False)
    assert result.exit_code == 0
    (call,) = calls
    assert len(call.arguments["dataset"].radiographs) == COUNT + 1
    assert call.arguments["output"] == tmp_path / "run"
