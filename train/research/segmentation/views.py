"""Random views of a knee and its masks, for training; and the plain view on which a network is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from train.research.segmentation.pictures import Picture
from train.runs.arrays import Floats, Reals

# Grey levels of the view that become black and white, as in the runtime's preparation.
LOW_PERCENT, HIGH_PERCENT = 1.0, 99.0


@dataclass(frozen=True)
class Variation:
    """Limits of the random changes.

    Attributes:
        rotation_degrees: largest turn.
        scale: largest change of the logarithm of the size.
        shift: largest shift, in knee widths.
        gamma, contrast: largest change of the logarithm of the grey levels' exponent, and of their spread.
        blur_px, noise: largest blur, and standard deviation of the grain in grey levels of 0 to 255.
    """

    rotation_degrees: float = 12.0
    scale: float = 0.22
    shift: float = 0.15
    gamma: float = 0.4
    contrast: float = 0.15
    blur_px: float = 1.2
    noise: float = 6.0


def stretched(image: Reals) -> Floats:
    """Grey levels of one view at 0 to 255."""
    low, high = np.percentile(image, (LOW_PERCENT, HIGH_PERCENT))
    return np.asarray(np.clip((image - low) * (255 / max(high - low, 1.0)), 0, 255), np.float32)


def random_view(
    picture: Picture, shape: tuple[int, int], variation: Variation, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """One view of ``shape`` (height, width): its image (height, width), and its bones with the known area behind them."""
    height, width = shape
    room = max(picture.grey.shape[0] - height, 0) / 2
    target = np.array([width / 2, height / 2]) + rng.uniform(-1, 1, 2) * [0.0, room]
    target += rng.uniform(-1, 1, 2) * variation.shift * 120
    angle = np.radians(rng.uniform(-1, 1) * variation.rotation_degrees)
    zoom = np.exp(rng.uniform(-1, 1, 2) * [variation.scale, 0.06])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * zoom[0]
    turn[:, 0] *= zoom[1] * (1 if rng.random() < 0.5 else -1)
    # Of a long picture the joint may leave the view, so that shafts alone are seen as well.
    matrix = np.column_stack([turn, target - turn @ np.array(picture.joint)])
    layers = np.dstack([picture.bones.astype(np.float32), np.ones(picture.grey.shape, np.float32)])
    image = cv2.warpAffine(picture.grey.astype(np.float32), matrix, (width, height), flags=cv2.INTER_LINEAR)
    truth = cv2.warpAffine(layers, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return _varied_greys(np.asarray(image, np.float32), variation, rng), (truth > 0.5).astype(np.float32)


def _varied_greys(image: Reals, variation: Variation, rng: np.random.Generator) -> Floats:
    blur = rng.uniform(0, variation.blur_px)
    if blur > 0.3:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), blur))
    grey = stretched(image) / 255
    grey = grey ** np.exp(rng.uniform(-1, 1) * variation.gamma) * 255
    grey = (grey - 127) * (1 + rng.uniform(-1, 1) * variation.contrast) + 127
    grey += rng.standard_normal(grey.shape) * rng.uniform(0, variation.noise)
    return np.asarray(np.clip(grey, 0, 255), np.float32)


def batch_of(
    pools: Sequence[Sequence[Picture]], size: int, shape: tuple[int, int], variation: Variation, rng: np.random.Generator
) -> tuple[Floats, Floats]:
    """``size`` random views, taken from the pools in turn: images (size, height, width, 1), truth (..., bones + 1)."""
    chosen = [pools[place % len(pools)] for place in range(size)]
    views = [random_view(pool[int(rng.integers(len(pool)))], shape, variation, rng) for pool in chosen]
    images, truths = (np.stack(part) for part in zip(*views, strict=True))
    return images[..., np.newaxis], truths


def plain_view(picture: Picture) -> Floats:
    """(height, width): the whole picture as a trained network takes it."""
    return stretched(picture.grey.astype(np.float32))
