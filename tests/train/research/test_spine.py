from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.errors import ExportError
from export.source import load_source
from osteo_edge.errors import OsteoEdgeError
from train.data.dataset import read_dataset
from train.data.places import WHOLE_PICTURE, WholePicture, open_finder
from train.research.spine import LEVELS, render_spine, sample_spine, write_spine_dataset
from train.runs.config import PROJECT, read_config

CONFIG = PROJECT / "train" / "configs" / "spine.toml"


def test_the_same_seed_draws_the_same_picture() -> None:
    anatomy, exposure = sample_spine(np.random.default_rng(1))
    first, second = (render_spine(anatomy, exposure, seed=2) for _ in range(2))
    np.testing.assert_array_equal(first.pixels, second.pixels)
    assert first.pixels.dtype == np.uint8
    assert set(first.masks) == set(LEVELS)
    assert all(mask.any() for mask in first.masks.values())


def test_dense_bodies_stand_out_more() -> None:
    anatomy, exposure = sample_spine(np.random.default_rng(3), bone_density=1.0)
    contrast = []
    for density in (1.0, 0.5):
        drawn = render_spine(replace(anatomy, bone_density=density), exposure, seed=0)
        inside = np.logical_or.reduce([drawn.masks[level] for level in LEVELS])
        # Beside the bodies at their own height, as the abdomen differs from top to bottom.
        beside = np.roll(inside, inside.shape[1] // 4, axis=1) & ~inside
        contrast.append(drawn.pixels[inside].mean() - drawn.pixels[beside].mean())
    assert contrast[0] > contrast[1] > 0


def test_a_dataset_is_read_back(tmp_path: Path) -> None:
    write_spine_dataset(tmp_path, count=6, seed=1, scale=0.25)
    dataset = read_dataset(tmp_path)
    assert len(dataset.radiographs) == 6
    assert {row.acquisition for row in dataset.radiographs} == {"lumbar_spine_ap"}


def test_the_whole_picture_is_the_place() -> None:
    (place,) = WholePicture().find(np.zeros((300, 200), np.uint8))
    assert (place.x_px, place.y_px, place.width_px) == (99.5, 149.5, 200.0)
    finder, name = open_finder(WHOLE_PICTURE)
    assert isinstance(finder, WholePicture)
    assert name == WHOLE_PICTURE
    with pytest.raises(OsteoEdgeError, match="cannot be read"):
        open_finder("nowhere.npz")


def test_the_configuration_says_what_it_is() -> None:
    assert "NOT TRAINED ON REAL DATA" in CONFIG.read_text()
    config = read_config(CONFIG)
    assert (config.body_part, config.finder) == ("lumbar_spine", WHOLE_PICTURE)


def test_a_run_of_spines_is_not_exported(tmp_path: Path) -> None:
    run = Path(shutil.copytree(PROJECT / "train/results/knee-mobilenet_v2", tmp_path / "run"))
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(record | {"body_part": "lumbar_spine"}))
    with pytest.raises(ExportError, match="trained on lumbar_spine"):
        load_source(run)
