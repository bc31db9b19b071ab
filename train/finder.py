"""Make and judge the joint finder of `osteo_edge/images/region.py`.

Everything is linear and solved in closed form (ridge regression), from the 'tune' half of
`train/annotations/knee_joints.json`: a template against windows of the same radiographs and of pictures
without a knee, in rounds that add what the template wrongly hits (Felzenszwalb et al., PAMI 2010); three
regressions from close-ups at jittered poses to the joint; and what tells a knee from anything else and one side
from the other. The 'report' half only judges.

Nobody annotated the side: in a radiograph of both legs the knee at the left is the right one and has its fibula
at the left. Single knees take the side that the template learned from the pairs gives them.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.images import region
from osteo_edge.images.region import CLOSE_UP, LAYOUT, SEARCH, Floats, Hit, JointFinder, Pixels, Pose
from osteo_edge.labels import Laterality

ANNOTATIONS = Path(__file__).parent / "annotations" / "knee_joints.json"
RESULTS = Path(__file__).parent / "results" / "knee-finder"

Half = Literal["tune", "report"]

SEED = 20261121
FOLDS = 5
FOUND_WITHIN = 0.10
# A hit this near to a joint, in knee widths, or this much wider or narrower is neither knee nor background.
NEAR = 0.35
NEAR_RATIO = 1.5

MINING_ROUNDS = 2
HARD_SCORE = -0.8
HARD_PER_PICTURE = 12
RANDOM_PER_LEVEL = 12
JITTERS = 10
# Jitter before the first stage covers the search's grid (a sixth of a knee width, a third of an octave); after
# each stage it is topped up, since a regression errs less on its own training pictures than on new ones.
FIRST_JITTER = (0.09, 0.13)
LATER_JITTER = (0.020, 0.012, 0.010)
TURN_RADIANS = 0.05
# Ridge penalties as shares of the features' mean variance.
TEMPLATE_PENALTY = 0.05
DESCENT_PENALTY = 0.10
JUDGEMENT_PENALTY = 0.05


@dataclass(frozen=True)
class Example:
    """One picture ready for training or judging.

    Attributes:
        name: the file's path inside the data folder.
        acquisition: code of `labels.csv`; empty for a picture without a knee.
        pyramid: the working copy and its halves, float32.
        joints: true poses in pixels of the working copy, left to right.
        sides: 1 where the fibula stands at the left of the picture, -1 at the right, 0 unknown.
    """

    name: str
    acquisition: str
    pyramid: list[Floats]
    joints: tuple[Pose, ...] = ()
    sides: tuple[int, ...] = ()

    @property
    def work(self) -> Floats:
        return self.pyramid[0]


@dataclass(frozen=True)
class Match:
    """What became of one picture's knees; errors in widths of the true knee."""

    acquisition: str
    knees: int
    centre_errors: tuple[float, ...]
    width_errors: tuple[float, ...]
    false_positives: int
    sides_right: tuple[bool, ...]


# ------------------------------------------------------------------------------------------------ pictures


def read_pixels(path: Path) -> Pixels:
    """(height, width) uint8 or uint16, upright."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise click.ClickException(f"{path} is no readable picture.")
    return pixels


def read_annotations() -> dict[str, dict[str, Any]]:
    """By SHA-256 of the radiograph's file."""
    radiographs: dict[str, dict[str, Any]] = json.loads(ANNOTATIONS.read_text())["radiographs"]
    return radiographs


def read_half(data: Path, half: Half) -> list[Example]:
    """The annotated radiographs of one half, ordered by digest."""
    with (data / "knee" / "labels.csv").open(newline="") as table:
        files = {row["sha256"]: row["file"] for row in csv.DictReader(table)}
    wanted = sorted((digest, record) for digest, record in read_annotations().items() if record["half"] == half)
    with click.progressbar(wanted, label=f"Reading the {half} half") as progress:
        return [read_example(data / "knee" / files[digest], files[digest], record) for digest, record in progress]


def read_example(path: Path, name: str, record: dict[str, Any]) -> Example:
    pixels = read_pixels(path)
    work = region.shrink(pixels)
    x_factor, y_factor = work.shape[1] / pixels.shape[1], work.shape[0] / pixels.shape[0]
    lines = [np.array(line) * [x_factor, y_factor, x_factor, y_factor] for line in record["joint_lines"]]
    return Example(
        name=name,
        acquisition=record["acquisition"],
        pyramid=region.halvings(work),
        joints=tuple(pose_of(line) for line in lines),
        sides=(1, -1) if len(lines) == 2 else (0,),
    )


