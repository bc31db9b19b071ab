"""From what was asked for to a report: plan the rows, run each in processes of its own, keep what was measured."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from osteo_edge import __version__
from osteo_edge.benchmark.limits import Confinement
from osteo_edge.benchmark.processes import ProcessFailure, cold_run, run_worker
from osteo_edge.benchmark.records import (
    SCHEMA_VERSION,
    ColdRun,
    Device,
    Group,
    Memory,
    Picture,
    Report,
    Row,
    Series,
    Settings,
    State,
    Status,
    row_name,
)
from osteo_edge.benchmark.sensors import EnergyMeter, judge, read_state
from osteo_edge.benchmark.statistics import summarize
from osteo_edge.benchmark.worker import END_TO_END, MODEL_ALONE, Job
from osteo_edge.bundle import Bundle, open_bundle
from osteo_edge.engines.select import AUTO, available_threads, choose
from osteo_edge.engines.stored import Circumstances, circumstances, find_tuning
from osteo_edge.errors import EngineError, IncompatibleBundleError, OsteoEdgeError, UnreadableImageError
from osteo_edge.integrity import sha256_hex
from osteo_edge.model import require_bundles_together
from osteo_edge.records import FrozenMapping, parse_json, parse_record
from osteo_edge.selftest import EXPECTED, Expected

SEED = 0
PROFILES: Mapping[str, tuple[float, int, int]] = FrozenMapping(
    {"quick": (3.0, 64, 3), "standard": (60.0, 1024, 10), "edge": (600.0, 1024, 10)}
)
_BETWEEN_STATES_S = 1.0
_OUT_OF_MEMORY_HINT = "raise --budget, or measure a smaller bundle or fewer threads"

OnProgress = Callable[[str, float], object]


@dataclass(frozen=True)
class Planned:
    """A row to be measured: one bundle, or several that are asked of each picture."""

    bundles: tuple[Bundle, ...]
    job: Job


@dataclass(frozen=True)
class Plan:
    """Attributes:
    left_out: combination -> why the bundle or this device cannot run it.
    """

    rows: tuple[Planned, ...]
    left_out: Mapping[str, str]


def plan(
    bundles: Sequence[tuple[str, ...]],
    engines: Sequence[str],
    precisions: Sequence[str],
    threads: Sequence[int],
    pictures: Sequence[str],
    settings: Settings,
) -> Plan:
    """A row for each combination that the bundle has files for and this device an engine.

    Args:
        bundles: those of each row.
        pictures: files and folders; the first bundle's own reference picture when empty.

    Raises:
        BundleError: a bundle is missing, damaged or incompatible, or does not go with the others of its row.
        EngineError: an engine is not installed; where several were asked for, only when none is left.
        InputError: a picture is missing, or a folder holds none.
    """
    paths = tuple(_expand(pictures))
    rows: list[Planned] = []
    left_out: dict[str, str] = {}
    faults: list[OsteoEdgeError] = []
    for names, engine, precision, count in product(bundles, engines, precisions, threads or (available_threads(),)):
        opened = tuple(open_bundle(name) for name in names)
        require_bundles_together(opened)
        try:
            for bundle in opened:
                tuned = find_tuning(bundle, threads=count).pair if AUTO in (engine, precision) else None
                choose(bundle.manifest, engine=engine, precision=precision, tuned=tuned)
        except (EngineError, IncompatibleBundleError) as fault:
            faults.append(fault)
            left_out[row_name(_joined(opened), engine, precision, count)] = str(fault)
            continue
        shown = paths or (reference_picture(opened[0]),)
        job = Job(names, engine, precision, count, shown, settings.min_seconds, settings.min_queries, settings.seed)
        rows.append(Planned(opened, job))
    if not rows:
        raise faults[0]
    return Plan(tuple(rows), left_out)


def _joined(bundles: Sequence[Bundle]) -> str:
    return " + ".join(bundle.manifest.name for bundle in bundles)


def _circumstances(bundles: Sequence[Bundle], threads: int) -> Circumstances:
    """Of several bundles the digest is that of their digests, one a line."""
    first = circumstances(bundles[0], threads=threads)
    if len(bundles) == 1:
        return first
    return replace(first, bundle_digest=sha256_hex("".join(f"{bundle.digest}\n" for bundle in bundles).encode()))


def reference_picture(bundle: Bundle) -> str:
    """Path of the synthetic picture that travels with the bundle, verified.

    Raises:
        BundleError: it or its record is damaged.
    """
    expected = parse_record(Expected, parse_json(bundle.read(EXPECTED), what=EXPECTED), where=EXPECTED)
    bundle.read(expected.picture)
    return str(bundle.root / expected.picture)


def _expand(pictures: Sequence[str]) -> Iterator[str]:
    """Folders as their files, sorted, hidden ones left out."""
    for name in pictures:
        path = Path(name)
        try:
            if not path.is_dir():
                path.stat()
                yield name
                continue
            found = sorted(str(file) for file in path.iterdir() if file.is_file() and not file.name.startswith("."))
        except OSError as error:
            raise UnreadableImageError(f"{name}: {error.strerror}", code="not_found") from error
        if not found:
            raise UnreadableImageError(f"the folder {name} holds no files", code="empty_folder")
        yield from found


def measure(planned: Plan, settings: Settings, confinement: Confinement, *, on_progress: OnProgress) -> Report:
    """Measure row after row. ``KeyboardInterrupt`` ends it with what was measured until then.

    Args:
        on_progress: told the name of a row and the share of it that is done, 0 to 1.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    device = describe_device()
    rows: list[Row] = []
    is_interrupted = False
    try:
        for one in planned.rows:
            rows.append(_measure_row(one, settings, confinement, on_progress))
            if is_interrupted := rows[-1].status == "interrupted":
                break
    except KeyboardInterrupt:  # between two rows
        if not rows:
            raise
        is_interrupted = True
    return Report(
        schema_version=SCHEMA_VERSION,
        osteo_edge=__version__,
        started=started,
        interrupted=is_interrupted,
        settings=settings,
        device=device,
        limit=confinement.limit_with_peak(),
        rows=tuple(rows),
        left_out=planned.left_out,
    )


