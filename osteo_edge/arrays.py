"""Kinds of arrays, by name; for type checkers alone: who imports one under ``TYPE_CHECKING`` loads no numpy for it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Weights, features, single scores and maps.
Floats = NDArray[np.float32]
# What is added up, or made into probabilities.
Doubles = NDArray[np.float64]
# Of whatever precision.
Reals = NDArray[np.floating]
Bytes = NDArray[np.uint8]
# Grey levels of a picture, in whole numbers.
Pixels = NDArray[np.uint8] | NDArray[np.uint16]
# What a member is shown, (1, height, width, 1); the manifest says which.
Tensor = Floats | Bytes
