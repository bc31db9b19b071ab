"""A film as people are shown it: small enough for a screen, its greys stretched, a box about each knee."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from osteo_edge.images.greys import grey_range
from osteo_edge.joints import Box
from osteo_edge.labels import Laterality
from osteo_edge.radiograph import Radiograph
from osteo_edge.reports.lettering import Colour, Letters, Picture

BOX_BGR: Final[Colour] = (80, 220, 120)
# Of the patient, as the fibula suggests.
SIDES: Final = {Laterality.RIGHT: "R?", Laterality.LEFT: "L?"}


def as_picture(radiograph: Radiograph, scale: float) -> Picture:
    """The film at this scale, (height, width, 3) uint8 BGR."""
    size = (max(1, round(radiograph.width_px * scale)), max(1, round(radiograph.height_px * scale)))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(radiograph.pixels, size, interpolation=interpolation)
    low, high = grey_range(small, 0.5, 99.5)
    grey = np.clip((small.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def draw_box(canvas: Picture, box: Box) -> None:
    """A frame about the box, in place."""
    cv2.rectangle(canvas, (box.x0 + 1, box.y0 + 1), (box.x1 - 2, box.y1 - 2), BOX_BGR, 2)


def entitle(film: Picture, box: Box, title: str, letters: Letters) -> None:
    """A title below the box, or inside where there is no room below: markers of the side usually stand above a knee."""
    lines = letters.wrap(title, max(box.width, film.shape[1] // 4) - 16)
    height = letters.line_px * len(lines) + 6
    width = max(map(letters.width_px, lines)) + 16
    has_room = box.y1 + height <= film.shape[0]
    top = box.y1 if has_room else max(0, box.y1 - height - 3)
    left = max(0, min(box.x0 + (0 if has_room else 3), film.shape[1] - width))
    plate = film[top : top + height, left : left + width]
    plate[:] = (plate * 0.4).astype(np.uint8)
    letters.draw(film, lines, left + 8, top + 3, BOX_BGR)


def clipped(box: Box, canvas: Picture) -> Box:
    """The part of the box that lies on the canvas, never empty."""
    height, width = canvas.shape[:2]
    x0, y0 = min(max(box.x0, 0), width - 1), min(max(box.y0, 0), height - 1)
    return Box(x0, y0, max(min(box.x1, width), x0 + 1), max(min(box.y1, height), y0 + 1))


def scaled(box: Box, scale: float) -> Box:
    """The box of a film at this scale."""
    x0, y0 = round(box.x0 * scale), round(box.y0 * scale)
    return Box(x0, y0, max(round(box.x1 * scale), x0 + 1), max(round(box.y1 * scale), y0 + 1))
