"""The picture on a page: read again, framed, and with the research use burned into its pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import cv2
import numpy as np

from osteo_edge.errors import InputError
from osteo_edge.images import reader
from osteo_edge.joints import Box
from osteo_edge.labels import Laterality
from osteo_edge.radiograph import Radiograph
from osteo_edge.reports.film import SIDES, as_picture, clipped, draw_box, entitle, scaled
from osteo_edge.reports.lettering import BACKGROUND_BGR, Letters, Picture
from osteo_edge.reports.pages import captions
from osteo_edge.reports.pages.answers import Answered
from osteo_edge.reports.pages.page import Film
from osteo_edge.wording import BURNED_IN

if TYPE_CHECKING:
    from osteo_edge.images.reader import ImageSource


class Read(Protocol):
    """Reads a radiograph; raises ``InputError`` where it cannot."""

    def __call__(self, image: ImageSource, *, source: str | None = None) -> Radiograph: ...


MAX_SIDE_PX: Final = 900
THUMBNAIL_PX: Final = 120
_QUALITY: Final = 85
_DIGITS_SHOWN: Final = 8
_WHITE_BGR: Final = (235, 235, 235)


def film_of(answered: Answered, image: ImageSource, read: Read = reader.read) -> Film:
    """The picture that was answered for; another one than that, or none, is told and not shown.

    Args:
        image: where the picture is now.
        read: reads it, as ``reader.read`` does.
    """
    if answered.sha256 is None:
        return Film(b"", 0, 0, captions.NOT_FOUND)
    try:
        radiograph = read(image, source=answered.source)
    except InputError:
        return Film(b"", 0, 0, captions.NOT_FOUND)
    if radiograph.digest != answered.sha256:
        return Film(b"", 0, 0, captions.ANOTHER)
    canvas = _drawn(radiograph, answered)
    return Film(_as_jpeg(canvas), canvas.shape[1], canvas.shape[0], captions.BOXES if answered.boxes else captions.NO_BOXES)


def thumbnail_of(film: Film) -> bytes:
    """The same as a JPEG of at most 120 px a side; empty where there is no picture."""
    if not film.is_shown:
        return b""
    canvas = cv2.imdecode(np.frombuffer(film.data, np.uint8), cv2.IMREAD_COLOR)
    scale = THUMBNAIL_PX / max(film.width_px, film.height_px)
    size = (max(1, round(film.width_px * scale)), max(1, round(film.height_px * scale)))
    return _as_jpeg(np.asarray(cv2.resize(np.asarray(canvas), size, interpolation=cv2.INTER_AREA), np.uint8))


def small_jpeg(radiograph: Radiograph) -> bytes:
    """A radiograph without frames, as a JPEG of at most 120 px a side, to choose it by."""
    return _as_jpeg(as_picture(radiograph, THUMBNAIL_PX / max(radiograph.width_px, radiograph.height_px)))


def _drawn(radiograph: Radiograph, answered: Answered) -> Picture:
    scale = MAX_SIDE_PX / max(radiograph.width_px, radiograph.height_px)
    canvas = as_picture(radiograph, scale)
    letters = Letters(0.9)
    for joint, box in answered.boxes:
        seen = clipped(scaled(box, scale), canvas)
        draw_box(canvas, seen)
        _name(canvas, seen, joint.laterality, letters)
    return np.vstack([canvas, _burned_in(answered, canvas.shape[1])])


def _name(canvas: Picture, box: Box, side: str | None, letters: Letters) -> None:
    if side is not None:
        entitle(canvas, box, SIDES[Laterality(side)], letters)


def _burned_in(answered: Answered, width_px: int) -> Picture:
    letters = Letters(1.0)
    lines = letters.wrap(f"{BURNED_IN}. Picture {(answered.sha256 or '')[:_DIGITS_SHOWN]}", max(width_px - 16, 60))
    strip = np.full((letters.line_px * len(lines) + 12, width_px, 3), BACKGROUND_BGR, np.uint8)
    letters.draw(strip, lines, 8, 6, _WHITE_BGR)
    return strip


def _as_jpeg(picture: Picture) -> bytes:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return data.tobytes()
