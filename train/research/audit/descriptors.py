"""One picture made comparable: a digest of its pixels, a small grey picture, thumbnails, and local features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.images.greys import grey_range
from osteo_edge.integrity import sha256_hex
from train.runs.arrays import Bytes, Floats, Pixels

WORK_SIDE_PX = 512
KEYPOINTS = 400
_CELLS, _DIRECTIONS = 4, 8  # of a SIFT descriptor: 4 x 4 cells of 8 directions each.


@dataclass(frozen=True)
class Form:
    """A way in which a copy may differ before it is turned, cut or scaled: mirrored left to right, greys inverted."""

    is_mirrored: bool
    is_inverted: bool


FORMS = tuple(Form(mirrored, inverted) for inverted in (False, True) for mirrored in (False, True))


@dataclass(frozen=True)
class Descriptor:
    """What is kept of one picture.

    Attributes:
        pixels_sha256: of the decoded pixels and their shape; equal for files that differ only in format or metadata.
        height_px, width_px: of the whole picture.
        work: (h, w) uint8, grey levels stretched, longest side at most ``WORK_SIDE_PX``; never enlarged.
        points: (keypoints, 2) float32, x and y in ``work``; the strongest first.
        features: (keypoints, 128) float32, RootSIFT: Euclidean distance is the Hellinger distance of the histograms.
    """

    pixels_sha256: str
    height_px: int
    width_px: int
    work: Bytes
    points: Floats
    features: Floats


def describe(pixels: Pixels) -> Descriptor:
    """Describe one picture, (height, width).

    Local features are SIFT (Lowe, IJCV 2004) as RootSIFT (Arandjelović & Zisserman, CVPR 2012), found after local
    equalisation, so that bright and dark parts of the leg are described alike.
    """
    work = _work_picture(pixels)
    # Equalised and not only stretched: films of one leg differ most in their large-scale shading.
    equalised = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(8, 8)).apply(work)
    keypoints, histograms = cv2.SIFT.create(KEYPOINTS, contrastThreshold=0.015).detectAndCompute(equalised, None)
    if histograms is None:
        histograms = np.empty((0, _CELLS * _CELLS * _DIRECTIONS), np.float32)
    strongest = np.argsort(np.array([-keypoint.response for keypoint in keypoints]), kind="stable")[:KEYPOINTS].astype(np.int64)
    points = np.array([keypoints[number].pt for number in strongest], np.float32).reshape(-1, 2)
    return Descriptor(
        pixels_sha256=sha256_hex(f"{pixels.dtype}{pixels.shape}".encode() + np.ascontiguousarray(pixels).tobytes()),
        height_px=pixels.shape[0],
        width_px=pixels.shape[1],
        work=work,
        points=points,
        features=_root(np.asarray(histograms[strongest], np.float32)),
    )


def _work_picture(pixels: NDArray[Any]) -> Bytes:
    scale = min(1.0, WORK_SIDE_PX / max(pixels.shape))
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    low, high = grey_range(small, 1.0, 99.0)
    work: Bytes = np.clip((small - low) * (255 / max(high - low, 1.0)), 0, 255).astype(np.uint8)
    return work


def _root(histograms: Floats) -> Floats:
    totals = np.maximum(histograms.sum(axis=1, keepdims=True), 1e-6)
    return np.asarray(np.sqrt(histograms / totals, dtype=np.float32))


def in_form(descriptor: Descriptor, form: Form) -> tuple[Floats, Floats]:
    """Points and features as the picture's copy in that form would have them, without describing it anew.

    Mirroring turns a SIFT histogram's cells over and its directions round; inverting the greys turns its own
    direction by half a circle, and with it the cells.
    """
    points, cells = descriptor.points, descriptor.features.reshape(-1, _CELLS, _CELLS, _DIRECTIONS)
    if form.is_mirrored:
        points = points * np.array([-1, 1], np.float32) + np.array([descriptor.work.shape[1] - 1, 0], np.float32)
        cells = cells[:, ::-1, :, -np.arange(_DIRECTIONS) % _DIRECTIONS]
    if form.is_inverted:
        cells = cells[:, ::-1, ::-1]
    return points, cells.reshape(descriptor.features.shape)


def work_in_form(descriptor: Descriptor, form: Form) -> Bytes:
    """The small picture, mirrored and inverted as the form says."""
    work = descriptor.work[:, ::-1] if form.is_mirrored else descriptor.work
    return np.ascontiguousarray(255 - work if form.is_inverted else work)
