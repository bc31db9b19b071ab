"""Synthetic antero-posterior radiographs of the lumbar spine, framed as DXA frames it: T12 to L5, iliac crests below.

The physics are those of the knees: paths in mm through soft tissue, cortex and spongy bone add up along each ray
(Beer-Lambert), then come exposure, scatter, grain and display. Synthetic pictures serve tests and examples only; they
are no evidence of accuracy. Nothing here was fitted to radiographs of real spines.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import click
import cv2
import numpy as np

from train.runs.arrays import Booleans, Pixels
from train.synthetic import attenuation as att
from train.synthetic import detector
from train.synthetic.cases import GROUPS, LABEL_COLUMNS, around, between, patients, scaled, write_png
from train.synthetic.records import Acquisition, FloatImage, Points
from train.synthetic.shapes import Stroke, smooth_curve

VIEW: Final = "lumbar_spine_ap"
# From above; sizes relative to L3's, after textbook proportions: lumbar bodies grow wider downwards, discs higher.
LEVELS: Final = ("T11", "T12", "L1", "L2", "L3", "L4", "L5")
_WIDTHS: Final = (0.80, 0.84, 0.90, 0.95, 1.0, 1.05, 1.10)
_HEIGHTS: Final = (0.86, 0.90, 0.95, 0.98, 1.0, 0.99, 0.95)
_DISCS: Final = (0.55, 0.65, 0.80, 0.95, 1.05, 1.15, 1.0)
_TRANSVERSE_MM: Final = (6.0, 7.0, 17.0, 23.0, 27.0, 22.0, 24.0)
_INTERPEDICULAR: Final = (0.58, 0.58, 0.58, 0.58, 0.60, 0.62, 0.68)
_MIDDLE_LEVEL: Final = 3.5  # Between L2 and L3 lies the picture's middle.
# One standard deviation of young adults' lumbar density is about an eighth of its mean.
DENSITY_PER_T_SCORE: Final = 0.12
_T_SCORES: Final[Mapping[str, tuple[float, float]]] = {
    "normal": (-0.9, 2.5),
    "osteopenia": (-2.4, -1.1),
    "osteoporosis": (-5.0, -2.5),
}
# Of the grey level that the abdomen alone has, so much is taken off before the display's window is laid.
_LEVELLED: Final = 0.80


@dataclass(frozen=True)
class SpineAnatomy:
    """One lumbar spine. Lengths in millimetres, of L3 where they differ by level; angles in degrees.

    Attributes:
        endplate_mm: thickness of the endplates and, a little thinner, of the shell around the bodies.
        bone_density: mineral relative to a healthy adult: 1.0 normal, 0.5 severe loss.
        bend_mm: how far the middle of the spine lies beside the line through its ends.
        rotation: shift of the spinous processes towards one side, as a share of the half width.
        lordosis_deg: how far the endplates of the lowest level shown are tilted out of the beam.
        abdomen_mm: thickness of the soft tissue that the beam passes.
        gas: 0 (none) to 1 (much) gas in the bowel.
        shape_seed: picks the small individual deviations.
    """

    width_mm: float = 45.0
    height_mm: float = 28.0
    depth_mm: float = 34.0
    disc_mm: float = 10.0
    endplate_mm: float = 0.9
    bone_density: float = 1.0
    bend_mm: float = 2.0
    rotation: float = 0.0
    lordosis_deg: float = 16.0
    abdomen_mm: float = 190.0
    gas: float = 0.4
    shape_seed: int = 0

    def __post_init__(self) -> None:
        if not 0.2 <= self.bone_density <= 1.5:
            raise ValueError(f"bone_density must lie in 0.2..1.5, not {self.bone_density}")
        if min(self.width_mm, self.height_mm, self.depth_mm, self.disc_mm, self.endplate_mm, self.abdomen_mm) <= 0:
            raise ValueError("lengths of a spine must be positive")


@dataclass(frozen=True)
class SyntheticSpine:
    """`pixels` uint8 or uint16 (H, W), bone bright; `masks` bool (H, W) of the vertebral bodies by level."""

    pixels: Pixels
    masks: Mapping[str, Booleans]


@dataclass(frozen=True)
class _Vertebra:
    """One level in its own frame: origin in the middle of the body, y towards the feet."""

    level: int
    frame: att.Frame
    anatomy: SpineAnatomy
    tilt_out_deg: float
    tile: FloatImage

    @cached_property
    def half(self) -> Points:
        """Half width and half height of the body in mm, (2,)."""
        sizes = (self.anatomy.width_mm * _WIDTHS[self.level], self.anatomy.height_mm * _HEIGHTS[self.level])
        return np.asarray(sizes, dtype=np.float64) / 2


@dataclass(frozen=True)
class _Part:
    """How a solid part is built: its path along the beam at its thickest, its rounding, its cortex, its sponge."""

    path_mm: float
    rounding_mm: float
    cortex_mm: float
    sponge: float


def render_spine(anatomy: SpineAnatomy, acquisition: Acquisition, *, seed: int) -> SyntheticSpine:
    """Render one radiograph; the same arguments give the same bytes. Layout, border and marker are the knees' alone."""
    rng = np.random.default_rng([seed, 0])
    total = _abdomen(anatomy, acquisition, rng)
    masks = {}
    _add_pelvis(total, anatomy, acquisition, rng)
    vertebrae = _vertebrae(anatomy, acquisition, rng)
    for vertebra in vertebrae[:2]:
        _add_ribs(total, vertebra, rng)
    for vertebra in vertebrae:
        masks[LEVELS[vertebra.level]] = _add_body(total, vertebra, rng)
    for vertebra in vertebrae:
        _add_posterior_elements(total, vertebra, rng)
    grey = _develop(total, acquisition, np.random.default_rng([seed, 99]))
    return SyntheticSpine(detector.quantise(grey, acquisition.bit_depth), masks)


