"""Measures of bone from a knee's pixels and its masks: cortex, texture, contrast, joint space and widths.

Lengths are shares of the knee's width, since most pictures tell no pixel spacing. Grey levels enter only as ratios of
differences within one knee, so that neither exposure nor window matter. What cannot be measured is NaN.

Cortical thickness follows radiogrammetry (Barnett & Nordin, Clin Radiol 1960): from the outer edge of the shaft to the inner
face of its cortex. In the shadow of a tube the grey level falls most steeply just inside of that face. Texture follows Lynch
et al. (Med Phys 1991, fractal signature) with the variogram as its estimator, and Haralick et al. (IEEE TSMC 1973).

The figures are for research on sets of radiographs. They are no diagnosis and no part of any bundle.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click
import cv2
import numpy as np
from scipy.stats import theilslopes

from osteo_edge.images.preprocess import cut
from osteo_edge.joints import Joint, box_around
from osteo_edge.labels import Laterality
from osteo_edge.manifest import RegionProfile
from train.data.crops import Finder
from train.data.dataset import Dataset
from train.research.segmentation.annotations import BONES
from train.research.segmentation.networks import Segmenter
from train.research.segmentation.pictures import PX_PER_KNEE, read_pixels
from train.research.segmentation.views import stretched
from train.runs.arrays import Booleans, Doubles, Floats, Integers, Pixels

MEASURED_REGION = RegionProfile("measured", 0.9, 1.5, 1.6)
FINE_PX_PER_KNEE = 2 * PX_PER_KNEE

# Where the shafts are measured, in knee widths below the joint. Above the patella and below the tibial tuberosity.
SHAFTS: Mapping[str, tuple[float, float]] = {"femur": (-1.25, -0.95), "tibia": (1.0, 1.3)}
# At least so much of a shaft's rows must be seen.
_LEAST_SEEN = 0.5
# No cortex is thicker, in knee widths.
_THICKEST_CORTEX = 0.13
_EDGE_REACH = 0.025
_UNEVEN_PX = 2.0
_SOFT_TISSUE = (0.03, 0.08)

# Spongy bone below the joint: from the tibia's middle outwards, and below its plateau.
_SUBCHONDRAL_ACROSS = (0.14, 0.38)
_SUBCHONDRAL_BELOW = (0.08, 0.28)
_METAPHYSIS_ACROSS = 0.16
_METAPHYSIS_BELOW = (0.38, 0.62)
_JOINT_SPACE_ACROSS = (0.18, 0.36)
_LAGS_PX = (1, 2, 3, 4, 5, 6)
_HIGH_PASS_PX = 8.0
_GREY_LEVELS = 16
_CO_OCCURRENCE_PX = 3


@dataclass(frozen=True)
class KneeView:
    """One knee as it is measured.

    Attributes:
        grey: (height, width) float32, linear in the picture's grey levels.
        bones: (height, width, bones) bool in the order of ``annotations.BONES``.
        joint: x, y of the joint's centre in pixels.
        px_per_knee: pixels that the knee is wide.
        lateral: 1 where the knee's outer side is at the right of the picture, -1 at the left, 0 unknown.
    """

    grey: Floats
    bones: Booleans
    joint: tuple[float, float]
    px_per_knee: float
    lateral: int

    def bone(self, name: str) -> Booleans:
        return self.bones[:, :, BONES.index(name)]

    def row_at(self, below: float) -> int:
        """The row so many knee widths below the joint."""
        return round(self.joint[1] + below * self.px_per_knee)


def bone_measures(dataset: Dataset, finder: Finder, network: Segmenter) -> tuple[tuple[str, ...], Doubles]:
    """Every measure of every radiograph, the mean over its knees.

    Returns:
        names, and (radiographs, measures) float64 with NaN where nothing can be measured.

    Raises:
        DatasetError: a radiograph cannot be read.
    """
    names = measure_names()
    table = np.full((len(dataset.radiographs), len(names)), np.nan)
    with click.progressbar(dataset.radiographs, label="Measuring bones", file=sys.stderr) as rows:
        for index, row in enumerate(rows):
            pixels = read_pixels(row.path)
            knees = [measure(view_of(pixels, joint, network)) for joint in finder.find(pixels)]
            table[index] = mean_of_known([[knee[name] for name in names] for knee in knees], len(names))
    return names, table


def mean_of_known(rows: Iterable[Iterable[float]], columns: int) -> Doubles:
    """Mean of each column over its values that are no NaN; NaN where there is none."""
    table = np.array([list(row) for row in rows], np.float64).reshape(-1, columns)
    known = np.isfinite(table)
    counts = known.sum(axis=0)
    total = np.where(known, table, 0).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)


def view_of(pixels: Pixels, joint: Joint, network: Segmenter) -> KneeView:
    """Cut the measured region around a joint and outline its bones."""
    box = box_around(joint, MEASURED_REGION)
    coarse_size = round(box.width * PX_PER_KNEE / joint.width_px), round(box.height * PX_PER_KNEE / joint.width_px)
    fine_size = 2 * coarse_size[0], 2 * coarse_size[1]
    source = cut(pixels, box).astype(np.float32)
    shrinks = source.size > fine_size[0] * fine_size[1]
    fine: Floats = np.asarray(
        cv2.resize(source, fine_size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR), np.float32
    )
    coarse = stretched(np.asarray(cv2.resize(source, coarse_size, interpolation=cv2.INTER_AREA), np.float32))
    likely = network.probabilities(coarse[np.newaxis])[0]
    bones = cv2.resize(likely, fine_size, interpolation=cv2.INTER_LINEAR) > 0.5
    centre = (joint.x_px - box.x0) * fine_size[0] / box.width, (joint.y_px - box.y0) * fine_size[1] / box.height
    cleaned = np.stack([largest_part(bones[:, :, place]) for place in range(len(BONES))], axis=-1)
    return KneeView(fine, cleaned, centre, FINE_PX_PER_KNEE, lateral_side(cleaned, joint))


def largest_part(mask: Booleans) -> Booleans:
    """The largest connected part without its holes; an empty mask stays empty."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    part = (parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)
    outlines, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros_like(part), outlines, -1, 1, cv2.FILLED) > 0)


