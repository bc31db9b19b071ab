"""Two reports beside each other: ratios of medians, with intervals from their raw samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from osteo_edge.benchmark.records import Report, Row, Series
from osteo_edge.benchmark.worker import END_TO_END, MODEL_ALONE
from osteo_edge.errors import ManifestError

if TYPE_CHECKING:
    from osteo_edge.arrays import Doubles

RESAMPLES = 1000
COVERAGE = 0.95
COLD_START = "cold_start"
_FEWEST = 3

Verdict = Literal["faster", "slower", "no difference shown", "too few samples"]


@dataclass(frozen=True)
class Comparison:
    """One kind of query of two rows.

    Attributes:
        scope: ``end_to_end``, ``model_alone`` or ``cold_start``.
        knees: of the pictures; 0 for cold starts.
        first_ms, second_ms: medians.
        ratio: second over first; below 1 the second is faster.
        low, high: 95 % interval of the ratio; equal to it with fewer than three samples on a side.
    """

    first: str
    second: str
    scope: str
    knees: int
    first_ms: float
    second_ms: float
    ratio: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Compared:
    """Attributes:
    warnings: what else differs, so that the ratios may not tell of what they seem to.
    """

    comparisons: tuple[Comparison, ...]
    warnings: tuple[str, ...]


def compare(first: Report, second: Report) -> Compared:
    """Pair the rows of one bundle, engine, precision and number of threads; a single row is paired with a single row.

    Raises:
        ManifestError: no two rows of them can be paired.
    """
    pairs = _pairs(first, second)
    comparisons = tuple(one for pair in pairs for one in _compare_rows(*pair))
    if not comparisons:
        names = ["; ".join(row.name for row in report.rows) or "nothing" for report in (first, second)]
        raise ManifestError(f"the two reports have no measurement in common: one has {names[0]}; the other {names[1]}")
    warnings = dict.fromkeys([*_warn_of_reports(first, second), *(text for pair in pairs for text in _warn_of_rows(*pair))])
    return Compared(comparisons, tuple(warnings))


def _pairs(first: Report, second: Report) -> list[tuple[Row, Row]]:
    others = {row.name: row for row in second.rows}
    pairs = [(row, others[row.name]) for row in first.rows if row.name in others]
    return [(first.rows[0], second.rows[0])] if not pairs and len(first.rows) == len(second.rows) == 1 else pairs


def _compare_rows(first: Row, second: Row) -> Iterator[Comparison]:
    names = (first.name, second.name)
    others = {group.knees: group for group in second.groups}
    for group in first.groups:
        if group.knees in others:
            other = others[group.knees]
            yield from _compare_series(names, END_TO_END, group.knees, group.end_to_end, other.end_to_end)
            yield from _compare_series(names, MODEL_ALONE, group.knees, group.model_alone, other.model_alone)
    if first.cold and second.cold:
        starts = [np.array([run.answer_ms for run in row.cold]) for row in (first, second)]
        yield _comparison(names, COLD_START, 0, *starts)


def _compare_series(
    names: tuple[str, str], scope: str, knees: int, first: Series | None, second: Series | None
) -> Iterator[Comparison]:
    if first and second:
        yield _comparison(names, scope, knees, np.array(first.samples_ms), np.array(second.samples_ms))


def _comparison(names: tuple[str, str], scope: str, knees: int, first: Doubles, second: Doubles) -> Comparison:
    medians = float(np.median(first)), float(np.median(second))
    ratio = medians[1] / medians[0]
    low, high = ratio, ratio
    verdict: Verdict = "too few samples"
    if min(len(first), len(second)) >= _FEWEST:
        low, high = ratio_interval(first, second)
        verdict = "faster" if high < 1 else "slower" if low > 1 else "no difference shown"
    return Comparison(*names, scope, knees, *medians, ratio, low, high, verdict)


def ratio_interval(first: Doubles, second: Doubles, *, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap interval of median(second) / median(first), (N,) and (M,) samples in the order they were taken.

    Blocks of neighbouring samples are drawn, since what else a machine does slows neighbours alike.
    """
    random = np.random.default_rng(seed)
    ratios = [np.median(_resample(second, random)) / np.median(_resample(first, random)) for _ in range(RESAMPLES)]
    tail = 50 * (1 - COVERAGE)
    low, high = np.percentile(ratios, [tail, 100 - tail])
    return float(low), float(high)


def _resample(samples: Doubles, random: np.random.Generator) -> Doubles:
    """As many samples, in blocks of about the square root of their number; the end is followed by the beginning."""
    block = round(len(samples) ** 0.5)
    starts = random.integers(0, len(samples), -(-len(samples) // block))
    places = (starts[:, None] + np.arange(block)).ravel()[: len(samples)]
    return np.asarray(samples[places % len(samples)])


def _warn_of_reports(first: Report, second: Report) -> Iterator[str]:
    if first.osteo_edge != second.osteo_edge:
        yield f"the versions of osteo-edge differ: {first.osteo_edge}, {second.osteo_edge}"
    if (first.device.system, first.device.processors) != (second.device.system, second.device.processors):
        yield f"the systems differ: {_system(first)}; {_system(second)}"
    if first.settings.budget_bytes != second.settings.budget_bytes or _limit(first) != _limit(second):
        yield "the memory limits differ"
    if first.settings != second.settings:
        yield f"the settings differ: {first.settings.profile}, {second.settings.profile} (seconds, queries, rounds or budget)"
    for name, report in (("first", first), ("second", second)):
        if report.interrupted:
            yield f"the {name} report was interrupted"


def _limit(report: Report) -> tuple[str, int] | None:
    """Without the name of the cgroup, which is another each time."""
    return (report.limit.kind, report.limit.limit_bytes) if report.limit else None


def _system(report: Report) -> str:
    return f"{report.device.system}, {report.device.processors} processors"


def _warn_of_rows(first: Row, second: Row) -> Iterator[str]:
    here, there = first.circumstances, second.circumstances
    if here.processor != there.processor:
        yield f"the devices differ: {here.processor.model}; {there.processor.model}"
    if here.bundle_digest != there.bundle_digest:
        yield f"the bundles differ: {first.bundle} {here.bundle_digest[:12]}; {second.bundle} {there.bundle_digest[:12]}"
    if dict(here.engines) != dict(there.engines):
        yield "the versions of the engines differ"
    if first.name != second.name:
        yield f"what ran differs: {first.name}; {second.name}"
    if {one.sha256 for one in first.pictures} != {one.sha256 for one in second.pictures}:
        yield "the pictures differ"
    for name, row in (("first", first), ("second", second)):
        if row.health.throttled == "yes":
            yield f"the processor was slowed down in the {name} report: {'; '.join(row.health.messages)}"
