"""The aid with which bones were drawn: a crop with a grid for the eye, and outlines that snap to the nearest edge.

Coarse points are set by eye; a smooth curve through them is moved along its normals onto the strongest edge nearby,
neighbours together (dynamic programming; Amini et al., IEEE TPAMI 1990). Every result was looked at and corrected by eye.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np

from osteo_edge.images.preprocess import cut
from osteo_edge.joints import Box, Joint, box_around
from osteo_edge.manifest import RegionProfile
from train.data.crops import Finder
from train.data.dataset import Dataset, DatasetError
from train.research.segmentation.annotations import ANNOTATIONS, BONES, SCHEMA_VERSION, check_bones, read_drawn
from train.research.segmentation.pictures import read_pixels
from train.research.segmentation.sampling import Chosen, choose_knees
from train.runs.arrays import Bytes, Doubles, Floats, Integers, Pixels

Points = Doubles

# Somewhat more than the networks are shown, so that a turned or moved view is still known up to its edges.
DRAWN_REGION = RegionProfile("drawn", 0.9, 1.3, 1.3)
PX_PER_KNEE = 180
ZOOM = 2.5
GRID_PX = 20

COLOURS = {"femur": (80, 200, 255), "tibia": (120, 255, 120), "fibula": (255, 160, 80)}

_DESCRIPTION = {
    "what": (
        "Outlines of femur, tibia and fibula on radiographs of the Knee X-ray Osteoporosis Database (Mendeley Data "
        "10.17632/fxjm8fb6mw)."
    ),
    "how": (
        "Drawn by eye, edge-snapped: some 25 to 45 points a bone set by eye on an enlarged crop with a grid, joined "
        "by a smooth curve, moved onto the nearest edge within 6/180 of the knee's width "
        "(train/research/segmentation/drawing.py), every result looked at on the picture."
    ),
    "definition": (
        "bones: closed outline [x, y] per bone in pixels of the upright picture (the middle of pixel i stands at i + "
        "0.5), as far as box [x0, y0, x1, y1]; what lies outside is not drawn. Each outline is the bone's whole "
        "projection, osteophytes included, also where another bone covers it. Where the hidden part cannot be seen it "
        "follows the other bone's edge. The patella is no bone of its own: it lies on the femur, and what of it "
        "stands beyond is left out. joint: x, y and knee width as the finder saw them. bones_again: the same knee "
        "drawn a second time by the same hand from the bare picture."
    ),
    "halves": (
        "tune: the networks learn from it; report: only to judge them. By radiograph; train/research/segmentation/sampling.py "
        "draws as many of every label and acquisition for either half."
    ),
}

_THINNED_PX = 0.25
_STEP_PX = 3.0
_REACH_PX = 6
# What one pixel more of sideways change costs against the strongest edge of the outline.
_STIFFNESS = 0.12
# And what one pixel away from the drawn place costs.
_PULL = 0.015


def drawn_crop(pixels: Pixels, joint: Joint) -> tuple[Floats, Box]:
    """The drawn region at ``PX_PER_KNEE``, float32 in 0 to 255, and its box in the picture."""
    box = box_around(joint, DRAWN_REGION)
    width = round(2 * DRAWN_REGION.half_width * PX_PER_KNEE)
    height = round((DRAWN_REGION.above + DRAWN_REGION.below) * PX_PER_KNEE)
    source = cut(pixels, box)
    shrinks = source.size > width * height
    crop = cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    low, high = np.percentile(crop, (1, 99))
    return np.clip((crop.astype(np.float32) - low) * (255 / max(high - low, 1)), 0, 255).astype(np.float32), box


def to_picture(points: Points, box: Box, shape: tuple[int, int]) -> Points:
    """Points of a crop of ``shape`` (height, width) in pixels of the upright picture."""
    scale = np.array([box.width / shape[1], box.height / shape[0]])
    return np.asarray(points * scale + [box.x0, box.y0], dtype=np.float64)


def to_crop(points: Points, box: Box, shape: tuple[int, int]) -> Points:
    """The inverse of ``to_picture``."""
    scale = np.array([box.width / shape[1], box.height / shape[0]])
    return np.asarray((points - [box.x0, box.y0]) / scale, dtype=np.float64)


def for_the_eye(crop: Floats) -> Bytes:
    """Enlarged, with local contrast, (height x ZOOM, width x ZOOM, 3) uint8."""
    local = cv2.createCLAHE(3.0, (8, 8)).apply(crop.astype(np.uint8))
    grey = cv2.addWeighted(local, 0.6, crop.astype(np.uint8), 0.4, 0)
    return cv2.cvtColor(cv2.resize(grey, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)  # type: ignore[return-value]


def with_grid(crop: Floats) -> Bytes:
    """``for_the_eye`` with a labelled grid in pixels of the crop."""
    picture = for_the_eye(crop)
    veil = picture.copy()
    height, width = crop.shape
    for at in range(0, max(height, width), GRID_PX):
        colour = (0, 255, 255) if at % (5 * GRID_PX) == 0 else (200, 160, 0)
        place = round(at * ZOOM)
        cv2.line(veil, (place, 0), (place, picture.shape[0]), colour, 1)
        cv2.line(veil, (0, place), (picture.shape[1], place), colour, 1)
    picture = np.asarray(cv2.addWeighted(veil, 0.4, picture, 0.6, 0), np.uint8)
    for at in range(0, max(height, width), 2 * GRID_PX):
        place = round(at * ZOOM)
        for origin in (
            (place + 2, 10),
            (place + 2, picture.shape[0] // 2),
            (2, place + 12),
            (picture.shape[1] - 30, place + 12),
        ):
            cv2.putText(picture, str(at), origin, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 255), 1, cv2.LINE_AA)
    return picture


def with_outlines(crop: Floats, outlines: Mapping[str, Points]) -> Bytes:
    """``for_the_eye`` with the outlines of the bones, for correction."""
    picture = for_the_eye(crop)
    for bone, points in outlines.items():
        line = np.round(points * ZOOM * 16).astype(np.int32)
        cv2.polylines(picture, [line], True, COLOURS[bone], 1, cv2.LINE_AA, 4)
    return picture


def smooth(points: Points, *, step_px: float = _STEP_PX) -> Points:
    """A centripetal Catmull-Rom curve (Yuksel et al., CAD 2011) through open ``points``, a point about every ``step_px``."""
    points = np.asarray(points, np.float64)
    before, after = 2 * points[:1] - points[1:2], 2 * points[-1:] - points[-2:-1]
    p = np.vstack([before, points, after])
    knots = np.maximum(np.sqrt(np.linalg.norm(np.diff(p, axis=0), axis=1)), 1e-6)
    curve = []
    for i in range(1, len(p) - 2):
        t0, t1, t2 = knots[i - 1], knots[i], knots[i + 1]
        count = max(int(np.ceil(t1**2 / step_px)), 1)
        t = np.linspace(0, 1, count, endpoint=False)[:, None]
        start = (p[i] - p[i - 1]) / t0 - (p[i + 1] - p[i - 1]) / (t0 + t1) + (p[i + 1] - p[i]) / t1
        stop = (p[i + 1] - p[i]) / t1 - (p[i + 2] - p[i]) / (t1 + t2) + (p[i + 2] - p[i + 1]) / t2
        m0, m1 = start * t1, stop * t1
        h00, h10 = 2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t
        curve.append(h00 * p[i] + h10 * m0 + (1 - h00) * p[i + 1] + (t**3 - t**2) * m1)
    return np.vstack([*curve, points[-1:]])


def snapped(crop: Floats, points: Sequence[Sequence[float]], *, reach_px: int = _REACH_PX) -> Points:
    """An open outline through coarse ``points``, moved onto the nearest edges where bone (bright) meets darker surroundings.

    Args:
        points: (N, 2) x, y in pixels of the crop, clockwise as seen, so that the bone lies to the right of the way.
    """
    curve = smooth(np.asarray(points, np.float64))
    tangent = np.gradient(cv2.GaussianBlur(curve, (1, 5), 0, sigmaY=1.5), axis=0)
    normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])  # to the outside
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    offsets = np.arange(-reach_px, reach_px + 0.5, 0.5)
    places = curve[:, None] + offsets[None, :, None] * normal[:, None]
    blurred = cv2.GaussianBlur(crop, (0, 0), 1.0)

    def grey(shift: float) -> Floats:
        at = (places + shift * normal[:, None]).astype(np.float32)
        return cv2.remap(blurred, at[..., 0] - 0.5, at[..., 1] - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]

    edge = np.maximum(grey(-1.0) - grey(1.0), 0)
    strength = edge / (np.percentile(edge, 95) + 1e-6)
    cost = -np.minimum(strength, 1.5) + _PULL * np.abs(offsets)
    best = _cheapest_way(cost, _STIFFNESS * np.abs(offsets[:, None] - offsets[None]) ** 2)
    moved = curve + cv2.GaussianBlur(offsets[best][:, None], (1, 5), 0, sigmaY=1.0) * normal
    return np.asarray(moved, dtype=np.float64)


def _cheapest_way(cost: Doubles, change: Doubles) -> Integers:
    """One column per row of ``cost`` (rows, columns); ``change`` (columns, columns) is the price of moving between them."""
    total, came_from = cost[0], []
    for row in cost[1:]:
        ways = total[:, None] + change
        came_from.append(ways.argmin(axis=0))
        total = ways.min(axis=0) + row
    way = [int(total.argmin())]
    for origin in reversed(came_from):
        way.append(int(origin[way[-1]]))
    return np.array(way[::-1])


@dataclass(frozen=True)
class ToDraw:
    """One knee of the seeded choice, ready to be drawn; its number is its place in the choice."""

    chosen: Chosen
    crop: Floats
    box: Box
    joint: Joint


def to_draw(dataset: Dataset, finder: Finder) -> Iterator[ToDraw]:
    """The chosen knees in order; of two knees in a picture the one that the choice names.

    Raises:
        DatasetError: a radiograph cannot be read, or too few show a knee.
    """
    joints = {}
    with click.progressbar(dataset.radiographs, label="Finding knees", file=sys.stderr) as rows:
        for index, row in enumerate(rows):
            found = finder.find(read_pixels(row.path))
            if found:
                joints[index] = found
    for chosen in choose_knees(dataset, joints):
        found = joints[chosen.radiograph]
        joint = found[0] if chosen.place < 0.5 or len(found) == 1 else found[1]
        crop, box = drawn_crop(read_pixels(dataset.radiographs[chosen.radiograph].path), joint)
        yield ToDraw(chosen, crop, box, joint)


def write_sheets(dataset: Dataset, finder: Finder, folder: Path) -> None:
    """A sheet with a grid for every chosen knee, and one with its outlines where it is drawn already.

    They show patients' radiographs: keep the folder out of the repository.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {knee.row.sha256: knee for knee in read_drawn(dataset)} if ANNOTATIONS.exists() else {}
    for number, one in enumerate(to_draw(dataset, finder)):
        cv2.imwrite(str(folder / f"{number:02d}-grid.png"), with_grid(one.crop))
        knee = drawn.get(dataset.radiographs[one.chosen.radiograph].sha256)
        if knee is not None:
            outlines = {bone: to_crop(points, knee.box, one.crop.shape) for bone, points in knee.bones.items()}
            cv2.imwrite(str(folder / f"{number:02d}-outlines.png"), with_outlines(one.crop, outlines))