def lateral_side(bones: Booleans, joint: Joint) -> int:
    """Where the fibula stands, seen from the tibia; from the finder where no fibula is outlined."""
    tibia, fibula = (bones[:, :, BONES.index(name)] for name in ("tibia", "fibula"))
    if fibula.sum() > 0.02 * max(tibia.sum(), 1) and tibia.any():
        return 1 if np.nonzero(fibula)[1].mean() > np.nonzero(tibia)[1].mean() else -1
    if joint.laterality is None:
        return 0
    return -1 if joint.laterality is Laterality.RIGHT else 1


def measure(view: KneeView) -> dict[str, float]:
    """Every measure of one knee by its name."""
    measures: dict[str, float] = {}
    for bone in SHAFTS:
        measures |= shaft_measures(view, bone)
    measures |= joint_measures(view)
    measures |= spongy_measures(view)
    return measures


def measure_names() -> tuple[str, ...]:
    """Names of all measures, in order; those of an empty view, on which nothing can be measured."""
    empty = KneeView(np.zeros((64, 64), np.float32), np.zeros((64, 64, len(BONES)), np.bool_), (32.0, 32.0), 30.0, 0)
    return tuple(measure(empty))


# --- shafts ---


@dataclass(frozen=True)
class Shaft:
    """A piece of shaft: its rows, and on each its left and right edge in pixels."""

    rows: Integers
    left: Doubles
    right: Doubles

    @property
    def width_px(self) -> float:
        """Across the shaft: rows cut an oblique one slantwise."""
        middle = np.polyfit(self.rows, (self.left + self.right) / 2, 1)[0]
        return float(np.median(self.right - self.left) * np.cos(np.arctan(middle)))


def shaft_measures(view: KneeView, bone: str) -> dict[str, float]:
    """Cortex and width of one shaft."""
    names = ("cortex_medial", "cortex_lateral", "cortical_index", "shaft_width", "marrow_level", "cortex_area")
    result = dict.fromkeys((f"{bone}_{name}" for name in names), float("nan"))
    shaft = find_shaft(view, bone)
    if shaft is None:
        return result
    result[f"{bone}_shaft_width"] = shaft.width_px / view.px_per_knee
    walls = {side: wall_of(view, shaft, side) for side in (-1, 1)}
    thickness = {side: wall.thickness_px for side, wall in walls.items()}
    if view.lateral:
        result[f"{bone}_cortex_lateral"] = thickness[view.lateral] / view.px_per_knee
        result[f"{bone}_cortex_medial"] = thickness[-view.lateral] / view.px_per_knee
    result[f"{bone}_cortical_index"] = sum(thickness.values()) / shaft.width_px
    result[f"{bone}_marrow_level"] = float(np.mean([wall.marrow_level for wall in walls.values()]))
    result[f"{bone}_cortex_area"] = float(np.mean([wall.area_px for wall in walls.values()])) / shaft.width_px
    return result


