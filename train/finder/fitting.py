"""Fit the finder's weights.

Everything is linear and solved in closed form (ridge regression), from the 'tune' half of
`train/finder/knee_joints.json`: a template against windows of the same radiographs and of pictures
without a knee, in rounds that add what the template wrongly hits (Felzenszwalb et al., PAMI 2010); three
regressions from close-ups at jittered poses to the joint; and what tells a knee from anything else and one side
from the other. Single knees take the side that the template learned from the pairs gives them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

import click
import numpy as np

from osteo_edge.arrays import Floats
from osteo_edge.finder.copies import cut_out
from osteo_edge.finder.edges import close_up, describe, mirrored
from osteo_edge.finder.joint_finder import LAYOUT, JointFinder
from osteo_edge.finder.poses import CLOSE_UP, SEARCH, Hit, Pose, choose, moved
from osteo_edge.finder.search import levels, padded_by_half, search
from train.finder.judgement import MANY_HITS, Match, best_threshold, match
from train.finder.pictures import Example, in_mirror, jittered, single_knee_crops

SEED = 20261121
FOLDS = 5
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
    return 1 if (features * template).sum() >= (mirrored(features) * template).sum() else -1


def window_features(example: Example, pose: Pose, angle: float = 0.0, flip: bool = False) -> Floats:
    return describe(cut_out(example.pyramid, pose, SEARCH, angle=angle, flip=flip), SEARCH.cell_px)


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
    for features, first in levels(example.pyramid):
        padded = padded_by_half(features)
        for _ in range(RANDOM_PER_LEVEL):
            row, column = (int(rng.integers(size)) for size in features.shape[:2])
            pose = Pose(first.x * (2 * column + 1), first.y * (2 * row + 1), first.width)
            if is_background(pose, example):
                windows.append(padded[row : row + SEARCH.cells, column : column + SEARCH.cells])
    return windows


def hard_windows(example: Example, template: Floats, constant: float) -> list[Floats]:
    """What the template wrongly hits, turned the way it fits."""
    hits = search(example.pyramid, template, constant, MANY_HITS)
    poses = [hit.pose for hit in hits if hit.score > HARD_SCORE and is_background(hit.pose, example)]
    return [window_features(example, pose, flip=better_side(example, pose, template) < 0) for pose in poses[:HARD_PER_PICTURE]]


def is_background(pose: Pose, example: Example) -> bool:
    return not any(is_near(pose, joint) for joint in example.joints)


def is_near(pose: Pose, joint: Pose) -> bool:
    distance = math.hypot(pose.x - joint.x, pose.y - joint.y) / joint.width
    return distance < NEAR and 1 / NEAR_RATIO < pose.width / joint.width < NEAR_RATIO


def fit_descent(knees: Sequence[Example], rng: np.random.Generator) -> Floats:
    """(stages, features + 1, 3): each stage learns from where the one before it came out."""
    both = [way for example in knees for way in (example, in_mirror(example))]
    tasks = [(example, joint) for example in both for joint in example.joints for _ in range(JITTERS)]
    poses = [jittered(joint, rng, *FIRST_JITTER) for _, joint in tasks]
    stages = []
    for spread in LATER_JITTER:
        features = np.stack([close_up(example.pyramid, pose) for (example, _), pose in zip(tasks, poses, strict=True)])
        steps = [step_between(pose, joint) for (_, joint), pose in zip(tasks, poses, strict=True)]
        stage = ridge(features, np.array(steps, np.float32), DESCENT_PENALTY)
        stages.append(stage)
        predicted = features.reshape(len(features), -1) @ stage[:-1] + stage[-1]
        moves = zip(poses, predicted, strict=True)
        poses = [jittered(moved(pose, step), rng, spread, spread) for pose, step in moves]
    return np.stack(stages)


def step_between(pose: Pose, joint: Pose) -> tuple[float, float, float]:
    return (joint.x - pose.x) / pose.width, (joint.y - pose.y) / pose.width, math.log(joint.width / pose.width)


def fit_knee(draft: JointFinder, knees: Sequence[Example], others: Sequence[Example], rng: np.random.Generator) -> Floats:
    """(features + 1,): knees against wherever the search and the descent end without one."""
    positives = both_ways(features for example in knees for features in joint_close_ups(example, rng))
    ends = ((example, hit.pose) for example in [*knees, *others] for hit in draft.examine(example.pyramid, MANY_HITS))
    negatives = both_ways(close_up(example.pyramid, pose) for example, pose in ends if is_background(pose, example))
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
    cuts = [cut_out(example.pyramid, pose, CLOSE_UP, angle=rng.normal(0, 0.03)) for pose in poses]
    return [describe(cut, CLOSE_UP.cell_px) for cut in cuts]


def both_ways(features: Iterable[Floats]) -> list[Floats]:
    return [way for one in features for way in (one, mirrored(one))]


def separator(positives: list[Floats], negatives: list[Floats], share: float, penalty: float) -> Floats:
    """(n + 1,) weights of a function near 1 on positives and -1 on negatives; `share` weighs the positives."""
    counts = (len(positives), len(negatives))
    targets = np.repeat(np.array([1, -1], np.float32), counts)[:, None]
    weights = np.repeat(np.array([share / counts[0], (1 - share) / counts[1]], np.float32), counts)
    return ridge(np.stack(positives + negatives), targets, penalty, weights)[:, 0]


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


def cross_validate(
    radiographs: Sequence[Example], others: Sequence[Example]
) -> tuple[list[list[Hit]], list[list[Hit]], list[Match]]:
    """Hits of every picture from a finder that was fitted without it, and the matches at their own threshold."""
    folds = fold_numbers(radiographs)
    hits: list[list[Hit]] = [[] for _ in radiographs]
    other_hits: list[list[Hit]] = [[] for _ in others]
    with click.progressbar(range(FOLDS), label="Cross-validating") as progress:
        for fold in progress:
            finder = fit_finder(
                [example for example, own in zip(radiographs, folds, strict=True) if own != fold],
                [example for index, example in enumerate(others) if index % FOLDS != fold],
            )
            for index, example in enumerate(radiographs):
                if folds[index] == fold:
                    hits[index] = finder.examine(example.pyramid, MANY_HITS)
            for index in range(fold, len(others), FOLDS):
                other_hits[index] = finder.examine(others[index].pyramid, MANY_HITS)
    threshold = best_threshold(radiographs, hits, others, other_hits)
    matches = [match(example, choose(found, threshold), sided=True) for example, found in zip(radiographs, hits, strict=True)]
    return hits, other_hits, matches


def fold_numbers(radiographs: Sequence[Example]) -> list[int]:
    """Every acquisition spread evenly over the folds."""
    order = sorted(range(len(radiographs)), key=lambda index: (radiographs[index].acquisition, index))
    folds = [0] * len(radiographs)
    for position, index in enumerate(order):
        folds[index] = position % FOLDS
    return folds