def describe_device() -> Device:
    memory = load = None
    with suppress(OSError, ValueError):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError):
        load = round(os.getloadavg()[0], 2)
    return Device(platform.platform(), platform.python_version(), available_threads(), memory, load)


def _measure_row(planned: Planned, settings: Settings, confinement: Confinement, on_progress: OnProgress) -> Row:
    row = _RowInProgress(planned, settings)
    status: Status = "complete"
    message = fault = None
    try:
        with closing(run_worker(planned.job, confinement, on_tick=row.tick)) as events:
            for event in events:
                row.take(event)
                on_progress(row.name, row.share)
        if not row.pictures:
            message, fault, status = _nothing_to_measure(row), "QualityRejected", "failed"
        for run in _cold_runs(row, settings, confinement):
            row.cold.append(run)
            on_progress(row.name, row.share)
    except ProcessFailure as failure:
        message, fault, status = _explain(failure, confinement), failure.fault, "failed"
    except KeyboardInterrupt:
        message, fault, status = "interrupted", None, "interrupted"
    return row.finish(status, message, fault)


def _cold_runs(row: _RowInProgress, settings: Settings, confinement: Confinement) -> Iterator[ColdRun]:
    """After one that is not counted: it brings the files of ``predict`` into the page cache."""
    if not row.pictures or not settings.cold_rounds:
        return
    picture = row.pictures[0].path
    cold_run(row.job, picture, confinement)
    for _ in range(settings.cold_rounds):
        yield cold_run(row.job, picture, confinement)


def _nothing_to_measure(row: _RowInProgress) -> str:
    path, reason = next(iter(row.left_out.items()))
    others = f", and {len(row.left_out) - 1} others" if len(row.left_out) > 1 else ""
    return f"no picture was answered: {path}: {reason}{others}"


def _explain(failure: ProcessFailure, confinement: Confinement) -> str:
    """Bad bundles are what they are; everything else under a limit is most likely the limit."""
    if confinement.limit is None or failure.fault.endswith(("BundleError", "ManifestError", "IntegrityError")):
        return str(failure)
    size = f"{confinement.limit.limit_bytes / 1e6:.0f} MB ({confinement.limit.kind})"
    return f"it did not run within {size}: {failure}; {_OUT_OF_MEMORY_HINT}"