def sample_spine(rng: np.random.Generator, *, bone_density: float | None = None) -> tuple[SpineAnatomy, Acquisition]:
    """Draw a spine and an exposure, 512 x 384 px; `bone_density` as in `SpineAnatomy`, None draws it too."""
    density = float(rng.uniform(0.5, 1.1)) if bone_density is None else bone_density
    width = around(rng, 45.0, 2.5)
    anatomy = SpineAnatomy(
        width_mm=width,
        height_mm=0.62 * width + around(rng, 0.0, 0.8) - 2.0 * max(0.0, 0.8 - density),
        depth_mm=0.75 * width + around(rng, 0.0, 1.2),
        disc_mm=around(rng, 9.5, 1.1),
        endplate_mm=max(0.35, around(rng, 0.25 + 0.65 * density, 0.06)),
        bone_density=density,
        bend_mm=around(rng, 0.0, 4.0),
        rotation=around(rng, 0.0, 0.07),
        lordosis_deg=around(rng, 16.0, 3.5),
        abdomen_mm=around(rng, 190.0, 18.0),
        gas=between(rng, 0.0, 1.0),
        shape_seed=int(rng.integers(2**31)),
    )
    return anatomy, Acquisition(
        width_px=384,
        height_px=512,
        pixel_spacing_mm=between(rng, 0.42, 0.46),
        border="none",
        marker="none",
        photons=between(rng, 0.7e6, 1.6e6),
        blur_mm=between(rng, 0.28, 0.40),
        scatter_ratio=between(rng, 0.05, 0.12),
        equalisation=between(rng, 0.25, 0.45),
        sharpening=between(rng, 0.4, 0.8),
        gamma=between(rng, 0.95, 1.2),
        pedestal=between(rng, 0.0, 0.03),
    )


def write_spine_dataset(folder: Path, *, count: int, seed: int, scale: float = 1.0) -> Path:
    """Write `count` PNG spines under normal/, osteopenia/ and osteoporosis/; return labels.csv.

    As `train.synthetic.cases.write_dataset`, with a `t_score` that agrees with the label; `scale` below 1 makes smaller
    pictures of the same field of view.

    Raises:
        ValueError: count or scale is not positive.
    """
    if count < 1 or scale <= 0:
        raise ValueError("count and scale must be positive")
    rng = np.random.default_rng(seed)
    rows: list[tuple[str | int | float, ...]] = []
    for patient in patients(rng, count):
        t_score = _t_score(rng, patient.label, patient.bone_density)
        for _ in range(patient.radiographs):
            anatomy, acquisition = sample_spine(rng, bone_density=patient.bone_density)
            name = f"{patient.label}/{GROUPS[patient.label].prefix}{len(rows) + 1}.png"
            picture = render_spine(anatomy, scaled(acquisition, scale), seed=int(rng.integers(2**31)))
            write_png(folder / name, picture.pixels)
            rows.append((name, patient.label, patient.number, VIEW, patient.age_years, patient.sex, t_score))
    table = folder / "labels.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([(*LABEL_COLUMNS, "t_score"), *rows])
    return table


