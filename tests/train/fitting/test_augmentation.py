from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from train.fitting.augmentation import augment, make_views
from train.runs.config import Augmentation

SETTINGS = Augmentation(views=5, rotation_degrees=7, scale=0.1, shift=0.05, contrast=0.2, gamma=0.2, noise=3)
STILL = Augmentation(views=2, rotation_degrees=0, scale=0, shift=0, contrast=0, gamma=0, noise=0)


@pytest.fixture
def crop() -> NDArray[np.float32]:
    ramp = np.linspace(0, 255, 64 * 48, dtype=np.float32).reshape(64, 48)
    return ramp[:, ::-1].copy()


def test_keeps_shape_type_and_range_and_differs(crop: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(0)
    one, other = augment(crop, SETTINGS, rng), augment(crop, SETTINGS, rng)
    for view in (one, other):
        assert (view.shape, view.dtype) == (crop.shape, np.float32)
        assert view.min() >= 0
        assert view.max() <= 255
    assert np.abs(one - crop).mean() > 1
    assert np.abs(one - other).mean() > 1


def test_seed_decides(crop: NDArray[np.float32]) -> None:
    assert np.array_equal(*(augment(crop, SETTINGS, np.random.default_rng(3)) for _ in range(2)))


def test_without_changes_only_the_mirror_is_left(crop: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(0)
    views = [augment(crop, STILL, rng) for _ in range(20)]
    mirrored = [np.allclose(view, crop[:, ::-1], atol=1e-3) for view in views]
    assert all(np.allclose(view, crop, atol=1e-3) or flipped for view, flipped in zip(views, mirrored, strict=True))
    assert 0 < sum(mirrored) < 20


def test_outside_of_the_film_stays_black() -> None:
    settings = replace(SETTINGS, noise=0)
    assert augment(np.zeros((64, 48), np.float32), settings, np.random.default_rng(0)).max() == 0


def test_first_views_are_the_crop_and_its_mirror_image(crop: NDArray[np.float32]) -> None:
    views = make_views(crop, SETTINGS, np.random.default_rng(0))
    assert views.shape == (5, 64, 48)
    assert np.array_equal(views[0], crop)
    assert np.array_equal(views[1], crop[:, ::-1])
