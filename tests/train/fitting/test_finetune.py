from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from train.fitting.finetune import Activations, AuxiliaryTask, Epoch, Trainer, best_epoch, cached_activations, picture_logits
from train.networks.network import build_network, cut, randomise, with_auxiliary
from train.runs.config import Augmentation, Training

OWNER = np.array([0, 0, 1, 2, 2, 3, 4, 4, 5, 6, 7, 8])
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2])
SETTINGS = Training(
    trainable_from="block_16_expand",
    learning_rate=1e-3,
    weight_decay=1e-3,
    dropout=0.2,
    batch_size=4,
    max_epochs=4,
    patience=2,
    validation_folds=2,
    validation_parts=1,
)
TRAINING, VALIDATION = np.arange(6), np.arange(6, 9)


def _trainer(checkpoint: Path, settings: Training = SETTINGS, t_scores: Any = None) -> tuple[Trainer, keras.Model]:
    keras.utils.set_random_seed(0)
    network = build_network("mobilenet_v2_0.35", height_px=64, width_px=32, labels=3, dropout=settings.dropout)
    randomise(network, seed=0)
    _, upper = cut(network, settings.trainable_from)
    auxiliary = None
    if t_scores is not None:
        auxiliary = AuxiliaryTask(with_auxiliary(network, settings.trainable_from, 1), t_scores)
    rng = np.random.default_rng(0)
    views = rng.normal(size=(len(OWNER), 3, *upper.input_shape[1:])).astype(np.float16)
    return Trainer(
        upper, Activations(views, OWNER), LABELS, settings, seed=5, checkpoint=checkpoint, auxiliary=auxiliary
    ), upper


@pytest.mark.slow
def test_the_auxiliary_task_trains_beside_the_classes(tmp_path: Path) -> None:
    """The trunk's gradients come from both; pictures without a T-score count for the classes alone."""
    settings = replace(SETTINGS, t_score_weight=0.5)
    scores = np.array([-2.0, -1.0, np.nan, 0.0, 0.5, -0.5, -1.5, np.nan, 0.2])
    trainers = {}
    for name, used, known in (("with", settings, scores), ("without", SETTINGS, None)):
        trainer, upper = _trainer(tmp_path / f"{name}.npz", used, known)
        history = trainer.run(TRAINING, VALIDATION, epochs=2)
        assert np.isfinite([line.loss for line in history]).all()
        trainers[name] = upper.get_weights()[0]
    assert not np.array_equal(trainers["with"], trainers["without"])


def test_one_knee_fills_both_places_with_different_views() -> None:
    views = np.arange(12 * 3).reshape(12, 3, 1, 1, 1).astype(np.float16)
    activations = Activations(views, OWNER)
    for seed in range(20):
        first, second = (slot[:, 0, 0, 0] for slot in activations.draw(np.array([1, 0]), np.random.default_rng(seed)))
        assert first[0] // 3 == second[0] // 3 == 2
        assert first[0] != second[0]
        assert {first[1] // 3, second[1] // 3} == {0, 1}


def test_plain_views_and_their_pictures() -> None:
    views = np.arange(12 * 3).reshape(12, 3, 1, 1, 1).astype(np.float16)
    knees, place = Activations(views, OWNER).plain(np.array([4, 2]))
    assert knees.ravel().tolist() == [9, 12, 18, 21]
    assert place.tolist() == [1, 1, 0, 0]


def test_picture_is_the_mean_of_its_knees() -> None:
    double = keras.Sequential([keras.Input((2,)), keras.layers.Rescaling(2.0)])
    logits = picture_logits(double, np.array([[1, 0], [3, 2], [5, 5]]), np.array([0, 0, 1]))
    assert logits.tolist() == [[4, 2], [10, 10]]


def test_best_epoch_may_be_before_training() -> None:
    assert best_epoch([Epoch(0, 1.0, 0.9, 0.5), Epoch(1, 0.5, 0.95, 0.6)]) == 0
    assert best_epoch([Epoch(0, 1.0, 0.9, 0.5), Epoch(1, 0.5, 0.8, 0.6), Epoch(2, 0.4, 0.85, 0.6)]) == 1


@pytest.mark.slow
def test_resumed_training_equals_an_unbroken_one(tmp_path: Path) -> None:
    unbroken, whole = _trainer(tmp_path / "whole.npz")
    expected = unbroken.run(TRAINING, VALIDATION, epochs=2)
    _trainer(tmp_path / "broken.npz")[0].run(TRAINING, VALIDATION, epochs=1)
    resumed, parts = _trainer(tmp_path / "broken.npz")
    given = resumed.run(TRAINING, VALIDATION, epochs=2)
    np.testing.assert_array_equal(resumed.best_logits, unbroken.best_logits)
    assert [line.epoch for line in given] == [0, 1, 2]
    assert given[-1].loss == pytest.approx(expected[-1].loss, rel=1e-4)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    assert expected[-1].loss < expected[1].loss


def test_stops_when_the_validation_gets_no_better(tmp_path: Path) -> None:
    trainer, _ = _trainer(tmp_path / "state.npz")
    history = trainer.run(TRAINING, VALIDATION, epochs=50)
    assert history[-1].epoch == best_epoch(history) + SETTINGS.patience
    assert history[-1].epoch < 50


def test_activations_are_kept(tmp_path: Path) -> None:
    trunk = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.AveragePooling2D(4)])
    settings = Augmentation(views=4, rotation_degrees=5, scale=0.1, shift=0.1, contrast=0.1, gamma=0.1, noise=1)
    images = np.random.default_rng(0).uniform(0, 255, (11, 8, 8)).astype(np.float32)
    made = cached_activations(trunk, images, OWNER, settings, seed=0, file=tmp_path / "trunk.npz")
    assert made.views.shape == (11, 4, 2, 2, 1)
    assert made.views.dtype == np.float16
    plain = images.reshape(11, 2, 4, 2, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(made.views[:, 0, :, :, 0], plain, rtol=1e-3)
    again = cached_activations(trunk, images * 0, OWNER, settings, seed=0, file=tmp_path / "trunk.npz")
    assert np.array_equal(again.views, made.views)