def _t_score(rng: np.random.Generator, label: str, density: float) -> float:
    """What DXA would have said: the density with an error, within the range that the label stands for."""
    measured = (density - 1.0) / DENSITY_PER_T_SCORE + around(rng, 0.0, 0.3)
    return round(float(np.clip(measured, *_T_SCORES[label])), 1)


def _mineral(density: float) -> float:
    """Attenuation of cortex per mm: it loses less of its mineral than sponge does."""
    return att.CORTEX_EXCESS_PER_MM * (0.55 + 0.45 * density)


def _millimetres(acquisition: Acquisition) -> tuple[FloatImage, FloatImage]:
    """x and y of every pixel in mm from the picture's middle, float32 (H, W)."""
    height, width = acquisition.height_px, acquisition.width_px
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    mm = np.float32(acquisition.pixel_spacing_mm)
    return (x - np.float32((width - 1) / 2)) * mm, (y - np.float32((height - 1) / 2)) * mm


def _picture_frame(acquisition: Acquisition) -> att.Frame:
    middle = ((acquisition.width_px - 1) / 2, (acquisition.height_px - 1) / 2)
    return att.Frame(middle, acquisition.pixel_spacing_mm, 0.0, 1)


def _abdomen(anatomy: SpineAnatomy, acquisition: Acquisition, rng: np.random.Generator) -> FloatImage:
    """Soft tissue: the trunk's round, both psoas muscles, the organs' unevenness and gas in the bowel; float32 (H, W)."""
    x, y = _millimetres(acquisition)
    trunk = anatomy.abdomen_mm * np.sqrt(np.clip(1 - (x / 230.0) ** 2, 0.05, 1)) * (1 + 0.0004 * y)
    total = np.asarray(att.FAT_PER_MM * trunk, np.float32)
    total += att.MUSCLE_EXCESS_PER_MM * 0.45 * trunk.astype(np.float32)
    total += 0.045 * _clouds(x, y, rng, 24.0) + 0.018 * _clouds(x, y, rng, 7.0)
    for side in (-1, 1):
        total += _psoas(x * side, y, rng)
        total += _bowel_gas(x * side, y, anatomy.gas, rng)
    return total


def _clouds(x: FloatImage, y: FloatImage, rng: np.random.Generator, pitch_mm: float) -> FloatImage:
    """Smooth noise with about unit spread whose blobs are `pitch_mm` wide whatever the pixels are."""
    tile = att.mottled(rng, 12.0, 12.0)
    u, v = ((axis / pitch_mm * 12.0 + att.TEXTURE_SIZE / 2).astype(np.float32) for axis in (x, y))
    return np.asarray(cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT), np.float32)


def _psoas(x: FloatImage, y: FloatImage, rng: np.random.Generator) -> FloatImage:
    """The muscle from T12 downwards and outwards, whose oblique edge fat sets off."""
    edge = 27.0 + around(rng, 0.0, 2.0) + (y + 90.0) * np.float32(0.23 + around(rng, 0.0, 0.02))
    edge = edge + 4.0 * np.sin((y + 90.0) / np.float32(55.0))  # its belly
    inside = np.clip(edge - x, 0, None) * (x > 0) * att.ramp(y, -95.0, -40.0)
    return np.asarray(att.MUSCLE_EXCESS_PER_MM * 34.0 * att.ramp(inside, -2.0, 26.0), np.float32)


