"""The settings of a run: TOML to frozen records; an unknown or missing key is an error that names it.

Paths in the file are relative to the project's root, so that a configuration reads the same on every machine.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from osteo_edge.errors import ManifestError, OsteoEdgeError
from osteo_edge.manifest import InputSpec, RegionProfile
from osteo_edge.records import parse_record
from train.data.columns import COLUMNS

PROJECT = Path(__file__).resolve().parents[2]
RANDOM_WEIGHTS = "random"
IMAGENET_DOWNLOAD = "imagenet"

# Beside the candidates' images, the cache's file of knees holds their owners under this name.
RESERVED_NAME = "owner"

# Targets of train.networks.targets that a head of a network can take over. Those of the first line are one linear layer to
# the classes.
STARTS = {"classes": "classes", "t_score": "classes", "privileged": "classes"}
STARTS |= {"hierarchical": "hierarchical", "ordinal": "ordinal"}

_INPUT_MULTIPLE_PX = 32
_LARGEST_SEED = 2**31 - 1
_FEWEST_RESAMPLES = 100  # 95 % intervals need some values in either tail.

# Whether a setting is right, its key, and what is said of it otherwise.
Rule = tuple[bool, str, str]


Settings = TypeVar("Settings")


class ConfigError(OsteoEdgeError):
    """A configuration that cannot be used; the message names the key."""


@dataclass(frozen=True)
class Candidate:
    """One box around the knee that the run may choose, in knee widths, and the size it is shown at.

    Attributes:
        mirrored: side whose knees are shown as their mirror images; see ``RegionProfile``.
    """

    name: str
    half_width: float
    above: float
    below: float
    height_px: int
    width_px: int
    mirrored: Literal["", "left", "right"] = ""

    @property
    def region(self) -> RegionProfile:
        return RegionProfile(self.name, self.half_width, self.above, self.below, self.mirrored)

    @property
    def input(self) -> InputSpec:
        return InputSpec(
            height_px=self.height_px,
            width_px=self.width_px,
            dtype="float32",
            layout="NHWC",
            value_range=(0.0, 255.0),
            low_percentile=1.0,
            high_percentile=99.0,
        )


@dataclass(frozen=True)
class Linear:
    """The linear classifier on frozen features.

    Attributes:
        pca_variance: share of the features' variance that the principal components keep.
        inverse_penalties: values of C (sklearn's word) among which the inner cross-validation chooses.
        inner_folds: folds of that inner cross-validation.
    """

    pca_variance: float
    inverse_penalties: tuple[float, ...]
    inner_folds: int


@dataclass(frozen=True)
class Choice:
    """How the region is chosen: ``repeats`` times ``folds``-fold grouped cross-validation."""

    repeats: int
    folds: int


@dataclass(frozen=True)
class Augmentation:
    """Limits of the random changes of a training view.

    Attributes:
        views: augmented views per knee, the plain crop and its mirror image among them.
        rotation_degrees, scale, shift: largest turn; largest change of size and place as a share of the crop.
        contrast, gamma: largest change of the grey levels' spread and of the exponent's logarithm.
        noise: standard deviation of the added grain, in grey levels of 0 to 255.
    """

    views: int
    rotation_degrees: float
    scale: float
    shift: float
    contrast: float
    gamma: float
    noise: float


@dataclass(frozen=True)
class Training:
    """Fine-tuning of the network's upper blocks.

    Attributes:
        trainable_from: name of the first trained layer; what comes before it keeps its ImageNet weights.
        validation_folds: one in so many of the training groups is held back for early stopping.
        validation_parts: so many of these folds are held back in turn; the median of their best epochs is used.
        patience: epochs without a lower validation loss before the training stops.
        t_score_weight: of the squared error of the standardised T-score beside the loss of the classes, by a second head that
            is thrown away; 0 for none.
    """

    trainable_from: str
    learning_rate: float
    weight_decay: float
    dropout: float
    batch_size: int
    max_epochs: int
    patience: int
    validation_folds: int
    validation_parts: int
    t_score_weight: float = 0.0


@dataclass(frozen=True)
class Evaluation:
    """Bootstrap resamples, permutations of the sanity check, and coverages of the label sets."""

    resamples: int
    permutations: int
    coverages: tuple[float, ...]


@dataclass(frozen=True)
class FusionConfig:
    """Covariates beside the image.

    Attributes:
        columns: of ``train.data.columns``.
        required: those without which no fused answer is given.
        coverage: of the label sets in the fused mode.
    """

    columns: tuple[str, ...]
    required: tuple[str, ...]
    coverage: float


@dataclass(frozen=True)
class Config:
    """Everything that decides what a run does.

    Attributes:
        data: folder with ``labels.csv``.
        finder: the knee finder's file, or ``"whole"`` for the whole picture.
        output: the run's folder.
        backbone: a name of ``train.networks.backbones``.
        weights: a file, ``"imagenet"`` (Keras' own download) or ``"random"``.
        body_part: what the pictures show; only knees can be exported.
        split: ``split.json`` of an earlier run, to be reused; empty for a new one.
        fusion: covariates that the finished model's score is fused with; none by default.
        start: what the head is taught that fine-tuning starts from, a target of ``train.networks.targets``; hierarchical and
            ordinal heads stay what they are.
    """

    name: str
    data: str
    finder: str
    output: str
    backbone: str
    weights: str
    seed: int
    folds: int
    candidates: tuple[Candidate, ...]
    linear: Linear
    choice: Choice
    augmentation: Augmentation
    training: Training
    evaluation: Evaluation
    split: str = ""
    start: str = "classes"
    body_part: Literal["knee", "lumbar_spine"] = "knee"
    fusion: FusionConfig | None = None

    @property
    def target(self) -> str:
        """The head's kind; see ``train.networks.network.build_network``."""
        return STARTS[self.start]

    def candidate(self, name: str) -> Candidate:
        return next(candidate for candidate in self.candidates if candidate.name == name)


def read_config(path: Path) -> Config:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or out of range.
    """
    return read_settings(Config, path, _rules)


def read_settings(cls: type[Settings], path: Path, rules: Callable[[Settings], Iterable[Rule]]) -> Settings:
    """Read a TOML file into a record, and hold it to its rules.

    Raises:
        ConfigError: not readable, not TOML, a key that is missing or unknown, or a rule that does not hold.
    """
    try:
        settings = parse_record(cls, read_toml(path), where=path.name)
    except ManifestError as error:
        raise ConfigError(str(error)) from error
    hold_to(rules(settings), path.name)
    return settings


def hold_to(rules: Iterable[Rule], where: str) -> None:
    """Refuse settings of which a rule does not hold.

    Raises:
        ConfigError: names the key.
    """
    for holds, key, message in rules:
        if not holds:
            raise ConfigError(f"{where}: {key} {message}")


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


def from_project(path: str) -> Path:
    """A configured path, seen from the project's root."""
    return PROJECT / path


def rules_of_fusion(fusion: FusionConfig | None) -> Iterator[Rule]:
    """The columns of a fusion are known and stand once, and what is required is among them."""
    if fusion is None:
        return
    for name in fusion.columns:
        yield name in COLUMNS, "fusion.columns", f"names {name[:40]!r}; known are {', '.join(COLUMNS)}"
    yield bool(fusion.columns), "fusion.columns", "is empty"
    yield len(set(fusion.columns)) == len(fusion.columns), "fusion.columns", "holds a name twice"
    yield set(fusion.required) <= set(fusion.columns), "fusion.required", "names a column that is not in fusion.columns"
    yield 0 < fusion.coverage < 1, "fusion.coverage", "must lie between 0 and 1"


def _rules(config: Config) -> Iterator[Rule]:
    yield from _rules_of_candidates(config.candidates)
    yield from _rules_of_folds(config)
    yield from _rules_of_augmentation(config.augmentation)
    yield from _rules_of_training(config.training)
    yield from _rules_of_inner_scores(config)
    yield from _rules_of_evaluation(config.evaluation)
    yield from rules_of_fusion(config.fusion)
    yield config.start in STARTS, "start", f"must be one of {', '.join(STARTS)}"


def _rules_of_candidates(candidates: Sequence[Candidate]) -> Iterator[Rule]:
    names = [candidate.name for candidate in candidates]
    yield bool(names), "candidates", "is empty"
    yield len(set(names)) == len(names), "candidates", "holds one name twice"
    for place, candidate in enumerate(candidates):
        key = f"candidates[{place}]"
        yield re.fullmatch("[a-z0-9_]+", candidate.name) is not None, f"{key}.name", "may hold a to z, 0 to 9 and _ only"
        yield candidate.name != RESERVED_NAME, f"{key}.name", f"must not be {RESERVED_NAME!r}, which the cache uses"
        for side in ("half_width", "above", "below"):
            yield getattr(candidate, side) > 0, f"{key}.{side}", "must be above 0"
        yield _fits_network(candidate), key, f"needs sizes that are multiples of {_INPUT_MULTIPLE_PX}"


def _rules_of_folds(config: Config) -> Iterator[Rule]:
    linear = config.linear
    yield 0 <= config.seed <= _LARGEST_SEED, "seed", f"must lie between 0 and {_LARGEST_SEED}"
    yield config.folds >= 2, "folds", "must be at least 2"
    yield config.choice.folds >= 2 and config.choice.repeats >= 1, "choice", "needs 2 folds and 1 repeat or more"
    yield linear.inner_folds >= 2, "linear.inner_folds", "must be at least 2"
    yield 0 < linear.pca_variance < 1, "linear.pca_variance", "must lie between 0 and 1"
    yield bool(linear.inverse_penalties), "linear.inverse_penalties", "is empty"
    yield all(value > 0 for value in linear.inverse_penalties), "linear.inverse_penalties", "must be above 0"


def _rules_of_augmentation(augmentation: Augmentation) -> Iterator[Rule]:
    yield augmentation.views >= 2, "augmentation.views", "must be at least 2"
    yield 0 <= augmentation.scale < 1, "augmentation.scale", "must be at least 0 and below 1"
    yield augmentation.noise >= 0, "augmentation.noise", "must not be negative"


def _rules_of_training(training: Training) -> Iterator[Rule]:
    yield training.learning_rate > 0, "training.learning_rate", "must be above 0"
    yield 0 <= training.dropout < 1, "training.dropout", "must be at least 0 and below 1"
    yield min(training.batch_size, training.patience) >= 1, "training", "needs a batch_size and a patience of 1 or more"
    yield training.max_epochs >= 0, "training.max_epochs", "must not be negative; 0 leaves the network as it is"
    yield training.validation_folds >= 2, "training.validation_folds", "must be at least 2"
    yield training.t_score_weight >= 0, "training.t_score_weight", "must not be negative"
    parts_fit = 1 <= training.validation_parts <= training.validation_folds
    yield parts_fit, "training.validation_parts", "must lie between 1 and training.validation_folds"


def _rules_of_inner_scores(config: Config) -> Iterator[Rule]:
    training = config.training
    every = training.validation_parts == training.validation_folds
    yield config.fusion is None or every, "fusion", "needs training.validation_parts to equal training.validation_folds"


def _rules_of_evaluation(evaluation: Evaluation) -> Iterator[Rule]:
    yield evaluation.resamples >= _FEWEST_RESAMPLES, "evaluation.resamples", f"must be at least {_FEWEST_RESAMPLES}"
    yield evaluation.permutations >= 0, "evaluation.permutations", "must not be negative"
    yield bool(evaluation.coverages), "evaluation.coverages", "is empty"
    yield all(0 < value < 1 for value in evaluation.coverages), "evaluation.coverages", "must lie between 0 and 1"


def _fits_network(candidate: Candidate) -> bool:
    sides = (candidate.height_px, candidate.width_px)
    return all(side >= _INPUT_MULTIPLE_PX and side % _INPUT_MULTIPLE_PX == 0 for side in sides)
