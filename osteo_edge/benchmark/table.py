"""Reports and comparisons as text for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from osteo_edge.benchmark.records import ColdRun, Device, Energy, Group, Health, LimitInForce, Report, Row, Series
from osteo_edge.benchmark.statistics import Summary, percentile
from osteo_edge.benchmark.worker import END_TO_END, MODEL_ALONE
from osteo_edge.device import Processor
from osteo_edge.printable import counted, printable

if TYPE_CHECKING:
    from osteo_edge.benchmark.compare import Compared, Comparison

_HEAD = f"  {'milliseconds':<26} {'queries':>8} {'p50':>9} {'p90':>9} {'p99':>9} {'IQR':>9} {'max':>9} {'p90 est.':>9}"
_STAGES = {
    "read": "decode",
    "quality": "quality gate",
    "region": "region",
    "prepare": "prepare",
    "run": "model",
    "decide": "decision",
}
_SCOPES = {END_TO_END: "end to end", MODEL_ALONE: "model alone", "cold_start": "cold start"}
_KNEES = {0: "", 1: "one knee", 2: "two knees"}
# Above this share of the processors, others want to run as well.
_BUSY = 0.5
_ESTIMATE = "p90 est.: MLPerf-style single-stream estimate of the 90th percentile by early stopping (99 % confidence)"


def to_text(report: Report) -> str:
    """The whole report, a row after the other, and a last table of all rows where there are several."""
    lines = list(_device_lines(report))
    for row in report.rows:
        lines += ["", *_row_lines(row, report.limit)]
    if report.left_out:
        lines += ["", *(f"left out    {name}: {why}" for name, why in report.left_out.items())]
    if len(report.rows) > 1:
        lines += ["", *_overview(report.rows)]
    if any(_series(row) for row in report.rows):
        lines += ["", _ESTIMATE]
    if report.interrupted:
        lines += ["", "interrupted: what stands here was measured until then"]
    return "\n".join(printable(line) for line in lines)


def _device_lines(report: Report) -> Iterator[str]:
    settings, device = report.settings, report.device
    yield (
        f"profile     {settings.profile}: each measurement at least {settings.min_seconds:g} s and "
        f"{settings.min_queries} queries; pictures drawn with seed {settings.seed}"
    )
    processor = report.rows[0].circumstances.processor
    yield f"processor   {_processor(processor)}, {counted(device.processors, 'processor')} for this process"
    yield f"features    {' '.join(processor.features) or 'unknown'}"
    memory = "unknown" if device.memory_bytes is None else f"{device.memory_bytes / 1e9:.1f} GB"
    yield f"system      {device.system}, Python {device.python}, memory {memory}, osteo-edge {report.osteo_edge}"
    yield f"governor    {report.rows[0].health.before.governor or 'not readable (no cpufreq on this device)'}"
    yield f"limit       {_limit(report.limit)}"
    yield from _busy(device)


def _processor(processor: Processor) -> str:
    return f"{processor.model} ({processor.architecture})"


def _limit(limit: LimitInForce | None) -> str:
    if limit is None:
        return "none"
    peak = "" if limit.peak_bytes is None else f"; at most {_megabytes(limit.peak_bytes)} of it in use"
    return f"{_megabytes(limit.limit_bytes)} by {limit.message}{peak}"


def _busy(device: Device) -> Iterator[str]:
    if device.load is not None and device.load > _BUSY * device.processors:
        yield f"NOTE        other work was under way (load {device.load:g} before the start): an idle device is faster"


def _row_lines(row: Row, limit: LimitInForce | None) -> Iterator[str]:
    yield row.name
    if row.message:
        yield f"  {row.status.upper()}: {row.message}"
    if any(_series(row)):
        yield _HEAD
    for group in row.groups:
        yield from _group_lines(group)
    yield from _start_lines(row)
    if row.memory:
        peak, steady = _megabytes(row.memory.peak_bytes), _megabytes(row.memory.steady_bytes)
        yield f"  memory      peak {peak}, steady {steady}, resident{_against(limit, row.memory.peak_bytes)}"
    if row.groups:
        yield from _energy_lines(row.energy)
        yield from _health_lines(row.health)
        yield f"  pictures    {_pictures(row)}"
    yield from _left_out_lines(row.left_out)


def _against(limit: LimitInForce | None, peak_bytes: int) -> str:
    """No limit counts pages of libraries that others have read before, so that the peak may still lie above."""
    if limit is None:
        return ""
    return f"; {'within' if peak_bytes <= limit.limit_bytes else 'ABOVE'} the limit of {_megabytes(limit.limit_bytes)}"


def _group_lines(group: Group) -> Iterator[str]:
    knees = _knees(group.knees)
    if group.end_to_end:
        yield _summary_line(f"end to end, {knees}", group.end_to_end.summary, group.end_to_end)
        for stage, summary in group.end_to_end.stage_summaries.items():
            yield _summary_line(f"  {_STAGES.get(stage, stage)}", summary)
    if group.model_alone:
        yield _summary_line(f"model alone, {knees}", group.model_alone.summary, group.model_alone)


def _summary_line(name: str, summary: Summary, series: Series | None = None) -> str:
    numbers = [summary.p50, summary.p90, summary.p99, summary.iqr, summary.max]
    estimate = "" if series is None else "-" if summary.p90_estimate is None else f"{summary.p90_estimate:.2f}"
    unfinished = " (not finished)" if series is not None and not series.is_complete else ""
    columns = " ".join(f"{number:>9.2f}" for number in numbers)
    return f"  {name:<26} {summary.count:>8} {columns} {estimate:>9}{unfinished}".rstrip()


def _start_lines(row: Row) -> Iterator[str]:
    if row.cold:
        answers = sorted(run.answer_ms for run in row.cold)
        yield (
            f"  cold start  process start to answer {percentile(answers, 0.5):.0f} ms ({answers[0]:.0f} to {answers[-1]:.0f}, "
            f"{counted(len(answers), 'process', 'es')}), peak {_megabytes(_peak(row.cold))}"
        )
    if row.load_ms is not None:
        first = "" if row.first_ms is None else f", first answer after that {row.first_ms:.1f} ms"
        yield f"  warm start  libraries, verifying and loading {row.load_ms:.0f} ms{first}"


def _peak(runs: Iterable[ColdRun]) -> int:
    return max(run.peak_bytes for run in runs)


def _energy_lines(energy: Energy) -> Iterator[str]:
    for channel in energy.channels:
        yield f"  energy      {channel.name}: {channel.joules_per_query:.3f} J a picture, end to end, idle share included"
    if not energy.channels:
        reasons = "; ".join(f"{source}: {why}" for source, why in energy.unreadable.items())
        yield f"  energy      not readable ({reasons})"


def _health_lines(health: Health) -> Iterator[str]:
    before, after = health.before, health.after
    if before.megahertz is not None and after.megahertz is not None:
        loaded = [f"{state.megahertz:.0f}" for state in health.under_load if state.megahertz is not None]
        middle = f", under load {loaded[0]} to {loaded[-1]}" if loaded else ""
        yield f"  frequency   {before.megahertz:.0f} MHz before, {after.megahertz:.0f} after{middle}"
    for name in sorted(set(before.celsius) & set(after.celsius)):
        yield f"  temperature {name}: {before.celsius[name]:.0f} degrees C before, {after.celsius[name]:.0f} after"
    reasons = f" ({'; '.join(health.messages)})" if health.messages else ""
    yield (
        f"  THROTTLED   {'; '.join(health.messages)}"
        if health.throttled == "yes"
        else f"  throttled   {health.throttled}{reasons}"
    )


def _pictures(row: Row) -> str:
    counts: dict[int, int] = {}
    for picture in row.pictures:
        counts[picture.knees] = counts.get(picture.knees, 0) + 1
    return ", ".join(f"{count} with {_knees(knees)}" for knees, count in sorted(counts.items())) or "none"


def _left_out_lines(left_out: Mapping[str, str], shown: int = 5) -> Iterator[str]:
    for path, reason in list(left_out.items())[:shown]:
        yield f"  left out    {path}: {reason}"
    if len(left_out) > shown:
        yield f"  left out    and {len(left_out) - shown} more"


def _overview(rows: Sequence[Row]) -> Iterator[str]:
    width = max(len(row.name) for row in rows) + len(", two knees")
    yield f"{'all rows, median ms':<{width}} {'end to end':>10} {'model':>9} {'cold':>7} {'peak MB':>8}"
    for row in rows:
        cold = f"{percentile(sorted(run.answer_ms for run in row.cold), 0.5):.0f}" if row.cold else "-"
        peak = f"{row.memory.peak_bytes / 1e6:.0f}" if row.memory else "-"
        for group in row.groups:
            name = f"{row.name}, {_knees(group.knees)}"
            yield f"{name:<{width}} {_median(group.end_to_end):>10} {_median(group.model_alone):>9} {cold:>7} {peak:>8}"
        if not row.groups:
            yield f"{row.name:<{width}} {row.status:>10}"


def _median(series: Series | None) -> str:
    return f"{series.summary.p50:.2f}" if series else "-"


def _series(row: Row) -> list[Series]:
    return [one for group in row.groups for one in (group.end_to_end, group.model_alone) if one]


def comparison_text(compared: Compared) -> str:
    """Ratios below 1: the second report is faster."""
    lines = [f"WARNING     {printable(warning)}" for warning in compared.warnings]
    lines.append(f"{'':<44} {'first ms':>9} {'second ms':>9} {'ratio':>6}  95 % interval   the second is")
    names: tuple[str, str] | None = None
    for one in compared.comparisons:
        if (one.first, one.second) != names:
            names = one.first, one.second
            lines.append(printable(one.first if one.first == one.second else f"{one.first} -> {one.second}"))
        lines.append(_comparison_line(one))
    lines.append("Intervals tell of the noise within the two runs, not of another day or another device.")
    return "\n".join(lines)


def _comparison_line(one: Comparison) -> str:
    name = _SCOPES[one.scope] + (f", {_knees(one.knees)}" if one.knees else "")
    interval = "       -      " if one.verdict == "too few samples" else f"{one.low:>6.3f} to {one.high:.3f}"
    return f"  {name:<42} {one.first_ms:>9.2f} {one.second_ms:>9.2f} {one.ratio:>6.3f} {interval}  {one.verdict}"


def _knees(count: int) -> str:
    return _KNEES.get(count, f"{count} knees")


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