def find_shaft(view: KneeView, bone: str) -> Shaft | None:
    """The measured piece of a bone's shaft; None where too little of it is seen."""
    low, high = (view.row_at(below) for below in SHAFTS[bone])
    mask = view.bone(bone)
    wanted = np.arange(max(low, 0), min(high, len(mask)))
    margin = round(_SOFT_TISSUE[1] * view.px_per_knee)
    rows, left, right = [], [], []
    for row in wanted:
        inside = np.flatnonzero(mask[row])
        if inside.size > 0.15 * view.px_per_knee and inside[0] > margin and inside[-1] < mask.shape[1] - margin:
            rows.append(row)
            left.append(float(inside[0]))
            right.append(float(inside[-1] + 1))
    needed = _LEAST_SEEN * (high - low)
    kept = even_rows(np.array(rows), np.array([left, right])) if len(rows) >= needed else np.zeros(len(rows), np.bool_)
    if kept.sum() < needed:
        return None
    places = np.array(rows)[kept]
    edges = (np.polyval(np.polyfit(places, np.array(edge)[kept], 2), places) for edge in (left, right))
    return Shaft(places, *(np.asarray(edge, np.float64) for edge in edges))


def even_rows(rows: Integers, edges: Doubles) -> Booleans:
    """The rows whose edges lie near straight lines: a mask may fray where the film ends or a marker lies.

    The lines are Theil and Sen's (J Am Stat Assoc 1968), which up to 29 % of frayed rows do not bend.
    """
    lines = [theilslopes(edge, rows) for edge in edges]
    off = np.abs(edges - np.stack([line.intercept + line.slope * rows for line in lines])).max(axis=0)
    return np.asarray(off <= max(_UNEVEN_PX, 3 * float(np.median(off))))


@dataclass(frozen=True)
class Wall:
    """One side of a shaft in cross-section.

    Attributes:
        thickness_px: from the outer edge to the inner face of the cortex.
        marrow_level: grey of the shaft's middle above soft tissue, as a share of the cortex' peak above soft tissue.
        area_px: the profile's area above the middle's level over its height: cortex that weighs by its density.
    """

    thickness_px: float
    marrow_level: float
    area_px: float


