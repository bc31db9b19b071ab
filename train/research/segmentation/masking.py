"""A classifier's input behind a mask: the bones alone, or their mask instead of the picture."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np

from osteo_edge.manifest import RegionProfile
from train.research.segmentation.networks import Segmenter
from train.research.segmentation.pictures import PX_PER_KNEE
from train.research.segmentation.views import stretched
from train.runs.arrays import Booleans, Floats
from train.runs.config import Candidate

Mode = Literal["gate", "replace"]
MODES: tuple[Mode, ...] = ("gate", "replace")

# What a crop's background becomes: the low percentile of its own box, which preparation has made 0.
_BACKGROUND = np.float32(0)
_BONE = np.float32(255)


def masked_crop(crop: Floats, mask: Booleans, mode: Mode) -> Floats:
    """One prepared crop behind a mask.

    Args:
        crop: (height, width) float32 in 0 to 255, as ``train.data.crops`` prepares it.
        mask: (height, width), or (height, width, bones), of which any counts.
        mode: ``"gate"`` sets what is no bone to the box's low grey; ``"replace"`` gives the mask itself.

    Returns:
        (height, width) float32 in 0 to 255.

    Raises:
        ValueError: an unknown mode, or a mask of another size.
    """
    bone = mask if mask.ndim == 2 else mask.any(axis=2)
    if bone.shape != crop.shape:
        raise ValueError(f"a mask of {bone.shape} does not fit a crop of {crop.shape}")
    if mode == "gate":
        return np.where(bone, crop, _BACKGROUND).astype(np.float32)
    if mode == "replace":
        return np.where(bone, _BONE, _BACKGROUND).astype(np.float32)
    raise ValueError(f"mode is {mode!r}; known are {', '.join(MODES)}")


def mask_crops(images: Floats, region: Candidate | RegionProfile, network: Segmenter, mode: Mode) -> Floats:
    """Prepared crops of one region behind the masks that a segmenter finds in these same crops.

    Args:
        images: (knees, height, width) float32 in 0 to 255, of any size.
        region: what the crops show, so that the segmenter can see every knee at its own scale.
        mode: as in ``masked_crop``.

    Returns:
        The same shape and type.
    """
    masks = crop_masks(images, region, network)
    masked = [masked_crop(image, mask, mode) for image, mask in zip(images, masks, strict=True)]
    return np.stack(masked) if masked else images.copy()


def crop_masks(images: Floats, region: Candidate | RegionProfile, network: Segmenter) -> Booleans:
    """(knees, height, width, bones): the bones of prepared crops of one region."""
    height, width = images.shape[1:]
    size = round(2 * region.half_width * PX_PER_KNEE), round((region.above + region.below) * PX_PER_KNEE)
    masks = []
    for image in images:
        shrinks = image.size > size[0] * size[1]
        seen = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        likely = network.probabilities(stretched(seen)[np.newaxis])[0]
        masks.append(cv2.resize(likely, (width, height), interpolation=cv2.INTER_LINEAR) > 0.5)
    return np.stack(masks) if masks else np.zeros((0, height, width, 3), np.bool_)
