"""The settings of a grading run: TOML to frozen records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train.runs.config import Candidate, Rule, read_settings, read_toml

_SIDE_STEP_PX = 32

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Stage:
    """A stretch of the training at one size of the picture, in pixels a side."""

    side_px: int
    epochs: int


@dataclass(frozen=True)
class Variation:
    """Limits of the random changes of a training view.

    Attributes:
        rotation_degrees, scale, shift: largest turn; largest change of size, and of place as a share of the box.
        gamma: largest logarithm of the exponent on the grey levels.
        noise: largest standard deviation of the grain, in grey levels of 0 to 255.
        coarsest: smallest factor that the picture is shrunk by and enlarged again.
        jpeg_quality: lowest quality that the picture is stored with.
        mirrored: share of the views that are shown the other way round than the knee's side says.
    """

    rotation_degrees: float
    scale: float
    shift: float
    gamma: float
    noise: float
    coarsest: float
    jpeg_quality: int
    mirrored: float


@dataclass(frozen=True)
class Fitting:
    """How the network is trained.

    Attributes:
        stages: in turn; the last one's side is the network's.
        spread: of the soft targets over neighbouring grades: exp(-distance / spread), 0 for hard ones (SORD: Diaz and
            Marathe, CVPR 2019).
        grade_weight: of the squared error of the expected grade beside the cross-entropy.
        average: momentum of the moving average of the weights, a step.
        warm_up: steps until the learning rate has risen to its height; then it falls along a cosine.
        patience: epochs of the last stage without a better validation before it ends.
        hours: budget of the whole training; no epoch is begun that would go beyond.
        mixing: both parameters of the beta distribution that the shares of two knees in one view are drawn from (mixup: Zhang
            et al., ICLR 2018), 0 for none.
        precision: ``bfloat16`` computes the layers in it, where the processor does so faster; weights, averages and the judged
            network are float32.
        teachers: folders of finished runs; the mean of their probabilities is what the student is told beside the grade.
        teacher_weight: share of the target that the teachers tell.
        trains_batch_norm: whether BatchNorm uses the statistics of its batches, and learns, from the first step on; networks of
            random weights always do.
    """

    stages: tuple[Stage, ...]
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    spread: float
    grade_weight: float
    average: float
    warm_up: int
    patience: int
    hours: float
    mixing: float = 0.0
    precision: Precision = "float32"
    teachers: tuple[str, ...] = ()
    teacher_weight: float = 0.0
    trains_batch_norm: bool = False


@dataclass(frozen=True)
class GradingConfig:
    """Everything that decides what a grading run does. Paths are seen from the project's root.

    Attributes:
        data: folder with ``index.csv``; see ``train.grading.knees``.
        region: what is cut around the joint, and the size that the finished network is shown it at.
        weights: a file of pretrained weights, ``"imagenet"`` (Keras' own download) or ``"random"``.
        resamples: of the patients, for the intervals.
    """

    name: str
    data: str
    finder: str
    output: str
    backbone: str
    weights: str
    seed: int
    region: Candidate
    variation: Variation
    fitting: Fitting
    resamples: int

    @property
    def epochs(self) -> int:
        return sum(stage.epochs for stage in self.fitting.stages)

    def side_px(self, epoch: int) -> int:
        """The size that the pictures of an epoch, counted from 1, are shown at."""
        for stage in self.fitting.stages:
            epoch -= stage.epochs
            if epoch <= 0:
                return stage.side_px
        return self.fitting.stages[-1].side_px


def is_grading_config(path: Path) -> bool:
    """Whether a TOML file is one of these: they alone have a table ``fitting``.

    Raises:
        ConfigError: not readable, or not TOML.
    """
    return "fitting" in read_toml(path)


def read_grading_config(path: Path) -> GradingConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or out of range.
    """
    return read_settings(GradingConfig, path, _rules)


def _rules(config: GradingConfig) -> Iterator[Rule]:
    fitting, variation, region = config.fitting, config.variation, config.region
    sides = [stage.side_px for stage in fitting.stages]
    yield bool(sides), "fitting.stages", "is empty"
    yield all(side >= 64 and side % _SIDE_STEP_PX == 0 for side in sides), "fitting.stages", "needs multiples of 32, from 64 on"
    yield sides == sorted(sides), "fitting.stages", "must not shrink"
    same = bool(sides) and region.height_px == region.width_px == sides[-1]
    yield same, "region", "must have the last stage's side as its height and width"
    yield min(region.half_width, region.above, region.below) > 0, "region", "needs half_width, above and below over 0"
    yield all(stage.epochs >= 1 for stage in fitting.stages), "fitting.stages", "needs epochs of 1 or more"
    yield fitting.batch_size >= 2, "fitting.batch_size", "must be at least 2"
    yield fitting.learning_rate > 0, "fitting.learning_rate", "must be above 0"
    yield 0 <= fitting.dropout < 1, "fitting.dropout", "must be at least 0 and below 1"
    yield min(fitting.weight_decay, fitting.spread, fitting.grade_weight) >= 0, "fitting", "needs penalties of 0 or more"
    yield 0 <= fitting.average < 1, "fitting.average", "must be at least 0 and below 1"
    yield fitting.patience >= 1, "fitting.patience", "must be at least 1"
    yield fitting.hours > 0, "fitting.hours", "must be above 0"
    yield fitting.mixing >= 0, "fitting.mixing", "must be 0 or more"
    yield 0 <= fitting.teacher_weight <= 1, "fitting.teacher_weight", "must lie between 0 and 1"
    yield (
        bool(fitting.teachers) == (fitting.teacher_weight > 0),
        "fitting.teachers",
        "needs a teacher_weight, and no other run has one",
    )
    yield 0 < variation.coarsest <= 1, "variation.coarsest", "must lie above 0 and be at most 1"
    yield 1 <= variation.jpeg_quality <= 100, "variation.jpeg_quality", "must lie between 1 and 100"
    yield 0 <= variation.mirrored <= 0.5, "variation.mirrored", "must lie between 0 and 0.5"
    yield 0 <= variation.scale < 1, "variation.scale", "must be at least 0 and below 1"
    yield config.resamples >= 100, "resamples", "must be at least 100"
