"""Measures of bone on synthetic knees of known cortex, agreement of masks, masked crops, correlation with T."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.stats import spearmanr

from osteo_edge.images.preprocess import cut
from osteo_edge.joints import Joint, box_around
from osteo_edge.labels import Laterality
from osteo_edge.manifest import RegionProfile
from train.data.dataset import Dataset, RadiographRow
from train.research.segmentation.annotations import BONES
from train.research.segmentation.association import GIVEN, associations, p_value, partial_spearman, write_table
from train.research.segmentation.judgement import dice, distance_95, outline
from train.research.segmentation.masking import crop_masks, mask_crops, masked_crop
from train.research.segmentation.measures import (
    FINE_PX_PER_KNEE,
    MEASURED_REGION,
    KneeView,
    even_rows,
    fractal_dimension,
    joint_space,
    largest_part,
    lateral_side,
    mean_of_known,
    measure,
    measure_names,
    texture_measures,
    variogram,
)
from train.synthetic import Acquisition, KneeAnatomy, render

THICKNESSES_MM = (2.0, 3.5, 5.0)


@cache
def view(cortex_mm: float = 4.8, density: float = 1.0, joint_space_mm: float = 4.5, gamma: float = 1.15) -> KneeView:
    """A synthetic right knee with its true masks, as it is measured."""
    anatomy = KneeAnatomy(cortical_thickness_mm=cortex_mm, bone_density=density, joint_space_mm=joint_space_mm)
    radiograph = render([anatomy], Acquisition(gamma=gamma), seed=3)
    truth = radiograph.knees[0]
    x, y = ((a + b) / 2 for a, b in zip(*truth.plateau_px, strict=True))
    box = box_around(Joint(x, y, truth.width_px, 1.0, None), MEASURED_REGION)
    factor = FINE_PX_PER_KNEE / truth.width_px
    size = round(box.width * factor), round(box.height * factor)
    grey = cv2.resize(cut(radiograph.pixels, box).astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
    masks = [cut(radiograph.masks[bone].astype(np.uint8) * np.uint8(255), box) for bone in BONES]
    bones = np.stack([cv2.resize(mask, size, interpolation=cv2.INTER_LINEAR) > 127 for mask in masks], axis=-1)
    return KneeView(grey, bones, ((x - box.x0) * factor, (y - box.y0) * factor), FINE_PX_PER_KNEE, -1)


@cache
def measured(**changes: float) -> Mapping[str, float]:
    return measure(view(**changes))


def test_every_measure_of_a_whole_knee_is_a_number() -> None:
    assert tuple(measured()) == measure_names()
    assert np.isfinite(list(measured().values())).all()


@pytest.mark.parametrize("name", ["femur_cortex_medial", "femur_cortex_lateral", "tibia_cortex_medial", "tibia_cortex_lateral"])
def test_the_measured_cortex_follows_the_known_one(name: str) -> None:
    found = [measured(cortex_mm=cortex)[name] for cortex in THICKNESSES_MM]
    assert found == sorted(found)
    assert found[2] > 1.5 * found[0]


def test_the_tibias_cortex_is_measured_right() -> None:
    """At the measured height the cortex has come near to its full thickness: see ``attenuation.bone_kinds``."""
    for cortex in THICKNESSES_MM:
        shell = 0.35 + 0.06 * cortex
        share = (1.15 - 0.3) / (1.6 - 0.3)
        known = shell + (cortex - shell) * share**2 * (3 - 2 * share)
        for side in ("medial", "lateral"):
            assert measured(cortex_mm=cortex)[f"tibia_cortex_{side}"] * 74 == pytest.approx(known, rel=0.25)


def test_thin_bone_leaves_more_to_marrow_not_to_cortex() -> None:
    assert measured(cortex_mm=2.0)["tibia_cortical_index"] < 0.6 * measured(cortex_mm=5.0)["tibia_cortical_index"]
    thin, dense = measured(density=0.6), measured()
    assert thin["tibia_marrow_level"] < dense["tibia_marrow_level"]
    assert thin["tibia_cortex_medial"] == pytest.approx(dense["tibia_cortex_medial"], rel=0.05)


def test_measures_do_not_see_exposure() -> None:
    """Another window of the same grey levels is another gain and offset."""
    knee = view()
    again = measure(KneeView(knee.grey * 0.37 + 41, knee.bones, knee.joint, knee.px_per_knee, knee.lateral))
    for name, value in measured().items():
        assert again[name] == pytest.approx(value, rel=2e-3, abs=2e-3), name


def test_the_joint_space_follows_the_known_one() -> None:
    known = (3.0, 4.5)
    found = [measured(joint_space_mm=space)["joint_space_medial"] * 74 for space in known]
    assert found[1] - found[0] == pytest.approx(1.5, abs=0.4)


def test_sides_are_named_by_the_fibula() -> None:
    knee = view()
    joint = Joint(0, 0, 1, 1.0, Laterality.LEFT)
    assert lateral_side(knee.bones, joint) == -1
    assert lateral_side(knee.bones[:, ::-1], joint) == 1
    none = np.zeros_like(knee.bones)
    assert lateral_side(none, joint) == 1
    assert lateral_side(none, Joint(0, 0, 1, 1.0, None)) == 0


def test_a_knee_in_the_mirror_measures_the_same() -> None:
    knee = view()
    width = knee.grey.shape[1]
    flipped = KneeView(
        np.ascontiguousarray(knee.grey[:, ::-1]),
        np.ascontiguousarray(knee.bones[:, ::-1]),
        (width - knee.joint[0], knee.joint[1]),
        knee.px_per_knee,
        -knee.lateral,
    )
    again = measure(flipped)
    for name in ("femur_cortex_medial", "tibia_cortex_lateral", "joint_space_medial", "tibia_shaft_width"):
        assert again[name] == pytest.approx(measured()[name], rel=0.06), name


def test_what_is_not_seen_is_not_measured() -> None:
    knee = view()
    short = knee.row_at(0.9)
    cropped = KneeView(knee.grey[:short], knee.bones[:short], knee.joint, knee.px_per_knee, knee.lateral)
    found = measure(cropped)
    assert np.isnan(found["tibia_cortical_index"])
    assert found["femur_cortical_index"] == pytest.approx(measured()["femur_cortical_index"])


def test_rows_on_which_a_mask_frays_are_left_out() -> None:
    rows = np.arange(60)
    edges = np.stack([100 + 0.1 * rows, 180 - 0.1 * rows])
    edges[1, 52:] -= 30
    kept = even_rows(rows, edges)
    assert kept[:50].all()
    assert not kept[52:].any()


def test_the_largest_part_is_kept_without_holes() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[2:12, 2:12] = True
    mask[5, 5] = False
    mask[15:17, 15:17] = True
    part = largest_part(mask)
    assert part.sum() == 100
    assert not largest_part(np.zeros((4, 4), np.bool_)).any()


def test_means_leave_out_what_is_not_known() -> None:
    nan = float("nan")
    assert mean_of_known([[1.0, nan], [3.0, nan]], 2) == pytest.approx([2.0, nan], nan_ok=True)
    assert np.isnan(mean_of_known([], 2)).all()


def test_a_rough_profile_has_the_higher_fractal_dimension() -> None:
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((64, 64)).astype(np.float32)
    walk = np.cumsum(rng.standard_normal((400, 64)), axis=0).astype(np.float32)
    assert fractal_dimension(variogram(noise, 0)) == pytest.approx(2.0, abs=0.1)
    assert fractal_dimension(variogram(walk, 0)) == pytest.approx(1.5, abs=0.1)


def test_texture_tells_stripes_from_noise_and_their_direction() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((60, 60)).astype(np.float32)
    upright = cv2.GaussianBlur(noise, (1, 15), 0, sigmaY=4.0) * 4
    striped = texture_measures(upright + 100, 50.0)
    plain = texture_measures(noise + 100, 50.0)
    assert striped["anisotropy"] > 0.5
    assert abs(plain["anisotropy"]) < 0.2
    assert texture_measures(np.ascontiguousarray((upright + 100).T), 50.0)["anisotropy"] < -0.5
    assert striped["homogeneity"] > plain["homogeneity"]
    assert plain["amplitude"] == pytest.approx(1 / 50, rel=0.15)


def test_the_joint_space_needs_both_bones() -> None:
    knee = view()
    without = KneeView(knee.grey, np.zeros_like(knee.bones), knee.joint, knee.px_per_knee, -1)
    assert np.isnan(joint_space(without, 1))


# --- agreement ---


def box_mask(x0: int, x1: int) -> np.ndarray:
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, x0:x1] = True
    return mask


def test_dice_of_known_shapes() -> None:
    assert dice(box_mask(10, 30), box_mask(10, 30)) == 1.0
    assert dice(box_mask(10, 30), box_mask(20, 40)) == pytest.approx(0.5)
    assert dice(box_mask(0, 10), box_mask(30, 40)) == 0.0
    empty = np.zeros((40, 60), np.bool_)
    assert dice(empty, empty) == 1.0


def test_distance_of_known_shapes() -> None:
    assert distance_95(box_mask(10, 30), box_mask(10, 30)) == 0
    assert distance_95(box_mask(10, 30), box_mask(13, 33)) == pytest.approx(3, abs=0.01)
    empty = np.zeros((40, 60), np.bool_)
    assert distance_95(empty, box_mask(1, 2)) == pytest.approx(np.hypot(40, 60))
    assert distance_95(empty, empty) == 0


def test_the_border_of_the_picture_is_no_edge_of_a_bone() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[:, 5:15] = True
    edge = outline(mask)
    assert edge[:, 5].all()
    assert edge[:, 14].all()
    assert edge.sum() == 40


# --- masked crops ---


class Halves:
    """A segmenter that takes the left half of any picture for the femur."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        self.shapes.append(images.shape)
        likely = np.zeros((*images.shape, 3), np.float32)
        likely[:, :, : images.shape[2] // 2, 0] = 1
        return likely


def test_a_crop_behind_its_mask() -> None:
    crop = np.full((4, 6), 90, np.float32)
    mask = np.zeros((4, 6, 3), np.bool_)
    mask[:, 2:4, 1] = True
    gated = masked_crop(crop, mask, "gate")
    assert (gated[:, 2:4] == 90).all()
    assert gated.sum() == 4 * 2 * 90
    assert set(np.unique(masked_crop(crop, mask.any(axis=2), "replace"))) == {0.0, 255.0}
    with pytest.raises(ValueError, match="does not fit"):
        masked_crop(crop, mask[:2], "gate")
    with pytest.raises(ValueError, match="known are gate, replace"):
        masked_crop(crop, mask, "hide")  # type: ignore[arg-type]


def test_crops_are_shown_to_the_segmenter_at_its_own_scale() -> None:
    network = Halves()
    region = RegionProfile("leg", 0.8, 1.6, 2.2)
    images = np.full((2, 352, 160), 50, np.float32)
    masked = mask_crops(images, region, network, "gate")  # type: ignore[arg-type]
    assert masked.shape == images.shape
    assert masked.dtype == np.float32
    assert network.shapes[0] == (1, 456, 192)
    assert (masked[:, :, :78] == 50).all()
    assert (masked[:, :, 82:] == 0).all()
    assert crop_masks(images[:0], region, network).shape == (0, 352, 160, 3)  # type: ignore[arg-type]


# --- association with T ---


def people(scores: np.ndarray, ages: np.ndarray) -> Dataset:
    pairs = enumerate(zip(scores, ages, strict=True))
    return Dataset(
        tuple(
            RadiographRow(
                Path(f"{n}.png"),
                f"{n:064x}",
                "normal",
                f"P{n}",
                "AB"[n % 2],
                {"age_years": float(age), "sex": n % 2},
                float(score),
            )
            for n, (score, age) in pairs
        )
    )


def test_a_partial_correlation_without_covariates_is_spearmans() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.standard_normal((2, 40))
    assert partial_spearman(one, other, np.zeros((40, 0))) == pytest.approx(spearmanr(one, other).statistic)
    assert p_value(spearmanr(one, other).statistic, 40, 0) == pytest.approx(spearmanr(one, other).pvalue, rel=1e-6)
    assert np.isnan(partial_spearman(np.ones(40), other, np.zeros((40, 0))))


def test_what_goes_with_age_alone_vanishes_given_age() -> None:
    rng = np.random.default_rng(1)
    ages = rng.uniform(30, 80, 200)
    scores = -0.05 * ages + 0.6 * rng.standard_normal(200)
    by_age = -ages + 8 * rng.standard_normal(200)
    by_score = scores + 0.3 * rng.standard_normal(200)
    rows = associations(people(scores, ages), ("by_age", "by_score"), np.column_stack([by_age, by_score]), count=100, seed=1)
    first, second = rows
    assert first["alone"]["rho"] > 0.5
    assert abs(first["given_age"]["rho"]) < 0.2
    assert second["given_age_sex_acquisition"]["low"] > 0.4
    assert second["given_age"]["q"] >= second["given_age"]["p"]


def test_a_measure_that_is_hardly_known_gets_no_figures(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    table = np.column_stack([np.full(30, np.nan), rng.standard_normal(30)])
    rows = associations(people(rng.standard_normal(30), rng.uniform(30, 80, 30)), ("no", "yes"), table, count=100, seed=1)
    assert rows[0]["n"] == 0
    assert all(rows[0][given] is None for given in GIVEN)
    write_table(tmp_path / "table.csv", rows)
    with (tmp_path / "table.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first["alone_rho"] == ""
    assert float(second["alone_rho"]) == pytest.approx(rows[1]["alone"]["rho"], abs=1e-4)
