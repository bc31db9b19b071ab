"""The settings of a hold-out run: TOML to frozen records; an unknown or missing key is an error that names it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from train.data.dataset import LABELS
from train.research.holdout.preparation import RUNTIME, Preparation
from train.runs.config import Augmentation, Candidate, ConfigError, Rule, hold_to, read_settings

_LARGEST_SEED = 2**31 - 1
_FEWEST_RESAMPLES = 100

TWO_CLASSES = ("normal", "low_density")


@dataclass(frozen=True)
class View:
    """What the network is shown: the whole radiograph, its sides stretched to the size, or a box around each knee's joint.

    Attributes:
        half_width, above, below: the box in knee widths, for ``knee`` alone.
    """

    kind: Literal["whole", "knee"]
    height_px: int
    width_px: int
    half_width: float = 0.0
    above: float = 0.0
    below: float = 0.0

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.kind, self.half_width, self.above, self.below, self.height_px, self.width_px)


@dataclass(frozen=True)
class Shares:
    """Parts of the radiographs; the rest is trained on. Without a validation part the share is 0."""

    test: float
    validation: float = 0.0


@dataclass(frozen=True)
class Fitting:
    """How the network is trained.

    Attributes:
        epoch_from: which epoch is judged. ``validation``: that of lowest validation loss. ``last``: the last. ``test``: that of
            highest accuracy on the test part itself, as papers do that save a checkpoint there; a flattering figure, marked so.
        patience: epochs without a lower validation loss before the training ends.
        weight_decay: of AdamW. l2: of a penalty in the loss.
        class_weights: whether every class weighs the same.
    """

    max_epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    dropout: float
    class_weights: bool
    epoch_from: Literal["validation", "last", "test"]
    patience: int = 0
    l2: float = 0.0


@dataclass(frozen=True)
class StartingWeights:
    """A file that ``train.networks.network.build_network`` reads, and where its numbers come from."""

    file: str
    kind: Literal["imagenet", "distilled"]


@dataclass(frozen=True)
class HoldOutConfig:
    """Settings of one run. Paths are seen from the project's root.

    Attributes:
        weights: backbone -> weights to start from; a backbone that is not listed starts from random ones.
        mask: ``replace`` shows the outlines of the bones instead of the picture, ``gate`` the bones alone; knees only.
        segmenter: file of the network that outlines them, where a mask is shown.
        preparation: steps before the network sees a picture; off where the file has no such table.
        augmentation: ``movement``: ``train.fitting.augmentation`` with the limits below; ``shear_zoom_flip``: that of Keras'
            image generator with shear 0.2, zoom 0.2 and horizontal flip.
        time_budget_s: seconds for the training of one network, its measurements included.
    """

    name: str
    data: str
    finder: str
    output: str
    backbone: str
    seed: int
    target: Literal["three_classes", "two_classes"]
    view: View
    shares: Shares
    fitting: Fitting
    augmentation: Literal["none", "shear_zoom_flip", "movement"]
    resamples: int
    time_budget_s: float
    movement: Augmentation | None = None
    mask: Literal["", "gate", "replace"] = ""
    segmenter: str = ""
    preparation: Preparation = RUNTIME
    weights: Mapping[str, StartingWeights] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def classes(self) -> tuple[str, ...]:
        return LABELS if self.target == "three_classes" else TWO_CLASSES


def read_hold_out_config(path: Path) -> HoldOutConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or out of range.
    """
    return read_settings(HoldOutConfig, path, _rules)


def check(config: HoldOutConfig, where: str) -> None:
    """Refuse settings that cannot be run.

    Raises:
        ConfigError: names the key.
    """
    hold_to(_rules(config), where)


def _rules(config: HoldOutConfig) -> Iterator[Rule]:
    yield from _rules_of_parts(config)
    yield from _rules_of_fitting(config.fitting)


def _rules_of_parts(config: HoldOutConfig) -> Iterator[Rule]:
    view, shares = config.view, config.shares
    yield 0 <= config.seed <= _LARGEST_SEED, "seed", f"must lie between 0 and {_LARGEST_SEED}"
    yield 0 < shares.test < 1, "shares.test", "must lie between 0 and 1"
    yield 0 <= shares.validation < 1 - shares.test, "shares.validation", "must leave something to train on"
    needs_validation = config.fitting.epoch_from == "validation"
    yield shares.validation > 0 or not needs_validation, "shares.validation", "must be above 0 to choose the epoch there"
    yield min(view.height_px, view.width_px) >= 1, "view", "needs sides of 1 pixel or more"
    has_box = min(view.half_width, view.above, view.below) > 0
    yield has_box or view.kind == "whole", "view", "needs half_width, above and below for a box around the knee"
    yield view.kind == "knee" or not config.mask, "mask", "needs view.kind = 'knee': bones are outlined around a joint"
    yield bool(config.segmenter) or not config.mask, "segmenter", "is missing, the network that outlines the bones"
    is_as_in_use = config.preparation == RUNTIME
    yield (
        is_as_in_use or not config.mask,
        "preparation",
        "cannot be combined with a mask, which is found in the picture as it is",
    )
    moves = config.augmentation == "movement"
    yield config.movement is not None or not moves, "movement", "is missing, the limits of augmentation = 'movement'"
    yield config.resamples >= _FEWEST_RESAMPLES, "resamples", f"must be at least {_FEWEST_RESAMPLES}"
    yield config.time_budget_s > 0, "time_budget_s", "must be above 0 seconds"


def _rules_of_fitting(fitting: Fitting) -> Iterator[Rule]:
    yield fitting.max_epochs >= 1, "fitting.max_epochs", "must be at least 1"
    yield fitting.batch_size >= 2, "fitting.batch_size", "must be at least 2"
    yield fitting.learning_rate > 0, "fitting.learning_rate", "must be above 0"
    yield 0 <= fitting.dropout < 1, "fitting.dropout", "must be at least 0 and below 1"
    yield min(fitting.weight_decay, fitting.l2) >= 0, "fitting", "needs penalties of 0 or more"
    yield fitting.patience >= 1 or fitting.epoch_from != "validation", "fitting.patience", "must be at least 1"


def require_budget(seconds: float) -> None:
    """Refuse a budget that is no number of seconds.

    Raises:
        ConfigError: says what is needed.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise ConfigError("the time budget must be a number of seconds above 0")
