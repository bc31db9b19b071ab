"""The settings of a comparison of segmenters: TOML to frozen records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from train.research.segmentation.fitting import Schedule
from train.research.segmentation.networks import SEGMENTERS, SIDE_MULTIPLE_PX
from train.runs.config import Rule, read_settings

_FEWEST_RESAMPLES = 100


@dataclass(frozen=True)
class Training:
    """One training of the comparison: a network of ``networks.SEGMENTERS`` and what it learns from."""

    name: str
    network: str
    material: tuple[Literal["real", "synthetic"], ...]


@dataclass(frozen=True)
class Settings:
    """Everything that decides what a comparison does.

    Attributes:
        data, finder, output: as in ``train.runs.config.Config``.
        kept: name of the training whose weights are committed.
        resamples: bootstrap resamples by patient.
    """

    name: str
    data: str
    finder: str
    output: str
    seed: int
    synthetic_knees: int
    synthetic_seed: int
    resamples: int
    kept: str
    schedule: Schedule
    trainings: tuple[Training, ...]


def read_segmentation_settings(path: Path) -> Settings:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or out of range.
    """
    return read_settings(Settings, path, _rules)


def _rules(settings: Settings) -> Iterator[Rule]:
    names = [training.name for training in settings.trainings]
    yield bool(names), "trainings", "is empty"
    yield len(set(names)) == len(names), "trainings", "holds one name twice"
    yield settings.kept in names, "kept", f"must be one of {', '.join(names)}"
    yield settings.resamples >= _FEWEST_RESAMPLES, "resamples", f"must be at least {_FEWEST_RESAMPLES}"
    yield settings.synthetic_knees >= 1, "synthetic_knees", "must be at least 1"
    for place, training in enumerate(settings.trainings):
        known = f"is {training.network!r}; known are {', '.join(SEGMENTERS)}"
        yield training.network in SEGMENTERS, f"trainings[{place}].network", known
        yield bool(training.material), f"trainings[{place}].material", "is empty"
    schedule = settings.schedule
    yield min(schedule.steps, schedule.batch_size) >= 1, "schedule", "needs counts of 1 or more"
    yield schedule.learning_rate > 0, "schedule.learning_rate", "must be above 0"
    for key in ("height_px", "width_px"):
        side = getattr(schedule, key)
        fits = side >= SIDE_MULTIPLE_PX and side % SIDE_MULTIPLE_PX == 0
        yield fits, f"schedule.{key}", f"must be a multiple of {SIDE_MULTIPLE_PX}"
