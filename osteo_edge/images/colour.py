"""How much of a picture is coloured. A radiograph is grey, or a film that was scanned with a slight tint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from osteo_edge.arrays import Pixels

# Largest less smallest of red, green and blue, of 255. A blue-tinted film reaches 32.
COLOURED_FROM = 48
_SAMPLES_A_SIDE = 512
_BAND_BYTES = 1 << 18


def single_plane(colours: Pixels) -> Pixels | None:
    """One of three channels (H, W, 3) that are equal in every pixel; None where they are not."""
    rows = max(1, _BAND_BYTES // colours[0].nbytes)  # a few at a time stay in the processor's cache, and take no memory
    for start in range(0, len(colours), rows):
        first, second, third = cv2.split(colours[start : start + rows])
        if not (np.array_equal(first, second) and np.array_equal(first, third)):
            return None
    return cv2.extractChannel(colours, 0)  # type: ignore[return-value]


def coloured_share(colours: Pixels) -> float:
    """Share of the pixels of (H, W, 3), in any order of the channels, that are plainly coloured; on a grid of samples."""
    down, across = (max(1, side // _SAMPLES_A_SIDE) for side in colours.shape[:2])
    first, second, third = cv2.split(np.ascontiguousarray(colours[::down, ::across]))
    chroma = cv2.subtract(cv2.max(cv2.max(first, second), third), cv2.min(cv2.min(first, second), third))
    return float(np.mean(chroma > COLOURED_FROM * int(np.iinfo(colours.dtype).max) // 255))
