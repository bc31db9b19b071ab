"""A small heatmap network, the rival that the joint finder was measured against.

Input: the picture at 256 px, padded to a square. Output at 64 x 64: how likely each cell holds a joint's centre
(Gaussian targets, penalty-reduced focal loss as in CenterNet, Zhou et al., arXiv 1904.07850) and the logarithm
of the knee's width there. It is not shipped: a box rounded from a network would differ between inference engines.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click
import cv2
import keras
import numpy as np
from keras import layers, ops
from numpy.typing import NDArray

from osteo_edge.arrays import Floats
from osteo_edge.finder.poses import Hit, Pose, strongest
from train.finder.judgement import MANY_HITS
from train.finder.pictures import Example

INPUT_PX = 256
STRIDE_PX = 4
GRID = INPUT_PX // STRIDE_PX
# The logarithm of a width counts from this, so that targets lie around 0.
USUAL_WIDTH_PX = 56
STEPS = 1000
BATCH = 10


@dataclass(frozen=True)
class HeatmapNetwork:
    """A trained network that answers as the joint finder's search does."""

    model: Any

    @property
    def parameters(self) -> int:
        return int(self.model.count_params())

    def hits(self, example: Example) -> list[Hit]:
        """Separate peaks of the heatmap, best first, in pixels of the working copy."""
        square, factor = squared(example.work)
        maps = ops.convert_to_numpy(self.model(square[None, :, :, None], training=False))[0]
        heat, log_width = np.split(maps, 2, axis=2)
        heat, log_width = 1 / (1 + np.exp(-heat[:, :, 0])), log_width[:, :, 0]
        tops = (heat >= cv2.dilate(heat, np.ones((5, 5), np.uint8))) & (heat > 0.02)
        peaks = [(int(row), int(column)) for row, column in np.argwhere(tops)]
        hits = [Hit(pose_at(heat, log_width, peak, factor), float(heat[peak])) for peak in peaks]
        return strongest(hits, MANY_HITS)


def pose_at(heat: Floats, log_width: Floats, peak: tuple[int, int], factor: float) -> Pose:
    """The heat's centre of mass in the 5 x 5 cells around a peak."""
    row, column = peak
    rows, columns = np.mgrid[max(0, row - 2) : min(GRID, row + 3), max(0, column - 2) : min(GRID, column + 3)]
    mass = heat[rows, columns] ** 2
    x, y = (float((mass * (axis + 0.5)).sum() / mass.sum()) * STRIDE_PX / factor for axis in (columns, rows))
    return Pose(x, y, USUAL_WIDTH_PX * float(np.exp(log_width[peak])) / factor)


def squared(work: Floats) -> tuple[Floats, float]:
    """(256, 256) float32 with mean 0 and deviation 1, padded at the right and below, and the factor of shrinking."""
    factor = INPUT_PX / max(work.shape)
    small = cv2.resize(work, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)[:INPUT_PX, :INPUT_PX]
    square = np.zeros((INPUT_PX, INPUT_PX), np.float32)
    square[: small.shape[0], : small.shape[1]] = (small - small.mean()) / (small.std() + 1)
    return square, factor


def build() -> Any:
    """A U-shaped network of separable convolutions."""
    image = keras.Input((INPUT_PX, INPUT_PX, 1))
    x = block(layers.Conv2D(16, 5, strides=2, padding="same", use_bias=False), image)
    x = fine = block(layers.SeparableConv2D(32, 3, strides=2, padding="same", use_bias=False), x)
    skips = []
    for filters in (64, 96, 128):
        skips.append(x)
        x = block(layers.SeparableConv2D(filters, 3, strides=2, padding="same", use_bias=False), x)
        x = block(layers.SeparableConv2D(filters, 3, padding="same", use_bias=False), x)
    for skip, filters in zip(reversed(skips), (96, 64, 48), strict=True):
        x = layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skip])
        x = block(layers.SeparableConv2D(filters, 3, padding="same", use_bias=False), x)
    x = block(layers.SeparableConv2D(48, 5, padding="same", use_bias=False), layers.Concatenate()([x, fine]))
    rare = layers.Conv2D(1, 1, bias_initializer=keras.initializers.Constant(-4.0))(x)
    return keras.Model(image, layers.Concatenate()([rare, layers.Conv2D(1, 1)(x)]))


