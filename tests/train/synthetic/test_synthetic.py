"""The synthetic radiographs keep their promises: same bytes, true masks, physics that point right."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from train.synthetic import Acquisition, KneeAnatomy, SyntheticRadiograph, render, sample_case, write_dataset
from train.synthetic.__main__ import main

SMALL = Acquisition(width_px=512, height_px=512, pixel_spacing_mm=0.56)
QUIET = replace(SMALL, photons=1e7, electronic_noise=0.0, marker="none")


def picture_of(acquisition: Acquisition = QUIET, **anatomy: Any) -> SyntheticRadiograph:
    return render((replace(KneeAnatomy(), **anatomy),), acquisition, seed=3)


def test_the_same_arguments_give_the_same_bytes() -> None:
    first, again = picture_of(SMALL), picture_of(SMALL)
    assert first.pixels.tobytes() == again.pixels.tobytes()
    assert first.knees == again.knees
    other = render((KneeAnatomy(),), SMALL, seed=4)
    assert first.pixels.tobytes() != other.pixels.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_the_tibia_mask_is_as_wide_as_the_truth_says(seed: int) -> None:
    knees, acquisition = sample_case(np.random.default_rng(seed), layout="one_knee")
    level = replace(knees[0], tilt_deg=0.0)
    picture = render((level,), acquisition, seed=seed)
    truth = picture.knees[0]
    (left, top), (right, bottom) = truth.plateau_px
    reach = round(0.12 * truth.width_px)
    rows = slice(round(min(top, bottom)) - reach, round(max(top, bottom)) + reach)
    columns = np.flatnonzero(picture.masks["tibia"][rows].any(axis=0))
    assert np.ptp(columns) + 1 == pytest.approx(truth.width_px, abs=4)
    assert columns[0] == pytest.approx(left, abs=3)
    assert columns[-1] == pytest.approx(right, abs=3)


@pytest.mark.parametrize("laterality", ["right", "left"])
def test_the_joint_centre_lies_between_femur_and_tibia(laterality: str) -> None:
    picture = picture_of(laterality=laterality)
    truth = picture.knees[0]
    x, y = truth.joint_centre_px
    for side in (-0.3, 0.3):
        column = round(x + side * truth.width_px)
        femur = np.flatnonzero(picture.masks["femur"][:, column])
        tibia = np.flatnonzero(picture.masks["tibia"][:, column])
        assert femur.max() < y < tibia.min()


def test_the_fibula_lies_lateral() -> None:
    for laterality, sign in (("right", -1), ("left", 1)):
        picture = picture_of(laterality=laterality)
        fibula = np.flatnonzero(picture.masks["fibula"].any(axis=0)).mean()
        assert sign * (fibula - picture.knees[0].joint_centre_px[0]) > 0


def bright_band_mm(picture: SyntheticRadiograph) -> float:
    """Medial cortex of the tibial shaft, from the outer edge in to where the marrow begins, over some rows.

    Seen from outside the band grows brighter up to its inner face, so that the marrow begins at the half
    level on the inner side of the peak.
    """
    widths = []
    for row in range(480, 508, 4):
        inside = np.flatnonzero(picture.masks["tibia"][row])
        half = picture.pixels[row, inside[len(inside) // 2] : inside[-1] + 1].astype(float)
        marrow, peak = half[: len(half) // 4].mean(), half.max()
        widths.append(len(half) - np.flatnonzero(half > (marrow + peak) / 2)[0])
    return float(np.mean(widths)) * QUIET.pixel_spacing_mm


def test_a_thicker_cortex_gives_a_wider_bright_band() -> None:
    for thickness in (2.5, 4.0, 5.5):
        picture = picture_of(cortical_thickness_mm=thickness)
        assert bright_band_mm(picture) == pytest.approx(thickness, abs=0.6)


def metaphysis_contrast(bone_density: float) -> float:
    """Tibial metaphysis over the soft tissue beside it, in grey levels."""
    picture = picture_of(bone_density=bone_density)
    x, y = (round(value) for value in picture.knees[0].joint_centre_px)
    width = picture.knees[0].width_px
    rows = slice(round(y + 0.22 * width), round(y + 0.35 * width))
    bone = picture.pixels[rows, round(x - 0.2 * width) : round(x + 0.2 * width)]
    beside = picture.pixels[rows, round(x + 0.53 * width) : round(x + 0.58 * width)]
    return float(bone.mean()) - float(beside.mean())


def test_loss_of_mineral_darkens_the_metaphysis() -> None:
    normal, reduced, severe = (metaphysis_contrast(density) for density in (1.0, 0.75, 0.5))
    assert normal > reduced + 5 > severe + 10


def test_sixteen_bits_show_the_same_picture_as_eight() -> None:
    eight = picture_of(SMALL).pixels
    sixteen = picture_of(replace(SMALL, bit_depth=16)).pixels
    assert (eight.dtype.name, sixteen.dtype.name) == ("uint8", "uint16")
    assert np.abs(eight.astype(float) - sixteen / 257).max() <= 1.0


@pytest.mark.parametrize(("layout", "count"), [("one_knee", 1), ("two_knees", 2), ("long_legs", 2)])
def test_each_layout_shows_its_knees(layout: str, count: int) -> None:
    knees, acquisition = sample_case(np.random.default_rng(5), layout=layout)  # type: ignore[arg-type]
    picture = render(knees, acquisition, seed=5)
    assert len(picture.knees) == count
    assert picture.pixels.shape == (acquisition.height_px, acquisition.width_px)
    assert set(picture.masks) == {"femur", "tibia", "fibula", "patella", "soft_tissue"}
    for mask in picture.masks.values():
        assert mask.shape == picture.pixels.shape
        pieces, *_ = cv2.connectedComponents(mask.astype(np.uint8))
        assert pieces >= 2
    if count == 2:
        right, left = sorted(picture.knees, key=lambda knee: knee.joint_centre_px[0])
        assert (right.laterality, left.laterality) == ("right", "left")
        assert not picture.pixels[0].any()


def test_bones_are_brighter_than_soft_tissue_and_air_is_dark() -> None:
    picture = picture_of(SMALL)
    bone = picture.masks["femur"] | picture.masks["tibia"]
    flesh = picture.masks["soft_tissue"] & ~bone & ~picture.masks["fibula"]
    air = ~picture.masks["soft_tissue"]
    means = [float(picture.pixels[where].mean()) for where in (bone, flesh, air)]
    assert means[0] > means[1] + 30 > means[2] + 60


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="bone_density"):
        KneeAnatomy(bone_density=0.0)
    with pytest.raises(ValueError, match="takes 2 knee"):
        render((KneeAnatomy(),), replace(SMALL, layout="two_knees"), seed=0)
    with pytest.raises(ValueError, match="bit_depth"):
        replace(SMALL, bit_depth=12)  # type: ignore[arg-type]


def test_a_written_collection_reads_back(tmp_path: Path) -> None:
    labels = write_dataset(tmp_path / "set", count=7, seed=1, scale=0.25)
    with labels.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "patient_group", "acquisition", "age_years", "sex"]
    assert len(rows) == 7
    assert {row["label"] for row in rows} == {"normal", "osteopenia", "osteoporosis"}
    patients: dict[str, set[tuple[str, str, str]]] = {}
    for row in rows:
        pixels = cv2.imread(str(labels.parent / row["file"]), cv2.IMREAD_UNCHANGED)
        assert pixels is not None
        assert (pixels.dtype.name, pixels.ndim) == ("uint8", 2)
        assert row["file"].startswith(row["label"] + "/")
        patients.setdefault(row["patient_group"], set()).add((row["label"], row["age_years"], row["sex"]))
    assert all(len(facts) == 1 for facts in patients.values())
    assert len(patients) < len(rows)


def test_the_same_seed_writes_the_same_collection(tmp_path: Path) -> None:
    first, again = (write_dataset(tmp_path / name, count=2, seed=9, scale=0.2) for name in ("a", "b"))
    assert first.read_bytes() == again.read_bytes()
    for picture in first.parent.rglob("*.png"):
        assert picture.read_bytes() == (again.parent / picture.relative_to(first.parent)).read_bytes()


def test_the_command_writes_a_picture(tmp_path: Path) -> None:
    target = tmp_path / "knee.png"
    result = CliRunner().invoke(main, ["--output", str(target), "--seed", "1", "--bit-depth", "16"])
    assert result.exit_code == 0, result.output
    pixels = cv2.imread(str(target), cv2.IMREAD_UNCHANGED)
    assert pixels is not None
    assert (pixels.dtype.name, pixels.shape) == ("uint16", (1024, 1024))