def _bowel_gas(x: FloatImage, y: FloatImage, gas: float, rng: np.random.Generator) -> FloatImage:
    """Rounded pockets, mostly beside the spine, chained like haustra of the colon; negative: gas replaces tissue."""
    missing = np.zeros(x.shape, np.float32)
    for _ in range(int(rng.poisson(5.0 * gas))):
        where = np.array([rng.uniform(24.0, 95.0), rng.uniform(-85.0, 100.0)])
        step = rng.normal(0.0, 1.0, 2)
        for _ in range(int(rng.integers(1, 5))):
            radius = rng.uniform(5.0, 12.0)
            stretch = rng.uniform(0.7, 1.4)
            away = ((x - where[0]) / (radius * stretch)) ** 2 + ((y - where[1]) / radius) ** 2
            missing = np.maximum(missing, 1.1 * radius * np.sqrt(np.clip(1 - away, 0, 1)))
            where = where + 11.0 * step / np.hypot(*step) + rng.normal(0.0, 2.5, 2)
    soft = cv2.GaussianBlur(missing, (0, 0), max(0.3, 0.6 / float(y[1, 0] - y[0, 0])))
    return np.asarray(-(att.FAT_PER_MM + att.MUSCLE_EXCESS_PER_MM) * soft, np.float32)


def _vertebrae(anatomy: SpineAnatomy, acquisition: Acquisition, rng: np.random.Generator) -> list[_Vertebra]:
    """Every level's place: stacked with its discs, along a slightly bent line."""
    shape = np.random.default_rng(anatomy.shape_seed)
    heights = anatomy.height_mm * np.asarray(_HEIGHTS)
    discs = anatomy.disc_mm * np.asarray(_DISCS) * (1 + 0.06 * shape.standard_normal(len(LEVELS)).clip(-2, 2))
    tops = np.concatenate([[0.0], np.cumsum(heights + discs)[:-1]])
    middles = tops + heights / 2
    heart = float(np.interp(_MIDDLE_LEVEL, range(len(LEVELS)), middles)) + float(shape.normal(0.0, 3.0))
    along = middles - heart
    beside = anatomy.bend_mm * np.cos(np.pi * along / 190.0) + float(shape.normal(0.0, 2.0))
    lean = np.degrees(np.arctan(np.gradient(beside, along)))
    tile = att.trabeculae(rng, anatomy.bone_density)
    frame = _picture_frame(acquisition)
    placed = []
    for level in range(len(LEVELS)):
        centre = frame.to_px(np.array([[beside[level], along[level]]]))[0]
        # The middle levels stand square to the beam; lordosis tips the lower ones one way, the upper ones the other.
        out = anatomy.lordosis_deg * (level - _MIDDLE_LEVEL + 0.3) / 2.7 + float(shape.normal(0.0, 1.5))
        own = att.Frame((centre[0], centre[1]), frame.spacing_mm, -float(lean[level]) + float(shape.normal(0.0, 0.8)), 1)
        rolled = np.roll(tile, tuple(shape.integers(0, att.TEXTURE_SIZE, 2)), (0, 1))
        placed.append(_Vertebra(level, own, anatomy, out, rolled))
    return placed


def _wobble(knots: Sequence[tuple[float, float]] | Points, rng: np.random.Generator, amount: float) -> Points:
    points = np.asarray(knots, dtype=np.float64)
    return points + rng.normal(0.0, amount, points.shape)


def _body_outline(vertebra: _Vertebra, rng: np.random.Generator) -> Points:
    """Waisted, with rims that stand out; endplates sink in as bone is lost."""
    sunk = 0.05 + 0.10 * max(0.0, 0.9 - vertebra.anatomy.bone_density)
    right = [(0.45, -0.97 + sunk), (0.80, -1.0), (0.95, -0.97), (0.99, -0.80), (0.92, -0.45), (0.885, 0.0)]
    right += [(0.91, 0.42), (1.01, 0.80), (0.98, 0.97), (0.82, 1.0), (0.45, 0.97 - sunk)]
    left = [(-x, y) for x, y in reversed(right)]
    knots = [(0.0, -0.95 + sunk), *right, (0.0, 0.95 - 1.2 * sunk), *left]
    return smooth_curve(_wobble(knots, rng, 0.012) * vertebra.half, closed=True)


