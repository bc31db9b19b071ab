"""What the commands of this room write as JSON, and the pages' tables are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from benchmarks.graded.figures import Changes, Sets
from osteo_edge.manifest import Metric

SCHEMA_VERSION: Literal[1] = 1


@dataclass(frozen=True)
class Pictures:
    """What was asked of.

    Attributes:
        digest: SHA-256 of the sorted digests of the files, one a line.
        by_grade: number of each grade.
        ungraded: left out, since nobody graded them.
    """

    count: int
    patients: int
    digest: str
    by_grade: tuple[int, ...]
    ungraded: int


@dataclass(frozen=True)
class Asked:
    """A bundle, and what became of the pictures before any of its networks saw them.

    Attributes:
        digest: of the manifest.
        files: path -> SHA-256 of each model file.
        refusals: code -> pictures.
        several_knees: pictures of one knee in which more joints were found.
    """

    digest: str
    files: Mapping[str, str]
    refusals: Mapping[str, int]
    several_knees: int


@dataclass(frozen=True)
class FileFigures:
    """One engine and precision of a bundle; 95 % intervals by patient.

    Attributes:
        is_default: it is what ``auto`` means on this device.
        all_pictures: refused ones count as wrong; see ``benchmarks.graded.figures``.
        answered: of the others alone; empty where some grade has none.
        difference: less the full-precision file on ONNX Runtime, of all pictures, paired; empty for that file itself.
        changes: against that file; None for it.
        megabytes: of the files of all members.
        median_ms: of all members' networks for one knee; 0 where no time was taken.
        ratio: times as fast as the first bundle's full-precision file on ONNX Runtime, in the same rounds.
    """

    bundle: str
    engine: str
    precision: str
    is_default: bool
    all_pictures: Mapping[str, Metric]
    answered: Mapping[str, Metric]
    difference: Mapping[str, Metric]
    changes: Changes | None
    sets: Sets
    confusion: tuple[tuple[int, ...], ...]
    megabytes: float
    median_ms: float = 0.0
    ratio: float = 0.0
    samples_ms: tuple[float, ...] = ()

    @property
    def is_full(self) -> bool:
        return (self.engine, self.precision) == FULL


FULL = ("onnxruntime", "fp32")


@dataclass(frozen=True)
class Grades:
    """``grades.json`` and ``external.json``.

    Attributes:
        processor, threads, rounds: of the timing.
        load: average number of waiting processes in the minute before anything was asked, a processor; 0 where nothing tells.
        bundles: by name.
    """

    schema_version: Literal[1]
    pictures: Pictures
    resamples: int
    processor: str
    threads: int
    rounds: int
    load: float
    bundles: Mapping[str, Asked]
    rows: tuple[FileFigures, ...]
