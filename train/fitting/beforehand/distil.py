"""Feature distillation: a backbone without ImageNet weights learns the feature maps of one that has them.

The student is shown windows of unlabelled knees and fitted to the teacher's maps at three depths, each through one
pixelwise linear layer that is thrown away afterwards (hints: Romero et al., FitNets, ICLR 2015). No label and no
radiograph that anything is judged on takes part, hence one distilled backbone may serve every fold.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from osteo_edge.integrity import sha256_hex
from osteo_edge.records import to_plain
from train.data.unlabelled import unlabelled_knees
from train.networks.network import FEATURES, HEAD, build_network, randomise, settle_batch_norm, weights_of
from train.runs import cache
from train.runs.arrays import Floats, Reals
from train.runs.checkpoint import resume, save_checkpoint
from train.runs.config import Candidate, ConfigError, Rule, from_project, read_settings
from train.runs.versions import versions

WEIGHTS_FILE = "weights.npz"
RUN_FILE = "run.json"
CHECKPOINT = "distil.npz"
SAMPLE_WINDOWS = 64
SETTLING_BATCHES = 16
SECONDS_BETWEEN_CHECKPOINTS = 120


Rng = np.random.Generator


@dataclass(frozen=True)
class Levels:
    """Layers whose maps have the same size: the student's and the teacher's, from shallow to deep."""

    student: tuple[str, ...]
    teacher: tuple[str, ...]


@dataclass(frozen=True)
class DistilConfig:
    """What a distillation does.

    Attributes:
        data: folder of unlabelled knees with ``index.csv`` (columns file, sha256).
        region: what is cut around each joint; windows are taken from it.
        window_px: side of the square windows.
        scale: smallest and largest size of the knee in a window, as a share of the region's.
        held_out: share of the pictures that the fit is judged on.
        steps: of the whole schedule; fewer are made where the time budget ends before.
    """

    name: str
    data: str
    finder: str
    output: str
    student: str
    teacher: str
    teacher_weights: str
    seed: int
    region: Candidate
    levels: Levels
    window_px: int
    scale: tuple[float, float]
    held_out: float
    batch_size: int
    steps: int
    learning_rate: float
    weight_decay: float
    warm_up: int


def read_distil_config(path: Path) -> DistilConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a wrong key.
    """
    return read_settings(DistilConfig, path, _rules)


def _rules(config: DistilConfig) -> Iterator[Rule]:
    levels, region = config.levels, config.region
    same = len(levels.student) == len(levels.teacher) > 0
    yield same, "levels", "needs as many layers of the student as of the teacher, at least one"
    yield config.window_px <= min(region.height_px, region.width_px), "window_px", "is larger than the region"
    yield 0 < config.held_out < 1, "held_out", "must lie between 0 and 1"


def distil(config: DistilConfig, output: Path, *, time_budget_s: float) -> dict[str, Any]:
    """Fit the student, or go on where a stopped run was; write ``weights.npz`` (half precision) and ``run.json``.

    Returns:
        ``run.json``: steps made, whether the budget ended first, and the share of the teacher's variance that the
        student explains at each level on held-out pictures.

    Raises:
        ConfigError: a layer or a picture is missing, or no knee was found.
        RunError: the folder cannot be written.
    """
    folder = cache.open_cache(output)
    knees = unlabelled_knees(from_project(config.data), from_project(config.finder), config.region, folder).images
    training, held_out = _part(knees, config)
    pair = Pair(config, training)
    started, seconds_before = time.monotonic(), pair.resume(folder / CHECKPOINT)
    budget = time_budget_s - seconds_before
    stopped_early = _run_steps(pair, training, config, folder, budget, seconds_before)
    pair.settle(training)
    seconds = seconds_before + time.monotonic() - started
    pair.save(folder / CHECKPOINT, seconds)
    facts = {
        "schema_version": 1,
        "name": config.name,
        "config": to_plain(config),
        "steps": pair.step,
        "stopped_early": stopped_early,
        "seconds": round(seconds),
        "knees": {"training": len(training), "held_out": len(held_out)},
        "explained_variance": pair.explained(held_out, np.random.default_rng([config.seed, 1])),
        "teacher_weights_sha256": sha256_hex(from_project(config.teacher_weights).read_bytes()),
        "versions": versions(),
    }
    np.savez_compressed(output / WEIGHTS_FILE, **backbone_weights(pair.student))  # type: ignore[arg-type]
    cache.save_json(output / RUN_FILE, facts)
    return facts


