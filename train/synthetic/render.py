"""Draw legs into one exposed, displayed radiograph and say where everything is."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from train.runs.arrays import Booleans
from train.synthetic import attenuation as att
from train.synthetic import detector
from train.synthetic.records import (
    KNEES_IN_LAYOUT,
    Acquisition,
    FloatImage,
    KneeAnatomy,
    KneeTruth,
    SyntheticRadiograph,
)
from train.synthetic.shapes import build_leg

BONES = ("femur", "tibia", "fibula", "patella")
STRUCTURES = (*BONES, "soft_tissue")
UNEXPOSED_GREY = 0.97


def render(anatomies: Sequence[KneeAnatomy], acquisition: Acquisition, *, seed: int) -> SyntheticRadiograph:
    """Render one radiograph; the same arguments give the same bytes.

    `anatomies` holds one knee for the layout "one_knee", else a right and a left knee in any order; as on a
    frontal radiograph the right knee stands on the left of the picture.
    """
    _check_knees(anatomies, acquisition)
    shape = (acquisition.height_px, acquisition.width_px)
    total = np.zeros(shape, np.float32)
    masks = {name: np.zeros(shape, np.bool_) for name in STRUCTURES}
    truths, markers = [], []
    for number, anatomy in enumerate(anatomies):
        frame = _frame(anatomy, acquisition)
        truths.append(_draw_leg(total, masks, anatomy, frame, np.random.default_rng([seed, number])))
        if acquisition.marker == "stencil" or len(anatomies) == 1 or anatomy.laterality == "right":
            beside = np.array([[-1.05, -1.05]]) * anatomy.plateau_width_mm
            markers.append((anatomy.laterality[0].upper(), frame.to_px(beside)[0]))
    grey, shutter = _develop(total, masks["soft_tissue"], acquisition, np.random.default_rng([seed, 99]))
    if acquisition.marker != "none":
        for letter, place in markers:
            detector.add_marker(grey, letter, place, shutter, acquisition)
    grey[~shutter] = 0
    return SyntheticRadiograph(
        pixels=detector.quantise(grey, acquisition.bit_depth),
        masks={name: mask & shutter for name, mask in masks.items()},
        knees=tuple(truths),
    )


def _check_knees(anatomies: Sequence[KneeAnatomy], acquisition: Acquisition) -> None:
    wanted = KNEES_IN_LAYOUT[acquisition.layout]
    sides = {anatomy.laterality for anatomy in anatomies}
    if len(anatomies) != wanted or len(sides) != wanted:
        raise ValueError(f"layout {acquisition.layout!r} takes {wanted} knee(s), each of its own side")


def _frame(anatomy: KneeAnatomy, acquisition: Acquisition) -> att.Frame:
    mirror = 1 if anatomy.laterality == "right" else -1
    apart = acquisition.knee_separation_mm / 2 if KNEES_IN_LAYOUT[acquisition.layout] == 2 else 0.0
    middle = (acquisition.width_px - 1) / 2 - mirror * apart / acquisition.pixel_spacing_mm
    height = acquisition.knee_height * (acquisition.height_px - 1)
    return att.Frame((middle, height), acquisition.pixel_spacing_mm, mirror * anatomy.tilt_deg, mirror)


def _draw_leg(
    total: FloatImage,
    masks: dict[str, Booleans],
    anatomy: KneeAnatomy,
    frame: att.Frame,
    rng: np.random.Generator,
) -> KneeTruth:
    leg = build_leg(anatomy)
    masks["soft_tissue"] |= att.add_soft_tissue(total, leg, frame, anatomy, rng)
    tile = att.trabeculae(rng, anatomy.bone_density)
    kinds = att.bone_kinds(anatomy)
    bone = np.zeros(total.shape, np.bool_)
    outlines = {"femur": leg.femur, "tibia": leg.tibia, "fibula": leg.fibula, "patella": leg.patella}
    for name, outline in outlines.items():
        body = att.body_of(outline, frame, (total.shape[0], total.shape[1]))
        if body is None:
            continue
        att.add_bone(total, body, kinds[name], anatomy, tile)
        masks[name][body.window] |= body.mask
        bone[body.window] |= body.mask
        if name == "femur":
            att.add_notch(total, frame, anatomy, body)
    for stroke in leg.strokes:
        att.add_stroke(total, stroke, frame, bone, anatomy.bone_density)
    ends = sorted((float(x), float(y)) for x, y in frame.to_px(leg.plateau))
    return KneeTruth(
        joint_centre_px=frame.centre_px,
        plateau_px=(ends[0], ends[1]),
        width_px=float(np.hypot(ends[1][0] - ends[0][0], ends[1][1] - ends[0][1])),
        laterality=anatomy.laterality,
        cortical_thickness_mm=anatomy.cortical_thickness_mm,
        bone_density=anatomy.bone_density,
    )


def _develop(
    total: FloatImage, legs: Booleans, acquisition: Acquisition, rng: np.random.Generator
) -> tuple[FloatImage, Booleans]:
    """Attenuation to grey levels 0..1, and the area the shutter leaves open."""
    beam, shutter = detector.exposed_area(acquisition)
    seen = legs & shutter & (beam > 0.99)
    measured = detector.expose(total, acquisition, rng)
    grey = detector.display(measured, seen, acquisition)
    grey = acquisition.pedestal + (1 - acquisition.pedestal) * grey
    # Outside the collimator nothing but scatter arrives: the plate stays white.
    grey = grey * beam + (1 - beam) * np.float32(UNEXPOSED_GREY)
    _dust(grey, rng)
    return grey, shutter


def _dust(grey: FloatImage, rng: np.random.Generator) -> None:
    """A few bright specks of dust and dirt on the plate, in place."""
    for _ in range(int(rng.poisson(6))):
        x, y = int(rng.integers(grey.shape[1])), int(rng.integers(grey.shape[0]))
        cv2.circle(grey, (x, y), int(rng.integers(0, 2)), float(rng.uniform(0.5, 0.9)), -1, cv2.LINE_8)
