"""Black borders around a picture, as screens, prints and archives add them.

The finder's scales, and the shares by which it knows a joint that fills the picture, count from the picture's sides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats
    from osteo_edge.joints import Joint

# Of the picture's range: rows and columns of a border hold nothing brighter, after JPEG either.
_DARK: Final = 0.03
# A border of less, as a share of the side, changes nothing for the finder.
_NARROW: Final = 0.02

Inside = tuple[slice, slice]


def inside_black_border(work: Floats, shape: tuple[int, ...]) -> Inside | None:
    """Rows and columns, in a picture of ``shape``, of what a black border surrounds.

    Args:
        work: the working copy.

    Returns:
        None where there is no border, or nothing but it.
    """
    brightest_of_rows, brightest_of_columns = work.max(axis=1), work.max(axis=0)
    darkest, brightest = float(brightest_of_rows.min()), float(brightest_of_rows.max())
    darkest = min(darkest, float(brightest_of_columns.min()))
    level = darkest + _DARK * (brightest - darkest)
    rows, columns = (np.flatnonzero(one > level) for one in (brightest_of_rows, brightest_of_columns))
    if not rows.size or not columns.size:
        return None
    ends = [(int(one[0]), int(one[-1]) + 1) for one in (rows, columns)]
    if all(stop - start >= (1 - _NARROW) * side for (start, stop), side in zip(ends, work.shape, strict=True)):
        return None
    (top, bottom), (left, right) = (
        (start * whole // side, -(-stop * whole // side))
        for (start, stop), whole, side in zip(ends, shape, work.shape, strict=True)
    )
    return slice(top, bottom), slice(left, right)


def moved_out(joint: Joint, inside: Inside) -> Joint:
    """A joint of what a border surrounds, as one of the whole picture."""
    return replace(joint, x_px=joint.x_px + inside[1].start, y_px=joint.y_px + inside[0].start)
