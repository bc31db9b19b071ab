"""From box to tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osteo_edge.images.preprocess import cut, prepare
from osteo_edge.joints import Box
from osteo_edge.manifest import InputSpec

SPEC = InputSpec(64, 32, "float32", "NHWC", (0.0, 255.0), 1.0, 99.0)
NOISE = np.random.default_rng(3).integers(10, 200, (400, 300), np.uint8)


def test_shape_dtype_and_range() -> None:
    tensor = prepare(NOISE, Box(20, 30, 220, 390), SPEC)
    assert tensor.shape == (1, 64, 32, 1)
    assert tensor.dtype == np.float32
    assert (tensor.min(), tensor.max()) == (0.0, 255.0)


def test_whole_grey_levels_are_the_nearest_ones() -> None:
    box = Box(20, 30, 220, 390)
    exact, whole = prepare(NOISE, box, SPEC), prepare(NOISE, box, replace(SPEC, dtype="uint8"))
    assert whole.dtype == np.uint8
    assert whole.shape == exact.shape
    assert np.abs(whole - exact).max() <= 0.5
    assert (whole.min(), whole.max()) == (0, 255)


@pytest.mark.parametrize("box", [Box(-50, -20, 100, 200), Box(250, 350, 380, 480), Box(-10, -10, 310, 410)])
def test_black_outside_the_picture(box: Box) -> None:
    crop = cut(NOISE, box)
    assert crop.shape == (box.height, box.width)
    inside = NOISE[max(box.y0, 0) : box.y1, max(box.x0, 0) : box.x1]
    assert crop.sum() == inside.sum()
    top, left = max(-box.y0, 0), max(-box.x0, 0)
    np.testing.assert_array_equal(crop[top : top + inside.shape[0], left : left + inside.shape[1]], inside)


def test_exposure_and_bit_depth_change_next_to_nothing() -> None:
    box = Box(20, 30, 220, 390)
    plain = prepare(NOISE, box, SPEC)
    darker = prepare((NOISE // 2 + 20).astype(np.uint8), box, SPEC)
    deep = prepare(NOISE.astype(np.uint16) * 257, box, SPEC)
    assert np.abs(plain - darker).mean() < 4
    assert np.abs(plain - deep).mean() < 2


def test_a_constant_box_stays_finite() -> None:
    assert np.isfinite(prepare(np.full((100, 100), 7, np.uint16), Box(0, 0, 50, 100), SPEC)).all()


def test_enlarging_works() -> None:
    assert prepare(NOISE, Box(10, 10, 20, 30), SPEC).shape == (1, 64, 32, 1)