def read_points(path: Path) -> dict[int, dict[str, Points]]:
    """Number of the sheet -> bone -> (points, 2), from lines of ``number bone x,y x,y ...`` in pixels of the crop.

    Raises:
        DatasetError: names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    points: dict[int, dict[str, Points]] = {}
    for number, line in enumerate(lines, 1):
        if line.strip():
            knee, bone, places = _parse_points(line, f"{path.name}: line {number}")
            points.setdefault(knee, {})[bone] = places
    return points


def _parse_points(line: str, where: str) -> tuple[int, str, Points]:
    try:
        knee, bone, *places = line.split()
        points = np.array([[float(value) for value in place.split(",")] for place in places])
        number = int(knee)
    except ValueError as error:
        raise DatasetError(f"{where}: 'number bone x,y x,y ...' is needed") from error
    if bone not in BONES or points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise DatasetError(f"{where}: one of {', '.join(BONES)} and three points or more are needed")
    return number, bone, points


def write_outlines(
    dataset: Dataset,
    finder: Finder,
    points: Mapping[int, Mapping[str, Points]],
    again: Mapping[int, Mapping[str, Points]],
    path: Path,
) -> None:
    """Snap the points of every chosen knee to the edges, check the outlines, and write the annotations' file.

    Raises:
        DatasetError: a chosen knee or one of its bones is not drawn, or an outline is faulty.
    """
    radiographs = {}
    for number, one in enumerate(to_draw(dataset, finder)):
        row = dataset.radiographs[one.chosen.radiograph]
        height, width = read_pixels(row.path).shape
        record = {
            "half": one.chosen.half,
            "acquisition": row.acquisition,
            "width_px": width,
            "height_px": height,
            "joint": [round(value, 1) for value in (one.joint.x_px, one.joint.y_px, one.joint.width_px)],
            "box": [one.box.x0, one.box.y0, one.box.x1, one.box.y1],
            "bones": _outlines(one, points.get(number, {}), f"knee {number}"),
        }
        if number in again:
            record["bones_again"] = _outlines(one, again[number], f"knee {number} again")
        radiographs[row.sha256] = record
    plain = {"schema_version": SCHEMA_VERSION, **_DESCRIPTION, "radiographs": dict(sorted(radiographs.items()))}
    # Each outline on a line of its own; its thousands of numbers would otherwise take one each.
    text = re.sub(r"\[[\s\d.,\[\]-]+\]", lambda numbers: re.sub(r"\s+", "", numbers[0]), json.dumps(plain, indent=1))
    path.write_text(text + "\n", encoding="utf-8")


def _outlines(one: ToDraw, points: Mapping[str, Points], where: str) -> dict[str, list[list[float]]]:
    missing = [bone for bone in BONES if bone not in points]
    if missing:
        raise DatasetError(f"{where}: {missing[0]} is not drawn")
    curves = {bone: snapped(one.crop, points[bone].tolist()) for bone in BONES}
    thinned = {
        bone: np.asarray(cv2.approxPolyDP(curve.astype(np.float32)[:, None], _THINNED_PX, False)[:, 0], np.float64)
        for bone, curve in curves.items()
    }
    outlines = {bone: to_picture(curve, one.box, one.crop.shape).round(1).tolist() for bone, curve in thinned.items()}
    check_bones(outlines, one.box, where)
    return outlines
