"""The radiograph with each knee's box and saliency drawn on it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from osteo_edge.answered import Answer, Answered, Knee
from osteo_edge.decision.scores import likeliest
from osteo_edge.errors import ReportError
from osteo_edge.joints import Box
from osteo_edge.labels import Mode, Status
from osteo_edge.radiograph import Radiograph
from osteo_edge.reports.film import SIDES, as_picture, clipped, draw_box, entitle, scaled
from osteo_edge.reports.lettering import BACKGROUND_BGR, Colour, Letters, Picture
from osteo_edge.reports.naming import name_of
from osteo_edge.reports.text import known, scores
from osteo_edge.storage import write_file
from osteo_edge.wording import BURNED_IN, degrees_told, told_apart

MAX_SIDE_PX = 1600
_ENLARGED_WIDTH_PX = 900
# A narrower film gets a margin, so that the caption keeps to a few lines.
_MIN_WIDTH_PX = 640
_STRONGEST_TINT = 0.55
_FOR_BGR = (40, 140, 255)
_AGAINST_BGR = (255, 150, 60)
_TEXT_BGR = (235, 235, 235)


def save_overlay(prediction: Answered, path: Path, *, question: str | None = None) -> Path:
    """Draw and write the overlay; the format follows the path's ending (``.png``, ``.jpg``).

    Args:
        question: as ``draw_overlay``.

    Raises:
        ReportError: there is nothing to draw, or the file cannot be written.
        KeyError: the question was not asked.
    """
    encoded = _encode(draw_overlay(prediction, question=question), path)
    try:
        write_file(path, encoded)
    except OSError as error:
        raise ReportError(f"the overlay cannot be written to {path}: {error.strerror}") from error
    return path


def overlay_name(prediction: Answered) -> str:
    """A file name for the picture's overlay, as ``naming.name_of`` makes it."""
    return f"{name_of(prediction.source, prediction.digest)}.overlay.png"


def draw_overlay(prediction: Answered, *, question: str | None = None) -> Picture:
    """The overlay, (height, width, 3) uint8 BGR: the film, at most 1600 px a side, and a caption below it.

    Args:
        question: whose boxes, scores and saliency are shown; the first that was not rejected by default.

    Raises:
        ReportError: the picture was rejected, or not explained.
        KeyError: the question was not asked.
    """
    radiograph = prediction.radiograph
    answer = _shown(prediction, question)
    if answer.status is Status.REJECTED or radiograph is None:
        raise ReportError("there is nothing to draw: the picture was rejected, or predicted without explain=True")
    scale = _scale(radiograph)
    canvas = as_picture(radiograph, scale)
    strongest = max((float(np.abs(knee.saliency).max()) for knee in answer.knees if knee.saliency is not None), default=0)
    boxes = [scaled(knee.box, scale) for knee in answer.knees]
    for knee, box in zip(answer.knees, boxes, strict=True):
        _tint(canvas, knee, box, strongest)
    seen = [clipped(box, canvas) for box in boxes]
    for box in seen:
        draw_box(canvas, box)
    film, margin_px = _with_margins(canvas)
    letters = Letters(min(max(film.shape[1] / 1600, 0.55), 0.85))
    for number, (knee, box) in enumerate(zip(answer.knees, seen, strict=True), start=1):
        shifted = Box(box.x0 + margin_px, box.y0, box.x1 + margin_px, box.y1)
        entitle(film, shifted, _title(number, knee, answer), letters)
    return np.vstack([film, _caption(prediction, answer, film.shape[1], letters)])


def _shown(prediction: Answered, question: str | None) -> Answer:
    if question is not None:
        return prediction.answer_to(question)
    return next((answer for answer in prediction.answers if answer.status is not Status.REJECTED), prediction.first)


def _scale(radiograph: Radiograph) -> float:
    longest = max(radiograph.width_px, radiograph.height_px)
    return min(MAX_SIDE_PX / longest, max(1.0, _ENLARGED_WIDTH_PX / radiograph.width_px))