def _add_body(total: FloatImage, vertebra: _Vertebra, rng: np.random.Generator) -> Booleans:
    """An elliptic drum of sponge in a thin shell, closed by endplates; returns its mask, bool (H, W)."""
    mask = np.zeros(total.shape, np.bool_)
    outline = _body_outline(vertebra, rng)
    body = att.body_of(outline, vertebra.frame, (total.shape[0], total.shape[1]))
    if body is None:
        return mask
    mask[body.window] = body.mask
    anatomy = vertebra.anatomy
    shell = np.float32(0.75 * anatomy.endplate_mm)
    sideways = np.clip(1 - np.abs(body.across), 0, 1) * body.radius
    flat = np.float32(anatomy.depth_mm * _WIDTHS[vertebra.level]) / (2 * body.radius)
    whole = flat * att.chord(sideways, body.radius)
    marrow = flat * att.chord(sideways - shell, body.radius - shell)
    texture = att.sample_texture(vertebra.tile, body, 0.05)
    closed = att.ramp(body.depth, 0.0, 1.6)
    bone = (whole - marrow) * _mineral(anatomy.bone_density)
    bone += marrow * att.SPONGY_EXCESS_PER_MM * 0.80 * anatomy.bone_density * (1 + 0.075 * texture)
    # Sponge is denser towards the endplates.
    bone *= 1 + 0.10 * att.ramp(np.abs(body.y) / np.float32(vertebra.half[1]), 0.4, 0.95)
    total[body.window] += bone * closed
    for stroke in _endplates(vertebra, outline, rng):
        att.add_stroke(total, stroke, vertebra.frame, mask, anatomy.bone_density)
    return mask


def _endplates(vertebra: _Vertebra, outline: Points, rng: np.random.Generator) -> list[Stroke]:
    """Near and far rim of either endplate: one sharp line where the beam grazes it, two arcs where it is tilted."""
    anatomy, (half_width, half_height) = vertebra.anatomy, vertebra.half
    tilt = np.sin(np.radians(vertebra.tilt_out_deg))
    strokes = []
    for end in (-1, 1):
        rim = outline[(np.sign(outline[:, 1]) == end) & (np.abs(outline[:, 1]) > 0.72 * half_height)]
        rim = rim[np.abs(rim[:, 0]) < 0.93 * half_width]
        rim = rim[np.argsort(rim[:, 0])]
        apart = 0.35 * anatomy.depth_mm * tilt
        bow = np.sqrt(np.clip(1 - (rim[:, 0] / half_width) ** 2, 0, 1))
        # The mineral that is seen edge-on is spread over the endplate's height in the picture.
        path = 5.0 * anatomy.endplate_mm / (1 + 0.16 * abs(apart))
        for share, strength in ((0.0, 1.0), (1.0, 0.55)):
            shifted = rim + np.column_stack([0 * bow, -end * 0.5 + share * apart * bow + rng.normal(0.0, 0.05, len(bow))])
            strokes.append(Stroke(shifted, 1.1 + 0.3 * anatomy.endplate_mm, path * strength))
    sides = np.abs(outline[:, 1]) < 0.75 * half_height
    for side in (-1, 1):
        wall = outline[sides & (np.sign(outline[:, 0]) == side)]
        strokes.append(Stroke(wall[np.argsort(wall[:, 1])] - [0.4 * side, 0.0], 1.0, 1.6 * anatomy.endplate_mm))
    return strokes


def _add_part(
    total: FloatImage, outline: Points, frame: att.Frame, part: _Part, density: float, tile: FloatImage | None = None
) -> None:
    """Add one rounded piece of bone in a shell of cortex, in place."""
    body = att.body_of(outline, frame, (total.shape[0], total.shape[1]))
    if body is None:
        return
    radius = np.full_like(body.depth, part.rounding_mm)
    flat = np.float32(part.path_mm / (2 * part.rounding_mm))
    cortex = np.float32(min(part.cortex_mm * (0.45 + 0.55 * density), 0.6 * part.rounding_mm))
    whole, marrow = flat * att.chord(body.depth, radius), flat * att.chord(body.depth - cortex, radius - cortex)
    grain = 1.0 if tile is None else 1 + 0.08 * att.sample_texture(tile, body, 0.0)
    bone = (whole - marrow) * _mineral(density) + marrow * att.SPONGY_EXCESS_PER_MM * part.sponge * density * grain
    total[body.window] += np.asarray(bone, np.float32)


