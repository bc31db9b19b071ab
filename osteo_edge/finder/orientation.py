"""Which way up a picture is, and whether bone is dark in it.

The finder knows upright knees whose bone is bright. A clear knee is believed at once. Where it found a weak one or none, the
picture is also looked at turned and with dark and bright exchanged, each at the price of one more search, and the view that
shows the clearest knee wins: a film that was fed in sideways is turned, a negative is told or, where one joint fills it, taken
as it is (archives of joints hold such, whose files once said so and no longer do).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from osteo_edge.finder.borders import inside_black_border
from osteo_edge.finder.copies import halvings, shrink
from osteo_edge.finder.joint_finder import as_joints
from osteo_edge.finder.poses import Hit, Pose, choose, fills
from osteo_edge.findings import INVERTED, NO_KNEE, WAY_UP_UNSURE, Finding
from osteo_edge.turning import Degrees, turned

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osteo_edge.arrays import Floats, Pixels
    from osteo_edge.finder.joint_finder import Finder
    from osteo_edge.joints import Joint

# From which on another view is believed. No other view of 51 pictures that show no knee reached more than 0.54.
CLEAR_KNEE: Final = 0.6
# The same of one joint that fills the picture, as it is seldom as clear; and how much better it must be than all other views.
CLEAR_FILLING: Final = 0.3
FILLING_LEAD: Final = 0.3

_TURNS: Final[tuple[Degrees, ...]] = (180, 90, 270)


@dataclass(frozen=True)
class Seen:
    """What a picture shows, and how it was looked at.

    Attributes:
        joints: in pixels of the picture turned; empty where there is no knee.
        degrees: clockwise, by which it was turned to be upright.
        finding: why there is no joint.
        doubt: what makes its answers doubtful.
        notes: what is worth telling beside.
    """

    joints: tuple[Joint, ...]
    degrees: Degrees = 0
    finding: Finding | None = None
    doubt: Finding | None = None
    notes: tuple[Finding, ...] = ()


def look(finder: Finder, pixels: Pixels) -> Seen:
    """Find the knees of a picture, whichever way up it is.

    Args:
        pixels: (height, width), as they were given, bone bright.
    """
    joints = finder.find(pixels)
    own = max((joint.score for joint in joints), default=-np.inf)
    # A joint below the threshold fills the picture and was held against all other views before it was taken.
    if joints and (finder.is_sure(joints) or own < finder.threshold):
        return Seen(joints)
    work = _inside(pixels)
    # A joint that fills the picture is upright or upside down: nobody was seen to take it for one that lies.
    turns = _TURNS[:1] if len(joints) == 1 and fills(_pose(joints[0]), pixels.shape) else _TURNS
    hits = {degrees: _best(finder, turned(work, degrees)) for degrees in turns}
    best = max(turns, key=lambda degrees: hits[degrees].score)
    in_negative = _best(finder, inverted(work)) if len(turns) > 1 else _NO_HIT
    others = [own, in_negative.score, *(hit.score for degrees, hit in hits.items() if degrees != best)]
    if _is_clear(hits[best], turned(work, best).shape, others) and (found := finder.find(turned(pixels, best))):
        return Seen(found, best)
    return _as_it_lies(finder, pixels, joints, hits[best], in_negative)


def _as_it_lies(finder: Finder, pixels: Pixels, joints: tuple[Joint, ...], best: Hit, in_negative: Hit) -> Seen:
    """Of a picture that is not turned: its knees, or those of its negative."""
    own = max((joint.score for joint in joints), default=-np.inf)
    if joints and own >= max(best.score, in_negative.score):
        return Seen(joints)
    if not joints and (found := joint_in_negative(finder, pixels)):
        return Seen(found)
    if in_negative.score >= CLEAR_KNEE and in_negative.score > max(own, best.score):
        return Seen((), finding=Finding(INVERTED, "a knee is found when dark and bright are exchanged"))
    if joints:
        return Seen(joints, doubt=Finding(WAY_UP_UNSURE, "a knee is seen in this picture and, as clear, in another view of it"))
    return Seen((), finding=Finding(NO_KNEE, "no knee joint was found in this picture"))


def joint_in_negative(finder: Finder, pixels: Pixels) -> tuple[Joint, ...]:
    """The clear knee that fills the picture where dark and bright are exchanged in it; empty where there is none.

    Args:
        pixels: (height, width), as the finder was shown them.
    """
    work = shrink(pixels)
    found = choose(finder.examine(halvings(inverted(work))), finder.threshold)
    joints = as_joints([hit for hit in found if fills(hit.pose, work.shape)], work.shape, pixels.shape)
    return tuple(replace(joint, is_negative=True) for joint in joints)


def best_of_other_views(finder: Finder, work: Floats) -> float:
    """The score of the best hit in the working copy turned or inverted, be it a knee or not."""
    views = (*(turned(work, degrees) for degrees in _TURNS), inverted(work))
    return max(_best(finder, view).score for view in views)


def inverted(work: Floats) -> Floats:
    """Dark and bright exchanged."""
    exchanged: Floats = work.max() + work.min() - work
    return exchanged


_NO_HIT: Final = Hit(Pose(0, 0, 1), -np.inf)


def _is_clear(hit: Hit, shape: tuple[int, ...], others: Sequence[float]) -> bool:
    """Whether a view is to be believed rather than the others, by their scores."""
    lead = hit.score - max(others)
    if lead <= 0:
        return False
    return hit.score >= CLEAR_KNEE or (fills(hit.pose, shape) and hit.score >= CLEAR_FILLING and lead >= FILLING_LEAD)


def _best(finder: Finder, work: Floats) -> Hit:
    return max(finder.examine(halvings(work)), key=lambda hit: hit.score, default=_NO_HIT)


def _inside(pixels: Pixels) -> Floats:
    """The working copy of what no black border is."""
    work = shrink(pixels)
    inside = inside_black_border(work, pixels.shape)
    return shrink(pixels[inside]) if inside else work


def _pose(joint: Joint) -> Pose:
    return Pose(joint.x_px, joint.y_px, joint.width_px)
