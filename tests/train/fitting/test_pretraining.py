from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from train.data.unlabelled import unlabelled_knees
from train.fitting.beforehand.pretraining import PretrainConfig, grade_model, pretrain, read_grades, read_pretrain_config
from train.networks.network import build_network
from train.runs.config import PROJECT, Candidate, ConfigError

SHIPPED = PROJECT / "train" / "configs" / "pretrain-mobilenet_v2.toml"
FINDER = PROJECT / "train" / "results" / "knee-finder" / "finder.npz"
REGION = Candidate("knee", 0.8, 1.1, 1.1, 64, 64)


def test_grades_are_the_one_digit_of_a_cell() -> None:
    cells = ["preprocessed_0Normal", "4", "3Severe", "", "grade 9", "2 or 3"]
    rows = [{"grade": cell} for cell in cells]
    assert read_grades([*rows, {}], "grade").tolist() == [0, 4, 3, -1, -1, -1, -1]


def test_shipped_configuration_is_read() -> None:
    assert read_pretrain_config(SHIPPED).region.name == "knee"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("held_out = 0.2", "held_out = 0.0", "held_out"),
        ("epochs = 8", "epochs = 0", "epochs"),
        ("seed = 1", "seed = 1\nseeds = 1", "unknown key"),
        ("seed = 1", "seed =", "not valid TOML"),
    ],
)
def test_wrong_configurations_are_told(tmp_path: Path, before: str, after: str, message: str) -> None:
    file = tmp_path / "pretrain.toml"
    file.write_text(SHIPPED.read_text().replace(before, after, 1))
    with pytest.raises(ConfigError, match=message):
        read_pretrain_config(file)


def test_only_what_comes_after_the_cut_is_trained_and_no_norm() -> None:
    network = build_network("mobilenet_v2_0.35@block_3_expand_relu", height_px=32, width_px=32, labels=1)
    model = grade_model(network, "block_2_expand")
    trained = {variable.path.split("/")[-2] for variable in model.trainable_variables}
    assert {"block_2_expand", "block_3_expand", "grade"} <= trained
    assert not any("BN" in name or name.startswith(("Conv1", "block_1")) for name in trained)
    with pytest.raises(ConfigError, match="has no layer 'block_99'"):
        grade_model(network, "block_99")


@pytest.mark.parametrize(
    ("table", "message"),
    [(None, "cannot be read"), ("name\na.png\n", "column 'file'"), ("file\nabsent.png\n", "absent.png")],
)
def test_bad_folders_are_told(tmp_path: Path, table: str | None, message: str) -> None:
    if table is not None:
        (tmp_path / "index.csv").write_text(table)
    with pytest.raises(ConfigError, match=message):
        unlabelled_knees(tmp_path, FINDER, REGION, tmp_path)


def test_pictures_without_a_knee_are_told(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "noise.png"), np.random.default_rng(0).integers(0, 255, (300, 300), np.uint8))
    (tmp_path / "index.csv").write_text("file\nnoise.png\n")
    with pytest.raises(ConfigError, match="no knee was found"):
        unlabelled_knees(tmp_path, FINDER, REGION, tmp_path)


@pytest.mark.slow
def test_weights_of_a_pretraining_load(tmp_path: Path, data_folder: Path) -> None:
    knees = tmp_path / "knees"
    knees.mkdir()
    with (data_folder / "knee_unlabelled" / "index.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["kl_folder"][-7:] in ("0Normal", "4Severe")][:40]
    for row in rows:
        picture = cv2.imread(str(data_folder / "knee_unlabelled" / row["file"]), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(knees / row["file"]), picture)
    lines = [f"{row['file']},{row['kl_folder']}" for row in rows]
    (knees / "index.csv").write_text("file,kl_folder\n" + "\n".join(lines) + "\n")
    config = replace(
        read_pretrain_config(SHIPPED),
        data=str(knees),
        backbone="mobilenet_v2_0.35@block_3_expand_relu",
        weights="random",
        region=REGION,
        trainable_from="block_2_expand",
        epochs=2,
    )
    assert isinstance(config, PretrainConfig)
    facts = pretrain(config, tmp_path / "out")
    assert facts["knees"]["training"] > facts["knees"]["held_out"] > 0
    assert not (tmp_path / "out" / "cache").exists()
    assert ".png" not in (tmp_path / "out" / "run.json").read_text()
    build_network(config.backbone, height_px=64, width_px=64, labels=3, imagenet_weights=tmp_path / "out" / "weights.npz")
