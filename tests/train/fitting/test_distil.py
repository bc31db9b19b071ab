from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from train.__main__ import main
from train.fitting.beforehand.distil import DistilConfig, Levels, Pair, _part, distil, draw_windows, read_distil_config
from train.networks.network import build_network
from train.runs.config import PROJECT, ConfigError

SHIPPED = sorted((PROJECT / "train" / "configs").glob("distil-*.toml"))


def _small() -> DistilConfig:
    whole = read_distil_config(SHIPPED[0])
    return replace(
        whole,
        student="mobilenet_v2_0.35@block_6_expand_relu",
        teacher="mobilenet_v2_0.35@block_6_expand_relu",
        teacher_weights=str(PROJECT / "nothing"),
        region=replace(whole.region, height_px=64, width_px=64),
        levels=Levels(("block_3_expand_relu", "features"), ("block_3_expand_relu", "features")),
        window_px=32,
        batch_size=4,
        steps=12,
        warm_up=2,
    )


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configurations_are_read(path: Path) -> None:
    assert read_distil_config(path).name == f"distilled-{read_distil_config(path).student}"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('"last_norm"', '"last_norm", "features"', "as many layers"),
        ("window_px = 96", "window_px = 512", "larger than the region"),
        ("held_out = 0.1", "held_out = 1.0", "held_out"),
        ("seed = 1", "seed = 1\nseeds = 1", "unknown key"),
        ("seed = 1", "seed =", "not valid TOML"),
    ],
)
def test_wrong_configurations_are_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    text = SHIPPED[0].read_text()
    assert before in text
    file = tmp_path / "distil.toml"
    file.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_distil_config(file)


def test_windows_are_square_in_range_and_the_same_for_one_seed() -> None:
    config = _small()
    pictures = np.random.default_rng(0).uniform(0, 255, (3, 64, 64)).astype(np.float32)
    chosen = np.array([0, 2, 1, 0])
    windows = draw_windows(pictures, chosen, config, np.random.default_rng(5))
    assert windows.shape == (4, 32, 32, 1)
    assert windows.min() >= 0
    assert windows.max() <= 255
    np.testing.assert_array_equal(windows, draw_windows(pictures, chosen, config, np.random.default_rng(5)))
    assert not np.array_equal(windows[0], windows[3])


def test_what_is_held_out_is_not_trained_on() -> None:
    knees = np.arange(20, dtype=np.float32)[:, np.newaxis, np.newaxis]
    training, held_out = _part(knees, _small())
    assert len(held_out) == 2
    assert set(training.ravel()) | set(held_out.ravel()) == set(range(20))
    assert not set(training.ravel()) & set(held_out.ravel())


def test_a_folder_without_an_index_is_told(tmp_path: Path) -> None:
    file = tmp_path / "distil.toml"
    file.write_text(SHIPPED[0].read_text().replace("../shared/data/knee_unlabelled", str(tmp_path)))
    result = CliRunner().invoke(main, ["distil", "--config", str(file), "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert "index.csv" in result.output


@pytest.fixture
def config(tmp_path: Path) -> DistilConfig:
    """A small pair, and a teacher's file of random weights."""
    from train.networks.network import randomise, weights_of

    config = _small()
    network = build_network(config.teacher, height_px=32, width_px=32, labels=1)
    randomise(network, seed=3)
    file = tmp_path / "teacher.npz"
    np.savez(file, **weights_of(network))
    return replace(config, teacher_weights=str(file))


@pytest.mark.slow
def test_the_student_comes_nearer_and_a_stopped_fit_goes_on(config: DistilConfig, tmp_path: Path) -> None:
    pictures = np.random.default_rng(0).uniform(0, 255, (8, 64, 64)).astype(np.float32)
    pair = Pair(config, pictures)
    rng = np.random.default_rng(1)
    before = np.mean(list(pair.explained(pictures, np.random.default_rng(2)).values()))
    for _ in range(config.steps):
        pair.fit(draw_windows(pictures, np.arange(4), config, rng))
    after = np.mean(list(pair.explained(pictures, np.random.default_rng(2)).values()))
    assert after > before
    pair.save(tmp_path / "state.npz", 7.0)
    other = Pair(config, pictures)
    assert other.resume(tmp_path / "state.npz") == 7.0
    assert other.step == config.steps
    np.testing.assert_array_equal(other.student.get_weights()[0], pair.student.get_weights()[0])


@pytest.mark.slow
def test_a_budget_ends_it_early_and_the_weights_load(config: DistilConfig, tmp_path: Path, data_folder: Path) -> None:
    knees = tmp_path / "knees"
    knees.mkdir()
    with (data_folder / "knee_unlabelled" / "index.csv").open() as file:
        names = [row["file"] for row, _ in zip(csv.DictReader(file), range(12), strict=False)]
    for name in names:
        cv2.imwrite(str(knees / name), cv2.imread(str(data_folder / "knee_unlabelled" / name), cv2.IMREAD_GRAYSCALE))
    (knees / "index.csv").write_text("file\n" + "\n".join(names) + "\n")
    output = tmp_path / "out"
    facts = distil(replace(config, data=str(knees)), output, time_budget_s=0.001)
    assert facts["stopped_early"]
    assert facts["steps"] < config.steps
    assert json.loads((output / "run.json").read_text())["steps"] == facts["steps"]
    build_network(config.student, height_px=32, width_px=32, labels=3, imagenet_weights=output / "weights.npz")
