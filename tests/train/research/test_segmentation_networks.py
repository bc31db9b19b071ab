"""The two segmenters: shapes, learning, storing, training that goes on, settings, commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from click.testing import CliRunner

from train.networks.network import weights_of
from train.research.segmentation.annotations import BONES
from train.research.segmentation.commands import segmentation
from train.research.segmentation.fitting import Schedule, fit_segmenter
from train.research.segmentation.judgement import judge_masks, outlined
from train.research.segmentation.networks import (
    SEGMENTERS,
    Segmenter,
    build_segmenter,
    read_segmenter,
    save_segmenter,
    segmentation_loss,
)
from train.research.segmentation.pictures import PX_PER_KNEE, Picture, synthetic_picture, synthetic_pictures
from train.research.segmentation.settings import read_segmentation_settings
from train.research.segmentation.views import Variation, batch_of, random_view, stretched
from train.runs.config import ConfigError
from train.synthetic import Acquisition, KneeAnatomy, render

CONFIG = Path(__file__).resolve().parents[3] / "train" / "configs" / "segmentation.toml"
SMALL = Schedule(steps=3, batch_size=2, learning_rate=1e-3, weight_decay=1e-4, height_px=64, width_px=64)


def blocks(count: int = 3) -> tuple[Picture, ...]:
    """Pictures with a bright block for every bone."""
    pictures = []
    for number in range(count):
        bones = np.zeros((96, 72, len(BONES)), np.bool_)
        bones[5:40, 15 : 55 + number, 0] = True
        bones[48:95, 18:50, 1] = True
        bones[60:95, 56:64, 2] = True
        grey = (60 + 120 * bones.any(axis=2)).astype(np.uint8)
        pictures.append(Picture(grey, bones, (36.0, 44.0)))
    return tuple(pictures)


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_a_segmenter_gives_a_logit_for_every_bone_and_pixel(name: str) -> None:
    network = build_segmenter(name, height_px=64, width_px=96)
    assert network.output_shape == (None, 64, 96, len(BONES))
    assert network.count_params() < 1_000_000
    assert keras.ops.convert_to_numpy(network(np.zeros((1, 64, 96, 1), np.float32))).shape == (1, 64, 96, 3)


@pytest.mark.parametrize("name", sorted(SEGMENTERS))
def test_gradient_steps_lower_the_loss(name: str) -> None:
    keras.utils.set_random_seed(1)
    network = build_segmenter(name, height_px=64, width_px=64)
    # Eagerly: tracing the graph would take longer than these few steps.
    network.compile(optimizer=keras.optimizers.Adam(1e-3), loss=segmentation_loss, run_eagerly=True)
    images, truth = batch_of([blocks()], 2, (64, 64), Variation(), np.random.default_rng(0))
    losses = [float(network.train_on_batch(images, truth)) for _ in range(3)]
    assert losses[-1] < losses[0]


def test_an_unknown_segmenter_or_size_is_refused() -> None:
    with pytest.raises(ConfigError, match="known are attention_unet, small_transformer"):
        build_segmenter("unet", height_px=64, width_px=64)
    with pytest.raises(ConfigError, match="multiples of 32 px, not 60 x 64"):
        build_segmenter("attention_unet", height_px=60, width_px=64)


def test_the_loss_sees_only_what_is_known() -> None:
    truth = np.zeros((1, 8, 8, 4), np.float32)
    truth[:, :4, :, 0] = 1
    truth[:, :, :4, 3] = 1
    right = np.where(truth[..., :3] > 0, 20.0, -20.0).astype(np.float32)
    wrong_unseen = right.copy()
    wrong_unseen[:, :, 4:] *= -1
    assert float(segmentation_loss(truth, right)) == pytest.approx(0, abs=0.05)
    assert float(segmentation_loss(truth, wrong_unseen)) == pytest.approx(float(segmentation_loss(truth, right)), abs=1e-4)
    assert float(segmentation_loss(truth, -right)) > 5


def test_one_set_of_weights_serves_every_size(tmp_path: Path) -> None:
    network = build_segmenter("small_transformer", height_px=64, width_px=64)
    save_segmenter(tmp_path / "weights.npz", "small_transformer", weights_of(network))
    segmenter = read_segmenter(tmp_path / "weights.npz")
    for shape in ((1, 64, 64), (2, 70, 33)):
        likely = segmenter.probabilities(np.full(shape, 99, np.float32))
        assert likely.shape == (*shape, len(BONES))
        assert ((likely > 0) & (likely < 1)).all()


def test_a_file_that_is_no_segmenter_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    with pytest.raises(ConfigError, match="cannot be read as a segmenter"):
        read_segmenter(path)
    np.savez(path, kernel=np.zeros(3))
    with pytest.raises(ConfigError, match="unknown segmenter ''"):
        read_segmenter(path)
    np.savez(path, segmenter=np.array("attention_unet"), kernel=np.zeros(3))
    with pytest.raises(ConfigError, match="of another network"):
        read_segmenter(path)


def test_a_synthetic_picture_shows_the_knee_at_the_common_scale() -> None:
    radiograph = render([KneeAnatomy()], Acquisition(width_px=512, height_px=512, pixel_spacing_mm=0.56), seed=1)
    picture = synthetic_picture(radiograph, radiograph.knees[0])
    x, y = (round(value) for value in picture.joint)
    assert picture.grey.shape == picture.bones.shape[:2]
    assert not picture.bones[y, x - 25 : x + 25, 2].any()
    assert picture.bones[y - 30, x, 0]
    assert picture.bones[y + 30, x, 1]
    plateau = picture.bones[y + 4 : y + 20, :, 1].any(axis=0).sum()
    assert plateau == pytest.approx(PX_PER_KNEE, rel=0.05)


def test_views_keep_image_and_masks_together() -> None:
    picture = blocks(1)[0]
    image, truth = random_view(picture, (64, 64), Variation(blur_px=0, noise=0), np.random.default_rng(4))
    assert image.shape == (64, 64)
    assert truth.shape == (64, 64, len(BONES) + 1)
    bone, beside = truth[..., :3].any(axis=2), (truth[..., 3] > 0) & ~truth[..., :3].any(axis=2)
    assert image[bone].mean() > image[beside].mean() + 50
    assert set(np.unique(truth)) <= {0.0, 1.0}
    assert stretched(np.zeros((4, 4))).max() == 0


def test_batches_take_from_the_pools_in_turn() -> None:
    dark = tuple(Picture(np.zeros_like(one.grey), np.zeros_like(one.bones), one.joint) for one in blocks(1))
    _, truth = batch_of([blocks(), dark], 4, (64, 64), Variation(), np.random.default_rng(0))
    assert [bool(one[..., :3].any()) for one in truth] == [True, False, True, False]


@pytest.mark.slow
def test_a_stopped_training_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from train.research.segmentation import fitting

    monkeypatch.setattr(fitting, "_STEPS_BETWEEN_CHECKPOINTS", 2)
    whole = fit_segmenter("small_transformer", [blocks()], SMALL, seed=1, checkpoint=tmp_path / "a.npz")
    again = fit_segmenter("small_transformer", [blocks()], SMALL, seed=1, checkpoint=tmp_path / "a.npz")
    assert len(again.losses) == SMALL.steps
    assert again.losses[:2] == whole.losses[:2]
    assert again.losses[2] == pytest.approx(whole.losses[2], rel=1e-3)


def test_a_training_without_pictures_is_refused() -> None:
    with pytest.raises(ConfigError, match="there is no picture to learn from"):
        fit_segmenter("attention_unet", [blocks(), ()], SMALL, seed=1)


def test_the_committed_settings_are_sound() -> None:
    settings = read_segmentation_settings(CONFIG)
    assert {training.network for training in settings.trainings} == set(SEGMENTERS)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kept = "attention_unet"', 'kept = "unet"', "kept must be one of"),
        ('network = "small_transformer"', 'network = "vit"', r"trainings\[1\].network is 'vit'"),
        ("height_px = 256", "height_px = 250", "schedule.height_px must be a multiple of 32"),
        ("steps = 400", "steps = 0", "schedule needs counts of 1 or more"),
        ("resamples = 2000", "resamples = 5", "resamples must be at least 100"),
        ("seed = 1\n", "", "seed"),
    ],
)
def test_faulty_settings_are_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    text = CONFIG.read_text()
    assert old in text
    path = tmp_path / "settings.toml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_segmentation_settings(path)


def test_the_commands_end_with_a_line(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    for arguments in (
        ["fit", "--config", str(missing)],
        ["judge", "--data", str(missing)],
        ["measure", "--data", str(missing)],
    ):
        result = CliRunner().invoke(segmentation, arguments)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ")
        assert str(missing) in result.output


@pytest.mark.slow
def test_a_short_training_improves_dice() -> None:
    pictures = synthetic_pictures(12, seed=5)
    schedule = replace(SMALL, steps=60, batch_size=4, learning_rate=5e-3, height_px=256, width_px=192)

    def mean_dice(network: keras.Model) -> float:
        segmenter = Segmenter(network.name, weights_of(network))
        found: dict[str, Any] = judge_masks(pictures[:4], outlined(segmenter, pictures[:4]))
        return float(found["dice"].mean())

    keras.utils.set_random_seed(1)
    before = mean_dice(build_segmenter("attention_unet", height_px=256, width_px=192))
    after = mean_dice(fit_segmenter("attention_unet", [pictures[4:]], schedule, seed=1).network)
    assert after > before + 0.2
    assert after > 0.5
