"""Where a joint is thought to be, the windows that are looked at around it, and which of several hits are joints."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from osteo_edge.arrays import Floats
    from osteo_edge.labels import Laterality

DIRECTIONS: Final = 8
# Hits that are followed to a joint. `train/results/knee-finder/evaluation.json` tells how often more would change an answer.
MAX_HITS: Final = 3
# Hits this near to a stronger one, in knee widths, are the same joint.
SAME_JOINT: Final = 0.4
# No knee is seen as one that is wider than these shares of the picture.
MAX_SHARE_OF_WIDTH: Final = 1.1
MAX_SHARE_OF_HEIGHT: Final = 1.5
# A picture of one joint and nothing else, as archives of joints keep them: where the knee's middle lies, and how wide it is, in
# shares of the picture's sides. Hardly anything but a knee is taken for one just there, so that a weaker hit will do, as
# deformed joints give it; `train/results/knee-finder/evaluation.json` tells of both (joint_crops, windows_of_not_a_knee).
FILLING_X: Final = (0.4, 0.6)
FILLING_Y: Final = (0.4, 0.7)
FILLING_WIDTH: Final = (0.7, 1.0)
# What two knees of one person have in common, in knee widths.
MAX_WIDTH_RATIO: Final = 1.4
MAX_HEIGHT_DIFFERENCE: Final = 0.8
MIN_DISTANCE: Final = 0.9
# One stage moves a joint by no more than this, in knee widths and in the logarithm of the width.
_LONGEST_STEP = 0.3


@dataclass(frozen=True)
class Pose:
    """Where a joint is thought to be, in pixels of the working copy."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Hit:
    """A pose, how well something fits there, and the patient's side where that was looked at and is told."""

    pose: Pose
    score: float
    laterality: Laterality | None = None


@dataclass(frozen=True)
class Window:
    """A square cut-out in which a knee is `knee_px` wide, described by `cells` x `cells` square cells."""

    knee_px: int
    cell_px: int
    cells: int

    @property
    def side_px(self) -> int:
        return self.cell_px * self.cells

    @property
    def features(self) -> int:
        return self.cells * self.cells * DIRECTIONS


SEARCH: Final = Window(knee_px=24, cell_px=4, cells=11)
CLOSE_UP: Final = Window(knee_px=48, cell_px=6, cells=11)


def moved(pose: Pose, step: Floats) -> Pose:
    """A pose after one stage: `step` holds dx and dy in knee widths and the logarithm of the width's change."""
    dx, dy, growth = (min(max(value, -_LONGEST_STEP), _LONGEST_STEP) for value in step.tolist())
    return Pose(pose.x + dx * pose.width, pose.y + dy * pose.width, pose.width * math.exp(growth))


def strongest(hits: Iterable[Hit], count: int) -> list[Hit]:
    """The best hits that are not the same joint as a better one."""
    return apart(sorted(hits, key=lambda hit: hit.score, reverse=True), count)


def apart(hits: Iterable[Hit], count: int) -> list[Hit]:
    """The first hits, best first, that are not the same joint as a better one."""
    kept: list[Hit] = []
    for hit in hits:
        if all(_distance(hit.pose, other.pose) > SAME_JOINT for other in kept):
            kept.append(hit)
        if len(kept) == count:
            break
    return kept


def choose(hits: list[Hit], threshold: float) -> list[Hit]:
    """The best knee and the best plausible second one, left to right. `hits` are best first."""
    knees = [hit for hit in hits if hit.score >= threshold]
    if not knees:
        return []
    second = [knee for knee in knees[1:] if _is_pair(knees[0].pose, knee.pose)]
    return sorted([knees[0], *second[:1]], key=lambda hit: hit.pose.x)


def is_shown(pose: Pose, work: Floats) -> bool:
    """The centre and most of the knee lie inside the picture."""
    height, width = (int(side) for side in work.shape)
    inside = 0 <= pose.x <= width and 0 <= pose.y <= height
    return inside and pose.width <= MAX_SHARE_OF_WIDTH * width and pose.width <= MAX_SHARE_OF_HEIGHT * height


def fills(pose: Pose, shape: tuple[int, ...]) -> bool:
    """Whether a picture of this shape, in the pose's own pixels, shows this joint and nothing else."""
    height, width = shape
    shares = (pose.x / width, pose.y / height, pose.width / width)
    limits = (FILLING_X, FILLING_Y, FILLING_WIDTH)
    return all(low <= share <= high for share, (low, high) in zip(shares, limits, strict=True))


def _is_pair(one: Pose, other: Pose) -> bool:
    """Knees of one person are alike in width, stand at about one height, and not on each other."""
    mean_width = (one.width + other.width) / 2
    return (
        max(one.width, other.width) <= MAX_WIDTH_RATIO * min(one.width, other.width)
        and abs(one.y - other.y) <= MAX_HEIGHT_DIFFERENCE * mean_width
        and abs(one.x - other.x) >= MIN_DISTANCE * mean_width
    )


def _distance(one: Pose, other: Pose) -> float:
    """In widths of the wider pose."""
    return math.hypot(one.x - other.x, one.y - other.y) / max(one.width, other.width)