@dataclass
class _Samples:
    """Of one kind of query."""

    samples_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    share: float = 0.0

    def add(self, event: Mapping[str, Any]) -> None:
        self.samples_ms += event["samples_ms"]
        for stage, taken in event["stages_ms"].items():
            self.stages_ms.setdefault(stage, []).extend(taken)
        self.share = event["share"]

    def as_series(self) -> Series | None:
        if not self.samples_ms:
            return None
        stages = {stage: tuple(taken) for stage, taken in self.stages_ms.items()}
        summaries = {stage: summarize(taken) for stage, taken in stages.items()}
        return Series(tuple(self.samples_ms), stages, summarize(self.samples_ms), summaries, self.share >= 1)


class _RowInProgress:
    """What was measured of a row so far."""

    def __init__(self, planned: Planned, settings: Settings) -> None:
        self.job = planned.job
        self.pictures: list[Picture] = []
        self.left_out: dict[str, str] = {}
        self.cold: list[ColdRun] = []
        self._bundles, self._cold_rounds = planned.bundles, settings.cold_rounds
        self._engine, self._precision = planned.job.engine, planned.job.precision
        self._load_ms: float | None = None
        self._first_ms: float | None = None
        self._memory: Memory | None = None
        self._samples: dict[tuple[str, int], _Samples] = {}
        self._meter = EnergyMeter()
        self._is_metered = False
        self._start = time.perf_counter()
        self._states: list[State] = []
        self._before = read_state(0.0)

    @property
    def name(self) -> str:
        return row_name(_joined(self._bundles), self._engine, self._precision, self.job.threads)

    @property
    def share(self) -> float:
        """Of the row that is done; cold processes count as a tenth."""
        kinds = 2 * max(1, len({picture.knees for picture in self.pictures}))
        warm = sum(samples.share for samples in self._samples.values()) / kinds
        return 0.9 * warm + 0.1 * (len(self.cold) / self._cold_rounds if self._cold_rounds else 1.0)

    def take(self, event: Mapping[str, Any]) -> None:
        """One event of the worker."""
        match event["event"]:
            case "loaded":
                self._engine, self._precision, self._load_ms = event["engine"], event["precision"], event["load_ms"]
            case "first":
                self._first_ms = event["first_ms"]
            case "picture":
                self.pictures.append(Picture(event["path"], event["sha256"], event["knees"]))
            case "left_out":
                self.left_out[event["path"]] = event["reason"]
            case "started":
                self._samples[event["scope"], event["knees"]] = _Samples()
                self._is_metered = event["scope"] == END_TO_END
                if self._is_metered:
                    self._meter.start(time.perf_counter())
            case "samples":
                self._samples[event["scope"], event["knees"]].add(event)
                if event["scope"] == END_TO_END:
                    self._memory = parse_record(Memory, event["memory"], where="memory")
                self.tick()
                self._is_metered = self._is_metered and event["share"] < 1

    def tick(self) -> None:
        """Read the sensors while queries run."""
        if not self._samples:
            return
        now = time.perf_counter()
        if self._is_metered:
            self._meter.tick(now)
        if not self._states or now - self._start - self._states[-1].seconds >= _BETWEEN_STATES_S:
            self._states.append(read_state(now - self._start))

    def finish(self, status: Status, message: str | None, fault: str | None) -> Row:
        queries = sum(len(one.samples_ms) for (scope, _), one in self._samples.items() if scope == END_TO_END)
        after = read_state(time.perf_counter() - self._start)
        return Row(
            bundle=_joined(self._bundles),
            circumstances=_circumstances(self._bundles, self.job.threads),
            engine=self._engine,
            precision=self._precision,
            status=status,
            message=message,
            fault=fault,
            load_ms=self._load_ms,
            first_ms=self._first_ms,
            cold=tuple(self.cold),
            pictures=tuple(self.pictures),
            left_out=self.left_out,
            groups=tuple(self._group(knees) for knees in sorted({knees for _, knees in self._samples})),
            memory=self._memory,
            energy=self._meter.energy(queries),
            health=judge(self._before, self._states, after),
        )

    def _group(self, knees: int) -> Group:
        series = [self._samples.get((scope, knees), _Samples()).as_series() for scope in (END_TO_END, MODEL_ALONE)]
        return Group(knees, *series)
