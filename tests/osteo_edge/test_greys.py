"""The range of greys equals NumPy's percentiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteo_edge.images.greys import grey_range


@given(
    st.lists(st.integers(0, 65535), min_size=1, max_size=300),
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.floats(0, 50),
    st.floats(50, 100),
)
def test_equals_numpy(values: list[int], dtype: type, low: float, high: float) -> None:
    pixels = (np.array(values) >> (8 if dtype is np.uint8 else 0)).astype(dtype)
    assert grey_range(pixels, low, high) == pytest.approx(tuple(np.percentile(pixels.astype(np.float64), (low, high))))


def test_pieces_of_a_large_picture_are_counted_together() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 6_000_000), np.uint8)
    pixels[2] = 255
    assert grey_range(pixels, 1.0, 70.0) == tuple(np.percentile(pixels, (1.0, 70.0)))