def pose_of(line: Sequence[float] | NDArray[np.float64]) -> Pose:
    """From [x1, y1, x2, y2] at the tibial plateau's outer edges."""
    x1, y1, x2, y2 = (float(value) for value in line)
    return Pose((x1 + x2) / 2, (y1 + y2) / 2, math.hypot(x2 - x1, y2 - y1))


def read_others(data: Path, half: Half) -> list[Example]:
    """Pictures without a knee: every other one of the sorted files for either half."""
    files = sorted(path for path in (data / "not_a_knee").iterdir() if path.suffix != ".csv")
    chosen = files[0 if half == "tune" else 1 :: 2]
    return [Example(path.name, "", region.halvings(region.shrink(read_pixels(path)))) for path in chosen]


# ---------------------------------------------------------------------------------------------- variations


def single_knee_crops(examples: Iterable[Example], rng: np.random.Generator) -> list[Example]:
    """Each knee alone, filling its picture, stretched upwards: how other collections are cut and scaled."""
    return [crop_around(example, index, rng) for example in examples for index in range(len(example.joints))]


def crop_around(example: Example, index: int, rng: np.random.Generator) -> Example:
    joint = example.joints[index]
    left, right = rng.uniform(0.55, 0.95, 2) * joint.width
    above, below = rng.uniform(0.5, 1.2, 2) * joint.width
    x0, y0 = max(0, int(joint.x - left)), max(0, int(joint.y - above))
    crop = example.work[y0 : int(joint.y + below), x0 : int(joint.x + right)]
    stretch = float(np.exp(rng.uniform(-0.1, 0.7)))
    stretched = cv2.resize(crop, None, fx=1, fy=stretch, interpolation=cv2.INTER_LINEAR)
    pose = Pose(joint.x - x0, (joint.y - y0) * stretched.shape[0] / crop.shape[0], joint.width)
    pyramid = region.halvings(stretched.astype(np.float32))
    return replace(example, pyramid=pyramid, joints=(pose,), sides=(example.sides[index],))


def in_mirror(example: Example) -> Example:
    width = example.work.shape[1]
    return replace(
        example,
        pyramid=[np.ascontiguousarray(copy[:, ::-1]) for copy in example.pyramid],
        joints=tuple(Pose(width - joint.x, joint.y, joint.width) for joint in example.joints),
        sides=tuple(-side for side in example.sides),
    )


def jittered(pose: Pose, rng: np.random.Generator, shift: float, growth: float) -> Pose:
    """Moved by about `shift` knee widths, its width changed by about a factor of exp(`growth`)."""
    dx, dy, log_width = rng.normal(0, (shift, shift, growth))
    return Pose(pose.x + dx * pose.width, pose.y + dy * pose.width, pose.width * math.exp(log_width))


def is_background(pose: Pose, example: Example) -> bool:
    return not any(is_near(pose, joint) for joint in example.joints)


def is_near(pose: Pose, joint: Pose) -> bool:
    distance = math.hypot(pose.x - joint.x, pose.y - joint.y) / joint.width
    return distance < NEAR and 1 / NEAR_RATIO < pose.width / joint.width < NEAR_RATIO


# ------------------------------------------------------------------------------------------------- fitting


def ridge(features: Floats, targets: Floats, penalty: float, weights: Floats | None = None) -> Floats:
    """Weighted least squares with a penalty.

    Args:
        features: (examples, n) or (examples, ...) to be flattened.
        targets: (examples, outputs).
        penalty: as a share of the features' mean variance.
        weights: (examples,); all alike when left out.

    Returns:
        (n + 1, outputs) float32; the last row is the constant.
    """
    x = features.reshape(len(features), -1)
    share = np.full(len(x), 1 / len(x), np.float32) if weights is None else weights / weights.sum()
    x_mean, y_mean = share @ x, share @ targets
    centred = x - x_mean
    weighted = centred * share[:, None]
    covariance = (weighted.T @ centred).astype(np.float64)
    diagonal = penalty * np.trace(covariance) / len(covariance)
    slopes = np.linalg.solve(covariance + diagonal * np.eye(len(covariance)), weighted.T @ (targets - y_mean))
    return np.vstack([slopes, y_mean - x_mean @ slopes]).astype(np.float32)


