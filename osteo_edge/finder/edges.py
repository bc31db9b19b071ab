"""A picture described by the directions of its edges, cell by cell."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from osteo_edge.finder.copies import cut_into, cut_out, resized
from osteo_edge.finder.poses import CLOSE_UP, DIRECTIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osteo_edge.arrays import Floats
    from osteo_edge.finder.poses import Pose

# How the sums over a cell give its strength in each direction. Only gradients' positive parts towards 0, 45, 90 and
# 135 degrees are summed (the diagonal ones too long by the root of two), and the gradients themselves, dx and dy: what
# points the other way is what the positive part is more than the whole. Rows: positive parts, dx, dy; columns: directions.
_HALF = math.sqrt(0.5)
MIXTURE: Final = np.array(
    [
        [1, 0, 0, 0, 1, 0, 0, 0],
        [0, _HALF, 0, 0, 0, _HALF, 0, 0],
        [0, 0, 1, 0, 0, 0, 1, 0],
        [0, 0, 0, _HALF, 0, 0, 0, _HALF],
        [0, 0, 0, 0, -1, -_HALF, 0, _HALF],
        [0, 0, 0, 0, 0, -_HALF, -1, -_HALF],
    ],
    np.float32,
)
_SUM_OF_DIRECTIONS: Final = MIXTURE.sum(axis=1)
# Added to the strength of the edges around a cell, as a share of the whole picture's, so that empty
# background stays quiet.
_QUIET = 0.3
# Far below any strength of a picture that is not flat.
_TINY = 1e-6


def describe(image: Floats, cell_px: int) -> Floats:
    """Edge strength by direction, relative to the strength around.

    Args:
        image: (height, width) float32 of any scale.
        cell_px: side of a cell, even; pixels beyond the last whole cell are left out.

    Returns:
        (rows, columns, DIRECTIONS) float32; direction k is a gradient towards k x 45 degrees.
    """
    features: Floats = sums_of_one(image, cell_px) @ MIXTURE
    return features


def sums_of_one(image: Floats, cell_px: int) -> Floats:
    """(rows, columns, 6) float32 of a picture of any size."""
    rows, columns = image.shape[0] // cell_px, image.shape[1] // cell_px
    sums: Floats = _relative_sums(image[: rows * cell_px, np.newaxis, : columns * cell_px], cell_px)[0]
    return sums


def _relative_sums(images: Floats, cell_px: int) -> Floats:
    """Of each of several pictures that lie side by side, what ``MIXTURE`` makes ``describe``'s features of.

    A radiograph takes some twenty descriptions of small pictures, where calls cost more than sums: hence several pictures
    at once, with everything to be summed over cells as one wide picture.

    Args:
        images: (height, pictures, width) float32, both sides whole numbers of cells.
        cell_px: side of a cell, even.

    Returns:
        (pictures, rows, columns, 6) float32.
    """
    height, pictures, width = images.shape
    rows, columns = height // cell_px, width // cell_px
    sums = _over_cells(_gradients(images).reshape(height, -1), cell_px).reshape(rows, -1, pictures * columns)
    strength = (_SUM_OF_DIRECTIONS @ sums).reshape(rows, pictures, columns)
    sums /= _scale(strength).reshape(rows, 1, -1)
    return sums.reshape(rows, len(MIXTURE), pictures, columns).transpose(2, 0, 3, 1)


def _scale(strength: Floats) -> Floats:
    """What a cell's strength is relative to: the mean around it and a share of its picture's; (rows, pictures, columns)."""
    rows, pictures, columns = strength.shape
    framed = np.empty((rows, pictures, columns + 2), np.float32)
    framed[:, :, 1:-1] = strength
    framed[:, :, 0], framed[:, :, -1] = strength[:, :, 0], strength[:, :, -1]
    around = cv2.blur(framed.reshape(rows, -1), (3, 3), borderType=cv2.BORDER_REPLICATE).reshape(framed.shape)
    quiet = strength.sum(axis=(0, 2)) * np.float32(_QUIET / (rows * columns)) + np.float32(_TINY)
    scale: Floats = around[:, :, 1:-1] + quiet[:, np.newaxis]
    return scale


def _gradients(images: Floats) -> Floats:
    """What is summed over cells, as ``MIXTURE`` takes it: (height, 6, pictures, width) float32."""
    height, pictures, width = images.shape
    planes = np.empty((height, len(MIXTURE), pictures, width), np.float32)
    dx, dy = planes[:, 4], planes[:, 5]
    np.subtract(images[:, :, 2:], images[:, :, :-2], out=dx[:, :, 1:-1])
    np.subtract(images[:, :, 1], images[:, :, 0], out=dx[:, :, 0])
    np.subtract(images[:, :, -1], images[:, :, -2], out=dx[:, :, -1])
    np.subtract(images[2:], images[:-2], out=dy[1:-1])
    np.subtract(images[1], images[0], out=dy[0])
    np.subtract(images[-1], images[-2], out=dy[-1])
    wide = planes.reshape(height, len(MIXTURE), -1)
    x, y = wide[:, 4], wide[:, 5]
    for index, along in enumerate((x, x + y, y, y - x)):
        # OpenCV's way to the positive part takes a third of numpy's time.
        cv2.threshold(along, 0, 0, cv2.THRESH_TOZERO, dst=wide[:, index])
    return planes


def _over_cells(planes: Floats, cell_px: int) -> Floats:
    """Means over cells, (rows, columns): halved first, which OpenCV does with vector instructions."""
    rows, columns = planes.shape[0] // cell_px, planes.shape[1] // cell_px
    halved = resized(planes, (planes.shape[1] // 2, planes.shape[0] // 2), cv2.INTER_AREA)
    return resized(halved, (columns, rows), cv2.INTER_AREA)


def mirrored(features: Floats) -> Floats:
    """What `describe` gives for the picture seen in a mirror."""
    directions = [(DIRECTIONS // 2 - k) % DIRECTIONS for k in range(DIRECTIONS)]
    return np.ascontiguousarray(features[:, ::-1, directions])


def close_up(pyramid: list[Floats], pose: Pose) -> Floats:
    """(11, 11, 8) float32 features around a pose."""
    return describe(cut_out(pyramid, pose, CLOSE_UP), CLOSE_UP.cell_px)


def _close_ups(pyramid: list[Floats], poses: Sequence[Pose]) -> Floats:
    """(poses, 11, 11, 6) float32 sums around each pose."""
    if not poses:
        return np.empty((0, CLOSE_UP.cells, CLOSE_UP.cells, len(MIXTURE)), np.float32)
    cuts = np.empty((CLOSE_UP.side_px, len(poses), CLOSE_UP.side_px), np.float32)
    for index, pose in enumerate(poses):
        cut_into(cuts[:, index], pyramid, pose, CLOSE_UP)
    return _relative_sums(cuts, CLOSE_UP.cell_px)


@dataclass(frozen=True)
class LinearFunctions:
    """Of a close-up, taken on the sums that its features are made of: weights (726, n), constants (n,)."""

    weights: Floats
    constants: Floats

    @classmethod
    def of(cls, learned: Floats) -> LinearFunctions:
        """From (969, n) weights of features."""
        by_cell = learned[:-1].reshape(-1, DIRECTIONS, learned.shape[1])
        return cls((MIXTURE @ by_cell).reshape(-1, learned.shape[1]), learned[-1])

    def answers(self, pyramid: list[Floats], poses: Sequence[Pose]) -> Floats:
        """(poses, n) float32."""
        answers: Floats = _close_ups(pyramid, poses).reshape(-1, len(self.weights)) @ self.weights + self.constants
        return answers
