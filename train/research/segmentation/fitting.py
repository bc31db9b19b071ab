"""Training of one segmenter: a fixed number of steps, the same material and budget for all; a stopped run goes on."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import keras
import numpy as np

from train.networks.network import round_to_float16
from train.research.segmentation.networks import build_segmenter, segmentation_loss
from train.research.segmentation.pictures import Picture
from train.research.segmentation.views import Variation, batch_of
from train.runs.checkpoint import resume, save_checkpoint
from train.runs.config import ConfigError

_STEPS_BETWEEN_CHECKPOINTS = 100


@dataclass(frozen=True)
class Schedule:
    """How a segmenter is trained; ``height_px`` and ``width_px`` are those of a training view."""

    steps: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    height_px: int
    width_px: int


@dataclass(frozen=True)
class Fitted:
    """A trained network, its loss after every step, and the seconds that the training took."""

    network: keras.Model
    losses: tuple[float, ...]
    seconds: float


def fit_segmenter(
    name: str, pools: Sequence[Sequence[Picture]], schedule: Schedule, *, seed: int, checkpoint: Path | None = None
) -> Fitted:
    """Train a segmenter on random views, drawn from the pools in equal parts.

    Args:
        name: of ``networks.SEGMENTERS``.
        pools: e.g. the real pictures and the synthetic ones.
        checkpoint: where a stopped training goes on; removed by whoever owns it.

    Raises:
        ConfigError: the network is unknown, a pool is empty, or the training diverged.
    """
    if not pools or not all(pools):
        raise ConfigError(f"{name}: there is no picture to learn from")
    keras.utils.set_random_seed(seed)
    network = build_segmenter(name, height_px=schedule.height_px, width_px=schedule.width_px)
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, schedule.steps, warmup_target=schedule.learning_rate, warmup_steps=max(schedule.steps // 20, 1), alpha=0.01
    )
    optimizer = keras.optimizers.AdamW(rate, weight_decay=schedule.weight_decay, clipnorm=1.0)
    network.compile(optimizer=optimizer, loss=segmentation_loss, jit_compile=False)
    optimizer.build(network.trainable_variables)
    variables = [*network.weights, *optimizer.variables]
    stopped = None if checkpoint is None else resume(checkpoint, variables)
    losses, seconds = ([], 0.0) if stopped is None else (stopped.state["losses"], stopped.state["seconds"])
    started = time.monotonic() - seconds
    shape = schedule.height_px, schedule.width_px
    with click.progressbar(length=schedule.steps, label=f"Training {name}", file=sys.stderr) as progress:
        progress.update(len(losses))
        for step in range(len(losses), schedule.steps):
            # Of every step its own numbers: a training that goes on sees what an unbroken one would have seen.
            images, truth = batch_of(pools, schedule.batch_size, shape, Variation(), np.random.default_rng([seed, step]))
            losses.append(float(network.train_on_batch(images, truth)))
            network.reset_metrics()
            if not np.isfinite(losses[-1]):
                raise ConfigError(f"{name}: the training diverged at step {step}; lower the learning rate")
            progress.update(1)
            if checkpoint is not None and len(losses) % _STEPS_BETWEEN_CHECKPOINTS == 0:
                save_checkpoint(checkpoint, variables, {"losses": losses, "seconds": time.monotonic() - started})
    seconds = time.monotonic() - started
    round_to_float16(network)
    return Fitted(network, tuple(losses), seconds)
