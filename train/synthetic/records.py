"""The records that pass between the rooms of the generator: what to draw, how to expose it, what is true."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from train.runs.arrays import Booleans, Doubles, Pixels, Reals

Laterality = Literal["right", "left"]
Layout = Literal["one_knee", "two_knees", "long_legs"]
Border = Literal["none", "black_padding", "white_edge"]
Marker = Literal["none", "plate", "stencil"]
FloatImage = Reals
Points = Doubles

KNEES_IN_LAYOUT: Mapping[Layout, int] = {"one_knee": 1, "two_knees": 2, "long_legs": 2}


@dataclass(frozen=True)
class KneeAnatomy:
    """One leg around the knee. Lengths in millimetres, angles in degrees, ratios around 1.0.

    `cortical_thickness_mm` is the cortex of the femoral and tibial shafts; it thins towards the joint.
    `bone_density` is mineral relative to a healthy adult: 1.0 normal, 0.5 severe loss.
    `shape_seed` picks the small individual deviations of outlines and muscles.
    """

    laterality: Laterality = "right"
    plateau_width_mm: float = 74.0
    cortical_thickness_mm: float = 4.8
    bone_density: float = 1.0
    joint_space_mm: float = 4.5
    tilt_deg: float = 0.0
    valgus_deg: float = 7.0
    spine_height_mm: float = 8.0
    notch_height_mm: float = 8.0
    shaft_width_ratio: float = 1.0
    patella_width_mm: float = 44.0
    patella_height_mm: float = 30.0
    patella_offset_mm: float = -4.0
    fibula_offset_mm: float = 0.0
    soft_tissue_ratio: float = 1.0
    fat_thickness_mm: float = 8.0
    shape_seed: int = 0

    def __post_init__(self) -> None:
        if self.laterality not in ("right", "left"):
            raise ValueError(f"laterality must be right or left, not {self.laterality!r}")
        if not 0.2 <= self.bone_density <= 1.5:
            raise ValueError(f"bone_density must lie in 0.2..1.5, not {self.bone_density}")
        if min(self.plateau_width_mm, self.cortical_thickness_mm, self.joint_space_mm) <= 0:
            raise ValueError("plateau width, cortical thickness and joint space must be positive")


@dataclass(frozen=True)
class Acquisition:
    """How the legs are exposed and shown.

    `pixel_spacing_mm` is millimetres per pixel in the plane of the knee; `knee_height` the joint line as a
    fraction of the picture height; `knee_separation_mm` between two joint centres; `photons` the mean count
    in a directly exposed pixel; `electronic_noise` a standard deviation in the same counts; `blur_mm` the
    standard deviation of focal spot and detector; `scatter_ratio` scattered to primary exposure;
    `equalisation` 0 (plain log curve) to 1 (local mean removed); `sharpening` the gain on fine detail;
    `pedestal` the grey level 0..1 of direct exposure.
    """

    width_px: int = 1024
    height_px: int = 1024
    pixel_spacing_mm: float = 0.28
    layout: Layout = "one_knee"
    border: Border = "none"
    border_mm: float = 0.0
    border_rotation_deg: float = 0.0
    marker: Marker = "plate"
    knee_height: float = 0.52
    knee_separation_mm: float = 165.0
    photons: float = 26000.0
    electronic_noise: float = 6.0
    blur_mm: float = 0.2
    scatter_ratio: float = 0.12
    equalisation: float = 0.7
    sharpening: float = 0.7
    gamma: float = 1.15
    pedestal: float = 0.02
    bit_depth: Literal[8, 16] = 8

    def __post_init__(self) -> None:
        if self.layout not in KNEES_IN_LAYOUT:
            raise ValueError(f"unknown layout {self.layout!r}")
        if self.bit_depth not in (8, 16):
            raise ValueError(f"bit_depth must be 8 or 16, not {self.bit_depth}")
        if min(self.width_px, self.height_px) < 64 or self.pixel_spacing_mm <= 0:
            raise ValueError("the picture needs at least 64 x 64 pixels and a positive pixel spacing")


@dataclass(frozen=True)
class KneeTruth:
    """What is true of one drawn knee; points are (x, y) in pixels, the first plateau end is the left one."""

    joint_centre_px: tuple[float, float]
    plateau_px: tuple[tuple[float, float], tuple[float, float]]
    width_px: float
    laterality: Laterality
    cortical_thickness_mm: float
    bone_density: float


@dataclass(frozen=True)
class SyntheticRadiograph:
    """`pixels` uint8 or uint16 (H, W), bone bright; `masks` bool (H, W) by structure; one truth per knee."""

    pixels: Pixels
    masks: Mapping[str, Booleans]
    knees: tuple[KneeTruth, ...]
