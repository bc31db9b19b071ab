"""What a grading network is shown: the box around the joint, as the runtime cuts it, and random views of it for training."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.images.greys import grey_range
from osteo_edge.images.preprocess import is_mirrored, prepare_knee
from osteo_edge.joints import Joint
from osteo_edge.labels import Laterality
from osteo_edge.manifest import InputSpec
from train.data.crops import Finder
from train.data.dataset import DatasetError
from train.grading.config import Variation
from train.runs.config import Candidate

Pictures = NDArray[np.uint8]
Views = NDArray[np.float32]


@dataclass(frozen=True)
class Place:
    """Where a knee lies in its picture.

    Attributes:
        joint: with the side that the table gives where the finder does not tell it.
        was_found: False where the finder found none, and the joint is the middle one of all pictures.
        is_inverted: whether bone is dark in the picture, as a viewer shows films of MONOCHROME1 that it takes for others.
    """

    joint: Joint
    was_found: bool
    is_inverted: bool = False


def find_places(pictures: Pictures, sides: Sequence[str], finder: Finder) -> tuple[Place, ...]:
    """One joint a picture; in its negative where there is none. The given side counts where the finder does not tell it.

    Raises:
        DatasetError: in none of the pictures a knee is found.
    """
    with click.progressbar(range(len(pictures)), label="Finding knees", file=sys.stderr) as places:
        found = [_find(pictures[place], finder) for place in places]
    joints = [joint for joint, _ in found if joint is not None]
    if not joints:
        raise DatasetError(
            f"a knee is found in none of {len(pictures)} pictures; they must show knees from the front, bone bright"
        )
    middle = _middle(joints)
    return tuple(_place(joint, middle, side, is_inverted) for (joint, is_inverted), side in zip(found, sides, strict=True))


def _find(picture: Pictures, finder: Finder) -> tuple[Joint | None, bool]:
    """The surest joint, and whether it is one of the negative."""
    for is_inverted, shown in ((False, picture), (True, negative(picture))):
        joints = finder.find(shown)
        if joints:
            return max(joints, key=lambda joint: joint.score), is_inverted
    return None, False


def negative(picture: Pictures) -> Pictures:
    """The picture with bone dark where it was bright."""
    return np.bitwise_not(picture)


def _middle(joints: Sequence[Joint]) -> Joint:
    x, y, width = np.median([(joint.x_px, joint.y_px, joint.width_px) for joint in joints], axis=0).tolist()
    return Joint(x_px=x, y_px=y, width_px=width, score=0.0, laterality=None)


def _place(found: Joint | None, middle: Joint, side: str, is_inverted: bool) -> Place:
    joint = middle if found is None else found
    told = joint if joint.laterality else replace(joint, laterality=Laterality(side))
    return Place(told, was_found=found is not None, is_inverted=is_inverted)


def _bone_bright(picture: Pictures, place: Place) -> Pictures:
    return negative(picture) if place.is_inverted else picture


def plain_views(pictures: Pictures, places: Sequence[Place], region: Candidate) -> Views:
    """(knees, height, width) float32 in 0 to 255, cut and stretched by the runtime's own code."""
    views = np.empty((len(pictures), region.height_px, region.width_px), np.float32)
    for view, picture, place in zip(views, pictures, places, strict=True):
        view[:] = prepare_knee(_bone_bright(picture, place), place.joint, region.region, region.input)[0, :, :, 0]
    return views


def random_view(
    picture: Pictures, place: Place, region: Candidate, side_px: int, limits: Variation, rng: np.random.Generator
) -> Views:
    """One random view, (side, side) float32 in 0 to 255."""
    crop = _warped(_aged(_bone_bright(picture, place), limits, rng), place.joint, region, side_px, limits, rng)
    view = _stretched(_regraded(crop, limits, rng), region.input)
    if is_mirrored(place.joint, region.region) != (rng.random() < limits.mirrored):
        view = view[:, ::-1]
    grain = rng.standard_normal(view.shape, dtype=np.float32) * np.float32(rng.uniform(0, limits.noise))
    return np.clip(view + grain, 0, 255)


def _aged(picture: Pictures, limits: Variation, rng: np.random.Generator) -> Pictures:
    """Sometimes coarser, sometimes stored with loss, as pictures are that come by other ways."""
    height, width = picture.shape
    if rng.random() < 0.3:
        factor = rng.uniform(limits.coarsest, 1)
        small = cv2.resize(picture, (round(width * factor), round(height * factor)), interpolation=cv2.INTER_AREA)
        picture = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    if rng.random() < 0.3:
        quality = int(rng.integers(limits.jpeg_quality, 101))
        stored = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        picture = cv2.imdecode(stored, cv2.IMREAD_GRAYSCALE)  # type: ignore[assignment]
    return picture


def _warped(
    picture: Pictures, joint: Joint, region: Candidate, side_px: int, limits: Variation, rng: np.random.Generator
) -> Pictures:
    """The box, turned, scaled and shifted a little, at the wanted size; outside of the picture is black."""
    width, height = 2 * region.half_width * joint.width_px, (region.above + region.below) * joint.width_px
    middle = np.array([joint.x_px, joint.y_px + (region.below - region.above) / 2 * joint.width_px])
    middle += rng.uniform(-1, 1, 2) * limits.shift * np.array([width, height])
    angle = math.radians(rng.uniform(-1, 1) * limits.rotation_degrees)
    factor = 1 + rng.uniform(-1, 1) * limits.scale
    across, down = side_px / width * factor, side_px / height * factor
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    matrix = np.diag([across, down]) @ turn
    offset = np.array([side_px, side_px]) / 2 - matrix @ middle
    return cv2.warpAffine(picture, np.column_stack([matrix, offset]), (side_px, side_px), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _regraded(crop: Pictures, limits: Variation, rng: np.random.Generator) -> Pictures:
    exponent = math.exp(rng.uniform(-1, 1) * limits.gamma)
    levels = np.rint((np.arange(256) / 255) ** exponent * 255).astype(np.uint8)
    return cv2.LUT(crop, levels)  # type: ignore[return-value]


def _stretched(crop: Pictures, spec: InputSpec) -> Views:
    """As ``osteo_edge.images.preprocess`` stretches a box of the wanted size."""
    low, high = grey_range(crop, spec.low_percentile, spec.high_percentile)
    bottom, top = spec.value_range
    scale = (top - bottom) / max(high - low, 1.0)
    return np.clip((crop.astype(np.float32) - np.float32(low)) * np.float32(scale) + np.float32(bottom), bottom, top)  # type: ignore[no-any-return]