def separator(positives: list[Floats], negatives: list[Floats], share: float, penalty: float) -> Floats:
    """(n + 1,) weights of a function near 1 on positives and -1 on negatives; `share` weighs the positives."""
    counts = (len(positives), len(negatives))
    targets = np.repeat(np.array([1, -1], np.float32), counts)[:, None]
    weights = np.repeat(np.array([share / counts[0], (1 - share) / counts[1]], np.float32), counts)
    return ridge(np.stack(positives + negatives), targets, penalty, weights)[:, 0]


def fit_finder(radiographs: Sequence[Example], others: Sequence[Example]) -> JointFinder:
    """All but the threshold, which takes cross-validation: here every hit is accepted."""
    rng = np.random.default_rng(SEED)
    knees = [*radiographs, *single_knee_crops(radiographs, rng)]
    template, constant = fit_template(knees, others, rng)
    descent = fit_descent(knees, rng)
    draft = JointFinder(
        template=template,
        template_constant=constant,
        descent=descent,
        knee=np.zeros(CLOSE_UP.features + 1, np.float32),
        side=np.zeros(CLOSE_UP.features + 1, np.float32),
        threshold=-math.inf,
    )
    return replace(draft, knee=fit_knee(draft, knees, others, rng), side=fit_side(knees, rng))


def fit_template(knees: Sequence[Example], others: Sequence[Example], rng: np.random.Generator) -> tuple[Floats, float]:
    """The search template, (11, 11, 8), and its constant."""
    negatives = [window for example in [*knees, *others] for window in random_windows(example, rng)]
    paired = [example for example in knees if 0 not in example.sides]
    template, constant = template_from(knee_windows(paired, rng), negatives)
    for _ in range(MINING_ROUNDS):
        positives = knee_windows([with_sides(example, template) for example in knees], rng)
        hard = [window for example in [*knees, *others] for window in hard_windows(example, template, constant)]
        negatives += 2 * hard
        template, constant = template_from(positives, negatives)
    return template, constant


def template_from(positives: list[Floats], negatives: list[Floats]) -> tuple[Floats, float]:
    weights = separator(positives, negatives, share=0.3, penalty=TEMPLATE_PENALTY)
    return weights[:-1].reshape(LAYOUT["template"][0]), float(weights[-1])


def with_sides(example: Example, template: Floats) -> Example:
    """Unknown sides taken from the way round that the template fits better."""
    poses = zip(example.joints, example.sides, strict=True)
    return replace(example, sides=tuple(side or better_side(example, joint, template) for joint, side in poses))


def better_side(example: Example, joint: Pose, template: Floats) -> int:
    features = window_features(example, joint)
    return 1 if (features * template).sum() >= (region.mirrored(features) * template).sum() else -1


def window_features(example: Example, pose: Pose, angle: float = 0.0, flip: bool = False) -> Floats:
    return region.describe(region.cut_out(example.pyramid, pose, SEARCH, angle=angle, flip=flip), SEARCH.cell_px)


def knee_windows(examples: Sequence[Example], rng: np.random.Generator) -> list[Floats]:
    """Knees turned so that the fibula is at the left, off the middle by up to half a cell and half a scale."""
    windows = []
    for example in examples:
        for joint, side in zip(example.joints, example.sides, strict=True):
            for _ in range(6):
                dx, dy = rng.uniform(-0.08, 0.08, 2) * joint.width
                width = joint.width * 2 ** rng.uniform(-1 / 6, 1 / 6)
                pose = Pose(joint.x + dx, joint.y + dy, float(width))
                windows.append(window_features(example, pose, rng.normal(0, TURN_RADIANS), flip=side < 0))
    return windows


def random_windows(example: Example, rng: np.random.Generator) -> list[Floats]:
    """Windows of the search's own grids without a knee."""
    windows = []
    for features, first in region.levels(example.pyramid):
        padded = region.padded_by_half(features)
        for _ in range(RANDOM_PER_LEVEL):
            row, column = (int(rng.integers(size)) for size in features.shape[:2])
            pose = Pose(first.x * (2 * column + 1), first.y * (2 * row + 1), first.width)
            if is_background(pose, example):
                windows.append(padded[row : row + SEARCH.cells, column : column + SEARCH.cells])
    return windows


