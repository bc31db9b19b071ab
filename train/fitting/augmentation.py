"""Random views of a prepared crop, for training only."""

from __future__ import annotations

import cv2
import numpy as np

from train.runs.arrays import Floats
from train.runs.config import Augmentation

WHITE = np.float32(255)


def make_views(crop: Floats, settings: Augmentation, rng: np.random.Generator) -> Floats:
    """Views of one knee, (views, height, width) float32 in 0 to 255: the plain crop, its mirror image, then random ones."""
    random = [augment(crop, settings, rng) for _ in range(settings.views - 2)]
    return np.stack([crop, crop[:, ::-1], *random])


def augment(crop: Floats, settings: Augmentation, rng: np.random.Generator) -> Floats:
    """One random view: mirrored or not, moved a little, with other grey levels and a little grain.

    Args:
        crop: (height, width) float32 in 0 to 255.

    Returns:
        The same shape, type and range.
    """
    mirrored = crop[:, ::-1] if rng.random() < 0.5 else crop
    return _grain(_grey_levels(_move(mirrored, settings, rng), settings, rng), settings, rng)


def _move(crop: Floats, settings: Augmentation, rng: np.random.Generator) -> Floats:
    """Turn, scale and shift about the centre; what comes in from outside is black, as at the edge of a film."""
    height, width = crop.shape
    angle = rng.uniform(-1, 1) * settings.rotation_degrees
    scale = 1 + rng.uniform(-1, 1) * settings.scale
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    matrix[:, 2] += rng.uniform(-1, 1, 2) * settings.shift * np.array([width, height])
    return cv2.warpAffine(np.ascontiguousarray(crop), matrix, (width, height), flags=cv2.INTER_LINEAR)  # type: ignore[return-value]


def _grey_levels(crop: Floats, settings: Augmentation, rng: np.random.Generator) -> Floats:
    """Gamma and contrast; black stays black, since it may be the outside of the film."""
    exponent = np.float32(np.exp(rng.uniform(-1, 1) * settings.gamma))
    contrast = np.float32(1 + rng.uniform(-1, 1) * settings.contrast)
    return np.clip((crop / WHITE) ** exponent * WHITE * contrast, 0, WHITE)  # type: ignore[no-any-return]


def _grain(crop: Floats, settings: Augmentation, rng: np.random.Generator) -> Floats:
    noise = rng.standard_normal(crop.shape, dtype=np.float32) * np.float32(settings.noise)
    return np.clip(crop + noise, 0, WHITE)
