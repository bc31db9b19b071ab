"""Outlines drawn on real knees: how they are checked and filled, chosen, and drawn along edges."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from osteo_edge.joints import Box, Joint
from train.data.dataset import LABELS, Dataset, DatasetError, RadiographRow, read_dataset
from train.research.segmentation.annotations import (
    ANNOTATIONS,
    BONES,
    check_bones,
    check_polygon,
    fill,
    first_crossing,
    rasterise,
    read_drawn,
)
from train.research.segmentation.drawing import DRAWN_REGION, drawn_crop, read_points, smooth, snapped, to_crop, to_picture
from train.research.segmentation.sampling import DRAWN_TWICE, choose_knees

BOX = Box(100, 200, 200, 300)


def square(x0: float, y0: float, x1: float, y1: float) -> list[list[float]]:
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def bones(**changes: Any) -> dict[str, Any]:
    return {
        "femur": square(120, 200, 180, 245),
        "tibia": square(120, 250, 180, 300),
        "fibula": square(170, 265, 190, 300),
    } | changes


def rows(count: int = 6) -> Dataset:
    """``count`` radiographs of every label in each of two acquisitions."""
    made = []
    for number, (kind, label) in enumerate((kind, label) for kind in "AB" for label in LABELS for _ in range(count)):
        made.append(RadiographRow(Path(f"{number}.png"), f"{number:064x}", label, f"P{number}", kind))
    return Dataset(tuple(made))


def record(**changes: Any) -> dict[str, Any]:
    plain = {"half": "tune", "joint": [150, 248, 60], "box": [100, 200, 200, 300], "bones": bones()}
    return {key: value for key, value in (plain | changes).items() if value is not None}


def written(tmp_path: Path, dataset: Dataset, **changes: Any) -> Path:
    path = tmp_path / "bones.json"
    radiographs = {dataset.radiographs[0].sha256: record(**changes)}
    path.write_text(json.dumps({"schema_version": 1, "radiographs": radiographs}))
    return path


def test_a_rectangle_fills_the_pixels_whose_middle_it_holds() -> None:
    mask = fill(np.array(square(2.0, 3.0, 5.0, 7.0)), (10, 10))
    wanted = np.zeros((10, 10), np.bool_)
    wanted[3:7, 2:5] = True
    assert (mask == wanted).all()
    assert not fill(np.array(square(2.6, 3.0, 3.4, 7.0)), (10, 10))[:, 2].any()


def test_a_circle_fills_its_area() -> None:
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    circle = np.column_stack([50 + 30 * np.cos(angles), 50 + 30 * np.sin(angles)])
    assert fill(circle, (100, 100)).sum() == pytest.approx(np.pi * 900, rel=0.01)


def test_masks_are_scaled_to_the_crop() -> None:
    masks = rasterise(check_bones(bones(), BOX, "here"), BOX, (50, 50))
    assert masks.shape == (3, 50, 50)
    assert masks[0, :22, 10:40].all()
    assert masks[0].sum() == pytest.approx(22.5 * 30, rel=0.05)
    assert (masks[1] & masks[2]).sum() == pytest.approx(5 * 17.5, rel=0.15)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([[1, 2], [3, 4]], "has 2 points; an outline needs 3"),
        ([[0, 0], [10, 10], [10, 0], [0, 10]], "crosses itself between its points 0 and 2"),
        ([[0, 0], [1, "x"], [2, 2]], "is not a list of x, y"),
        ([[0, 0], [1, float("nan")], [2, 2]], "is not a list of x, y"),
        ([0, 1, 2], "is not a list of x, y"),
    ],
)
def test_a_faulty_outline_is_refused(points: Any, message: str) -> None:
    with pytest.raises(DatasetError, match=rf"^here: {message}"):
        check_polygon(points, "here")


def test_an_outline_may_touch_itself_at_its_ends_only() -> None:
    assert first_crossing(np.array(square(0, 0, 5, 5), np.float64)) is None
    assert first_crossing(np.array([[0, 0], [4, 0], [4, 4], [2, -1]], np.float64)) is not None


def test_bones_that_cover_each_other_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"femur and tibia cover \d+% of each other; at most 5%"):
        check_bones(bones(femur=square(120, 200, 180, 270)), BOX, "here")
    check_bones(bones(fibula=square(160, 265, 190, 300)), BOX, "here")


def test_a_missing_bone_is_refused() -> None:
    with pytest.raises(DatasetError, match="outlines of femur, tibia, fibula are needed"):
        check_bones({"femur": square(0, 0, 1, 1)}, BOX, "here")


def test_drawn_knees_are_read(tmp_path: Path) -> None:
    dataset = rows()
    (knee,) = read_drawn(dataset, path=written(tmp_path, dataset, bones_again=bones()))
    assert knee.row is dataset.radiographs[0]
    assert knee.half == "tune"
    assert knee.box == BOX
    assert knee.again is not None
    assert read_drawn(dataset, "report", path=written(tmp_path, dataset)) == ()


def test_a_drawn_radiograph_that_is_missing_is_named(tmp_path: Path) -> None:
    dataset = rows()
    path = written(tmp_path, dataset)
    without = dataset.subset(range(1, len(dataset.radiographs)))
    with pytest.raises(DatasetError, match=f"SHA-256 {dataset.radiographs[0].sha256} is not in the dataset"):
        read_drawn(without, path=path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"half": "both"}, "half must be tune or report"),
        ({"box": None}, "half, joint, box and bones are needed"),
        ({"bones": {}}, "outlines of femur, tibia, fibula are needed"),
        ({"bones": bones(tibia=[[1, 1], [2, 2]])}, "bones.tibia: has 2 points"),
    ],
)
def test_a_faulty_record_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    dataset = rows()
    with pytest.raises(DatasetError, match=message):
        read_drawn(dataset, path=written(tmp_path, dataset, **changes))


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bones.json"
    path.write_text('{"schema_version": 2, "radiographs": {}}')
    with pytest.raises(DatasetError, match="schema_version 1 is needed"):
        read_drawn(rows(), path=path)


def test_the_choice_is_seeded_and_even() -> None:
    dataset = rows()
    everywhere = set(range(len(dataset.radiographs)))
    chosen = choose_knees(dataset, everywhere)
    assert chosen == choose_knees(dataset, everywhere)
    assert chosen != choose_knees(dataset, everywhere, seed=1)
    assert len({one.radiograph for one in chosen}) == len(chosen) == 2 * 3 * 4
    for half in ("tune", "report"):
        labels = [dataset.radiographs[one.radiograph].label for one in chosen if one.half == half]
        assert all(labels.count(label) == 4 for label in LABELS)
    assert sum(one.is_drawn_twice for one in chosen) == DRAWN_TWICE


def test_a_choice_from_too_few_radiographs_is_refused() -> None:
    with pytest.raises(DatasetError, match="normal of A has 3 patient groups; the choice needs 4"):
        choose_knees(rows(3), set(range(18)))


def test_places_go_to_the_picture_and_back() -> None:
    points = np.array([[0.0, 0.0], [10.0, 30.0]])
    there = to_picture(points, BOX, (50, 25))
    assert there.tolist() == [[100.0, 200.0], [140.0, 260.0]]
    assert to_crop(there, BOX, (50, 25)) == pytest.approx(points)


def test_a_coarse_outline_snaps_to_the_edge() -> None:
    """A bright disc, drawn some pixels too large and with few points."""
    y, x = np.mgrid[:120, :120] + 0.5
    crop = (200.0 * (np.hypot(x - 60, y - 60) < 40) + 20).astype(np.float32)
    angles = np.linspace(-np.pi / 2, 1.4 * np.pi, 9)  # clockwise as seen
    coarse = np.column_stack([60 + 43 * np.cos(angles), 60 + 43 * np.sin(angles)])
    radius = np.hypot(*(snapped(crop, coarse.tolist()) - 60).T)[4:-4]
    assert abs(radius - 40).max() < 1.0
    assert abs(np.hypot(*(smooth(coarse) - 60).T) - 40).mean() > 2.0


def test_the_drawn_crop_has_one_scale() -> None:
    pixels = np.arange(600 * 500, dtype=np.uint16).reshape(600, 500)
    crop, box = drawn_crop(pixels, Joint(250, 300, 120, 1.0, None))
    assert crop.shape == (468, 324)
    assert box.width == pytest.approx(2 * DRAWN_REGION.half_width * 120)
    assert crop.min() == 0
    assert crop.max() == 255


def test_points_are_read_by_line(tmp_path: Path) -> None:
    path = tmp_path / "points.txt"
    path.write_text("3 femur 1,2 3,4 5,6\n\n3 tibia 1,1 2,2 3,0\n")
    points = read_points(path)
    assert list(points) == [3]
    assert points[3]["femur"].tolist() == [[1, 2], [3, 4], [5, 6]]
    path.write_text("3 femur 1,2 3,4 5,6\n3 patella 1,1 2,2 3,0\n")
    with pytest.raises(DatasetError, match=r"points\.txt: line 2: one of femur, tibia, fibula"):
        read_points(path)


def test_the_committed_outlines_are_sound() -> None:
    plain = json.loads(ANNOTATIONS.read_text())
    records = plain["radiographs"].values()
    assert len(records) >= 30
    assert sum("bones_again" in one for one in records) >= 5
    assert {one["half"] for one in records} == {"tune", "report"}
    assert len({one["acquisition"] for one in records}) == 3
    for one in list(records)[::6]:
        assert set(check_bones(one["bones"], Box(*one["box"]), "here")) == set(BONES)


def test_the_committed_outlines_belong_to_the_data(data_folder: Path) -> None:
    dataset = read_dataset(data_folder / "knee")
    knees = read_drawn(dataset)
    halves = {half: {knee.row.patient_group for knee in knees if knee.half == half} for half in ("tune", "report")}
    assert not halves["tune"] & halves["report"]
    assert {knee.row.label for knee in knees} == set(LABELS)
