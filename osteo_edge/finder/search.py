"""Where a learned template or its mirror image fits best, over all scales."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided

from osteo_edge.finder.copies import resized, scaled_size
from osteo_edge.finder.edges import MIXTURE, describe, mirrored, sums_of_one
from osteo_edge.finder.poses import MAX_HITS, SEARCH, Hit, Pose, apart

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from osteo_edge.arrays import Floats

# A knee's width as a share of the picture's longer side: two long legs on one film ... one knee that fills it.
SMALLEST_KNEE: Final = 0.13
LARGEST_KNEE: Final = 0.95
SCALES_PER_OCTAVE: Final = 3
# Of one scale no more peaks are looked at.
_MAX_PEAKS: Final = 12
_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)


def search(pyramid: list[Floats], template: Floats, constant: float, count: int = MAX_HITS) -> list[Hit]:
    """The `count` strongest separate peaks of the template or its mirror image over all scales."""
    kernel = _search_kernel(template)
    scales = [(_response(sums_of_one(image, SEARCH.cell_px), kernel), first) for image, first in _scaled(pyramid)]
    return apart(_peaks(scales, constant), count)


def levels(pyramid: list[Floats]) -> Iterator[tuple[Floats, Pose]]:
    """The features of each search scale, with the pose of a knee in the first cell."""
    for image, first in _scaled(pyramid):
        yield describe(image, SEARCH.cell_px), first


def _scaled(pyramid: list[Floats]) -> Iterator[tuple[Floats, Pose]]:
    """The picture at each search scale, with the pose of a knee in the first cell."""
    work = pyramid[0]
    octaves = math.log2(LARGEST_KNEE / SMALLEST_KNEE)
    for level in range(math.floor(octaves * SCALES_PER_OCTAVE) + 1):
        knee = SMALLEST_KNEE * max(work.shape) * 2 ** (level / SCALES_PER_OCTAVE)
        factor = SEARCH.knee_px / knee
        columns, rows = scaled_size(work.shape, factor, smallest=2 * SEARCH.cell_px)
        larger = [copy for copy in pyramid if copy.shape[0] >= rows and copy.shape[1] >= columns]
        if larger:
            image = resized(larger[-1], (columns, rows), cv2.INTER_AREA)
        else:
            image = resized(work, (columns, rows), cv2.INTER_LINEAR)
        x_factor, y_factor = work.shape[1] / columns, work.shape[0] / rows
        middle = SEARCH.cell_px / 2
        yield image, Pose(middle * x_factor, middle * y_factor, SEARCH.knee_px * x_factor)


def _search_kernel(template: Floats) -> Floats:
    """The template and its mirror image, row by row, for sums instead of features: (2 x 11, 11 x 6) float32."""
    both = np.stack([template, mirrored(template)], axis=1) @ MIXTURE.T
    return both.reshape(2 * SEARCH.cells, -1)


def _response(sums: Floats, kernel: Floats) -> Floats:
    """How well the template or its mirror image fits on each cell, (rows, columns); the better of the two.

    Each row of cells meets each row of both templates in one matrix product, and the templates' rows are then summed
    downwards: all of it where the processor is fastest, and no product so large that it would be shared among threads.
    """
    rows, columns = sums.shape[:2]
    padded = padded_by_half(sums)
    margin = SEARCH.cells // 2
    down, across, each = padded.strides
    windows = as_strided(padded[margin:], (rows, columns, kernel.shape[1]), (down, across, each))
    products = np.zeros((rows + 2 * margin, len(kernel), columns), np.float32)
    np.matmul(kernel, np.ascontiguousarray(windows).transpose(0, 2, 1), out=products[margin : margin + rows])
    down, next_row, each = products.strides
    aligned = as_strided(
        products, (rows, SEARCH.cells, 2, columns), (down, down + 2 * next_row, next_row, each), writeable=False
    )
    response: Floats = aligned.sum(axis=1).max(axis=1)
    return response


def padded_by_half(features: Floats) -> Floats:
    """Empty cells all around, so that a template can stand on every cell."""
    margin = SEARCH.cells // 2
    rows, columns, directions = features.shape
    padded = np.zeros((rows + 2 * margin, columns + 2 * margin, directions), np.float32)
    padded[margin : margin + rows, margin : margin + columns] = features
    return padded


def _peaks(scales: Sequence[tuple[Floats, Pose]], constant: float) -> Iterator[Hit]:
    """The best peaks of every scale, best first; empty background is one wide flat top and comes last.

    Args:
        scales: each one's responses (rows, columns), and the pose of a knee in the first cell.
    """
    tops = [np.flatnonzero(response >= cv2.dilate(response, _NEIGHBOURS)) for response, _ in scales]
    scores = np.concatenate([response.ravel()[places] for (response, _), places in zip(scales, tops, strict=True)])
    owners = [index for index, places in enumerate(tops) for _ in range(len(places))]
    places = np.concatenate(tops)
    left = [_MAX_PEAKS] * len(scales)
    for peak in np.argsort(-scores, kind="stable").tolist():
        index = owners[peak]
        if left[index]:
            left[index] -= 1
            response, first = scales[index]
            row, column = divmod(int(places[peak]), response.shape[1])
            yield Hit(Pose(first.x * (2 * column + 1), first.y * (2 * row + 1), first.width), float(scores[peak]) + constant)
