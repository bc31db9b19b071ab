"""A step of brightness that only damage to a JPEG leaves.

The mean of each block is stored as its difference from the block before, row by row. Damage that the decoder cannot notice, as
it leaves a sequence of codes that ends where it should, makes one difference wrong, and with it the brightness of all that
follows: from a block in the middle of a row on, and below the whole row. So the step runs along the lower edge of that row to
the block's left, and along its upper edge to its right. No border, letter or seam of two films follows such a staircase of
one block's height.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from osteo_edge.images.jpeg import damaged

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Bytes

_COLUMN_PX = 8
# In smaller pictures few blocks make up an edge of anything.
_LEAST_COLUMNS = 48
# In grey levels, at least; and as a multiple of the usual jump between two rows, which grows with noise.
_LEAST_STEP = 4.0
_OF_USUAL_JUMP = 6.0
# Share of the columns along both edges that must step, or not, as the staircase asks for. The nearest of 146 radiographs has
# 0.61, of documents and photographs 0.69; 700 more radiographs as JPEGs of three qualities have no such pair of edges.
_LEAST_SHARE = 0.9
# Share of the columns that must step at all, and on either side of the block.
_LEAST_STEPS, _LEAST_ON_A_SIDE = 0.4, 0.1


def require_no_staircase(pixels: Bytes, row_px: int) -> None:
    """Refuse grey pixels (height, width), as stored, whose brightness jumps from one block on.

    Args:
        row_px: height of a row of blocks, or of groups of blocks where colours are stored at less than full size.

    Raises:
        UnreadableImageError: there is such a jump.
    """
    rows, columns = (pixels.shape[0] - 2) // row_px, pixels.shape[1] // _COLUMN_PX
    if rows < 2 or columns < _LEAST_COLUMNS:
        return

    before, after = (_means(pixels[row_px + place :: row_px][:rows]) for place in (-1, 0))
    jumps = after - before
    least = max(_LEAST_STEP, _OF_USUAL_JUMP * float(np.median(np.abs(jumps[:, ::8]))))
    # Where both sides are black, or white, no step is seen.
    is_open = ((before > 2) | (after > 2)) & ((before < 253) | (after < 253))
    for upper in _rows_with_many(jumps, 0.75 * least):
        edges = slice(upper, upper + 2)
        above, below = (_means(pixels[row_px * (upper + 1) + place :: row_px][:2]) for place in (-2, 1))
        steps = jumps[edges] + (jumps[edges] + above - below) / 2  # beyond the slope on both sides
        is_calm = is_open[edges] & (np.abs(steps) < least)
        for does_step in (steps >= least, steps <= -least):
            if _share(is_open[edges] & does_step, is_calm) >= _LEAST_SHARE:
                raise damaged("its brightness jumps within a row of blocks")


def _means(lines: Bytes) -> NDArray[np.int16]:
    """(lines, columns) means of the pixels of each column of blocks."""
    columns = lines.shape[1] // _COLUMN_PX
    lines = lines[:, : columns * _COLUMN_PX]
    return cv2.resize(lines, (columns, len(lines)), interpolation=cv2.INTER_AREA).astype(np.int16)


def _rows_with_many(jumps: NDArray[np.int16], least: float) -> list[int]:
    """Upper ones of two neighbouring edges along which many columns jump the same way."""
    upper: set[int] = set()
    for does_jump in (jumps >= least, jumps <= -least):
        number = np.count_nonzero(does_jump, axis=1)
        upper |= set(np.flatnonzero(number[:-1] + number[1:] >= _LEAST_STEPS * jumps.shape[1]).tolist())
    return sorted(upper)


def _share(does_step: NDArray[np.bool_], is_calm: NDArray[np.bool_]) -> float:
    """Share of the columns that are as a staircase asks for, with the block in the best place."""
    (upper, lower), (upper_calm, lower_calm) = (_counts(edges) for edges in (does_step, is_calm))
    right, left = upper[-1] - upper, lower
    right_calm, left_calm = lower_calm[-1] - lower_calm, upper_calm
    columns = does_step.shape[1]
    is_possible = (np.minimum(left, right) >= _LEAST_ON_A_SIDE * columns) & (left + right >= _LEAST_STEPS * columns)
    seen = max(1, int(upper[-1] + lower[-1] + upper_calm[-1] + lower_calm[-1]))
    return float(np.where(is_possible, left + right + left_calm + right_calm, 0).max()) / seen


def _counts(edges: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(2, columns + 1): how many before each column."""
    counts: NDArray[np.int64] = np.pad(np.cumsum(edges, axis=1, dtype=np.int64), ((0, 0), (1, 0)))
    return counts