def _with_margins(canvas: Picture) -> tuple[Picture, int]:
    """A narrow film between margins; and the width of the left one."""
    missing = max(0, _MIN_WIDTH_PX - canvas.shape[1])
    left = missing // 2
    wide = np.full((canvas.shape[0], canvas.shape[1] + missing, 3), BACKGROUND_BGR, np.uint8)
    wide[:, left : left + canvas.shape[1]] = canvas
    return wide, left


def _tint(canvas: Picture, knee: Knee, box: Box, strongest: float) -> None:
    """Blend orange where the score speaks for the class, blue where it speaks against it, in place."""
    if knee.saliency is None or strongest <= 0:
        return
    full = cv2.resize(knee.saliency, (box.width, box.height), interpolation=cv2.INTER_CUBIC) / strongest
    seen = clipped(box, canvas)
    share = np.clip(full[seen.y0 - box.y0 : seen.y1 - box.y0, seen.x0 - box.x0 : seen.x1 - box.x0], -1, 1)[..., np.newaxis]
    colour = np.where(share > 0, np.array(_FOR_BGR, np.float32), np.array(_AGAINST_BGR, np.float32))
    weight = np.abs(share) * _STRONGEST_TINT
    inside = canvas[seen.y0 : seen.y1, seen.x0 : seen.x1]
    inside[:] = (inside * (1 - weight) + colour * weight).astype(np.uint8)


def _title(number: int, knee: Knee, answer: Answer) -> str:
    """The knee's number, its side, and the degrees that remain of it where people are told them."""
    side, degrees = knee.joint.laterality, degrees_told(knee, answer)
    named = f"knee {number}: {f'{SIDES[side]} (from the fibula)' if side else 'side not known'}"
    return f"{named}, {degrees}" if degrees else named


def _caption(prediction: Answered, answer: Answer, width: int, letters: Letters) -> Picture:
    code = likeliest(answer.image_probabilities)
    model = answer.model
    asked = f" of {answer.title}" if len(told_apart(prediction)) > 1 else ""
    of_lead = f" of knee {answer.lead + 1}" if answer.lead is not None and len(answer.knees) > 1 else ""
    paragraphs: list[tuple[Colour, str]] = [
        (_TEXT_BGR, prediction.message),
        (_FOR_BGR, f"Orange: speaks for '{code}' (research code{asked}), the likeliest{of_lead} from the picture alone."),
        (_AGAINST_BGR, f"Blue: speaks against '{code}'."),
        *((_TEXT_BGR, told) for told in _scores(answer)),
        (_TEXT_BGR, f"{BURNED_IN}. {model.bundle} {model.version}, picture {(prediction.digest or '')[:8]}"),
    ]
    lines = [(colour, line) for colour, text in paragraphs for line in letters.wrap(text, width - 24)]
    strip = np.full((letters.line_px * len(lines) + 16, width, 3), BACKGROUND_BGR, np.uint8)
    for row, (colour, line) in enumerate(lines):
        letters.draw(strip, [line], 12, 8 + row * letters.line_px, colour)
    return strip


def _scores(answer: Answer) -> list[str]:
    """Of the picture, alone and with what is known; where the question is of knees, of each knee as it is told."""
    if answer.lead is not None:
        rest_on = f"together with {known(answer)}" if answer.mode is Mode.FUSED else "of the picture alone"
        are_several = len(answer.knees) > 1
        each = [
            f"{f'knee {number} ' if are_several else ''}{scores(knee.probabilities)}"
            for number, knee in enumerate(answer.knees, start=1)
        ]
        return [f"Scores (research) {rest_on}: {'; '.join(each)}."]
    alone = f"Scores (research) of the picture alone: {scores(answer.image_probabilities)}."
    if answer.mode is not Mode.FUSED:
        return [alone]
    return [alone, f"Together with {known(answer)}: {scores(answer.probabilities)}."]


def _encode(picture: Picture, path: Path) -> bytes:
    try:
        done, data = cv2.imencode(path.suffix or ".png", picture)
    except cv2.error as error:
        raise ReportError(f"an overlay is written as .png or .jpg, not {path.suffix!r}") from error
    if not done:
        raise ReportError(f"the overlay cannot be encoded as {path.suffix!r}")
    return data.tobytes()
