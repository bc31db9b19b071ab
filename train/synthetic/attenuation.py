"""From outlines to one map of attenuation: path lengths through skin, fat, muscle, cortex and spongy bone.

By Beer-Lambert the exponents of everything along a ray add up, so every structure simply adds its own map.
A bone replaces soft tissue, hence the coefficients of bone are excesses over soft tissue, per millimetre.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from train.runs.arrays import Booleans, Bytes
from train.synthetic.records import FloatImage, KneeAnatomy, Points
from train.synthetic.shapes import Leg, Stroke, smooth_curve

FAT_PER_MM = 0.0165
MUSCLE_EXCESS_PER_MM = 0.0048
SKIN_EXCESS_PER_MM = 0.0040
CORTEX_EXCESS_PER_MM = 0.036
SPONGY_EXCESS_PER_MM = 0.0150
# Blurring a line lowers its peak; this restores it.
STROKE_GAIN = 2.2
TEXTURE_PITCH_MM = 0.25
TEXTURE_SIZE = 768


@dataclass(frozen=True)
class Frame:
    """Places one leg in the picture: joint centre (x, y) px, mm per px, tilt, mirror (-1 for a left knee)."""

    centre_px: tuple[float, float]
    spacing_mm: float
    tilt_deg: float
    mirror: int

    @cached_property
    def _turn(self) -> Points:
        angle = np.radians(self.tilt_deg)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return np.asarray(turn @ np.diag([float(self.mirror), 1.0]), dtype=np.float64)

    def to_px(self, points_mm: Points) -> Points:
        """Millimetres of the leg (N, 2) to pixels of the picture (N, 2)."""
        turned = points_mm @ self._turn.T / self.spacing_mm
        return np.asarray(turned + np.asarray(self.centre_px), dtype=np.float64)

    def to_mm(self, x_px: FloatImage, y_px: FloatImage) -> tuple[FloatImage, FloatImage]:
        """Pixel coordinates to the leg's own (x, y) in millimetres."""
        dx = (x_px - self.centre_px[0]) * self.spacing_mm
        dy = (y_px - self.centre_px[1]) * self.spacing_mm
        (a, b), (c, d) = self._turn
        return (a * dx + c * dy).astype(np.float32), (b * dx + d * dy).astype(np.float32)


@dataclass(frozen=True)
class Body:
    """A filled outline within its window of the picture.

    `depth` is the distance to the outline in mm, `radius` the local half width of the row in mm (h, 1),
    `across` -1..1 from edge to edge of the row, `y` the leg's own height in mm; all float32 (h, w).
    """

    window: tuple[slice, slice]
    mask: Booleans
    depth: FloatImage
    radius: FloatImage
    across: FloatImage
    y: FloatImage


@dataclass(frozen=True)
class BoneKind:
    """How one bone is built: its rounding, its cortex and sponge by |height| over plateau width."""

    max_radius_mm: float
    thickness_ratio: float
    cortex_mm: Callable[[FloatImage], FloatImage]
    sponge: Callable[[FloatImage], FloatImage]


def body_of(outline_mm: Points, frame: Frame, shape: tuple[int, int]) -> Body | None:
    """Fill an outline; None when it lies outside the picture."""
    px = frame.to_px(outline_mm)
    low = np.maximum(np.floor(px.min(axis=0)).astype(int) - 3, 0)
    high = np.minimum(np.ceil(px.max(axis=0)).astype(int) + 4, shape[::-1])
    if np.any(high - low < 2):
        return None
    filled = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    cv2.fillPoly(filled, [np.round((px - low) * 256).astype(np.int32)], 255, cv2.LINE_AA, 8)
    mask = filled > 127
    if not mask.any():
        return None
    along_x, along_y = (np.arange(low[i], high[i], dtype=np.float32) for i in (0, 1))
    columns, rows = np.meshgrid(along_x, along_y)
    centre, half = _row_extent(mask, frame.spacing_mm)
    return Body(
        window=(slice(low[1], high[1]), slice(low[0], high[0])),
        mask=mask,
        depth=_depth_px(filled) * np.float32(frame.spacing_mm),
        radius=half * np.float32(frame.spacing_mm),
        across=(columns - np.float32(low[0]) - centre) / half,
        y=frame.to_mm(columns, rows)[1],
    )


