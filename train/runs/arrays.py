"""Kinds of arrays, by name, for the whole tree; ``Floats`` and ``Pixels`` are the runtime's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osteo_edge.arrays import Floats, Pixels

__all__ = ["Booleans", "Bytes", "Doubles", "Floats", "Halves", "Integers", "Pixels", "Reals", "Words"]

Doubles = NDArray[np.float64]
Halves = NDArray[np.float16]
# Of whatever precision.
Reals = NDArray[np.floating]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Bytes = NDArray[np.uint8]
Words = NDArray[np.str_]
