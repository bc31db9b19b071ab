"""Where a knee joint is in a picture, and the box around it that a member is shown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from osteo_edge.labels import Laterality
    from osteo_edge.manifest import RegionProfile


@dataclass(frozen=True)
class Box:
    """Pixels of the upright picture, x1 and y1 excluded. May reach beyond the picture."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0


@dataclass(frozen=True)
class Joint:
    """One knee joint in pixels of the upright picture; the middle of pixel i stands at i + 0.5.

    Attributes:
        x_px, y_px: middle of the joint space between the outer edges of the tibial plateau.
        width_px: distance of these edges.
        score: about 1 for a knee and -1 for anything else.
        laterality: the patient's side, taking the view as antero-posterior; None where the fibula does not tell.
        is_negative: whether bone is dark in the picture, so that networks are shown its negative.
    """

    x_px: float
    y_px: float
    width_px: float
    score: float
    laterality: Laterality | None
    is_negative: bool = False


def box_around(joint: Joint, profile: RegionProfile) -> Box:
    """The region that a model was trained on, rounded to whole pixels."""
    return Box(
        x0=_nearest(joint.x_px - profile.half_width * joint.width_px),
        y0=_nearest(joint.y_px - profile.above * joint.width_px),
        x1=_nearest(joint.x_px + profile.half_width * joint.width_px),
        y1=_nearest(joint.y_px + profile.below * joint.width_px),
    )


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)
