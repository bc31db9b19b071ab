"""The outlines of a leg in millimetres: x grows from lateral to medial, y grows towards the foot.

The origin is the joint line midway between the tibial plateau ends. The tables are in units of the plateau
width, drawn from textbook proportions of an adult knee seen from the front.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from train.synthetic.records import KneeAnatomy, Points

Table = Sequence[tuple[float, float]]

_FEMUR: Table = (
    (-0.66, -6.0), (-0.56, -4.0), (-0.445, -2.4), (-0.40, -1.75), (-0.375, -1.35), (-0.37, -1.05),
    (-0.385, -0.84), (-0.425, -0.69), (-0.49, -0.57), (-0.525, -0.47), (-0.53, -0.38), (-0.505, -0.29),
    (-0.50, -0.20), (-0.495, -0.11), (-0.455, -0.04), (-0.37, 0.0), (-0.27, 0.0), (-0.17, -0.035),
    (-0.09, -0.085), (0.0, -0.11), (0.08, -0.085), (0.15, -0.035), (0.24, 0.005), (0.34, 0.012),
    (0.43, -0.02), (0.49, -0.09), (0.515, -0.19), (0.53, -0.30), (0.548, -0.40), (0.54, -0.475),
    (0.50, -0.56), (0.425, -0.66), (0.335, -0.80), (0.245, -0.98), (0.165, -1.22), (0.11, -1.50),
    (0.06, -1.85), (0.005, -2.4), (-0.09, -4.0), (-0.16, -6.0),
)  # fmt: skip
_TIBIA: Table = (
    (-0.17, 7.0), (-0.15, 4.6), (-0.155, 3.2), (-0.16, 2.2), (-0.172, 1.6), (-0.195, 1.2),
    (-0.235, 0.92), (-0.295, 0.70), (-0.365, 0.52), (-0.43, 0.38), (-0.475, 0.26), (-0.495, 0.15),
    (-0.50, 0.07), (-0.485, 0.018), (-0.43, 0.0), (-0.32, 0.008), (-0.21, 0.004), (-0.135, -0.025),
    (-0.085, -0.075), (-0.055, -0.088), (-0.01, -0.058), (0.03, -0.07), (0.062, -0.10), (0.09, -0.085),
    (0.14, -0.02), (0.22, 0.022), (0.33, 0.028), (0.44, 0.012), (0.485, 0.022), (0.50, 0.07),
    (0.495, 0.15), (0.47, 0.27), (0.425, 0.40), (0.365, 0.55), (0.305, 0.74), (0.26, 0.96),
    (0.23, 1.25), (0.215, 1.6), (0.20, 2.2), (0.18, 3.2), (0.17, 4.6), (0.20, 7.0),
)  # fmt: skip
_FIBULA: Table = (
    (-0.46, 7.0), (-0.47, 4.5), (-0.46, 3.0), (-0.455, 2.0), (-0.455, 1.4), (-0.465, 1.0),
    (-0.485, 0.80), (-0.525, 0.62), (-0.575, 0.51), (-0.60, 0.42), (-0.585, 0.345), (-0.535, 0.285),
    (-0.47, 0.285), (-0.41, 0.315), (-0.355, 0.37), (-0.325, 0.46), (-0.33, 0.60), (-0.33, 0.80),
    (-0.32, 1.05), (-0.31, 1.4), (-0.305, 2.0), (-0.31, 3.0), (-0.31, 4.5), (-0.27, 7.0),
)  # fmt: skip
_PATELLA: Table = (
    (-0.50, -0.10), (-0.42, -0.34), (-0.22, -0.47), (0.04, -0.49), (0.28, -0.43), (0.45, -0.26),
    (0.49, 0.0), (0.38, 0.24), (0.20, 0.42), (0.0, 0.50), (-0.20, 0.42), (-0.40, 0.20),
)  # fmt: skip
_SKIN_LATERAL: Table = (
    (-1.45, -6.0), (-1.25, -4.0), (-1.02, -2.4), (-0.88, -1.5), (-0.77, -0.9), (-0.70, -0.45),
    (-0.67, 0.0), (-0.69, 0.4), (-0.73, 0.8), (-0.82, 1.4), (-0.86, 2.0), (-0.78, 2.8),
    (-0.62, 3.8), (-0.50, 5.0), (-0.46, 7.0),
)  # fmt: skip
_SKIN_MEDIAL: Table = (
    (0.42, 7.0), (0.44, 5.0), (0.56, 3.8), (0.76, 2.8), (0.88, 2.0), (0.85, 1.4),
    (0.74, 0.8), (0.70, 0.4), (0.73, 0.0), (0.78, -0.45), (0.79, -0.9), (0.82, -1.5),
    (0.90, -2.4), (1.00, -4.0), (1.10, -6.0),
)  # fmt: skip
# Each muscle is a spindle: lateral-medial centre and half width at its ends and its belly.
_MUSCLES: Sequence[Table] = (
    ((-0.80, -6.0), (-0.72, -3.2), (-0.58, -1.7), (-0.50, -0.75)),
    ((0.46, -6.0), (0.40, -3.2), (0.45, -1.7), (0.53, -0.60)),
    ((-0.20, -6.0), (-0.15, -3.0), (-0.05, -1.6), (-0.02, -0.55)),
    ((0.75, -6.0), (0.68, -3.2), (0.64, -1.6), (0.60, 0.25)),
    ((0.35, -0.35), (0.46, 0.7), (0.50, 1.7), (0.18, 3.5)),
    ((-0.33, -0.3), (-0.40, 0.7), (-0.40, 1.6), (-0.12, 3.3)),
    ((-0.50, 0.4), (-0.56, 1.1), (-0.55, 2.2), (-0.38, 4.6)),
    ((0.0, 0.5), (0.10, 1.4), (0.10, 2.8), (0.05, 5.0)),
)
_MUSCLE_HALF_WIDTHS: Sequence[Sequence[float]] = (
    (0.42, 0.36, 0.22, 0.04), (0.44, 0.40, 0.27, 0.05), (0.50, 0.42, 0.30, 0.10), (0.24, 0.20, 0.13, 0.03),
    (0.08, 0.27, 0.33, 0.06), (0.08, 0.25, 0.30, 0.06), (0.06, 0.16, 0.22, 0.08), (0.12, 0.38, 0.44, 0.16),
)  # fmt: skip


@dataclass(frozen=True)
class Stroke:
    """A fine dense line seen edge-on: `points` (N, 2) mm, its width, and its path through bone in mm."""

    points: Points
    width_mm: float
    path_mm: float


@dataclass(frozen=True)
class Leg:
    """Every outline of one leg, closed polygons (N, 2) in millimetres, and the fine lines inside bone."""

    femur: Points
    tibia: Points
    fibula: Points
    patella: Points
    skin: Points
    muscles: tuple[Points, ...]
    strokes: tuple[Stroke, ...]
    plateau: Points


def smooth_curve(knots: Points, *, steps: int = 12, closed: bool = False) -> Points:
    """A Catmull-Rom curve through `knots` (N, 2), `steps` points to each span."""
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    around = np.vstack([before, knots, after])
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    a, b, c, d = (around[i : len(around) - 3 + i, None, :] for i in range(4))
    spans = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    curve = spans.reshape(-1, 2)
    return curve if closed else np.vstack([curve, knots[-1:]])


def build_leg(anatomy: KneeAnatomy) -> Leg:
    """Scale the tables to one anatomy and give them their individual deviations."""
    rng = np.random.default_rng(anatomy.shape_seed)
    femur = smooth_curve(_femur_knots(anatomy, rng))
    tibia = smooth_curve(_tibia_knots(anatomy, rng))
    return Leg(
        femur=femur,
        tibia=tibia,
        fibula=smooth_curve(_fibula_knots(anatomy, rng)),
        patella=smooth_curve(_patella_knots(anatomy, rng), closed=True),
        skin=_skin(anatomy, rng),
        muscles=tuple(_muscle(anatomy, rng, n) for n in range(len(_MUSCLES))),
        strokes=_strokes(anatomy, rng, femur, tibia),
        plateau=_plateau_ends(anatomy, tibia),
    )


def _individual(
    table: Table,
    anatomy: KneeAnatomy,
    rng: np.random.Generator,
    amount: float = 0.007,
) -> Points:
    """Scale a table to millimetres and shift its knots a little, neighbours together."""
    knots = np.asarray(table, dtype=np.float64)
    loose = rng.normal(0.0, amount, (len(knots) + 2, 2)) * [1.0, 0.7]
    shift = 0.35 * loose[:-2] + 0.7 * loose[1:-1] + 0.35 * loose[2:]
    return (knots + shift) * anatomy.plateau_width_mm


def _towards_shaft(y_mm: Points, width_mm: float) -> Points:
    """0 at the joint, 1 in the shaft, with a smooth passage through the metaphysis."""
    t = np.clip((np.abs(y_mm) / width_mm - 0.35) / 1.0, 0.0, 1.0)
    return t * t * (3 - 2 * t)


def _narrow_shaft(knots: Points, axis_x: Points, anatomy: KneeAnatomy) -> Points:
    shaft = _towards_shaft(knots[:, 1], anatomy.plateau_width_mm)
    gain = 1 + (anatomy.shaft_width_ratio - 1) * shaft
    return np.column_stack([axis_x + (knots[:, 0] - axis_x) * gain, knots[:, 1]])


def _femur_knots(anatomy: KneeAnatomy, rng: np.random.Generator) -> Points:
    width = anatomy.plateau_width_mm
    knots = _individual(_FEMUR, anatomy, rng)
    axis = np.interp(-knots[:, 1], [0.5 * width, 2.4 * width, 6 * width], [0.0, -0.22 * width, -0.41 * width])
    knots = _narrow_shaft(knots, axis, anatomy)
    knots[:, 0] += knots[:, 1] * np.tan(np.radians(anatomy.valgus_deg - 7.0)) * (knots[:, 1] < -0.3 * width)
    in_notch = np.abs(knots[:, 0]) < 0.13 * width
    at_joint = knots[:, 1] > -0.2 * width
    knots[in_notch & at_joint, 1] *= anatomy.notch_height_mm / (0.11 * width)
    knots[:, 1] -= anatomy.joint_space_mm / 2
    return knots


def _tibia_knots(anatomy: KneeAnatomy, rng: np.random.Generator) -> Points:
    knots = _individual(_TIBIA, anatomy, rng, 0.004)
    knots = _narrow_shaft(knots, np.full(len(knots), 0.02 * anatomy.plateau_width_mm), anatomy)
    spine = knots[:, 1] < -0.015 * anatomy.plateau_width_mm
    knots[spine, 1] *= anatomy.spine_height_mm / (0.10 * anatomy.plateau_width_mm)
    knots[:, 1] += anatomy.joint_space_mm / 2
    return knots


def _fibula_knots(anatomy: KneeAnatomy, rng: np.random.Generator) -> Points:
    place = np.array([-anatomy.fibula_offset_mm, anatomy.joint_space_mm / 2])
    return np.asarray(_individual(_FIBULA, anatomy, rng, 0.005) + place, dtype=np.float64)


def _patella_knots(anatomy: KneeAnatomy, rng: np.random.Generator) -> Points:
    knots = np.asarray(_PATELLA) + rng.normal(0.0, 0.012, (len(_PATELLA), 2))
    centre = np.array([anatomy.patella_offset_mm, -anatomy.patella_height_mm])
    return np.asarray(knots * anatomy.patella_width_mm + centre, dtype=np.float64)


def _skin(anatomy: KneeAnatomy, rng: np.random.Generator) -> Points:
    sides = [smooth_curve(_individual(side, anatomy, rng, 0.015)) for side in (_SKIN_LATERAL, _SKIN_MEDIAL)]
    skin = np.vstack(sides) * [anatomy.soft_tissue_ratio, 1.0]
    return np.asarray(skin + np.sign(skin) * [anatomy.fat_thickness_mm - 8.0, 0.0], dtype=np.float64)


def _muscle(anatomy: KneeAnatomy, rng: np.random.Generator, number: int) -> Points:
    axis = smooth_curve(_individual(_MUSCLES[number], anatomy, rng, 0.03), steps=10)
    half = np.interp(np.linspace(0, 3, len(axis)), range(4), _MUSCLE_HALF_WIDTHS[number])[:, None]
    half = half * anatomy.plateau_width_mm * [anatomy.soft_tissue_ratio, 0.0]
    return np.vstack([axis - half, (axis + half)[::-1]])


def _plateau_ends(anatomy: KneeAnatomy, tibia: Points) -> Points:
    """The widest lateral and medial points of the tibia just below the joint line, (2, 2) in mm."""
    near = tibia[np.abs(tibia[:, 1] - anatomy.joint_space_mm / 2) < 0.2 * anatomy.plateau_width_mm]
    return np.array([near[np.argmin(near[:, 0])], near[np.argmax(near[:, 0])]])


def _part(outline: Points, low: float, high: float, y_low: float, y_high: float) -> Points:
    x, y = outline.T
    return np.asarray(outline[(x > low) & (x < high) & (y > y_low) & (y < y_high)], dtype=np.float64)


def _strokes(
    anatomy: KneeAnatomy,
    rng: np.random.Generator,
    femur: Points,
    tibia: Points,
) -> tuple[Stroke, ...]:
    """Lines a radiologist expects: subchondral plates, physeal scars, notch roof, epicondylar crests."""
    w = anatomy.plateau_width_mm

    def line(*knots: tuple[float, float], width: float, path: float) -> Stroke:
        return Stroke(smooth_curve(_individual(knots, anatomy, rng, 0.008)), width, path)

    def wavy(left: float, right: float, y: float, path: float) -> Stroke:
        x = np.linspace(left, right, 14)
        ripple = rng.normal(0.0, 0.008, x.size) + 0.03 * (2 * x) ** 2
        return Stroke(smooth_curve(np.column_stack([x, y + ripple]) * w), 0.6, path)

    plates = []
    for low, high, path in ((-0.46, -0.16, 7.0), (0.15, 0.46, 8.0)):
        plate = _part(tibia, low * w, high * w, -0.05 * w, 0.12 * w)
        plates.append(Stroke(plate + np.array([0.0, 0.7]), 1.3, path))
        sag = np.sin(np.linspace(0.0, np.pi, len(plate))) * 0.045 * w
        plates.append(Stroke(plate + np.column_stack([0 * sag, 0.6 + sag]), 2.0, 0.65 * path))
    for low, high in ((-0.46, -0.14), (0.13, 0.46)):
        plates.append(Stroke(_part(femur, low * w, high * w, -0.12 * w, 0.1 * w) - [0.0, 0.5], 0.9, 3.0))
    return (
        *plates,
        wavy(-0.42, 0.42, 0.21, 1.6),
        wavy(-0.40, -0.05, -0.40, 1.3),
        wavy(0.10, 0.42, -0.42, 1.3),
        line((-0.46, -0.44), (-0.425, -0.34), (-0.44, -0.24), (-0.46, -0.14), width=1.1, path=4.0),
        line((0.48, -0.46), (0.455, -0.36), (0.455, -0.24), (0.46, -0.14), width=1.1, path=4.0),
        line((-0.20, -0.09), (-0.17, -0.22), (-0.10, -0.33), (0.0, -0.37), (0.10, -0.32), (0.16, -0.21),
             (0.19, -0.08), width=0.8, path=1.2),
        line((-0.40, 0.33), (-0.34, 0.42), (-0.30, 0.54), width=0.9, path=1.8),
    )  # fmt: skip