def backbone_weights(network: keras.Model) -> dict[str, Reals]:
    """Every weight but the head's, by its path, in half precision."""
    return {path: values for path, values in weights_of(network).items() if not path.startswith(f"{HEAD}/")}


class Pair:
    """Student and teacher, the linear layers between them, and the optimizer's state."""

    def __init__(self, config: DistilConfig, training: Floats) -> None:
        keras.utils.clear_session()
        keras.utils.set_random_seed(config.seed)
        self._config = config
        side = {"height_px": config.window_px, "width_px": config.window_px, "labels": 1}
        teacher = build_network(config.teacher, imagenet_weights=from_project(config.teacher_weights), **side)  # type: ignore[arg-type]
        self.teacher = _maps(teacher, config.levels.teacher)
        self.student = build_network(config.student, **side)  # type: ignore[arg-type]
        randomise(self.student, seed=config.seed)
        self._scales = self._measure(training)
        self.fitted = self._projected()
        self.step = 0
        self.history: list[tuple[int, float]] = []
        decay = keras.optimizers.schedules.CosineDecay(
            config.learning_rate / 20,
            config.steps - config.warm_up,
            alpha=0.01,
            warmup_target=config.learning_rate,
            warmup_steps=config.warm_up,
        )
        self._optimizer = keras.optimizers.AdamW(decay, weight_decay=config.weight_decay, clipnorm=1.0)
        self.fitted.compile(optimizer=self._optimizer, loss=["mse"] * len(config.levels.student))
        self._optimizer.build(self.fitted.trainable_variables)

    def fit(self, windows: Floats) -> float:
        """One step; the loss before it, summed over the levels (1 a level: nothing explained)."""
        self.step += 1
        losses = self.fitted.train_on_batch(windows, self._targets(windows))
        return float(np.atleast_1d(losses)[0])

    def settle(self, pictures: Floats) -> None:
        """Measure BatchNorm's statistics of the final weights."""
        rng = np.random.default_rng([self._config.seed, 4])
        chosen = rng.choice(len(pictures), (SETTLING_BATCHES, self._config.batch_size))
        settle_batch_norm(self.student, (draw_windows(pictures, batch, self._config, rng) for batch in chosen))

    def explained(self, pictures: Floats, rng: Rng) -> dict[str, float]:
        """Share of the teacher's variance that the student explains, by level, on one window of each picture."""
        windows = draw_windows(pictures, np.arange(len(pictures)), self._config, rng)
        residual, total = np.zeros(len(self._scales)), np.zeros(len(self._scales))
        for start in range(0, len(windows), 16):
            part = windows[start : start + 16]
            guesses = self.fitted(part, training=False)
            for level, (guess, target) in enumerate(zip(_as_list(guesses), self._targets(part), strict=True)):
                residual[level] += float(((keras.ops.convert_to_numpy(guess) - target) ** 2).sum())
                total[level] += float((target**2).sum())
        shares = 1 - residual / total
        return dict(zip(self._config.levels.student, np.round(shares, 4).tolist(), strict=True))

    def save(self, file: Path, seconds: float) -> None:
        save_checkpoint(file, self._variables(), {"step": self.step, "seconds": seconds, "history": self.history})

    def resume(self, file: Path) -> float:
        """Seconds that earlier starts have used."""
        stopped = resume(file, self._variables())
        if stopped is None:
            return 0.0
        self.step, self.history = stopped.state["step"], [tuple(line) for line in stopped.state["history"]]
        return float(stopped.state["seconds"])

    def _variables(self) -> list[keras.Variable]:
        return [*self.fitted.weights, *self._optimizer.variables]

    def _measure(self, training: Floats) -> list[tuple[Floats, Floats]]:
        """Mean and deviation of each of the teacher's channels, over windows of the training pictures."""
        rng = np.random.default_rng([self._config.seed, 2])
        chosen = rng.choice(len(training), SAMPLE_WINDOWS)
        windows = draw_windows(training, chosen, self._config, rng)
        maps = [
            np.concatenate(parts)
            for parts in zip(*(self._raw(windows[n : n + 16]) for n in range(0, len(windows), 16)), strict=True)
        ]
        return [(values.mean((0, 1, 2)), values.std((0, 1, 2)) + 1e-3) for values in maps]

    def _raw(self, windows: Floats) -> list[Floats]:
        return [keras.ops.convert_to_numpy(values) for values in _as_list(self.teacher(windows, training=False))]

    def _targets(self, windows: Floats) -> list[Floats]:
        return [(values - mean) / deviation for values, (mean, deviation) in zip(self._raw(windows), self._scales, strict=True)]

    def _projected(self) -> keras.Model:
        maps = _as_list(_maps(self.student, self._config.levels.student).output)
        widths = [len(mean) for mean, _ in self._scales]
        outputs = [
            keras.layers.Conv2D(width, 1, name=f"hint_{level}")(values)
            for level, (values, width) in enumerate(zip(maps, widths, strict=True))
        ]
        return keras.Model(self.student.input, outputs, name="hints")