_PEDICLE: Final = _Part(path_mm=13.0, rounding_mm=4.5, cortex_mm=1.3, sponge=0.5)
_LAMINA: Final = _Part(path_mm=8.0, rounding_mm=4.0, cortex_mm=0.9, sponge=0.8)
_FACET: Final = _Part(path_mm=12.0, rounding_mm=4.5, cortex_mm=0.8, sponge=0.8)
_SPINOUS: Final = _Part(path_mm=20.0, rounding_mm=3.2, cortex_mm=0.75, sponge=0.45)
_TRANSVERSE: Final = _Part(path_mm=7.0, rounding_mm=3.5, cortex_mm=0.8, sponge=0.9)
_RIB: Final = _Part(path_mm=8.5, rounding_mm=4.2, cortex_mm=0.7, sponge=0.8)
_ILIUM: Final = _Part(path_mm=16.0, rounding_mm=9.0, cortex_mm=1.2, sponge=1.0)
_SACRUM: Final = _Part(path_mm=30.0, rounding_mm=26.0, cortex_mm=0.6, sponge=0.8)


def _add_posterior_elements(total: FloatImage, vertebra: _Vertebra, rng: np.random.Generator) -> None:
    """Pedicles end-on, laminae, articular, spinous and transverse processes, in place."""
    density, frame, tile = vertebra.anatomy.bone_density, vertebra.frame, vertebra.tile
    w, h = vertebra.half
    shift = vertebra.anatomy.rotation * w

    def add(knots: Sequence[tuple[float, float]], part: _Part, side: int, turn: float) -> None:
        outline = smooth_curve(_wobble(knots, rng, 0.018) * [side * w, h], closed=True) + np.array([turn, 0.0])
        _add_part(total, outline, frame, part, density, tile)

    inner = _INTERPEDICULAR[vertebra.level]
    for side in (-1, 1):
        _add_part(total, _oval(inner * w * side + shift * 0.4, -0.22 * h, 0.135 * w + 1.2, 0.36 * h + 1.2, rng),
                  frame, _PEDICLE, density)  # fmt: skip
        lamina = [
            (0.02, -0.10),
            (0.18, -0.30),
            (0.42, -0.36),
            (0.62, -0.18),
            (0.60, 0.15),
            (0.46, 0.45),
            (0.24, 0.80),
            (0.04, 0.78),
        ]
        add(lamina, _LAMINA, side, shift * 0.7)
        lower = [(0.22, 0.62), (0.40, 0.45), (0.53, 0.72), (0.56, 1.10), (0.48, 1.50), (0.33, 1.56), (0.25, 1.25)]
        add(lower, _FACET, side, shift * 0.7)
        upper = [(0.56, -0.30), (0.57, -0.80), (0.62, -1.22), (0.74, -1.26), (0.82, -0.92), (0.79, -0.45), (0.68, -0.15)]
        add(upper, _FACET, side, shift * 0.4)
        _add_part(total, _transverse(vertebra, side, rng), frame, _TRANSVERSE, density, tile)
    spinous = [(0.0, 0.02), (0.09, 0.20), (0.10, 0.62), (0.17, 1.02), (0.13, 1.26), (0.0, 1.33)]
    outline = [*spinous, *((-x, y) for x, y in reversed(spinous[1:-1]))]
    add(outline, _SPINOUS, 1, shift * 1.5)


def _oval(x: float, y: float, half_width: float, half_height: float, rng: np.random.Generator) -> Points:
    turn = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    reach = 1 + rng.normal(0.0, 0.03, turn.size)
    knots = np.column_stack([x + half_width * reach * np.cos(turn), y + half_height * reach * np.sin(turn)])
    return smooth_curve(knots, closed=True)


def _transverse(vertebra: _Vertebra, side: int, rng: np.random.Generator) -> Points:
    """A tongue from the pedicle outwards, a little upwards at its tip in the lower levels."""
    w, h = vertebra.half
    reach = 0.85 * w + _TRANSVERSE_MM[vertebra.level] + rng.normal(0.0, 1.5)
    rise = rng.normal(-1.5, 1.5) - 1.2 * max(0, vertebra.level - 4)
    axis_x = np.array([0.66 * w, 0.92 * w, 0.5 * (0.92 * w + reach), 0.94 * reach, reach])
    axis_y = -0.20 * h + np.array([0.0, 0.0, 0.35, 0.9, 1.0]) * rise
    half = np.array([5.0, 4.4, 4.0, 3.6, 1.6])
    over, under = np.column_stack([axis_x, axis_y - half]), np.column_stack([axis_x, axis_y + half])
    return smooth_curve(_wobble(np.vstack([over, under[::-1]]), rng, 0.25) * [side, 1.0], closed=True)


