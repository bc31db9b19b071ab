"""One picture of all radiographs with the annotated and the found knees, for the eye."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.poses import choose
from osteo_edge.labels import Laterality
from train.finder.pictures import Example
from train.runs.arrays import Bytes


def contact_sheet(finder: JointFinder, examples: Sequence[Example], columns: int = 10, side_px: int = 240) -> Bytes:
    """Every picture with its true joint lines (green) and the found knees (orange: right, blue: left)."""
    rows = -(-len(examples) // columns)
    sheet = np.zeros((rows * side_px, columns * side_px, 3), np.uint8)
    for index, example in enumerate(examples):
        picture = drawn(finder, example, side_px)
        y, x = (part * side_px for part in divmod(index, columns))
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def drawn(finder: JointFinder, example: Example, side_px: int) -> Bytes:
    factor = side_px / max(example.work.shape)
    small = cv2.resize(example.work, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[:side_px, :side_px]
    grey = cv2.normalize(small, np.empty_like(small), 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    picture: Bytes = np.dstack([grey] * 3)
    for joint in example.joints:
        left, right = ((round((joint.x + half * joint.width) * factor), round(joint.y * factor)) for half in (-0.5, 0.5))
        cv2.line(picture, left, right, (0, 255, 0), 1)
    for hit in choose(finder.examine(example.pyramid), finder.threshold):
        is_right = hit.laterality is Laterality.RIGHT
        first, last = (
            (round((hit.pose.x + half * hit.pose.width) * factor), round((hit.pose.y + half * hit.pose.width) * factor))
            for half in (-0.6, 0.6)
        )
        cv2.rectangle(picture, first, last, (0, 160, 255) if is_right else (255, 160, 0), 1)
        cv2.putText(picture, f"{hit.score:.2f}", (first[0], first[1] - 3), 0, 0.35, (0, 255, 255), 1)
    cv2.putText(picture, Path(example.name).stem, (2, 11), 0, 0.38, (0, 255, 255), 1)
    return picture
