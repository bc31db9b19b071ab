"""Kinds of arrays, by name; for type checkers alone: who imports one under ``TYPE_CHECKING`` loads no numpy for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Weights, features, scores and maps.
Floats = NDArray[np.float32]
# Grey levels of a picture, in whole numbers.
Pixels = NDArray[np.uint8] | NDArray[np.uint16]
