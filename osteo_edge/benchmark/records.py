"""What ``osteo-edge bench`` writes: settings, device, and raw samples; described by ``reports/bench.schema.json``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from osteo_edge.benchmark.statistics import Summary
from osteo_edge.engines.stored import Circumstances
from osteo_edge.errors import ManifestError, ReportError
from osteo_edge.integrity import read_up_to
from osteo_edge.printable import counted
from osteo_edge.records import parse_json, parse_record, to_plain
from osteo_edge.storage import write_file

SCHEMA_VERSION = 1
MAX_REPORT_BYTES = 64 << 20
# A nanosecond to weeks.
POSSIBLE_MS = (1e-6, 1e10)

LimitKind = Literal["cgroup", "cgroup_v1", "rlimit_data"]
Status = Literal["complete", "interrupted", "failed"]
Throttled = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    Attributes:
        min_seconds, min_queries: a measurement ends once it has both.
        cold_rounds: fresh processes, after one that is not counted.
        budget_bytes: memory that each measured process may use; None for all.
        seed: of the draw of pictures.
    """

    profile: str
    min_seconds: float
    min_queries: int
    cold_rounds: int
    budget_bytes: int | None
    seed: int


@dataclass(frozen=True)
class Device:
    """Attributes:
    processors: that this process may use.
    memory_bytes: of the machine; None where the system does not tell.
    load: average number of waiting processes in the minute before the first measurement; None as above.
    """

    system: str
    python: str
    processors: int
    memory_bytes: int | None
    load: float | None


@dataclass(frozen=True)
class LimitInForce:
    """How the memory of the measured processes was limited, and what that counts.

    Attributes:
        kind: ``cgroup`` is of version 2.
        peak_bytes: the most that was counted at a time, all measured processes together; None where nothing tells.
    """

    kind: LimitKind
    limit_bytes: int
    message: str
    peak_bytes: int | None = None


@dataclass(frozen=True)
class State:
    """The device at one moment.

    Attributes:
        seconds: since the row began.
        governor: of processor 0; None where it cannot be read.
        megahertz: of the fastest processor at that moment.
        celsius: sensor -> temperature.
        throttle_events: counted by the processor since it was started.
        firmware_flags: of a Raspberry Pi since it was started, as its ``get_throttled`` has them.
    """

    seconds: float
    governor: str | None
    megahertz: float | None
    celsius: Mapping[str, float]
    throttle_events: int | None
    firmware_flags: int | None


@dataclass(frozen=True)
class Health:
    """Attributes:
    under_load: about once a second while queries ran.
    throttled: ``unknown`` where neither frequency nor a counter can be read.
    messages: why it counts as throttled, or what could not be read.
    """

    before: State
    under_load: tuple[State, ...]
    after: State
    throttled: Throttled
    messages: tuple[str, ...]


@dataclass(frozen=True)
class Channel:
    """One energy sensor over the end-to-end queries; everything else behind that sensor is in it."""

    name: str
    joules: float
    joules_per_query: float


@dataclass(frozen=True)
class Energy:
    """Attributes:
    channels: empty where nothing was read; never to be added up, as sensors may contain each other.
    unreadable: source -> why it was not read.
    """

    channels: tuple[Channel, ...]
    unreadable: Mapping[str, str]


@dataclass(frozen=True)
class Memory:
    """Resident memory of the measured process at the end of its end-to-end queries, and its peak until then."""

    steady_bytes: int
    peak_bytes: int


@dataclass(frozen=True)
class ColdRun:
    """One fresh ``osteo-edge predict`` process.

    Attributes:
        answer_ms: from its start to the first byte of its answer.
        exit_ms: from its start to its end.
    """

    answer_ms: float
    exit_ms: float
    peak_bytes: int


@dataclass(frozen=True)
class Series:
    """Attributes:
    samples_ms: in the order they were taken.
    stages_ms: stage -> its share of each sample; empty for the model alone.
    is_complete: it has both the seconds and the queries that were asked for.
    """

    samples_ms: tuple[float, ...]
    stages_ms: Mapping[str, tuple[float, ...]]
    summary: Summary
    stage_summaries: Mapping[str, Summary]
    is_complete: bool


@dataclass(frozen=True)
class Picture:
    """A picture that was measured, with the number of knees found on it."""

    path: str
    sha256: str
    knees: int


