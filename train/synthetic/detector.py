"""From attenuation to a displayed picture: scatter, blur, noise, the processing of a workstation, borders."""

from __future__ import annotations

import math

import cv2
import numpy as np

from train.runs.arrays import Booleans, Pixels
from train.synthetic.records import Acquisition, FloatImage, Points

DISPLAY_TOP_PERCENTILE = 99.8
_ANGLES = (0, 0.5, 1, 1.57, 2.1, 2.6, 3.14)
_BOWL = tuple((0.45 + 0.38 * math.sin(a), 0.27 - 0.27 * math.cos(a)) for a in _ANGLES)
_LETTERS = {
    "R": (((0.1, 1.0), (0.1, 0.0), *_BOWL, (0.1, 0.54)), ((0.45, 0.54), (0.88, 1.0))),
    "L": (((0.15, 0.0), (0.15, 1.0), (0.85, 1.0)),),
}


def smooth(image: FloatImage, sigma_px: float) -> FloatImage:
    """A Gaussian blur, float32."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px), dtype=np.float32)


def wide_blur(image: FloatImage, sigma_px: float) -> FloatImage:
    """A Gaussian blur of large width, computed on a reduced picture."""
    step = max(1, int(sigma_px / 4))
    height, width = image.shape
    reduced = (max(2, width // step), max(2, height // step))
    small = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma_px / step, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


def expose(attenuation: FloatImage, acquisition: Acquisition, rng: np.random.Generator) -> FloatImage:
    """The measured log attenuation, float32 (H, W): blur, scatter, then photon and electronic noise."""
    mm = acquisition.pixel_spacing_mm
    primary = smooth(np.exp(-attenuation), max(0.3, acquisition.blur_mm / mm))
    signal = primary + acquisition.scatter_ratio * wide_blur(primary, 22.0 / mm)
    counts = acquisition.photons * signal
    spread = np.sqrt(counts + acquisition.electronic_noise**2)
    noise = rng.standard_normal(counts.shape, dtype=np.float32)
    counts = counts + spread * cv2.GaussianBlur(noise, (0, 0), 0.55) * np.float32(1.5)
    full = acquisition.photons * (1 + acquisition.scatter_ratio)
    return np.asarray(-np.log(np.maximum(counts, 1.0) / full), np.float32)


def display(measured: FloatImage, body: Booleans, acquisition: Acquisition) -> FloatImage:
    """Grey levels 0..1, bone bright: local equalisation, gain on fine detail, window on the legs."""
    mm = acquisition.pixel_spacing_mm
    broad = wide_blur(measured, 14.0 / mm)
    level = float(measured[body].mean()) if body.any() else 1.0
    # Direct exposure must stay black, so equalisation fades out where there is little tissue.
    tissue = np.clip(measured / level, 0, 1)
    shown = measured - acquisition.equalisation * tissue * (broad - level)
    shown += 0.5 * acquisition.sharpening * (measured - wide_blur(measured, 4.0 / mm))
    shown += acquisition.sharpening * (measured - cv2.GaussianBlur(measured, (0, 0), 0.8 / mm))
    inside = shown[body] if body.any() else shown.ravel()
    top = float(np.percentile(inside[::7], DISPLAY_TOP_PERCENTILE))
    bottom = 0.62 * level
    grey = np.clip((shown - bottom) / (top - bottom), 0, None) ** acquisition.gamma
    # A soft shoulder keeps detail in the densest bone.
    return np.asarray(np.where(grey < 0.8, grey, 0.8 + 0.2 * np.tanh((grey - 0.8) / 0.2)), np.float32)


def exposed_area(acquisition: Acquisition) -> tuple[FloatImage, Booleans]:
    """Collimator transmission, float32 0..1, and the area left by the electronic shutter, bool; both (H, W).

    With a white edge the shutter is square to the picture but the collimator is not, so that unexposed
    wedges stay visible between the two.
    """
    height, width = acquisition.height_px, acquisition.width_px
    mm, inset = acquisition.pixel_spacing_mm, acquisition.border_mm / acquisition.pixel_spacing_mm
    if acquisition.border == "none":
        return np.ones((height, width), np.float32), np.ones((height, width), np.bool_)
    shutter = np.zeros((height, width), np.bool_)
    top, side = round(inset), round(inset if acquisition.border == "white_edge" else 0.15 * inset)
    shutter[top : height - top, side : width - side] = True
    beam = np.zeros((height, width), np.uint8)
    overlap = -2.0 * inset if acquisition.border == "black_padding" else 2 * inset - 0.5 / mm
    size = (width - overlap, height - overlap)
    box = cv2.boxPoints(((width / 2, height / 2), size, acquisition.border_rotation_deg))
    cv2.fillPoly(beam, [np.round(np.asarray(box) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    penumbra = cv2.GaussianBlur(beam, (0, 0), 0.6 / mm).astype(np.float32) / 255
    return penumbra, shutter


def add_marker(
    grey: FloatImage,
    letter: str,
    centre_px: Points,
    shutter: Booleans,
    acquisition: Acquisition,
) -> None:
    """Draw the side marker in place: a stencil cut from lead, or a plastic plate with a lead letter.

    It is moved just far enough to lie wholly within the area the shutter leaves open.
    """
    size = max(12, round(11.0 / acquisition.pixel_spacing_mm))
    zoom = 4
    paper = np.zeros((zoom * size, zoom * size), np.uint8)
    for knots in _LETTERS[letter]:
        points = np.round((np.asarray(knots) * 0.5 + 0.25) * zoom * size).astype(np.int32)
        cv2.polylines(paper, [points], False, 255, round(0.085 * zoom * size), cv2.LINE_AA)
    ink = cv2.resize(paper, (size, size), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    rim = np.ones((size, size), np.float32)
    rim[2:-2, 2:-2] = 0
    if acquisition.marker == "stencil":
        stamp = 0.82 - 0.45 * ink + 0.08 * np.tri(size, dtype=np.float32)[::-1] * rim
    else:
        stamp = 0.40 + 0.33 * np.maximum(ink, rim)
    columns, rows = np.flatnonzero(shutter.any(axis=0)), np.flatnonzero(shutter.any(axis=1))
    gap = size // 4
    left = int(np.clip(centre_px[0] - size / 2, columns[0] + gap, columns[-1] - size - gap))
    top = int(np.clip(centre_px[1] - size / 2, rows[0] + gap, rows[-1] - size - gap))
    grey[top : top + size, left : left + size] = cv2.GaussianBlur(stamp, (0, 0), 0.6)


def quantise(grey: FloatImage, bit_depth: int) -> Pixels:
    """0..1 to whole grey levels of the chosen depth."""
    if bit_depth == 8:
        return np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8)
    return np.round(np.clip(grey, 0, 1) * 65535).astype(np.uint16)