def _strip(axis: Points, half_mm: Points) -> Points:
    """The outline of a band of half width `half_mm` (N,) about a line (N, 2)."""
    along = np.gradient(axis, axis=0)
    normal = np.column_stack([-along[:, 1], along[:, 0]]) / np.hypot(along[:, 0], along[:, 1])[:, None]
    return np.vstack([axis + normal * half_mm[:, None], (axis - normal * half_mm[:, None])[::-1]])


def _add_ribs(total: FloatImage, vertebra: _Vertebra, rng: np.random.Generator) -> None:
    """A pair of floating ribs, in place."""
    w, h = vertebra.half
    long = 1.5 if vertebra.level == 0 else 1.0
    for side in (-1, 1):
        reach = long * (58.0 + rng.normal(0.0, 5.0))
        knots = np.array(
            [[0.85 * w, -0.6 * h], [1.25 * w, -0.75 * h], [0.4 * reach + w, -0.2 * h], [0.75 * reach + w, 1.0 * h]]
        )
        knots = np.vstack([knots, [reach + 0.9 * w, (2.2 + rng.normal(0.0, 0.2)) * h * (0.8 + 0.2 * long)]])
        axis = smooth_curve(_wobble(knots, rng, 0.8) * [side, 1.0])
        half = np.interp(np.linspace(0, 1, len(axis)), [0.0, 0.1, 0.3, 0.85, 1.0], [3.6, 3.2, 4.4, 3.8, 1.8])
        _add_part(total, _strip(axis, half), vertebra.frame, _RIB, vertebra.anatomy.bone_density, vertebra.tile)


def _add_pelvis(total: FloatImage, anatomy: SpineAnatomy, acquisition: Acquisition, rng: np.random.Generator) -> None:
    """The top of both iliac wings and of the sacrum at the picture's lower edge, in place."""
    frame, density = _picture_frame(acquisition), anatomy.bone_density
    crest_y = 84.0 + rng.normal(0.0, 4.0)
    tile = att.trabeculae(rng, density)
    for side in (-1, 1):
        wing = [
            (36.0, 58.0),
            (44.0, 30.0),
            (54.0, 10.0),
            (68.0, 0.0),
            (88.0, -4.0),
            (118.0, 4.0),
            (150.0, 30.0),
            (150.0, 130.0),
        ]
        wing += [(70.0, 130.0), (40.0, 95.0)]
        outline = smooth_curve(_wobble(wing, rng, 1.0) * [side, 1.0] + np.array([0.0, crest_y]), closed=True)
        _add_part(total, outline, frame, _ILIUM, density, tile)
    base = [
        (-52.0, 8.0),
        (-30.0, 2.0),
        (-20.0, 8.0),
        (0.0, 11.0),
        (20.0, 8.0),
        (30.0, 2.0),
        (52.0, 8.0),
        (44.0, 70.0),
        (-44.0, 70.0),
    ]
    sacrum = smooth_curve(_wobble(base, rng, 0.8) + np.array([0.0, crest_y + 26.0]), closed=True)
    _add_part(total, sacrum, frame, _SACRUM, density, tile)


def _develop(total: FloatImage, acquisition: Acquisition, rng: np.random.Generator) -> FloatImage:
    """Exposure, then a display whose window is laid on what lies above the abdomen's own attenuation; 0 to 1."""
    measured = detector.expose(total, acquisition, rng)
    measured = measured - np.float32(_LEVELLED * np.percentile(measured, 20.0))
    grey = detector.display(measured, np.ones(measured.shape, np.bool_), acquisition)
    return np.asarray(acquisition.pedestal + (1 - acquisition.pedestal) * grey, np.float32)


@click.command("synthetic-spines")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--count", type=click.IntRange(min=1), default=90, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--scale", type=click.FloatRange(min=0.2, max=2), default=0.5, show_default=True)
def synthetic_spines(output: Path, count: int, seed: int, scale: float) -> None:
    """Write a folder of synthetic spines with labels.csv, for train/configs/spine.toml; of no medical use."""
    click.echo(write_spine_dataset(output, count=count, seed=seed, scale=scale))
