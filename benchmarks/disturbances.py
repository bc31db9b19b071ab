"""The same radiograph as it may come another time: cropped, resized, with other greys, stored with loss, mirrored, framed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from osteo_edge.joints import Joint
from train.runs.arrays import Doubles, Pixels

ONE_KNEE, CROPPED, RESIZED, GAMMA, JPEG, MIRRORED, BORDER = (
    "cropped to one knee",
    "cropped by 5 %",
    "resized",
    "gamma",
    "JPEG",
    "mirrored",
    "black border",
)
CROP = 0.05
# From the joint to each side, in knee widths.
KNEE_REACH = 1.0
# A crop that leaves more than this of the picture is none.
MOST_LEFT = 0.9
FACTORS = (0.5, 0.75, 1.5, 2.0)
EXPONENTS = (0.8, 0.9, 1.1, 1.25)
QUALITIES = (60, 75, 85, 95)
BORDERS = (0.05, 0.2)


@dataclass(frozen=True)
class Change:
    """A changed picture.

    Attributes:
        name: of this one among its kind.
        image: pixels, or the bytes of a file.
        matrix: (2, 3), from a place in the unchanged picture to that in this one; the middle of pixel i is at i + 0.5.
        width_px, height_px: of this one.
    """

    kind: str
    name: str
    image: Pixels | bytes = field(repr=False)
    matrix: Doubles
    width_px: int
    height_px: int

    def place_of(self, joint: Joint) -> tuple[float, float] | None:
        """Where the joint's middle lies now; None beyond the edge."""
        x, y = (self.matrix @ np.array([joint.x_px, joint.y_px, 1.0])).tolist()
        return (x, y) if 0 <= x < self.width_px and 0 <= y < self.height_px else None

    @property
    def scale(self) -> float:
        """Of lengths along the picture's width."""
        return float(abs(self.matrix[0, 0]))


def changes_of(pixels: Pixels, joints: Sequence[Joint]) -> Iterator[Change]:
    """Every change, the mildest of a kind and the strongest.

    Args:
        pixels: (height, width), bone bright.
        joints: that were found in it.
    """
    yield from _one_knee(pixels, joints)
    yield from _cropped(pixels)
    yield from (_resized(pixels, factor) for factor in FACTORS)
    yield from (_changed(GAMMA, f"{one:g}", regraded(pixels, one), _still()) for one in EXPONENTS)
    yield from (_stored(pixels, quality) for quality in QUALITIES)
    yield _changed(MIRRORED, MIRRORED, pixels[:, ::-1], np.array([[-1.0, 0, pixels.shape[1]], [0, 1, 0]]))
    yield from (_framed(pixels, share) for share in BORDERS)


def regraded(pixels: Pixels, exponent: float) -> Pixels:
    """Greys between nothing and the most that the type holds, to the power of ``exponent``; above 1 the picture is darker."""
    most = np.iinfo(pixels.dtype).max
    levels = np.rint((np.arange(most + 1) / most) ** exponent * most).astype(pixels.dtype)
    return levels[pixels]  # type: ignore[return-value]  # of the picture's own type


def _one_knee(pixels: Pixels, joints: Sequence[Joint]) -> Iterator[Change]:
    """A square around each joint, as far as the picture goes; nothing where that is nearly all of it."""
    height, width = pixels.shape
    for number, joint in enumerate(joints):
        reach = KNEE_REACH * joint.width_px
        left, right = max(0, round(joint.x_px - reach)), min(width, round(joint.x_px + reach))
        top, bottom = max(0, round(joint.y_px - reach)), min(height, round(joint.y_px + reach))
        if (right - left) * (bottom - top) <= MOST_LEFT * width * height:
            yield _cut(ONE_KNEE, f"knee {number + 1}", pixels, left, top, right, bottom)


def _cropped(pixels: Pixels) -> Iterator[Change]:
    height, width = pixels.shape
    across, down = round(CROP * width), round(CROP * height)
    yield _cut(CROPPED, "left", pixels, across, 0, width, height)
    yield _cut(CROPPED, "right", pixels, 0, 0, width - across, height)
    yield _cut(CROPPED, "top", pixels, 0, down, width, height)
    yield _cut(CROPPED, "bottom", pixels, 0, 0, width, height - down)
    yield _cut(CROPPED, "every side", pixels, across, down, width - across, height - down)


def _cut(kind: str, name: str, pixels: Pixels, left: int, top: int, right: int, bottom: int) -> Change:
    return _changed(kind, name, pixels[top:bottom, left:right], np.array([[1.0, 0, -left], [0, 1, -top]]))


def _resized(pixels: Pixels, factor: float) -> Change:
    height, width = pixels.shape
    size = round(width * factor), round(height * factor)
    way = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    matrix = np.array([[size[0] / width, 0, 0], [0, size[1] / height, 0]])
    return _changed(RESIZED, f"{factor:g}", cv2.resize(pixels, size, interpolation=way), matrix)  # type: ignore[arg-type]


def _stored(pixels: Pixels, quality: int) -> Change:
    greys = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    data = cv2.imencode(".jpg", greys, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    return Change(JPEG, str(quality), data, _still(), pixels.shape[1], pixels.shape[0])


def _framed(pixels: Pixels, share: float) -> Change:
    width = round(share * max(pixels.shape))
    matrix = np.array([[1.0, 0, width], [0, 1, width]])
    return _changed(BORDER, f"{share:.0%}", np.pad(pixels, width), matrix)  # type: ignore[arg-type]


def _changed(kind: str, name: str, pixels: Pixels, matrix: Doubles) -> Change:
    return Change(kind, name, pixels.copy(), matrix, pixels.shape[1], pixels.shape[0])


def _still() -> Doubles:
    return np.eye(2, 3)
