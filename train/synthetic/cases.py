"""Random but plausible knees and exposures, and a small labelled collection of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from train.runs.arrays import Pixels
from train.synthetic.records import Acquisition, KneeAnatomy, Laterality, Layout
from train.synthetic.render import render

LABEL_COLUMNS = ("file", "label", "patient_group", "acquisition", "age_years", "sex")
LAYOUTS: tuple[Layout, ...] = ("one_knee", "two_knees", "long_legs")


@dataclass(frozen=True)
class Group:
    """What a label means on average: density and age with their spread; the groups overlap on purpose."""

    prefix: str
    density: float
    density_spread: float
    age_years: float
    age_spread: float


GROUPS = {
    "normal": Group("N", 1.0, 0.08, 45.0, 13.0),
    "osteopenia": Group("OP", 0.82, 0.08, 56.0, 11.0),
    "osteoporosis": Group("OS", 0.64, 0.09, 65.0, 10.0),
}


def sample_case(
    rng: np.random.Generator, *, layout: Layout | None = None, bone_density: float | None = None
) -> tuple[tuple[KneeAnatomy, ...], Acquisition]:
    """Draw the knees of one person and an exposure. `bone_density` as in `KneeAnatomy`; None draws it too."""
    chosen = layout or LAYOUTS[int(rng.integers(len(LAYOUTS)))]
    density = float(rng.uniform(0.5, 1.1)) if bone_density is None else bone_density
    person = _person(rng, density)
    if chosen == "one_knee":
        sides: tuple[Laterality, ...] = ("right",) if rng.random() < 0.5 else ("left",)
    else:
        sides = ("right", "left")
    knees = tuple(_knee(rng, person, side) for side in sides)
    return knees, _acquisition(rng, chosen, person)


def between(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def around(rng: np.random.Generator, middle: float, spread: float) -> float:
    """A normal draw kept within two spreads."""
    return middle + spread * float(np.clip(rng.standard_normal(), -2, 2))


def _person(rng: np.random.Generator, density: float) -> KneeAnatomy:
    width = around(rng, 74.0, 4.0)
    return KneeAnatomy(
        plateau_width_mm=width,
        cortical_thickness_mm=max(1.6, around(rng, 1.0 + 3.9 * density, 0.4)),
        bone_density=density,
        joint_space_mm=around(rng, 4.5, 0.9),
        valgus_deg=around(rng, 7.0, 1.2),
        spine_height_mm=around(rng, 8.0, 0.9),
        notch_height_mm=around(rng, 8.5, 1.0),
        shaft_width_ratio=around(rng, 1.0, 0.05),
        patella_width_mm=0.6 * width + around(rng, 0.0, 1.5),
        patella_height_mm=around(rng, 30.0, 4.0),
        soft_tissue_ratio=around(rng, 1.02, 0.07),
        fat_thickness_mm=between(rng, 5.0, 15.0),
    )


def _knee(rng: np.random.Generator, person: KneeAnatomy, side: Laterality) -> KneeAnatomy:
    return replace(
        person,
        laterality=side,
        tilt_deg=around(rng, 0.0, 2.2),
        joint_space_mm=person.joint_space_mm * around(rng, 1.0, 0.06),
        patella_offset_mm=around(rng, -4.0, 3.5),
        fibula_offset_mm=around(rng, 0.0, 2.0),
        shape_seed=int(rng.integers(2**31)),
    )


def _acquisition(rng: np.random.Generator, layout: Layout, person: KneeAnatomy) -> Acquisition:
    common = Acquisition(
        layout=layout,
        photons=between(rng, 16000, 40000),
        blur_mm=between(rng, 0.14, 0.26),
        scatter_ratio=between(rng, 0.08, 0.2),
        equalisation=between(rng, 0.55, 0.78),
        sharpening=between(rng, 0.5, 1.0),
        gamma=between(rng, 1.0, 1.35),
        pedestal=between(rng, 0.0, 0.045),
    )
    # Legs stand apart by their own girth, and a little more.
    apart = 2.0 * person.plateau_width_mm * person.soft_tissue_ratio * between(rng, 0.88, 1.02)
    if layout == "one_knee":
        return replace(
            common,
            pixel_spacing_mm=between(rng, 0.25, 0.33),
            knee_height=between(rng, 0.46, 0.56),
        )
    if layout == "two_knees":
        return replace(
            common,
            pixel_spacing_mm=between(rng, 0.28, 0.33),
            knee_separation_mm=apart,
            knee_height=between(rng, 0.47, 0.54),
            border="black_padding",
            border_mm=between(rng, 30.0, 48.0),
        )
    return replace(
        common,
        width_px=1090,
        height_px=1330,
        pixel_spacing_mm=between(rng, 0.31, 0.35),
        knee_separation_mm=apart + 6.0,
        knee_height=between(rng, 0.20, 0.33),
        border="white_edge",
        border_mm=between(rng, 4.0, 9.0),
        border_rotation_deg=around(rng, 0.0, 0.4),
        marker="stencil",
        gamma=common.gamma * 1.2,
    )


@dataclass(frozen=True)
class _Patient:
    number: int
    label: str
    age_years: int
    sex: str
    bone_density: float
    radiographs: int


def patients(rng: np.random.Generator, count: int) -> Iterator[_Patient]:
    """Patients in turn of all labels until `count` radiographs are shared out; one in five has two."""
    labels = tuple(GROUPS)
    number = 0
    while count > 0:
        group = GROUPS[labels[number % len(labels)]]
        radiographs = min(count, 2 if number % 5 == 1 else 1)
        yield _Patient(
            number=number + 1,
            label=labels[number % len(labels)],
            age_years=round(max(20.0, around(rng, group.age_years, group.age_spread))),
            sex="female" if rng.random() < 0.65 else "male",
            bone_density=around(rng, group.density, group.density_spread),
            radiographs=radiographs,
        )
        count -= radiographs
        number += 1


def write_dataset(
    folder: Path,
    *,
    count: int,
    seed: int,
    layout: Layout | None = None,
    scale: float = 1.0,
) -> Path:
    """Write `count` PNG radiographs under normal/, osteopenia/ and osteoporosis/; return labels.csv.

    `layout` None mixes all three; `scale` below 1 makes smaller pictures of the same field of view.
    Radiographs of one patient share `patient_group`, label, age and sex.
    """
    if count < 1 or scale <= 0:
        raise ValueError("count and scale must be positive")
    rng = np.random.default_rng(seed)
    rows: list[tuple[str, str, int, str, int, str]] = []
    for patient in patients(rng, count):
        for _ in range(patient.radiographs):
            knees, acquisition = sample_case(rng, layout=layout, bone_density=patient.bone_density)
            name = f"{patient.label}/{GROUPS[patient.label].prefix}{len(rows) + 1}.png"
            picture = render(knees, scaled(acquisition, scale), seed=int(rng.integers(2**31)))
            write_png(folder / name, picture.pixels)
            person = (patient.label, patient.number, acquisition.layout, patient.age_years, patient.sex)
            rows.append((name, *person))
    return _write_labels(folder / "labels.csv", rows)


def scaled(acquisition: Acquisition, scale: float) -> Acquisition:
    return replace(
        acquisition,
        width_px=round(acquisition.width_px * scale),
        height_px=round(acquisition.height_px * scale),
        pixel_spacing_mm=acquisition.pixel_spacing_mm / scale,
    )


def write_png(path: Path, pixels: Pixels) -> None:
    """Write one picture, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), pixels):
        raise OSError(f"could not write {path}")


def _write_labels(path: Path, rows: list[tuple[str, str, int, str, int, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(LABEL_COLUMNS)
        writer.writerows(rows)
    return path