def block(convolution: Any, x: Any) -> Any:
    return layers.ReLU()(layers.BatchNormalization(momentum=0.95)(convolution(x)))


def loss(truth: Any, logits: Any) -> Any:
    """Focal loss of the heat and absolute error of the logarithm of the width, both per knee."""
    heat, log_width, here = truth[..., 0], truth[..., 1], truth[..., 2]
    likely = ops.clip(ops.sigmoid(logits[..., 0]), 1e-5, 1 - 1e-5)
    focal = here * (1 - likely) ** 2 * ops.log(likely) + (1 - here) * (1 - heat) ** 4 * likely**2 * ops.log(1 - likely)
    near = ops.cast(heat > 0.6, "float32")
    width = ops.sum(near * ops.abs(logits[..., 1] - log_width)) / (ops.sum(near) + 1)
    return -ops.sum(focal) / (ops.sum(here) + 1) + width


def targets(joints: Sequence[Pose]) -> Floats:
    """(64, 64, 3): heat, logarithm of the width, and 1 at the centre's cell; joints in pixels of the input."""
    maps = np.zeros((GRID, GRID, 3), np.float32)
    rows, columns = np.mgrid[:GRID, :GRID] + 0.5
    for joint in joints:
        x, y, width = joint.x / STRIDE_PX, joint.y / STRIDE_PX, joint.width / STRIDE_PX
        heat = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * max(0.08 * width, 0.7) ** 2))
        maps[..., 1] = np.where(heat > maps[..., 0], np.log(joint.width / USUAL_WIDTH_PX), maps[..., 1])
        maps[..., 0] = np.maximum(maps[..., 0], heat)
        maps[min(GRID - 1, int(y)), min(GRID - 1, int(x)), 2] = 1
    return maps


def augmented(example: Example, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """A random mirror image, turn, zoom, shift and exposure of one radiograph, and its targets."""
    square, factor = squared(example.work)
    turn = cv2.getRotationMatrix2D((128, 128), rng.uniform(-6, 6), float(np.exp(rng.uniform(-0.35, 0.5))))
    turn[:, 2] += rng.uniform(-30, 30, 2)
    if rng.random() < 0.5:
        turn[0] = -turn[0] + [0, 0, INPUT_PX]
    background = float(square.min())
    image = cv2.warpAffine(square, turn, (INPUT_PX, INPUT_PX), borderMode=cv2.BORDER_CONSTANT, borderValue=background)
    zoom = float(np.sqrt(abs(np.linalg.det(turn[:, :2]))))
    centres = [turn @ [joint.x * factor, joint.y * factor, 1] for joint in example.joints]
    poses = [
        Pose(float(x), float(y), joint.width * factor * zoom)
        for (x, y), joint in zip(centres, example.joints, strict=True)
        if 0 <= x < INPUT_PX and 0 <= y < INPUT_PX
    ]
    return image * rng.uniform(0.7, 1.3) + rng.normal(0, 0.2), targets(poses)


def fit_network(radiographs: Sequence[Example], seed: int) -> HeatmapNetwork:
    """Some minutes on two cores."""
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    model = build()
    rate = keras.optimizers.schedules.CosineDecay(3e-3, STEPS)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss=loss)
    with click.progressbar(range(STEPS), label="Fitting the heatmap network") as progress:
        for _ in progress:
            model.train_on_batch(*batch(radiographs, rng))
    return HeatmapNetwork(model)


def batch(radiographs: Sequence[Example], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    pairs = [augmented(radiographs[int(index)], rng) for index in rng.integers(len(radiographs), size=BATCH)]
    images, maps = (np.stack(part).astype(np.float32) for part in zip(*pairs, strict=True))
    return images[..., None], maps