def _depth_px(filled: Bytes) -> FloatImage:
    """Distance to the edge in px, 0 outside, from an anti-aliased filling 0..255.

    A distance transform alone starts from whole pixels, which shows as ripples along oblique bones. Near the
    edge the blurred filling tells the place between pixels; deeper in, a smoothed transform is enough.
    """
    framed = np.asarray(cv2.copyMakeBorder(filled, 16, 16, 16, 16, cv2.BORDER_REPLICATE), np.float32)
    mask = (framed > 127).astype(np.uint8)
    sides = (mask, 1 - mask)
    inside, outside = (cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for side in sides)
    far = np.asarray(cv2.GaussianBlur(inside - outside, (0, 0), 4.0), np.float32)
    sigma = 2.0
    share = np.clip(cv2.GaussianBlur(framed, (0, 0), sigma) / 255, 0.004, 0.996)
    # The logistic curve stands in for the normal one, whose inverse has no closed form.
    near = (0.588 * sigma) * np.log(share / (1 - share))
    weight = ramp(far, 1.5, 5.0)
    return np.asarray(np.maximum(weight * far + (1 - weight) * near, 0)[16:-16, 16:-16], dtype=np.float32)


def _row_extent(inside: Booleans, spacing_mm: float) -> tuple[FloatImage, FloatImage]:
    """Centre and half width of every row in px, (h, 1), smoothed along the bone."""
    left = inside.argmax(axis=1).astype(np.float32)
    right = (inside.shape[1] - 1 - inside[:, ::-1].argmax(axis=1)).astype(np.float32)
    rows = np.flatnonzero(inside.any(axis=1))
    every = np.arange(len(inside))
    edges = np.stack([np.interp(every, rows, side[rows]) for side in (left, right)], axis=1)
    edges = _smooth_rows(edges.astype(np.float32), 4.0 / spacing_mm)
    return edges.mean(axis=1, keepdims=True), np.maximum((edges[:, 1:] - edges[:, :1]) / 2, 1.0)


def _smooth_rows(rows: FloatImage, sigma_px: float) -> FloatImage:
    size = 2 * int(3 * sigma_px) + 1
    kernel = cv2.getGaussianKernel(size, sigma_px, cv2.CV_32F)
    return np.asarray(cv2.sepFilter2D(rows, -1, np.ones(1, np.float32), kernel), dtype=np.float32)


def chord(depth: FloatImage, radius: FloatImage) -> FloatImage:
    """Path in mm through a round body of `radius` mm, `depth` mm inside its edge; level beyond the axis."""
    inside = np.clip(depth, 0, radius)
    return np.asarray(2 * np.sqrt(inside * (2 * radius - inside)), dtype=np.float32)