@dataclass(frozen=True)
class Group:
    """All pictures of one number of knees.

    Attributes:
        end_to_end: a query is one ``OsteoPredictor.predict`` of a file.
        model_alone: a query is the engines' run on the picture's prepared knees.
    """

    knees: int
    end_to_end: Series | None
    model_alone: Series | None


@dataclass(frozen=True)
class Row:
    """One bundle with one engine, precision and number of threads.

    Attributes:
        circumstances: what the figures hold for, threads among them.
        bundle: the name; of bundles that were asked together the names with `` + `` between them.
        engine, precision: that were used, ``mixed`` where they differ; as asked for where the model was never loaded.
        message: why the row is not complete.
        fault: class of the error that ended it, of ``osteo_edge.errors`` or another; ``Ended`` where its process was ended.
        load_ms: importing the libraries, then verifying and loading the bundle, in a running interpreter.
        first_ms: the first answer after that.
        left_out: picture -> why it was not measured.
    """

    bundle: str
    circumstances: Circumstances
    engine: str
    precision: str
    status: Status
    message: str | None
    fault: str | None
    load_ms: float | None
    first_ms: float | None
    cold: tuple[ColdRun, ...]
    pictures: tuple[Picture, ...]
    left_out: Mapping[str, str]
    groups: tuple[Group, ...]
    memory: Memory | None
    energy: Energy
    health: Health

    @property
    def name(self) -> str:
        """For people."""
        return row_name(self.bundle, self.engine, self.precision, self.circumstances.threads)


@dataclass(frozen=True)
class Report:
    """Attributes:
    started: UTC, ISO 8601.
    interrupted: what was measured until then is whole.
    left_out: combination that the bundle or this device cannot run -> why.
    """

    schema_version: int
    osteo_edge: str
    started: str
    interrupted: bool
    settings: Settings
    device: Device
    limit: LimitInForce | None
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]


def row_name(bundle: str, engine: str, precision: str, threads: int) -> str:
    return f"{bundle} {engine} {precision}, {counted(threads, 'thread')}"


def require_writable(target: Path) -> None:
    """Find out before anything is measured whether the report could be written.

    Raises:
        ReportError: its folder is missing or may not be written to, or something that is no file is in its place.
    """
    folder = target.parent
    if not os.path.isdir(folder):
        raise ReportError(f"{target} cannot be written: {folder} is no folder; make it first")
    if os.path.isdir(target):
        raise ReportError(f"{target} cannot be written: it is a folder; name a file")
    if os.path.exists(target) and not os.path.isfile(target):
        raise ReportError(f"{target} cannot be written: it is a device or a pipe; name a file")
    if not os.access(folder, os.W_OK):
        raise ReportError(f"{target} cannot be written: the folder {folder} may not be written to; name another")


def write_report(report: Report, target: Path) -> None:
    """Write in one step, in place of an older file.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        write_file(target, (json.dumps(to_plain(report)) + "\n").encode())
    except OSError as error:
        raise ReportError(f"{target} cannot be written: {error.strerror}") from error


def read_report(path: Path) -> Report:
    """Read what ``write_report`` wrote.

    Raises:
        ManifestError: it is no report, or one of another version.
    """
    try:
        data = read_up_to(path, MAX_REPORT_BYTES)
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_REPORT_BYTES:
        raise ManifestError(f"{path} is larger than {MAX_REPORT_BYTES >> 20} MiB, and so no report")
    plain = parse_json(data, what=path.name)
    if not isinstance(plain, dict) or plain.get("schema_version") != SCHEMA_VERSION:
        raise ManifestError(f"{path.name} is not version {SCHEMA_VERSION} of what 'osteo-edge bench --json' writes")
    report = parse_record(Report, plain, where=path.name)
    for row in report.rows:
        _require_times(row, path.name)
    return report


def _require_times(row: Row, name: str) -> None:
    series = [one for group in row.groups for one in (group.end_to_end, group.model_alone) if one]
    times = [run.answer_ms for run in row.cold] + [ms for one in series for ms in one.samples_ms]
    low, high = POSSIBLE_MS
    if not all(one.samples_ms for one in series) or not all(low <= ms <= high for ms in times):
        raise ManifestError(f"{name}: each series must hold samples, of {low:g} to {high:g} ms")
