"""A picture whose last part was never written: the rows stop in the middle of one, and all after it is zero.

Files without a checksum look like this after a copy that broke off, where room for the whole file was taken first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.errors import UnreadableImageError

if TYPE_CHECKING:
    from osteo_edge.arrays import Pixels

# As many rows of zeros as could not be the picture's own lower edge together with a part of a row.
_LEAST_ROWS = 2
_MOSTLY = 0.95


def require_no_cut(pixels: Pixels) -> None:
    """Refuse a grey picture, as it is stored row by row from the top or from the bottom, that ends in such zeros.

    A black border begins between two rows, or along a slanted edge, so a cut is seen where the row before it is bright
    over its whole length.

    Raises:
        UnreadableImageError: it was cut.
    """
    if _is_cut(pixels) or _is_cut(pixels[::-1]):
        raise UnreadableImageError("the picture stops in the middle of a row; its last part is missing", code="truncated")


def _is_cut(pixels: Pixels) -> bool:
    if pixels[-_LEAST_ROWS:].any():
        return False
    lit = np.flatnonzero(pixels.any(axis=1))
    if len(lit) < 2 or lit[-1] < 1:
        return False
    row = pixels[lit[-1]]
    end = int(np.flatnonzero(row)[-1]) + 1
    before = pixels[lit[-1] - 1]
    return end < len(row) and all(np.count_nonzero(part) >= _MOSTLY * len(part) for part in (row[:end], before))
