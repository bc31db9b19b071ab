"""How well found knees agree with the annotated ones, and pictures without a knee are refused."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
from scipy.stats import binomtest

from osteo_edge.arrays import Floats, Pixels
from osteo_edge.finder.copies import halvings, shrink
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.poses import MAX_HITS, Hit, Pose, choose
from osteo_edge.labels import Laterality
from train.finder.pictures import Example, Half, pose_of, read_annotations, read_pixels, read_without_transparency
from train.grading.knees import GRADES, VALIDATION, read_index, read_part

FOUND_WITHIN = 0.10
# As many as fitting takes of a picture; more than the finder follows.
MANY_HITS = 6
# Random parts of each picture without a knee, of the size of a joint's crop.
WINDOWS_A_PICTURE, WINDOWS_SEED, CROP_SIDE_PX = 24, 0, 224
GRADED_KNEES = "knee_oa"
PICTURES = (".jpeg", ".jpg", ".png")
# Poses that differ by less, in pixels of the working copy, are the same: sums round otherwise in another order.
SAME_PX = 0.02


@dataclass(frozen=True)
class Match:
    """What became of one picture's knees; errors in widths of the true knee."""

    acquisition: str
    knees: int
    centre_errors: tuple[float, ...]
    width_errors: tuple[float, ...]
    false_positives: int
    sides_right: tuple[bool, ...]


def match(example: Example, hits: Sequence[Hit], *, sided: bool = False) -> Match:
    """Give every true knee the nearest hit within reach; what is left over is false. `sided` hits name sides."""
    free = list(hits)
    centre, width, sides = [], [], []
    for joint, side in zip(example.joints, example.sides, strict=True):
        nearest = min(free, key=lambda hit: error_of(hit.pose, joint), default=None)
        if nearest is None or error_of(nearest.pose, joint) > FOUND_WITHIN:
            continue
        free.remove(nearest)
        centre.append(error_of(nearest.pose, joint))
        width.append(abs(nearest.pose.width / joint.width - 1))
        if side and sided:
            sides.append(nearest.laterality is side_name(side))
    return Match(example.acquisition, len(example.joints), tuple(centre), tuple(width), len(free), tuple(sides))


def error_of(pose: Pose, joint: Pose) -> float:
    return math.hypot(pose.x - joint.x, pose.y - joint.y) / joint.width


def side_name(side: int) -> Laterality:
    return Laterality.RIGHT if side > 0 else Laterality.LEFT


def best_threshold(
    radiographs: Sequence[Example], hits: list[list[Hit]], others: Sequence[Example], other_hits: list[list[Hit]]
) -> float:
    """The middle of the widest gap between scores in which found knees less false ones are the most."""
    examples, found = [*radiographs, *others], [*hits, *other_hits]
    scores = sorted({hit.score for one in found for hit in one})

    def gain(threshold: float) -> int:
        matches = [match(example, choose(one, threshold)) for example, one in zip(examples, found, strict=True)]
        return sum(len(one.centre_errors) - one.false_positives for one in matches)

    gaps = [(gain((low + high) / 2), high - low, (low + high) / 2) for low, high in itertools.pairwise(scores)]
    return max(gaps)[2]


def judge_finder(finder: JointFinder, radiographs: Sequence[Example]) -> list[Match]:
    return [match(example, finder.knees_in(example.pyramid), sided=True) for example in radiographs]


def summary(matches: Sequence[Match]) -> dict[str, Any]:
    """Figures for people; errors in knee widths."""
    knees = sum(one.knees for one in matches)
    centre = [error for one in matches for error in one.centre_errors]
    width = [error for one in matches for error in one.width_errors]
    sides = [right for one in matches for right in one.sides_right]
    figures: dict[str, Any] = {
        "n_radiographs": len(matches),
        "n_knees": knees,
        "found": len(centre),
        "found_rate": rounded(len(centre) / knees),
        "found_rate_95": interval(len(centre), knees),
        "radiographs_with_every_knee": sum(len(one.centre_errors) == one.knees for one in matches),
        "false_positives": sum(one.false_positives for one in matches),
        "radiographs_with_false_positives": sum(one.false_positives > 0 for one in matches),
        "centre_error": spread(centre),
        "width_error": spread(width),
    }
    if sides:
        figures["laterality"] = {"n": len(sides), "right": sum(sides)}
    return figures


def by_acquisition(matches: Sequence[Match]) -> dict[str, Any]:
    groups: dict[str, list[Match]] = defaultdict(list)
    for one in matches:
        groups[one.acquisition].append(one)
    return {name: summary(groups[name]) for name in sorted(groups)}


def spread(errors: Sequence[float]) -> dict[str, float]:
    if not errors:
        return {}
    return {
        "median": rounded(float(np.median(errors))),
        "p95": rounded(float(np.percentile(errors, 95))),
        "max": rounded(max(errors)),
    }


