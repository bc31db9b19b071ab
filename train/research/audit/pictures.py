"""Pictures of what was found, small enough to stand inside of the report."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from train.research.audit.descriptors import Descriptor, work_in_form
from train.research.audit.duplicates import Twin
from train.runs.arrays import Bytes, Doubles

SHOWN_PX = 260
_JPEG_QUALITY = 72
_GAP_PX = 6
_OUTLINE = (60, 170, 255)  # blue, green, red: orange on greys


def draw_twin(first: Descriptor, second: Descriptor, twin: Twin) -> str:
    """Both pictures side by side as a JPEG data URI; the second with the outline of the first upon it.

    The third panel lays one on the other in red and cyan: grey where they are one.
    """
    panels = [np.dstack([one.work] * 3) for one in (first, second)]
    if twin.registration is not None:
        moving = work_in_form(first, twin.registration.form)
        matrix = twin.registration.matrix
        panels.append(_laid_on(moving, second.work, matrix))
        cv2.polylines(panels[1], [_outline(moving, matrix)], True, _OUTLINE, 3, cv2.LINE_AA)
    return _data_uri(_side_by_side([_fitted(panel) for panel in panels]))


def _outline(moving: Bytes, matrix: Doubles) -> NDArray[np.int32]:
    height, width = moving.shape
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], np.float64)
    return np.rint(corners @ matrix[:, :2].T + matrix[:, 2]).astype(np.int32)


def _laid_on(moving: Bytes, fixed: Bytes, matrix: Doubles) -> Bytes:
    warped = cv2.warpAffine(moving, matrix, (fixed.shape[1], fixed.shape[0]))
    return np.dstack([fixed, fixed, warped])


def _fitted(panel: Bytes) -> Bytes:
    scale = SHOWN_PX / max(panel.shape[:2])
    size = (max(1, round(panel.shape[1] * scale)), max(1, round(panel.shape[0] * scale)))
    return cv2.resize(panel, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _side_by_side(panels: list[Bytes]) -> Bytes:
    row = np.full((SHOWN_PX, sum(panel.shape[1] + _GAP_PX for panel in panels) - _GAP_PX, 3), 128, np.uint8)
    left = 0
    for panel in panels:
        row[: panel.shape[0], left : left + panel.shape[1]] = panel
        left += panel.shape[1] + _GAP_PX
    return row


def _data_uri(picture: Bytes) -> str:
    encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1]
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
