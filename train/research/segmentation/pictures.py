"""What the networks learn from and are judged on: crops around real and synthetic knees with the masks of their bones."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from osteo_edge.errors import InputError
from osteo_edge.images import reader
from osteo_edge.images.preprocess import cut
from osteo_edge.joints import Box, Joint, box_around
from osteo_edge.manifest import RegionProfile
from train.data.dataset import DatasetError
from train.research.segmentation.annotations import BONES, DrawnKnee, Polygons, rasterise
from train.runs.arrays import Booleans, Bytes, Doubles, Pixels
from train.runs.cache import kept
from train.synthetic import KneeTruth, SyntheticRadiograph, render, sample_case

# One scale for everything: the networks see a knee so many pixels wide.
PX_PER_KNEE = 120

# Long enough that a network also sees the shafts of a whole leg.
SYNTHETIC_REGION = RegionProfile("synthetic", 1.0, 1.7, 2.3)


@dataclass(frozen=True)
class Picture:
    """One knee and its bones.

    Attributes:
        grey: (height, width) uint8, a knee being ``PX_PER_KNEE`` wide.
        bones: (height, width, bones) bool, in the order of ``BONES``; bones may cover each other.
        joint: x, y of the joint's centre in pixels.
    """

    grey: Bytes
    bones: Booleans
    joint: tuple[float, float]


def size_at(box: Box, knee_px: float) -> tuple[int, int]:
    """(height, width) of a box's crop that shows a knee of ``knee_px`` at ``PX_PER_KNEE``."""
    factor = PX_PER_KNEE / knee_px
    return round(box.height * factor), round(box.width * factor)


def resized(crop: Pixels, shape: tuple[int, int]) -> Bytes:
    """A crop at ``shape`` (height, width), its grey levels stretched to 0 to 255."""
    shrinks = crop.size > shape[0] * shape[1]
    small = cv2.resize(crop, shape[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR).astype(np.float32)
    low, high = float(small.min()), float(small.max())
    return np.round((small - low) * (255 / max(high - low, 1.0))).astype(np.uint8)


def picture_of(knee: DrawnKnee, polygons: Polygons | None = None) -> Picture:
    """A drawn knee; ``polygons`` stand in for its first drawing where given.

    Raises:
        DatasetError: the radiograph cannot be read.
    """
    pixels = read_pixels(knee.row.path)
    shape = size_at(knee.box, knee.joint[2])
    bones = rasterise(polygons or knee.bones, knee.box, shape)
    x, y, _ = knee.joint
    joint = (x - knee.box.x0) * shape[1] / knee.box.width, (y - knee.box.y0) * shape[0] / knee.box.height
    return Picture(resized(cut(pixels, knee.box), shape), np.moveaxis(bones, 0, -1), joint)


def read_pixels(path: Path) -> Pixels:
    """(height, width), upright, bone bright.

    Raises:
        DatasetError: it is no readable picture.
    """
    try:
        return reader.read(path).pixels
    except InputError as error:
        raise DatasetError(f"{path}: {error}") from error


def real_pictures(knees: Sequence[DrawnKnee]) -> tuple[Picture, ...]:
    return tuple(picture_of(knee) for knee in knees)


def synthetic_pictures(count: int, *, seed: int) -> tuple[Picture, ...]:
    """``count`` knees of random synthetic radiographs of all layouts."""
    rng = np.random.default_rng(seed)
    pictures: list[Picture] = []
    with click.progressbar(length=count, label="Drawing synthetic knees", file=sys.stderr) as progress:
        while len(pictures) < count:
            anatomies, acquisition = sample_case(rng)
            radiograph = render(anatomies, acquisition, seed=int(rng.integers(2**31)))
            drawn = [synthetic_picture(radiograph, truth) for truth in radiograph.knees][: count - len(pictures)]
            pictures += drawn
            progress.update(len(drawn))
    return tuple(pictures)


def synthetic_picture(radiograph: SyntheticRadiograph, truth: KneeTruth) -> Picture:
    """One knee of a synthetic radiograph with its known masks. The patella is no bone of its own: it lies on the femur."""
    x, y = ((a + b) / 2 for a, b in zip(*truth.plateau_px, strict=True))
    box = box_around(Joint(x, y, truth.width_px, 1.0, None), SYNTHETIC_REGION)
    shape = size_at(box, truth.width_px)
    masks = [cut(radiograph.masks[bone].astype(np.uint8) * np.uint8(255), box) for bone in BONES]
    bones = [cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA) > 127 for mask in masks]
    joint = (x - box.x0) * shape[1] / box.width, (y - box.y0) * shape[0] / box.height
    return Picture(resized(cut(radiograph.pixels, box), shape), np.stack(bones, axis=-1), joint)


def cached_synthetic(count: int, *, seed: int, file: Path) -> tuple[Picture, ...]:
    """``synthetic_pictures``, kept in ``file`` since they take minutes."""

    def make() -> dict[str, Bytes | Booleans | Doubles]:
        arrays: dict[str, Bytes | Booleans | Doubles] = {}
        for index, picture in enumerate(synthetic_pictures(count, seed=seed)):
            arrays |= {
                f"grey_{index}": picture.grey,
                f"bones_{index}": picture.bones,
                f"joint_{index}": np.array(picture.joint),
            }
        return arrays

    stored = kept(file, make)
    return tuple(
        Picture(stored[f"grey_{i}"], stored[f"bones_{i}"], (float(stored[f"joint_{i}"][0]), float(stored[f"joint_{i}"][1])))
        for i in range(count)
    )