def hard_windows(example: Example, template: Floats, constant: float) -> list[Floats]:
    """What the template wrongly hits, turned the way it fits."""
    hits = region.search(example.pyramid, template, constant)
    poses = [hit.pose for hit in hits if hit.score > HARD_SCORE and is_background(hit.pose, example)]
    return [window_features(example, pose, flip=better_side(example, pose, template) < 0) for pose in poses[:HARD_PER_PICTURE]]


def fit_descent(knees: Sequence[Example], rng: np.random.Generator) -> Floats:
    """(stages, features + 1, 3): each stage learns from where the one before it came out."""
    both = [way for example in knees for way in (example, in_mirror(example))]
    tasks = [(example, joint) for example in both for joint in example.joints for _ in range(JITTERS)]
    poses = [jittered(joint, rng, *FIRST_JITTER) for _, joint in tasks]
    stages = []
    for spread in LATER_JITTER:
        features = np.stack([region.close_up(example.pyramid, pose) for (example, _), pose in zip(tasks, poses, strict=True)])
        steps = [step_between(pose, joint) for (_, joint), pose in zip(tasks, poses, strict=True)]
        stage = ridge(features, np.array(steps, np.float32), DESCENT_PENALTY)
        stages.append(stage)
        predicted = features.reshape(len(features), -1) @ stage[:-1] + stage[-1]
        moves = zip(poses, predicted, strict=True)
        poses = [jittered(region.moved(pose, step), rng, spread, spread) for pose, step in moves]
    return np.stack(stages)


def step_between(pose: Pose, joint: Pose) -> tuple[float, float, float]:
    return (joint.x - pose.x) / pose.width, (joint.y - pose.y) / pose.width, math.log(joint.width / pose.width)


def fit_knee(draft: JointFinder, knees: Sequence[Example], others: Sequence[Example], rng: np.random.Generator) -> Floats:
    """(features + 1,): knees against wherever the search and the descent end without one."""
    positives = both_ways(features for example in knees for features in joint_close_ups(example, rng))
    ends = ((example, hit.pose) for example in [*knees, *others] for hit in draft.examine(example.pyramid))
    negatives = both_ways(region.close_up(example.pyramid, pose) for example, pose in ends if is_background(pose, example))
    return separator(positives, negatives, share=0.5, penalty=JUDGEMENT_PENALTY)


