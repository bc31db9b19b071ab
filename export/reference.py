"""The picture that travels with a bundle for its self-test: synthetic, so that it is nobody's."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from export.errors import ExportError
from osteo_edge.finder.joint_finder import JointFinder
from train.runs.arrays import Bytes
from train.synthetic import render, sample_case

SIDE_PX = 1024
_SEEDS = range(20)


def draw_reference(finder: JointFinder) -> bytes:
    """An 8-bit PNG of 1024 x 1024 with one knee that the finder finds.

    Raises:
        ExportError: the finder finds one knee on none of the pictures that were drawn.
    """
    for seed in _SEEDS:
        pixels = _draw(seed)
        if len(finder.find(pixels)) == 1:
            return cv2.imencode(".png", pixels)[1].tobytes()
    raise ExportError("the finder finds no knee on any synthetic picture; check --finder")


def _draw(seed: int) -> Bytes:
    knees, acquisition = sample_case(np.random.default_rng(seed), layout="one_knee")
    acquisition = replace(acquisition, width_px=SIDE_PX, height_px=SIDE_PX, bit_depth=8)
    return np.asarray(render(knees, acquisition, seed=seed).pixels, np.uint8)
