"""Small copies of a picture, and squares that are cut out of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats, Pixels
    from osteo_edge.finder.poses import Pose, Window

WORK_SIDE_PX: Final = 512
_NARROWEST_PX: Final = 64


def shrink(pixels: Pixels) -> Floats:
    """The working copy: (height, width) float32, longer side at most `WORK_SIDE_PX`."""
    factor = WORK_SIDE_PX / max(pixels.shape)
    if factor >= 1:
        return pixels.astype(np.float32)
    # Integers until it is small: a 40-megapixel film as floats would take 160 MB.
    halved = pixels
    for _ in range(_first_halvings(pixels.shape)):
        rows, columns = halved.shape[0] // 2, halved.shape[1] // 2
        whole = halved[: 2 * rows, : 2 * columns]
        halved = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    small = cv2.resize(halved, scaled_size(pixels.shape, factor), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def pixel_size(shape: tuple[int, ...], work_shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height of a pixel of the working copy, in pixels of the picture.

    The last odd row or column has no part in a halving.
    """
    halvings = _first_halvings(shape)
    height, width = (side >> halvings << halvings for side in shape)
    return width / work_shape[1], height / work_shape[0]


def _first_halvings(shape: tuple[int, ...]) -> int:
    """How often a picture is halved, which OpenCV does with vector instructions, before it is shrunk by what is left.

    That is 2 to 4, so that a pixel of the working copy still is the mean over very nearly its own place: joints of large films
    move by at most 0.002 knee widths, with less left by up to 0.015. A strip stays 64 px wide.
    """
    return max(0, min((max(shape) // WORK_SIDE_PX).bit_length() - 2, (min(shape) // _NARROWEST_PX).bit_length() - 1))


def halvings(work: Floats) -> list[Floats]:
    """The working copy and its halves, down to 64 px, for close-ups without aliasing."""
    pyramid = [work]
    while max(pyramid[-1].shape) > 64:
        pyramid.append(resized(pyramid[-1], scaled_size(pyramid[-1].shape, 0.5), cv2.INTER_AREA))
    return pyramid


def cut_out(pyramid: list[Floats], pose: Pose, window: Window, *, angle: float = 0.0, flip: bool = False) -> Floats:
    """The square around a pose, turned and flipped about its centre where asked, from the coarsest fit copy."""
    cut = np.empty((window.side_px, window.side_px), np.float32)
    cut_into(cut, pyramid, pose, window, angle=angle, flip=flip)
    return cut


def cut_into(cut: Floats, pyramid: list[Floats], pose: Pose, window: Window, *, angle: float = 0.0, flip: bool = False) -> None:
    work = pyramid[0]
    fit = [copy for copy in pyramid if pose.width * copy.shape[1] >= window.knee_px * work.shape[1]]
    source = fit[-1] if fit else work
    x_factor, y_factor = source.shape[1] / work.shape[1], source.shape[0] / work.shape[0]
    zoom = pose.width / window.knee_px
    across, down = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = [[-across if flip else across, -down], [-down if flip else down, across]]
    middle = (window.side_px - 1) / 2
    # Poses count from the edge of the first pixel, OpenCV from its middle.
    x = (pose.x - (turn[0][0] * middle + turn[0][1] * middle)) * x_factor - 0.5
    y = (pose.y - (turn[1][0] * middle + turn[1][1] * middle)) * y_factor - 0.5
    matrix = [[turn[0][0] * x_factor, turn[0][1] * x_factor, x], [turn[1][0] * y_factor, turn[1][1] * y_factor, y]]
    cv2.warpAffine(
        source,
        np.array(matrix),
        (window.side_px, window.side_px),
        dst=cut,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def scaled_size(shape: tuple[int, ...], factor: float, smallest: int = 1) -> tuple[int, int]:
    """(columns, rows), as OpenCV wants it."""
    rows, columns = (max(smallest, round(side * factor)) for side in shape)
    return columns, rows


def resized(image: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.float32)
