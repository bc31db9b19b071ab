"""A picture turned by quarters, and places of it in the picture as it was given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from osteo_edge.joints import Box, Joint

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Floats, Pixels

    Greys = TypeVar("Greys", Pixels, Floats)

Degrees = Literal[0, 90, 180, 270]


def turned(pixels: Greys, degrees: Degrees) -> Greys:
    """(height, width) greys turned clockwise, in rows of their own."""
    return np.ascontiguousarray(np.rot90(pixels, -degrees // 90))  # type: ignore[return-value]


@dataclass(frozen=True)
class Turn:
    """How a picture was turned to be looked at.

    Attributes:
        degrees: clockwise.
        height_px, width_px: of the picture as it was given.
    """

    degrees: Degrees
    height_px: int
    width_px: int

    def joint_as_given(self, joint: Joint) -> Joint:
        """Its middle; its width is a distance, across the leg, and stays."""
        x, y = self._as_given(joint.x_px, joint.y_px)
        return replace(joint, x_px=x, y_px=y)

    def box_as_given(self, box: Box) -> Box:
        xs, ys = zip(self._as_given(box.x0, box.y0), self._as_given(box.x1, box.y1), strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))

    def map_as_given(self, values: NDArray[Any]) -> NDArray[Any]:
        """(rows, columns) over a box of the turned picture, over the same box of the picture as it was given."""
        return np.ascontiguousarray(np.rot90(values, self.degrees // 90))

    def _as_given(self, x: Any, y: Any) -> tuple[Any, Any]:
        if self.degrees == 90:
            return y, self.height_px - x
        if self.degrees == 180:
            return self.width_px - x, self.height_px - y
        if self.degrees == 270:
            return self.width_px - y, x
        return x, y
