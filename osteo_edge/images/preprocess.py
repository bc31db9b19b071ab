"""From a box of the radiograph to the tensor that a member takes. Training uses this same code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import cv2
import numpy as np

from osteo_edge.images.greys import grey_range
from osteo_edge.joints import Box, Joint, box_around
from osteo_edge.manifest import InputSpec, RegionProfile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Bytes, Floats, Pixels

_BYTES: Final = np.arange(256, dtype=np.float32)


def prepare_knee(pixels: Pixels, joint: Joint, region: RegionProfile, spec: InputSpec) -> Floats | Bytes:
    """The knee at ``joint`` as a member is shown it, bone bright; see ``prepare``."""
    shown = negative(pixels) if joint.is_negative else pixels
    return prepare(shown, box_around(joint, region), spec, is_mirrored=is_mirrored(joint, region))


def negative(pixels: Pixels) -> Pixels:
    """Dark and bright exchanged within the picture's own range."""
    ends = np.array([pixels.min(), pixels.max()]).sum(dtype=pixels.dtype)  # whole numbers go round, and so come back
    return ends - pixels  # type: ignore[no-any-return]


def is_mirrored(joint: Joint, region: RegionProfile) -> bool:
    """Whether the member is shown this knee's mirror image."""
    return joint.laterality == region.mirrored


def prepare(pixels: Pixels, box: Box, spec: InputSpec, *, is_mirrored: bool = False) -> Floats | Bytes:
    """Cut, resize and stretch one box.

    Args:
        pixels: (height, width) of the upright radiograph, bone bright.
        box: may reach beyond the picture; what lies outside is black.

    Returns:
        (1, height, width, 1) of ``spec.dtype`` within ``spec.value_range``.
    """
    crop = cut(pixels, box)
    shrinks = crop.shape[0] * crop.shape[1] > spec.height_px * spec.width_px
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized = cv2.resize(crop, (spec.width_px, spec.height_px), interpolation=interpolation)
    resized = cv2.flip(resized, 1) if is_mirrored else resized
    stretched = _stretch(resized, spec)[np.newaxis, :, :, np.newaxis]
    return stretched if spec.dtype == "float32" else np.rint(stretched).astype(np.uint8)


def cut(pixels: Pixels, box: Box) -> Pixels:
    """The box's pixels, (box height, box width), black where it reaches beyond the picture."""
    height, width = pixels.shape
    top, left = max(-box.y0, 0), max(-box.x0, 0)
    bottom, right = max(box.y1 - height, 0), max(box.x1 - width, 0)
    inside = pixels[max(box.y0, 0) : min(box.y1, height), max(box.x0, 0) : min(box.x1, width)]
    if not (top or left or bottom or right):
        return inside
    return cv2.copyMakeBorder(inside, top, bottom, left, right, cv2.BORDER_CONSTANT, value=0)  # type: ignore[return-value]


def _stretch(pixels: NDArray[Any], spec: InputSpec) -> Floats:
    """Map the box's own low and high percentile to the value range, and clip what lies outside."""
    low, high = grey_range(pixels, spec.low_percentile, spec.high_percentile)
    if pixels.dtype == np.uint8:  # every level is mapped once and then looked up
        return np.asarray(cv2.LUT(pixels, _mapped(_BYTES, low, high, spec.value_range)), np.float32)
    return _mapped(pixels.astype(np.float32), low, high, spec.value_range)


def _mapped(levels: Floats, low: float, high: float, value_range: tuple[float, float]) -> Floats:
    bottom, top = value_range
    scale = (top - bottom) / max(high - low, 1.0)
    mapped = (levels - np.float32(low)) * np.float32(scale) + np.float32(bottom)
    return np.clip(mapped, bottom, top, out=mapped)
