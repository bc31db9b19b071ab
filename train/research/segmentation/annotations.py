"""Outlines of bones drawn on real radiographs: read, checked, and filled to masks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteo_edge.joints import Box
from train.data.dataset import Dataset, DatasetError, RadiographRow
from train.research.segmentation.sampling import HALVES, Half
from train.runs.arrays import Booleans, Doubles

ANNOTATIONS = Path(__file__).parent / "knee_bones.json"
SCHEMA_VERSION = 1

BONES: tuple[str, ...] = ("femur", "tibia", "fibula")

# In a turned leg nearly all of the fibula can lie behind the tibia; femur and tibia hardly ever cover each other.
# Shares of the smaller bone that may be covered.
MOST_OVERLAP: Mapping[tuple[str, str], float] = {
    ("femur", "tibia"): 0.05,
    ("femur", "fibula"): 0.05,
    ("tibia", "fibula"): 0.97,
}

_FEWEST_POINTS = 3

Polygon = Doubles
Polygons = Mapping[str, Polygon]


@dataclass(frozen=True)
class DrawnKnee:
    """One knee drawn by eye.

    Attributes:
        row: its radiograph.
        joint: x, y and knee width in pixels of the upright picture, as the finder saw it.
        box: what was drawn; what lies outside is not known.
        bones: bone -> (points, 2) x, y in pixels of the upright picture, closed.
        again: the same drawn a second time, where it was.
    """

    row: RadiographRow
    half: Half
    joint: tuple[float, float, float]
    box: Box
    bones: Polygons
    again: Polygons | None


def read_drawn(dataset: Dataset, half: Half | None = None, *, path: Path = ANNOTATIONS) -> tuple[DrawnKnee, ...]:
    """The drawn knees of one half, or of both, ordered by digest.

    Raises:
        DatasetError: the file cannot be used, an outline is faulty, or a drawn radiograph is not in the dataset.
    """
    rows = {row.sha256: row for row in dataset.radiographs}
    records = _read_records(path)
    for digest in records:
        if digest not in rows:
            raise DatasetError(f"{path.name}: the drawn radiograph with the SHA-256 {digest} is not in the dataset")
    knees = tuple(_drawn(rows[digest], record, f"{path.name}: {digest[:12]}") for digest, record in sorted(records.items()))
    return tuple(knee for knee in knees if half in (None, knee.half))


def _read_records(path: Path) -> dict[str, Any]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DatasetError(f"{path}: is not JSON ({error})") from error
    if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
        raise DatasetError(f"{path}: schema_version {SCHEMA_VERSION} is needed")
    if not isinstance(plain.get("radiographs"), dict) or not plain["radiographs"]:
        raise DatasetError(f"{path}: holds no drawn radiographs")
    return plain["radiographs"]  # type: ignore[no-any-return]


def _drawn(row: RadiographRow, record: Any, where: str) -> DrawnKnee:
    try:
        half, joint, box = record["half"], tuple(map(float, record["joint"])), Box(*map(int, record["box"]))
        bones, again = record["bones"], record.get("bones_again")
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{where}: half, joint, box and bones are needed ({error!r})") from error
    if half not in HALVES or len(joint) != 3 or box.width < 1 or box.height < 1:
        raise DatasetError(f"{where}: half must be {' or '.join(HALVES)}, joint x, y and width, box x0, y0, x1 and y1")
    return DrawnKnee(
        row=row,
        half=half,
        joint=(joint[0], joint[1], joint[2]),
        box=box,
        bones=check_bones(bones, box, f"{where}: bones"),
        again=None if again is None else check_bones(again, box, f"{where}: bones_again"),
    )


def check_bones(bones: Any, box: Box, where: str) -> Polygons:
    """Every bone's outline as an array.

    Raises:
        DatasetError: an unknown or missing bone, an outline of fewer than three points or that crosses itself, or two
            bones that cover each other more than they can.
    """
    if not isinstance(bones, Mapping) or sorted(bones) != sorted(BONES):
        raise DatasetError(f"{where}: outlines of {', '.join(BONES)} are needed")
    polygons = {bone: check_polygon(bones[bone], f"{where}.{bone}") for bone in BONES}
    masks = dict(zip(BONES, rasterise(polygons, box, (box.height, box.width)), strict=True))
    for (one, other), most in MOST_OVERLAP.items():
        smaller = max(min(masks[one].sum(), masks[other].sum()), 1)
        share = float((masks[one] & masks[other]).sum() / smaller)
        if share > most:
            raise DatasetError(f"{where}: {one} and {other} cover {share:.0%} of each other; at most {most:.0%} can be")
    return polygons


def check_polygon(points: Any, where: str) -> Polygon:
    """(points, 2) float64.

    Raises:
        DatasetError: not a list of x, y of three points or more, or the outline crosses itself.
    """
    try:
        polygon = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{where}: is not a list of x, y") from error
    if polygon.ndim != 2 or polygon.shape[1] != 2 or not np.isfinite(polygon).all():
        raise DatasetError(f"{where}: is not a list of x, y")
    if len(polygon) < _FEWEST_POINTS:
        raise DatasetError(f"{where}: has {len(polygon)} points; an outline needs {_FEWEST_POINTS} or more")
    crossing = first_crossing(polygon)
    if crossing is not None:
        raise DatasetError(f"{where}: crosses itself between its points {crossing[0]} and {crossing[1]}")
    return polygon


def first_crossing(polygon: Polygon) -> tuple[int, int] | None:
    """The first two sides of a closed outline that cross, or None. Sides that only touch do not count."""
    starts, ends = polygon, np.roll(polygon, -1, axis=0)
    # Of every side (rows) against every other one (columns): on which side of it that one's ends lie.
    of_starts, of_ends = (_turns(starts, ends, points) for points in (starts, ends))
    parts = of_starts * of_ends < 0
    crossing = np.argwhere(np.triu(parts & parts.T, 1))
    return (int(crossing[0, 0]), int(crossing[0, 1])) if len(crossing) else None


def _turns(starts: Polygon, ends: Polygon, points: Polygon) -> Doubles:
    """(sides, points): above 0 where a point lies to one hand of a side, below 0 to the other, 0 on its line."""
    along, to = ends - starts, points[None] - starts[:, None]
    return np.asarray(along[:, None, 0] * to[..., 1] - along[:, None, 1] * to[..., 0])


def rasterise(polygons: Polygons, box: Box, shape: tuple[int, int]) -> Booleans:
    """Masks of the bones in a crop of ``shape`` (height, width) that shows ``box``.

    The middle of pixel i stands at i + 0.5, as everywhere; a pixel belongs to the bone where its middle does.

    Returns:
        (bones, height, width) in the order of ``BONES``.
    """
    scale = np.array([shape[1] / box.width, shape[0] / box.height])
    placed: Sequence[Polygon] = [(polygons[bone] - [box.x0, box.y0]) * scale for bone in BONES]
    return np.stack([fill(polygon, shape) for polygon in placed])


def fill(polygon: Polygon, shape: tuple[int, int]) -> Booleans:
    """(height, width): the pixels whose middle lies inside of the outline.

    By itself, since OpenCV's filling takes in every pixel that the outline touches.
    """
    mask = np.zeros(shape, np.bool_)
    (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
    middles = np.arange(shape[1]) + 0.5
    for row in range(max(int(y0.min()), 0), min(int(y0.max()) + 1, shape[0])):
        y = row + 0.5
        met = (y0 <= y) != (y1 <= y)
        crossings = np.sort(x0[met] + (y - y0[met]) * (x1[met] - x0[met]) / (y1[met] - y0[met]))
        mask[row] = np.searchsorted(crossings, middles) % 2 == 1
    return mask