def wall_of(view: KneeView, shaft: Shaft, side: int) -> Wall:
    """Measure the mean profile of one side, -1 the left and 1 the right, from soft tissue to the shaft's middle."""
    unknown = Wall(float("nan"), float("nan"), float("nan"))
    edge = shaft.left if side < 0 else shaft.right
    slope = float(np.polyfit(shaft.rows, edge, 1)[0])
    slant = float(np.cos(np.arctan(slope)))
    outside = round(_SOFT_TISSUE[1] * view.px_per_knee)
    deepest = round(0.5 * float(np.median(shaft.right - shaft.left)))
    steps = np.arange(-outside, deepest, 0.5)
    x = (edge[:, None] - side * steps[None, :]).astype(np.float32)
    y = np.repeat(shaft.rows[:, None], len(steps), axis=1).astype(np.float32)
    # Pixel i holds what lies from i to i + 1: its middle is OpenCV's place i.
    profiles = np.asarray(cv2.remap(view.grey, x - 0.5, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)
    profile = cv2.GaussianBlur(aligned(profiles, steps, view.px_per_knee).mean(axis=0)[None], (0, 0), 1.0)[0].astype(np.float64)
    change = np.gradient(profile, steps)
    near = np.abs(steps) <= _EDGE_REACH * view.px_per_knee
    outer = float(steps[near][change[near].argmax()])
    deep = (steps > outer) & (steps < outer + _THICKEST_CORTEX * view.px_per_knee)
    soft = float(profile[(steps < -_SOFT_TISSUE[0] * view.px_per_knee)].mean())
    middle = float(profile[steps > 0.7 * deepest].mean())
    if deep.sum() < 3:
        return unknown
    inner = steepest_fall(steps[deep], change[deep])
    peak = float(profile[deep & (steps <= inner)].max(initial=-np.inf))
    if not peak > soft:
        return unknown
    above = np.clip(profile - middle, 0, None)[deep]
    return Wall(
        thickness_px=(inner - outer) * slant,
        marrow_level=(middle - soft) / (peak - soft),
        area_px=float(above.sum() * 0.5 / (peak - soft)) * slant,
    )


def aligned(profiles: Floats, steps: Doubles, px_per_knee: float) -> Floats:
    """Every row's profile moved onto the others by its own edge; rows are first smoothed with their neighbours."""
    smooth = cv2.GaussianBlur(profiles, (0, 0), sigmaX=1.5, sigmaY=4.0)
    near = np.abs(steps) <= _EDGE_REACH * px_per_knee
    places = steps[near][np.gradient(smooth, axis=1)[:, near].argmax(axis=1)]
    places = (
        np.asarray(cv2.GaussianBlur(places.astype(np.float32)[:, None], (1, 0), 0, sigmaY=6.0))[:, 0] if len(places) else places
    )
    columns = (np.arange(len(steps))[None, :] + 2 * places[:, None]).astype(np.float32)
    rows = np.repeat(np.arange(len(profiles))[:, None], len(steps), axis=1).astype(np.float32)
    return cv2.remap(profiles, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def steepest_fall(steps: Doubles, change: Doubles) -> float:
    """Where a profile falls most steeply, between the sampled places (vertex of the parabola through three of them)."""
    place = int(change.argmin())
    if not 0 < place < len(change) - 1:
        return float(steps[place])
    before, here, after = change[place - 1 : place + 2]
    bend = before - 2 * here + after
    return float(steps[place] + (0.5 * (before - after) / bend if bend > 0 else 0.0) * (steps[1] - steps[0]))


# --- joint ---


def joint_measures(view: KneeView) -> dict[str, float]:
    """Joint space on either side and the width of the condyles."""
    names = ("joint_space_medial", "joint_space_lateral", "joint_space_least", "condyles_width")
    result = dict.fromkeys(names, float("nan"))
    spaces = {side: joint_space(view, side) for side in (-1, 1)}
    if np.isfinite(list(spaces.values())).all():
        result["joint_space_least"] = min(spaces.values())
    if view.lateral:
        result["joint_space_lateral"] = spaces[view.lateral]
        result["joint_space_medial"] = spaces[-view.lateral]
    femur = view.bone("femur")[max(view.row_at(-0.5), 0) : max(view.row_at(-0.05), 0)]
    if femur.any():
        result["condyles_width"] = float(femur.sum(axis=1).max()) / view.px_per_knee
    return result


def joint_space(view: KneeView, side: int) -> float:
    """Median height of the gap between femur and tibia on one side, in knee widths."""
    low, high = sorted(view.joint[0] + side * share * view.px_per_knee for share in _JOINT_SPACE_ACROSS)
    columns = slice(max(round(low), 0), max(round(high), 0))
    femur, tibia = view.bone("femur")[:, columns], view.bone("tibia")[:, columns]
    both = femur.any(axis=0) & tibia.any(axis=0)
    if both.sum() < 0.5 * (high - low):
        return float("nan")
    bottom = len(femur) - femur[::-1, both].argmax(axis=0)
    top = tibia[:, both].argmax(axis=0)
    return float(np.median(top - bottom)) / view.px_per_knee


# --- spongy bone ---


def spongy_measures(view: KneeView) -> dict[str, float]:
    """Texture and brightness of the tibia below its plateau, medial and lateral, and in its metaphysis."""
    areas = {"subchondral_medial": None, "subchondral_lateral": None, "metaphysis": metaphysis(view)}
    if view.lateral:
        areas["subchondral_medial"] = subchondral(view, -view.lateral)
        areas["subchondral_lateral"] = subchondral(view, view.lateral)
    soft = soft_tissue_level(view)
    peak = cortex_level(view)
    result: dict[str, float] = {}
    for name, area in areas.items():
        texture = dict.fromkeys(TEXTURE_NAMES, float("nan")) if area is None else texture_measures(area, soft)
        level = float("nan") if area is None else (float(area.mean()) - soft) / (peak - soft)
        result |= {f"{name}_{key}": value for key, value in texture.items()} | {f"{name}_level": level}
    return result


def subchondral(view: KneeView, side: int) -> Floats | None:
    """Grey levels of the spongy bone below one half of the plateau; None where it is not seen whole."""
    low, high = sorted(view.joint[0] + side * share * view.px_per_knee for share in _SUBCHONDRAL_ACROSS)
    tibia = view.bone("tibia")
    columns = slice(max(round(low), 0), max(round(high), 0))
    if not tibia[:, columns].any():
        return None
    top = float(np.median(tibia[:, columns].argmax(axis=0)))
    return whole_area(view, top, _SUBCHONDRAL_BELOW, columns)


def metaphysis(view: KneeView) -> Floats | None:
    """Grey levels of the tibia's middle, further below the plateau."""
    reach = _METAPHYSIS_ACROSS * view.px_per_knee
    columns = slice(max(round(view.joint[0] - reach), 0), max(round(view.joint[0] + reach), 0))
    return whole_area(view, view.joint[1], _METAPHYSIS_BELOW, columns)


def whole_area(view: KneeView, top: float, below: tuple[float, float], columns: slice) -> Floats | None:
    """A rectangle of grey levels that lies inside of the tibia and clear of the fibula; None where it does not."""
    rows = slice(max(round(top + below[0] * view.px_per_knee), 0), round(top + below[1] * view.px_per_knee))
    tibia, grey = view.bone("tibia")[rows, columns], view.grey[rows, columns]
    wanted = (rows.stop - rows.start) * (columns.stop - columns.start)
    if min(grey.shape, default=0) < 4 * max(_LAGS_PX) or tibia.mean() < 0.9 or grey.size < 0.95 * wanted:
        return None
    return grey


def soft_tissue_level(view: KneeView) -> float:
    """Median grey just beside the tibia, away from the fibula; NaN where there is none."""
    rows = slice(max(view.row_at(0.1), 0), max(view.row_at(0.6), 0))
    reach = round(_SOFT_TISSUE[0] * view.px_per_knee), round(_SOFT_TISSUE[1] * view.px_per_knee)
    bones = np.asarray(view.bones.any(axis=2), np.uint8)[rows]
    if not bones.size or not bones.any():
        return float("nan")
    inner, outer = (cv2.dilate(bones, np.ones((1, 2 * step + 1), np.uint8)) for step in reach)
    ring = (outer > 0) & (inner == 0)
    return float(np.median(view.grey[rows][ring])) if ring.any() else float("nan")


def cortex_level(view: KneeView) -> float:
    """The brightest of the tibia: the 98th percentile of its grey levels below the joint."""
    rows = slice(max(view.row_at(0.1), 0), max(view.row_at(1.0), 0))
    inside = view.grey[rows][view.bone("tibia")[rows]]
    return float(np.percentile(inside, 98)) if inside.size else float("nan")


TEXTURE_NAMES = ("fractal_across", "fractal_along", "anisotropy", "amplitude", "entropy", "contrast", "homogeneity")


def texture_measures(area: Floats, soft: float) -> dict[str, float]:
    """Texture of a rectangle of spongy bone, free of its brightness.

    Args:
        soft: grey level of soft tissue; the area's mean above it is the unit of ``amplitude``.
    """
    fine = area - cv2.GaussianBlur(area, (0, 0), _HIGH_PASS_PX)
    spread = max(float(fine.std()), 1e-6)
    normal = fine / spread
    across, along = (variogram(normal, axis) for axis in (1, 0))
    shares = co_occurrence(normal)
    apart = np.abs(np.subtract.outer(np.arange(_GREY_LEVELS), np.arange(_GREY_LEVELS)))
    counts = np.bincount(levels_of(normal).ravel(), minlength=_GREY_LEVELS)
    used = counts[counts > 0] / counts.sum()
    return {
        "fractal_across": fractal_dimension(across),
        "fractal_along": fractal_dimension(along),
        # Vertical trabeculae change faster across than along.
        "anisotropy": float(np.log(across[1] / along[1])),
        "amplitude": spread / (float(area.mean()) - soft) if float(area.mean()) > soft else float("nan"),
        "entropy": float(-(used * np.log2(used)).sum()),
        "contrast": float((shares * apart**2).sum()),
        "homogeneity": float((shares / (1 + apart)).sum()),
    }


def variogram(area: Floats, axis: int) -> Doubles:
    """Mean squared difference of grey levels at each of ``_LAGS_PX``, along one axis."""
    whole = area if axis == 0 else area.T
    return np.array([float(((whole[lag:] - whole[:-lag]) ** 2).mean()) for lag in _LAGS_PX]) + 1e-12


def fractal_dimension(squared: Doubles) -> float:
    """Of a profile, 1 to 2 for a fractal one: 2 less half of the slope of the variogram on logarithmic axes."""
    return float(2 - np.polyfit(np.log(_LAGS_PX), np.log(squared), 1)[0] / 2)


def levels_of(normal: Floats) -> Integers:
    """Grey levels of zero mean and unit spread in ``_GREY_LEVELS`` equal steps from -3 to 3."""
    return np.clip(((normal + 3) * (_GREY_LEVELS / 6)).astype(np.int64), 0, _GREY_LEVELS - 1)


def co_occurrence(normal: Floats) -> Doubles:
    """(levels, levels) shares of pairs ``_CO_OCCURRENCE_PX`` apart, across and along, either way round."""
    steps, distance = levels_of(normal), _CO_OCCURRENCE_PX
    counts = np.zeros((_GREY_LEVELS, _GREY_LEVELS))
    for one, other in ((steps[distance:], steps[:-distance]), (steps[:, distance:], steps[:, :-distance])):
        np.add.at(counts, (one.ravel(), other.ravel()), 1)
    counts += counts.T
    return np.asarray(counts / counts.sum())
