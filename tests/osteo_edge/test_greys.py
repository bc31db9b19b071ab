"""The range of greys equals NumPy's percentiles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteo_edge.images.greys import grey_range


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=300), st.floats(0, 50), st.floats(50, 100))
def test_equals_numpy(values: list[int], low: float, high: float) -> None:
    pixels = np.array(values, np.uint16)
    assert grey_range(pixels, low, high) == pytest.approx(tuple(np.percentile(pixels, (low, high))))
