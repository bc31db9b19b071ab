"""The radiograph with each knee's box and saliency drawn on it."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import ReportError
from osteo_edge.images.greys import grey_range
from osteo_edge.images.region import Box
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import Mode, Status
from osteo_edge.prediction import Knee, Prediction
from osteo_edge.radiograph import Radiograph
from osteo_edge.reports.wording import BURNED_IN
from osteo_edge.storage import write_file

Picture = NDArray[np.uint8]

MAX_SIDE_PX = 1600
_MAX_STEM_BYTES = 100
_MIN_WIDTH_PX = 900
_STRONGEST_TINT = 0.55
_FOR_BGR = (40.0, 140.0, 255.0)
_AGAINST_BGR = (255.0, 150.0, 60.0)
_BOX_BGR = (80, 220, 120)
_TEXT_BGR = (235, 235, 235)
_LINE_PX = 26
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def save_overlay(prediction: Prediction, path: Path) -> Path:
    """Draw and write the overlay; the format follows the path's ending (``.png``, ``.jpg``).

    Raises:
        ReportError: there is nothing to draw, or the file cannot be written.
    """
    encoded = _encode(draw_overlay(prediction), path)
    try:
        write_file(path, encoded)
    except OSError as error:
        raise ReportError(f"the overlay cannot be written to {path}: {error.strerror}") from error
    return path


def overlay_name(prediction: Prediction) -> str:
    """A file name for the picture's overlay: the picture's own name, harmless and cut to 100 bytes, and what tells it apart.

    The twelve digits come from where the picture lies and from its bytes: pictures of one name in different folders, and the
    same bytes in two places, have overlays of their own, and an answer given again replaces its older overlay. What a terminal
    or a file manager does not show as it is (line ends, escapes, marks that turn the direction of writing) is ``_``.
    """
    stem = Path(prediction.source).stem.strip("-. ") or "stdin"
    shown = "".join(character if character.isprintable() else "_" for character in stem)
    place = f"{_place(prediction.source)}\0{prediction.digest}".encode(errors="surrogatepass")
    return f"{shown.encode()[:_MAX_STEM_BYTES].decode(errors='ignore')}-{sha256_hex(place)[:12]}.overlay.png"


def _place(source: str) -> str:
    try:
        return os.path.abspath(source)
    except OSError:  # the working folder was removed
        return source


def draw_overlay(prediction: Prediction) -> Picture:
    """The overlay, (height, width, 3) uint8 BGR: at most 1600 px a side, with a caption below.

    Raises:
        ReportError: the picture was rejected, or not explained.
    """
    radiograph = prediction.radiograph
    if prediction.status is Status.REJECTED or radiograph is None:
        raise ReportError("there is nothing to draw: the picture was rejected, or predicted without explain=True")
    scale = _scale(radiograph)
    canvas = _as_picture(radiograph, scale)
    strongest = max((float(np.abs(knee.saliency).max()) for knee in prediction.knees if knee.saliency is not None), default=0)
    for number, knee in enumerate(prediction.knees, start=1):
        _tint(canvas, knee, scale, strongest)
        _frame(canvas, _scaled(knee.box, scale), number)
    return np.vstack([canvas, _caption(prediction, canvas.shape[1])])


def _scale(radiograph: Radiograph) -> float:
    longest = max(radiograph.width_px, radiograph.height_px)
    return min(MAX_SIDE_PX / longest, max(1.0, _MIN_WIDTH_PX / radiograph.width_px))


def _as_picture(radiograph: Radiograph, scale: float) -> Picture:
    size = (round(radiograph.width_px * scale), round(radiograph.height_px * scale))
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small = cv2.resize(radiograph.pixels, size, interpolation=interpolation)
    low, high = grey_range(small, 0.5, 99.5)
    grey = np.clip((small.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., np.newaxis], 3, axis=2)


def _tint(canvas: Picture, knee: Knee, scale: float, strongest: float) -> None:
    """Blend orange where the score speaks for the class, blue where it speaks against it, in place."""
    if knee.saliency is None or strongest <= 0:
        return
    box = _scaled(knee.box, scale)
    full = cv2.resize(knee.saliency, (box.width, box.height), interpolation=cv2.INTER_CUBIC) / strongest
    height, width = canvas.shape[:2]
    left, top, right, bottom = max(box.x0, 0), max(box.y0, 0), min(box.x1, width), min(box.y1, height)
    share = np.clip(full[top - box.y0 : bottom - box.y0, left - box.x0 : right - box.x0], -1, 1)[..., np.newaxis]
    colour = np.where(share > 0, np.array(_FOR_BGR, np.float32), np.array(_AGAINST_BGR, np.float32))
    weight = np.abs(share) * _STRONGEST_TINT
    inside = canvas[top:bottom, left:right]
    inside[:] = (inside * (1 - weight) + colour * weight).astype(np.uint8)


def _frame(canvas: Picture, box: Box, number: int) -> None:
    corner = (max(box.x0, 1), max(box.y0, 1))
    opposite = (min(box.x1, canvas.shape[1] - 2), min(box.y1, canvas.shape[0] - 2))
    cv2.rectangle(canvas, corner, opposite, _BOX_BGR, 2)
    cv2.putText(canvas, f"knee {number}", (corner[0] + 8, corner[1] + 24), _FONT, 0.7, _BOX_BGR, 2, cv2.LINE_AA)


def _caption(prediction: Prediction, width: int) -> Picture:
    alone = " alone" if prediction.mode is Mode.FUSED else ""
    sentences = [
        prediction.message,
        f"Orange: raises the score of the class that the picture{alone} is likeliest to belong to; blue: lowers it.",
        f"{BURNED_IN}. {prediction.model.bundle} {prediction.model.version}",
    ]
    lines = [line for text in sentences for line in _wrapped(text, width - 24)]
    strip = np.zeros((_LINE_PX * len(lines) + 14, width, 3), np.uint8)
    for row, line in enumerate(lines, start=1):
        cv2.putText(strip, line, (12, _LINE_PX * row), _FONT, 0.6, _TEXT_BGR, 1, cv2.LINE_AA)
    return strip


def _wrapped(text: str, width_px: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cv2.getTextSize(longer, _FONT, 0.6, 1)[0][0] <= width_px or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _scaled(box: Box, scale: float) -> Box:
    return Box(round(box.x0 * scale), round(box.y0 * scale), round(box.x1 * scale), round(box.y1 * scale))


def _encode(picture: Picture, path: Path) -> bytes:
    try:
        done, data = cv2.imencode(path.suffix or ".png", picture)
    except cv2.error as error:
        raise ReportError(f"an overlay is written as .png or .jpg, not {path.suffix!r}") from error
    if not done:
        raise ReportError(f"the overlay cannot be encoded as {path.suffix!r}")
    return data.tobytes()
