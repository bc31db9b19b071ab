"""Kinds of arrays, by name, for the whole tree; the common ones are the runtime's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osteo_edge.arrays import Bytes, Doubles, Floats, Pixels, Reals

__all__ = ["Booleans", "Bytes", "Doubles", "Floats", "Halves", "Integers", "Pixels", "Reals", "Words"]

Halves = NDArray[np.float16]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Words = NDArray[np.str_]