def interval(successes: int, trials: int) -> list[float]:
    """95 % interval of a share (Wilson, JASA 1927)."""
    bounds = binomtest(successes, trials).proportion_ci(method="wilson")
    return [rounded(float(bounds.low)), rounded(float(bounds.high))]


def rounded(value: float) -> float:
    return round(value, 4)


def human_spread(half: Half) -> dict[str, Any]:
    """The second annotator against the first, where there is one."""
    centre, width = [], []
    for record in read_annotations().values():
        if record["half"] == half and "joint_lines_second" in record:
            for first, second in zip(record["joint_lines"], record["joint_lines_second"], strict=True):
                joint, again = pose_of(first), pose_of(second)
                centre.append(error_of(again, joint))
                width.append(abs(again.width / joint.width - 1))
    return {"n_knees": len(centre), "centre_error": spread(centre), "width_error": spread(width)}


def rejection(finder: JointFinder, others: Sequence[Example]) -> dict[str, Any]:
    accepted = [example.name for example in others if finder.knees_in(example.pyramid)]
    rejected = len(others) - len(accepted)
    return {
        "n": len(others),
        "rejected": rejected,
        "rejected_rate": rounded(rejected / len(others)),
        "rejected_rate_95": interval(rejected, len(others)),
        "accepted": accepted,
    }


def windows(finder: JointFinder, others: Sequence[Example], rng: np.random.Generator) -> dict[str, Any]:
    """How often a part of a picture without a knee passes for one: by its score, and as what fills the picture."""
    parts = [halvings(window(example.work, rng)) for example in others for _ in range(WINDOWS_A_PICTURE)]
    return {"n": len(parts), **passed(finder, parts)}


def window(work: Floats, rng: np.random.Generator) -> Floats:
    """A random square of it, 30 to 100 % of its shorter side, of the size of a joint's crop."""
    side = int(min(work.shape) * rng.uniform(0.3, 1))
    y, x = (int(rng.integers(0, whole - side + 1)) for whole in work.shape)
    return np.asarray(cv2.resize(work[y : y + side, x : x + side], (CROP_SIDE_PX, CROP_SIDE_PX)), np.float32)


def passed(finder: JointFinder, pyramids: Iterable[list[Floats]]) -> dict[str, int]:
    """How many hold a knee by its score, and how many more by filling the picture."""
    clear = filling = 0
    for pyramid in pyramids:
        if choose(finder.examine(pyramid), finder.threshold):
            clear += 1
        elif finder.knees_in(pyramid):
            filling += 1
    return {"clear": clear, "filling": filling}


def joint_crops(finder: JointFinder, data: Path) -> dict[str, Any]:
    """How many of the graded validation knees are found, each alone in its picture; by grade.

    Raises:
        DatasetError: the folder of graded knees cannot be read.
    """
    part = read_part(read_index(data / GRADED_KNEES), VALIDATION)
    by_grade = {
        str(grade): {
            "n": int((part.grades == grade).sum()),
            **passed(finder, map(pyramid_of, part.pictures[part.grades == grade])),
        }
        for grade in range(GRADES)
    }
    return {"n": len(part.knees), "by_grade": by_grade}


def pyramid_of(pixels: Pixels) -> list[Floats]:
    return halvings(shrink(pixels))


def many_hits(finder: JointFinder, data: Path) -> dict[str, Any]:
    """On how many pictures the answer would be another one if more of the template's hits were followed."""
    folders = ("knee", "knee_unlabelled", "not_a_knee")
    paths = sorted(path for folder in folders for path in (data / folder).rglob("*") if path.suffix.lower() in PICTURES)
    with click.progressbar(paths, label="More hits") as progress:
        differ = [path.name for path in progress if not follows_enough(finder, read_without_transparency(path))]
    return {"hits": MAX_HITS, "many": MANY_HITS, "n": len(paths), "differ": differ}


def follows_enough(finder: JointFinder, pixels: Pixels) -> bool:
    pyramid = halvings(shrink(pixels))
    few, many = (choose(finder.examine(pyramid, hits), finder.threshold) for hits in (MAX_HITS, MANY_HITS))
    return len(few) == len(many) and all(
        max(abs(one.x - other.x), abs(one.y - other.y), abs(one.width - other.width)) < SAME_PX
        for one, other in zip([hit.pose for hit in few], [hit.pose for hit in many], strict=True)
    )


def unlabelled(finder: JointFinder, data: Path) -> dict[str, Any]:
    """How many knees are found where nobody annotated any: single knees of another collection, often stretched."""
    counts: dict[str, int] = defaultdict(int)
    with click.progressbar(sorted((data / "knee_unlabelled").glob("*.png")), label="Unlabelled knees") as progress:
        for path in progress:
            counts[str(len(finder.find(read_pixels(path))))] += 1
    return {"n": sum(counts.values()), "pictures_by_knees_found": dict(sorted(counts.items()))}