def mottled(rng: np.random.Generator, across: float, along: float) -> FloatImage:
    """A tile of smooth noise with zero mean and unit spread, `across` and `along` in tile pixels."""
    step = (max(1, int(across / 2)), max(1, int(along / 2)))
    noise = rng.standard_normal((TEXTURE_SIZE // step[1], TEXTURE_SIZE // step[0]), dtype=np.float32)
    small = cv2.GaussianBlur(noise, (0, 0), across / step[0], sigmaY=along / step[1])
    tile = cv2.resize(small / small.std(), (TEXTURE_SIZE, TEXTURE_SIZE), interpolation=cv2.INTER_CUBIC)
    return np.asarray(tile, dtype=np.float32)


def trabeculae(rng: np.random.Generator, bone_density: float) -> FloatImage:
    """A tile of spongy texture, zero mean, about unit spread.

    Loss of mineral spares the load-bearing vertical plates longest: with it the horizontal struts fade and
    fewer, coarser verticals remain.
    """
    size = (TEXTURE_SIZE, TEXTURE_SIZE)
    loss = max(0.0, 1.0 - bone_density)

    def ridges(across: float, along: float, vertical: bool) -> FloatImage:
        noise = rng.standard_normal(size, dtype=np.float32)
        noise *= np.abs(noise)  # a few strong seeds make separate threads instead of an even weave
        fine, wide = (across, along), (3.0 * across, along)
        if not vertical:
            fine, wide = fine[::-1], wide[::-1]
        narrow, broad = (cv2.GaussianBlur(noise, (0, 0), x, sigmaY=y) for x, y in (fine, wide))
        band = np.asarray(narrow - broad, dtype=np.float32)
        band = np.maximum(band / band.std() - 0.8 * loss, -0.8)
        return np.asarray((band - band.mean()) / band.std(), dtype=np.float32)

    coarse = 1.0 + 0.6 * loss

    tile = 0.80 * ridges(0.6 * coarse, 10, True) + 0.28 * ridges(1.0 * coarse, 32, True)
    tile += (0.42 - 0.5 * loss) * ridges(0.6 * coarse, 7, False)
    # Threads stand out in some places and drown in others.
    tile *= np.clip(1 + 0.45 * mottled(rng, 22, 22), 0.25, 2)
    tile += 0.55 * mottled(rng, 0.8, 1.2) + 0.35 * mottled(rng, 5, 9) + 0.6 * mottled(rng, 18, 30)
    return np.asarray(tile, dtype=np.float32)


def sample_texture(tile: FloatImage, body: Body, lean: float) -> FloatImage:
    """Lay the tile along the bone, so that its lines follow the flare of the metaphysis."""
    spread = np.sqrt(body.radius * np.float32(24.0))
    u = (body.across * spread + np.float32(lean) * body.y) / TEXTURE_PITCH_MM + TEXTURE_SIZE / 2
    v = body.y / TEXTURE_PITCH_MM + TEXTURE_SIZE / 2
    return np.asarray(cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)


def ramp(values: FloatImage, start: float, stop: float) -> FloatImage:
    """A smooth step from 0 at `start` to 1 at `stop`."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def bone_kinds(anatomy: KneeAnatomy) -> dict[str, BoneKind]:
    """Thin shell and full sponge at the joint, thick cortex and nearly empty canal in the shaft."""
    cortex = anatomy.cortical_thickness_mm
    shell = 0.35 + 0.06 * cortex

    def long_bone(radius: float, ratio: float, start: float, stop: float) -> BoneKind:
        return BoneKind(
            radius,
            ratio,
            lambda y: shell + (cortex - shell) * ramp(y, start, stop),
            lambda y: 1.0 - 0.85 * ramp(y, 0.3, 1.7),
        )

    return {
        "femur": long_bone(24.0, 1.15, 0.5, 1.7),
        "tibia": long_bone(22.0, 1.0, 0.3, 1.6),
        "fibula": BoneKind(
            9.0,
            1.25,
            lambda y: 0.7 + 0.5 * cortex * ramp(y, 0.4, 1.0),
            lambda y: 1.3 - 0.7 * ramp(y, 0.6, 1.2),
        ),
        "patella": BoneKind(17.0, 0.55, lambda y: 0.6 * shell + 0 * y, lambda y: 1.0 + 0 * y),
    }


def add_bone(total: FloatImage, body: Body, kind: BoneKind, anatomy: KneeAnatomy, tile: FloatImage) -> None:
    """Add cortex and textured sponge of one bone to the attenuation map, in place."""
    height = np.abs(body.y) / np.float32(anatomy.plateau_width_mm)
    radius = np.minimum(body.radius, kind.max_radius_mm)
    texture = 0.6 * sample_texture(tile, body, 0.10) + 0.6 * sample_texture(tile[::-1], body, -0.13)
    # The inner face of the cortex is uneven where it passes into sponge, most of all in the thin shell.
    shaft = ramp(height, 0.5, 1.6)
    uneven = np.clip(1 + (0.40 - 0.37 * shaft) * cv2.GaussianBlur(texture, (0, 0), 3.0), 0.3, 2.0)
    cortex = np.minimum(kind.cortex_mm(height) * uneven, 0.75 * radius)
    whole = chord(body.depth, radius)
    marrow = chord(body.depth - cortex, radius - cortex)
    sponge = kind.sponge(height) * anatomy.bone_density
    grain = 1 + 0.14 * texture * np.sqrt(20.0 / (10.0 + marrow))
    mineral = 0.55 + 0.45 * anatomy.bone_density
    bone = (whole - marrow) * (CORTEX_EXCESS_PER_MM * mineral) * (1 + 0.03 * texture)
    bone += marrow * SPONGY_EXCESS_PER_MM * sponge * grain
    total[body.window] += kind.thickness_ratio * bone


def add_notch(total: FloatImage, frame: Frame, anatomy: KneeAnatomy, femur: Body) -> None:
    """Bone is missing behind the intercondylar notch: thin the sponge there, in place."""
    across = [-0.17, -0.15, -0.09, 0.0, 0.09, 0.14, 0.16]
    up = [0.04, 0.20, 0.31, 0.35, 0.31, 0.20, 0.04]
    fossa = np.column_stack([across, np.negative(up)]) * anatomy.plateau_width_mm
    hole = np.zeros(total.shape, np.uint8)
    cv2.fillPoly(hole, [np.round(frame.to_px(fossa)).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(hole[femur.window], (0, 0), 3.5 / frame.spacing_mm).astype(np.float32) / 255
    total[femur.window] -= soft * femur.mask * (8.0 * SPONGY_EXCESS_PER_MM * anatomy.bone_density)


def add_stroke(total: FloatImage, stroke: Stroke, frame: Frame, bone: Booleans, density: float) -> None:
    """Add a fine dense line that fades out at its ends, in place."""
    px = frame.to_px(stroke.points)
    margin = int(3 + 3 * stroke.width_mm / frame.spacing_mm)
    low = np.floor(px.min(axis=0)).astype(int) - margin
    high = np.ceil(px.max(axis=0)).astype(int) + margin
    low, high = np.maximum(low, 0), np.minimum(high, total.shape[::-1])
    if len(px) < 2 or np.any(high - low < 2):
        return
    window = (slice(low[1], high[1]), slice(low[0], high[0]))
    canvas = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    fade = np.sin(np.linspace(0.15, np.pi - 0.15, len(px) - 1))
    thickness = max(1, round(0.8 * stroke.width_mm / frame.spacing_mm))
    for start, stop, strength in zip(px[:-1], px[1:], fade, strict=True):
        ends = np.round((np.stack([start, stop]) - low) * 16).astype(np.int32)
        cv2.line(canvas, ends[0].tolist(), ends[1].tolist(), int(255 * strength), thickness, cv2.LINE_AA, 4)
    sigma = 0.45 * stroke.width_mm / frame.spacing_mm
    soft = cv2.GaussianBlur(canvas, (0, 0), sigma).astype(np.float32) / 255
    mineral = STROKE_GAIN * stroke.path_mm * CORTEX_EXCESS_PER_MM * (0.4 + 0.6 * density)
    total[window] += soft * bone[window] * mineral


def add_soft_tissue(
    total: FloatImage,
    leg: Leg,
    frame: Frame,
    anatomy: KneeAnatomy,
    rng: np.random.Generator,
) -> Booleans:
    """Add skin, fat and muscles of one leg in place; returns the mask of the leg, bool (H, W)."""
    mask = np.zeros(total.shape, np.bool_)
    skin = body_of(leg.skin, frame, (total.shape[0], total.shape[1]))
    if skin is None:
        return mask
    mask[skin.window] = skin.mask
    fat = chord(skin.depth, skin.radius)
    rind = fat - chord(skin.depth - 1.6, np.maximum(skin.radius - 1.6, 1.0))
    tissue = FAT_PER_MM * fat + SKIN_EXCESS_PER_MM * rind
    total[skin.window] += tissue
    inner = np.zeros(total.shape, np.float32)
    inner[skin.window] = np.clip((skin.depth - anatomy.fat_thickness_mm) / 1.5, 0, 1)
    fibres = mottled(rng, 3.0, 60.0)
    for outline in leg.muscles:
        body = body_of(outline, frame, (total.shape[0], total.shape[1]))
        if body is None:
            continue
        fascicles = 1 + 0.05 * sample_texture(fibres, body, rng.uniform(-0.15, 0.15))
        muscle = chord(body.depth, np.minimum(body.radius, 26.0)) * fascicles * MUSCLE_EXCESS_PER_MM
        total[body.window] += muscle * inner[body.window]
    for stroke in _creases(leg, anatomy, rng):
        add_stroke(total, stroke, frame, mask, 1.0)
    return mask


def _creases(leg: Leg, anatomy: KneeAnatomy, rng: np.random.Generator) -> list[Stroke]:
    """Faint lines of skin folds and vessels, mostly behind the knee and along the edges of the leg."""
    w = anatomy.plateau_width_mm
    creases = []
    for _ in range(int(rng.integers(8, 15))):
        side = rng.choice([-1.0, 1.0])
        start = np.array([side * rng.uniform(0.45, 0.85), rng.normal(0.0, 0.9)])
        turn = rng.normal(0.0, 0.5) if rng.random() < 0.6 else rng.normal(1.5, 0.3)
        along = np.linspace(0, rng.uniform(0.2, 0.7), 6)[:, None]
        wave = rng.normal(0.0, 0.012, (6, 2)).cumsum(axis=0)
        knots = start + along * [-side * np.cos(turn), np.sin(turn)] + wave
        creases.append(Stroke(smooth_curve(knots * w), rng.uniform(0.5, 1.1), rng.uniform(0.15, 0.5)))
    return creases