def draw_windows(pictures: Floats, chosen: NDArray[np.integer], config: DistilConfig, rng: Rng) -> Floats:
    """One random square window of each chosen picture, (chosen, side, side, 1) in 0 to 255: placed, scaled, mirrored."""
    return np.stack([_window(pictures[index], config, rng) for index in chosen])[..., np.newaxis]


def _window(picture: Floats, config: DistilConfig, rng: Rng) -> Floats:
    height, width = picture.shape
    scale = max(rng.uniform(*config.scale), config.window_px / min(height, width))
    top = rng.uniform(0, height * scale - config.window_px)
    left = rng.uniform(0, width * scale - config.window_px)
    matrix = np.array([[scale, 0, -left], [0, scale, -top]], np.float32)
    side = (config.window_px, config.window_px)
    window = cv2.warpAffine(
        picture, matrix, side, flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    gamma = np.float32(np.exp(rng.uniform(-0.2, 0.2)))
    window = np.clip(window / np.float32(255), 0, 1) ** gamma * np.float32(255)
    return window[:, ::-1] if rng.random() < 0.5 else window  # type: ignore[no-any-return]


def _run_steps(pair: Pair, training: Floats, config: DistilConfig, folder: Path, budget_s: float, before_s: float) -> bool:
    started = saved = time.monotonic()
    with click.progressbar(
        length=config.steps, label=f"Distilling {config.student}", file=sys.stderr, item_show_func=lambda text: text or ""
    ) as progress:
        progress.update(pair.step)
        while pair.step < config.steps:
            if time.monotonic() - started > budget_s:
                return True
            rng = np.random.default_rng([config.seed, 3, pair.step])
            chosen = rng.choice(len(training), config.batch_size, replace=False)
            loss = pair.fit(draw_windows(training, chosen, config, rng))
            if pair.step % 20 == 0:
                pair.history.append((pair.step, loss))
            progress.update(1, f"loss {loss:.3f}")
            if time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                pair.save(folder / CHECKPOINT, before_s + time.monotonic() - started)
                saved = time.monotonic()
    return False


def _part(knees: Floats, config: DistilConfig) -> tuple[Floats, Floats]:
    order = np.random.default_rng([config.seed, 0]).permutation(len(knees))
    count = max(1, round(len(knees) * config.held_out))
    return knees[order[count:]], knees[order[:count]]


def _maps(network: keras.Model, layers: Sequence[str]) -> keras.Model:
    try:
        outputs = [network.output[FEATURES] if name == FEATURES else network.get_layer(name).output for name in layers]
    except ValueError as error:
        raise ConfigError(f"levels: {error}") from error
    return keras.Model(network.input, outputs)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]
