"""What simpler and heavier methods reach with the same tune half."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from osteo_edge.arrays import Floats
from osteo_edge.finder.copies import cut_out, halvings
from osteo_edge.finder.poses import SEARCH, Hit, Pose, choose, strongest
from osteo_edge.finder.search import levels
from train.finder.fitting import SEED
from train.finder.judgement import MANY_HITS, best_threshold, match, summary
from train.finder.pictures import Example


def judge_rivals(tune: Sequence[Example], report: Sequence[Example]) -> dict[str, Any]:
    """Fit each rival on the tune half and judge it on the report half."""
    from train.finder.network import fit_network

    network = fit_network(tune, SEED)
    return {
        "plain_template": judge_rival(plain_template(tune), tune, report),
        "heatmap_network": {"parameters": network.parameters} | judge_rival(network.hits, tune, report),
    }


def judge_rival(hits_of: Callable[[Example], list[Hit]], tune: Sequence[Example], report: Sequence[Example]) -> dict[str, Any]:
    """The threshold comes from the tune half, for rivals without cross-validation."""
    threshold = best_threshold(tune, [hits_of(example) for example in tune], [], [])
    return summary([match(example, choose(hits_of(example), threshold)) for example in report])


def plain_template(radiographs: Sequence[Example]) -> Callable[[Example], list[Hit]]:
    """The mean picture of a knee, fibula at the left, by normalised cross-correlation at the search's scales."""
    paired = [example for example in radiographs if 0 not in example.sides]
    cuts = [
        cut_out(example.pyramid, joint, SEARCH, flip=side < 0)
        for example in paired
        for joint, side in zip(example.joints, example.sides, strict=True)
    ]
    mean = np.mean([(cut - cut.mean()) / (cut.std() + 1) for cut in cuts], axis=0).astype(np.float32)
    ways = (mean, np.ascontiguousarray(mean[:, ::-1]))

    def hits(example: Example) -> list[Hit]:
        return strongest([hit for way in ways for hit in correlated(example.work, way)], MANY_HITS)

    return hits


def correlated(work: Floats, template: Floats) -> list[Hit]:
    """Peaks of the normalised cross-correlation over all scales."""
    hits = []
    margin = SEARCH.side_px // 2
    for _, first in levels(halvings(work)):
        factor = SEARCH.knee_px / first.width
        image = cv2.resize(work, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
        response = cv2.matchTemplate(padded, template, cv2.TM_CCOEFF_NORMED)
        tops = (response >= cv2.dilate(response, np.ones((9, 9), np.uint8))) & np.isfinite(response) & (response < 1.01)
        for row, column in np.argwhere(tops):
            hits.append(Hit(Pose(column / factor, row / factor, first.width), float(response[row, column])))
    return hits