def fit_side(knees: Sequence[Example], rng: np.random.Generator) -> Floats:
    """(features + 1,): fibula at the left against fibula at the right, from the pairs alone."""
    ways = [way for example in knees if 0 not in example.sides for way in (example, in_mirror(example))]
    features, sides = [], []
    for example in ways:
        close_ups = joint_close_ups(example, rng)
        features += close_ups
        sides += [side for side in example.sides for _ in range(len(close_ups) // len(example.sides))]
    return ridge(np.stack(features), np.array(sides, np.float32)[:, None], JUDGEMENT_PENALTY)[:, 0]


def joint_close_ups(example: Example, rng: np.random.Generator) -> list[Floats]:
    """Three of each knee, as the descent might end."""
    poses = [jittered(joint, rng, 0.02, 0.03) for joint in example.joints for _ in range(3)]
    cuts = [region.cut_out(example.pyramid, pose, CLOSE_UP, angle=rng.normal(0, 0.03)) for pose in poses]
    return [region.describe(cut, CLOSE_UP.cell_px) for cut in cuts]


def both_ways(features: Iterable[Floats]) -> list[Floats]:
    return [way for one in features for way in (one, region.mirrored(one))]


# ------------------------------------------------------------------------------------- threshold and folds


def cross_validate(
    radiographs: Sequence[Example], others: Sequence[Example]
) -> tuple[list[list[Hit]], list[list[Hit]], list[Match]]:
    """Hits of every picture from a finder that was fitted without it, and the matches at their own threshold."""
    folds = fold_numbers(radiographs)
    hits: list[list[Hit]] = [[] for _ in radiographs]
    other_hits: list[list[Hit]] = [[] for _ in others]
    finders = {}
    with click.progressbar(range(FOLDS), label="Cross-validating") as progress:
        for fold in progress:
            finder = fit_finder(
                [example for example, own in zip(radiographs, folds, strict=True) if own != fold],
                [example for index, example in enumerate(others) if index % FOLDS != fold],
            )
            finders[fold] = finder
            for index, example in enumerate(radiographs):
                if folds[index] == fold:
                    hits[index] = finder.examine(example.pyramid)
            for index in range(fold, len(others), FOLDS):
                other_hits[index] = finder.examine(others[index].pyramid)
    threshold = best_threshold(radiographs, hits, others, other_hits)
    matches = [
        match(example, region.choose(found, threshold), finders[fold])
        for example, found, fold in zip(radiographs, hits, folds, strict=True)
    ]
    return hits, other_hits, matches


def fold_numbers(radiographs: Sequence[Example]) -> list[int]:
    """Every acquisition spread evenly over the folds."""
    order = sorted(range(len(radiographs)), key=lambda index: (radiographs[index].acquisition, index))
    folds = [0] * len(radiographs)
    for position, index in enumerate(order):
        folds[index] = position % FOLDS
    return folds


def best_threshold(
    radiographs: Sequence[Example], hits: list[list[Hit]], others: Sequence[Example], other_hits: list[list[Hit]]
) -> float:
    """The middle of the widest gap between scores in which found knees less false ones are the most."""
    examples, found = [*radiographs, *others], [*hits, *other_hits]
    scores = sorted({hit.score for one in found for hit in one})

    def gain(threshold: float) -> int:
        matches = [match(example, region.choose(one, threshold)) for example, one in zip(examples, found, strict=True)]
        return sum(len(one.centre_errors) - one.false_positives for one in matches)

    gaps = [(gain((low + high) / 2), high - low, (low + high) / 2) for low, high in itertools.pairwise(scores)]
    return max(gaps)[2]


# ----------------------------------------------------------------------------------------------- judgement


def match(example: Example, hits: Sequence[Hit], finder: JointFinder | None = None) -> Match:
    """Give every true knee the nearest hit within reach; what is left over is false."""
    free = list(hits)
    centre, width, sides = [], [], []
    for joint, side in zip(example.joints, example.sides, strict=True):
        nearest = min(free, key=lambda hit: error_of(hit.pose, joint), default=None)
        if nearest is None or error_of(nearest.pose, joint) > FOUND_WITHIN:
            continue
        free.remove(nearest)
        centre.append(error_of(nearest.pose, joint))
        width.append(abs(nearest.pose.width / joint.width - 1))
        if side and finder is not None:
            sides.append(finder.laterality(example.pyramid, nearest.pose) is side_name(side))
    return Match(example.acquisition, len(example.joints), tuple(centre), tuple(width), len(free), tuple(sides))


def error_of(pose: Pose, joint: Pose) -> float:
    return math.hypot(pose.x - joint.x, pose.y - joint.y) / joint.width


def side_name(side: int) -> Laterality:
    return Laterality.RIGHT if side > 0 else Laterality.LEFT


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
        "found_rate_95": [rounded(bound) for bound in wilson(len(centre), knees)],
        "radiographs_with_every_knee": sum(len(one.centre_errors) == one.knees for one in matches),
        "false_positives": sum(one.false_positives for one in matches),
        "radiographs_with_false_positives": sum(one.false_positives > 0 for one in matches),
        "centre_error": spread(centre),
        "width_error": spread(width),
    }
    if sides:
        figures["laterality"] = {"n": len(sides), "right": sum(sides)}
    return figures


def spread(errors: Sequence[float]) -> dict[str, float]:
    if not errors:
        return {}
    return {
        "median": rounded(float(np.median(errors))),
        "p95": rounded(float(np.percentile(errors, 95))),
        "max": rounded(max(errors)),
    }


def rounded(value: float) -> float:
    return round(value, 4)


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """95 % interval of a share (Wilson, JASA 1927)."""
    share = successes / trials
    middle = share + z * z / (2 * trials)
    margin = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    low, high = (middle - margin) / (1 + z * z / trials), (middle + margin) / (1 + z * z / trials)
    return max(0.0, low), min(1.0, high)


def judge_finder(finder: JointFinder, radiographs: Sequence[Example]) -> list[Match]:
    return [match(example, region.choose(finder.examine(example.pyramid), finder.threshold), finder) for example in radiographs]


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


def by_acquisition(matches: Sequence[Match]) -> dict[str, Any]:
    groups: dict[str, list[Match]] = defaultdict(list)
    for one in matches:
        groups[one.acquisition].append(one)
    return {name: summary(groups[name]) for name in sorted(groups)}


def rejection(finder: JointFinder, others: Sequence[Example]) -> dict[str, Any]:
    accepted = [example.name for example in others if region.choose(finder.examine(example.pyramid), finder.threshold)]
    rejected = len(others) - len(accepted)
    return {
        "n": len(others),
        "rejected": rejected,
        "rejected_rate": rounded(rejected / len(others)),
        "rejected_rate_95": [rounded(bound) for bound in wilson(rejected, len(others))],
        "accepted": accepted,
    }


def unlabelled(finder: JointFinder, data: Path) -> dict[str, Any]:
    """How many knees are found where nobody annotated any: single knees of another collection, often stretched."""
    counts: dict[str, int] = defaultdict(int)
    with click.progressbar(sorted((data / "knee_unlabelled").glob("*.png")), label="Unlabelled knees") as progress:
        for path in progress:
            counts[str(len(finder.find(read_pixels(path))))] += 1
    return {"n": sum(counts.values()), "pictures_by_knees_found": dict(sorted(counts.items()))}


# -------------------------------------------------------------------------------------------------- rivals


def plain_template(radiographs: Sequence[Example]) -> Callable[[Example], list[Hit]]:
    """The mean picture of a knee, fibula at the left, by normalised cross-correlation at the search's scales."""
    paired = [example for example in radiographs if 0 not in example.sides]
    cuts = [
        region.cut_out(example.pyramid, joint, SEARCH, flip=side < 0)
        for example in paired
        for joint, side in zip(example.joints, example.sides, strict=True)
    ]
    mean = np.mean([(cut - cut.mean()) / (cut.std() + 1) for cut in cuts], axis=0).astype(np.float32)
    ways = (mean, np.ascontiguousarray(mean[:, ::-1]))

    def hits(example: Example) -> list[Hit]:
        return region.strongest([hit for way in ways for hit in correlated(example.work, way)], region.MAX_HITS)

    return hits


def correlated(work: Floats, template: Floats) -> list[Hit]:
    """Peaks of the normalised cross-correlation over all scales."""
    hits = []
    margin = SEARCH.side_px // 2
    for _, first in region.levels(region.halvings(work)):
        factor = SEARCH.knee_px / first.width
        image = cv2.resize(work, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        response = cv2.matchTemplate(padded, template, cv2.TM_CCOEFF_NORMED)
        tops = (response >= cv2.dilate(response, np.ones((9, 9), np.uint8))) & np.isfinite(response) & (response < 1.01)
        for row, column in np.argwhere(tops):
            hits.append(Hit(Pose(column / factor, row / factor, first.width), float(response[row, column])))
    return hits


def judge_rival(hits_of: Callable[[Example], list[Hit]], tune: Sequence[Example], report: Sequence[Example]) -> dict[str, Any]:
    """The threshold comes from the tune half, for rivals without cross-validation."""
    threshold = best_threshold(tune, [hits_of(example) for example in tune], [], [])
    return summary([match(example, region.choose(hits_of(example), threshold)) for example in report])


# -------------------------------------------------------------------------------------------------- sheets


def contact_sheet(finder: JointFinder, examples: Sequence[Example], columns: int = 10, side_px: int = 240) -> NDArray[np.uint8]:
    """Every picture with its true joint lines (green) and the found knees (orange: right, blue: left)."""
    rows = -(-len(examples) // columns)
    sheet = np.zeros((rows * side_px, columns * side_px, 3), np.uint8)
    for index, example in enumerate(examples):
        picture = drawn(finder, example, side_px)
        y, x = (part * side_px for part in divmod(index, columns))
        sheet[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return sheet


def drawn(finder: JointFinder, example: Example, side_px: int) -> NDArray[np.uint8]:
    factor = side_px / max(example.work.shape)
    small = cv2.resize(example.work, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[:side_px, :side_px]
    grey = cv2.normalize(small, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    for joint in example.joints:
        ends = [(round((joint.x + half * joint.width) * factor), round(joint.y * factor)) for half in (-0.5, 0.5)]
        cv2.line(picture, *ends, (0, 255, 0), 1)
    for hit in region.choose(finder.examine(example.pyramid), finder.threshold):
        is_right = finder.laterality(example.pyramid, hit.pose) is Laterality.RIGHT
        corners = [
            (round((hit.pose.x + half * hit.pose.width) * factor), round((hit.pose.y + half * hit.pose.width) * factor))
            for half in (-0.6, 0.6)
        ]
        cv2.rectangle(picture, *corners, (0, 160, 255) if is_right else (255, 160, 0), 1)
        cv2.putText(picture, f"{hit.score:.2f}", (corners[0][0], corners[0][1] - 3), 0, 0.35, (0, 255, 255), 1)
    cv2.putText(picture, Path(example.name).stem, (2, 11), 0, 0.38, (0, 255, 255), 1)
    return picture


# ------------------------------------------------------------------------------------------------ commands


def to_bytes_layout(finder: JointFinder) -> dict[str, NDArray[np.generic]]:
    """Arrays in the types that `osteo_edge/images/region.py` reads."""
    return {name: np.asarray(getattr(finder, name), dtype) for name, (_, dtype) in LAYOUT.items()}


def write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


data_option = click.option(
    "--data", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True,
    help="Folder with knee/ and not_a_knee/.",
)  # fmt: skip
output_option = click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default=True,
    help="Folder for the results.",
)  # fmt: skip


@click.group()
def finder() -> None:
    """Make and judge the joint finder."""


@finder.command()
@data_option
@output_option
def fit(data: Path, output: Path) -> None:
    """Fit on the tune half; write finder.npz and cross_validation.json."""
    radiographs, others = read_half(data, "tune"), read_others(data, "tune")
    hits, other_hits, matches = cross_validate(radiographs, others)
    threshold = best_threshold(radiographs, hits, others, other_hits)
    fitted = replace(fit_finder(radiographs, others), threshold=threshold)
    output.mkdir(parents=True, exist_ok=True)
    np.savez(output / "finder.npz", **to_bytes_layout(fitted))
    accepted = sum(bool(region.choose(found, threshold)) for found in other_hits)
    figures = summary(matches) | {
        "threshold": rounded(threshold),
        "not_a_knee": {"n": len(others), "rejected": len(others) - accepted},
    }
    write_json(output / "cross_validation.json", figures)
    click.echo(json.dumps(figures, indent=2))


@finder.command()
@data_option
@output_option
@click.option("--sheet", type=click.Path(path_type=Path, dir_okay=False), help="Draw the found knees into this PNG.")
@click.option("--with-rivals", is_flag=True, help="Fit and judge the plain template and the network too (minutes).")
def judge(data: Path, output: Path, sheet: Path | None, with_rivals: bool) -> None:
    """Judge finder.npz on the report half; write evaluation.json."""
    made = JointFinder.from_bytes((output / "finder.npz").read_bytes())
    radiographs = read_half(data, "report")
    matches = judge_finder(made, radiographs)
    evaluation: dict[str, Any] = {
        "what": "finder.npz on the report half of knee_joints.json; errors in widths of the annotated knee",
        "found_within": FOUND_WITHIN,
        "all": summary(matches),
        "radiographs_with_missed_knees": [
            example.name for example, one in zip(radiographs, matches, strict=True) if len(one.centre_errors) < one.knees
        ],
        "by_acquisition": by_acquisition(matches),
        "human_spread": human_spread("report"),
        "not_a_knee": rejection(made, read_others(data, "report")),
        "knee_unlabelled": unlabelled(made, data),
        "tune_cross_validation": json.loads((output / "cross_validation.json").read_text()),
    }
    if with_rivals:
        evaluation["rivals"] = judge_rivals(read_half(data, "tune"), radiographs)
    write_json(output / "evaluation.json", evaluation)
    if sheet is not None:
        cv2.imwrite(str(sheet), contact_sheet(made, radiographs))
    click.echo(json.dumps(evaluation["all"], indent=2))


def judge_rivals(tune: Sequence[Example], report: Sequence[Example]) -> dict[str, Any]:
    """What simpler and heavier methods reach with the same tune half."""
    from train import finder_network

    network = finder_network.fit_network(tune, SEED)
    return {
        "plain_template": judge_rival(plain_template(tune), tune, report),
        "heatmap_network": {"parameters": network.parameters} | judge_rival(network.hits, tune, report),
    }
