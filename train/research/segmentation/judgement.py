"""How well outlined bones agree with drawn ones: Dice, and the distance that 95 % of the outlines keep to each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from osteo_edge.manifest import Metric
from train.judging.evaluate import interval, resamples
from train.research.segmentation.annotations import BONES, DrawnKnee
from train.research.segmentation.measures import largest_part
from train.research.segmentation.networks import Segmenter
from train.research.segmentation.pictures import PX_PER_KNEE, Picture, picture_of
from train.research.segmentation.views import plain_view
from train.runs.arrays import Booleans, Doubles, Integers

FIGURES = ("dice", "distance_95")


def dice(one: Booleans, other: Booleans) -> float:
    """Twice the common area over the sum of both (Dice, Ecology 1945); 1 for two empty masks."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def distance_95(one: Booleans, other: Booleans) -> float:
    """95th percentile of the distances between two outlines in pixels, the larger of both ways.

    Where one mask is empty and the other is not, the picture's diagonal stands for the distance.
    """
    if not one.any() and not other.any():
        return 0.0
    if not one.any() or not other.any():
        return float(np.hypot(*one.shape))
    edges = [outline(mask) for mask in (one, other)]
    ways = [_distances_to(to)[here] for here, to in (edges, edges[::-1])]
    return float(max(np.percentile(way, 95) for way in ways))


def outline(mask: Booleans) -> Booleans:
    """The mask's pixels that touch a pixel outside of it; the picture's border is no edge of a bone."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    inner = cv2.erode(padded, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))[1:-1, 1:-1]
    edge = mask & (inner == 0)
    return edge if edge.any() else mask


def _distances_to(edge: Booleans) -> Doubles:
    return np.asarray(cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE), np.float64)


def judge_masks(pictures: Sequence[Picture], masks: Sequence[Booleans]) -> dict[str, Doubles]:
    """Every figure of every picture and bone, (pictures, bones); distances in knee widths."""
    return {
        "dice": _each(pictures, masks, dice),
        "distance_95": _each(pictures, masks, distance_95) / PX_PER_KNEE,
    }


def _each(pictures: Sequence[Picture], masks: Sequence[Booleans], figure: Callable[[Booleans, Booleans], float]) -> Doubles:
    pairs = zip(pictures, masks, strict=True)
    rows = [[figure(picture.bones[..., bone], mask[..., bone]) for bone in range(len(BONES))] for picture, mask in pairs]
    return np.array(rows, np.float64)


def outlined(segmenter: Segmenter, pictures: Sequence[Picture]) -> list[Booleans]:
    """What a segmenter makes of each picture, as a whole and by itself; only the largest part of a bone counts as in use."""
    masks = []
    for picture in pictures:
        found = segmenter.masks(plain_view(picture)[np.newaxis])[0]
        masks.append(np.stack([largest_part(found[..., bone]) for bone in range(len(BONES))], axis=-1))
    return masks


def with_intervals(values: Mapping[str, Doubles], groups: Sequence[str], *, count: int, seed: int) -> dict[str, Any]:
    """Mean of each figure per bone and over the bones, with 95 % bootstrap intervals by patient."""
    chosen = list(resamples(groups, count=count, seed=seed))
    return {figure: _by_bone(table, chosen) for figure, table in values.items()}


def _by_bone(table: Doubles, chosen: Sequence[Integers]) -> dict[str, Metric]:
    columns = {bone: table[:, place] for place, bone in enumerate(BONES)} | {"mean": table.mean(axis=1)}
    return {
        bone: interval(float(column.mean()), [float(column[one].mean()) for one in chosen]) for bone, column in columns.items()
    }


def differences(
    values: Mapping[str, Mapping[str, Doubles]], groups: Sequence[str], *, model: str, count: int, seed: int
) -> dict[str, Any]:
    """Paired differences, ``model`` less every other one, on the same pictures."""
    return {
        name: with_intervals(
            {figure: values[model][figure] - others[figure] for figure in FIGURES}, groups, count=count, seed=seed
        )
        for name, others in values.items()
        if name != model
    }


def own_agreement(knees: Sequence[DrawnKnee]) -> dict[str, Any]:
    """The second drawing of each knee that has one against the first."""
    twice = [knee for knee in knees if knee.again is not None]
    values = judge_masks([picture_of(knee) for knee in twice], [picture_of(knee, knee.again).bones for knee in twice])
    what = "the same hand drew twice and the same aid snapped both to the edges: repeatability, not agreement of two people"
    return {"what": what, "n_knees": len(twice)} | {figure: means(table) for figure, table in values.items()}


def by_acquisition(values: Mapping[str, Doubles], knees: Sequence[DrawnKnee]) -> dict[str, Any]:
    """Means of every figure for each way the pictures were taken."""
    taken = np.array([knee.row.acquisition for knee in knees])
    return {
        kind: {"n_knees": int((taken == kind).sum())}
        | {figure: means(table[taken == kind]) for figure, table in values.items()}
        for kind in sorted(set(taken.tolist()))
    }


def means(table: Doubles) -> dict[str, float]:
    """Mean of each bone and of all."""
    columns = zip((*BONES, "mean"), (*table.mean(axis=0), table.mean()), strict=True)
    return {bone: round(float(value), 4) for bone, value in columns}
