"""What ``benchmarks peers`` measured: who took part, how long each task took, and the file of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osteo_edge.records import parse_json, parse_record, to_plain

SCHEMA_VERSION: Literal[1] = 1
IMAGE = "image"
ONE_KNEE = "one knee"
TWO_KNEES = "two knees"
FOLDER = "folder"
COLD = "cold start"


@dataclass(frozen=True)
class Ratio:
    """How many times as long as osteo-edge: the median over the rounds, and a 95 % interval by resampling rounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """One entrant and task.

    Attributes:
        task: a picture of a kind, a folder, or a whole process with the image.
        threads: None for the engine's own choice.
        samples_ms: milliseconds a picture, one a round.
        times_default: as long as osteo-edge with the first bundle; None for that itself.
        times_same: as long as osteo-edge with the same network; None without such a bundle, and for osteo-edge itself.
    """

    entrant: str
    task: str
    threads: int | None
    samples_ms: tuple[float, ...]
    median_ms: float
    times_default: Ratio | None
    times_same: Ratio | None


@dataclass(frozen=True)
class Participant:
    """What is known of an entrant apart from its times.

    Attributes:
        versions: of its packages.
        installed_mb: distributions that it needs -> MB (10^6 bytes) of their files.
        peak_mb: resident memory of the process on one thread; None where it was not measured.
        cold_peak_mb: of the whole process of one picture.
        max_difference: of a probability, against osteo-edge's fp32 with the same network; None without such a bundle.
        stages_ms: of osteo-edge's predictions of the image on one thread, medians; empty for peers. ``region`` finds the knees,
            which peers are told.
    """

    name: str
    network: str
    engine: str
    precision: str
    versions: Mapping[str, str]
    installed_mb: Mapping[str, float]
    peak_mb: float | None
    cold_peak_mb: float | None
    max_difference: float | None
    stages_ms: Mapping[str, float]

    @property
    def total_mb(self) -> float:
        return sum(self.installed_mb.values())


@dataclass(frozen=True)
class Peers:
    """What the command writes.

    Attributes:
        pictures: task -> pictures that its rounds go through.
        default: name of the entrant that ``times_default`` is against.
        left_out: name -> why it was not measured.
    """

    schema_version: Literal[1]
    processor: str
    architecture: str
    features: tuple[str, ...]
    cores: int
    pictures: Mapping[str, int]
    default: str
    participants: tuple[Participant, ...]
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]


def write(found: Peers, target: Path) -> None:
    """Write ``found`` as JSON."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(to_plain(found), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> Peers:
    """What ``write`` wrote.

    Raises:
        ManifestError: the file holds something else.
    """
    return parse_record(Peers, parse_json(path.read_bytes(), what=path.name), where=path.name)
