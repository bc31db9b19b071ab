"""The grey levels that a picture uses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


def grey_range(pixels: NDArray[Any], low_percentile: float, high_percentile: float) -> tuple[float, float]:
    """Two percentiles with linear interpolation, as ``np.percentile`` gives them.

    Its first call costs a fresh process 15 ms of start-up, more than the decoding of a radiograph; hence a partition.
    """
    flat = pixels.ravel()
    ranks = [(flat.size - 1) * percentile / 100 for percentile in (low_percentile, high_percentile)]
    sorted_there = np.partition(flat, [rank for exact in ranks for rank in (math.floor(exact), math.ceil(exact))])
    low, high = (_interpolated(sorted_there, rank) for rank in ranks)
    return low, high


def _interpolated(values: NDArray[Any], rank: float) -> float:
    below, above = float(values[math.floor(rank)]), float(values[math.ceil(rank)])
    return below + (above - below) * (rank - math.floor(rank))
