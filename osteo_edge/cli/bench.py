"""``osteo-edge bench``: how fast, how large and how steady a bundle is on this device."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Command
from osteo_edge.cli.options import asked_names, asked_options
from osteo_edge.cli.terminal import tell, tell_text
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS
from osteo_edge.printable import printable

if TYPE_CHECKING:
    from osteo_edge.benchmark.measure import Plan
    from osteo_edge.benchmark.records import Report, Settings

    _Type = click.ParamType[Any]
else:
    _Type = click.ParamType  # takes no type argument in older releases of click

_STEPS = 1000
_PROFILES = ("quick", "standard", "edge")
_EPILOG = """\b
Examples:
  osteo-edge bench
  osteo-edge bench --engine onnxruntime,litert --threads 1,2,4
  osteo-edge bench --profile standard --json here.json
  osteo-edge bench --budget 512MB radiographs/
  osteo-edge bench --compare here.json there.json

Exit codes: 0 all measured, 2 usage, 3 no picture was read or answered, 5 bundle, 7 output, 8 engine, 9 memory, 130 interrupted,
143 interrupted by SIGTERM (what was measured until then is printed and written)."""


class _Listed(_Type):
    """Values with commas between them."""

    def __init__(self, kind: _Type, name: str) -> None:
        self._kind, self.name = kind, name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Any, ...]:
        return tuple(self._kind.convert(part.strip(), param, ctx) for part in str(value).split(","))


class _Size(_Type):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from osteo_edge.benchmark.limits import parse_bytes

        try:
            return parse_bytes(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("bench", cls=Command, epilog=_EPILOG)
@click.argument("pictures", nargs=-1, metavar="[PATH | FOLDER]...")
@asked_options
@click.option("--together", is_flag=True, help="Ask all bundles of each picture, as predict does, instead of one row a bundle.")
@click.option(
    "--engine",
    "engines",
    multiple=True,
    type=_Listed(click.Choice(["auto", *ENGINE_NAMES]), "engine"),
    metavar="NAME,...",
    help=f"auto, {', '.join(ENGINE_NAMES)} [default: auto].",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=_Listed(click.Choice(["auto", *PRECISIONS]), "precision"),
    metavar="NAME,...",
    help=f"auto, {', '.join(PRECISIONS)} [default: auto].",
)
@click.option(
    "--threads",
    multiple=True,
    type=_Listed(click.IntRange(1, 256), "threads"),
    metavar="NUMBER,...",
    help="Threads of the engine [default: all processors].",
)
@click.option(
    "--profile",
    type=click.Choice(_PROFILES),
    default="quick",
    show_default=True,
    help="quick: 3 s and 64 queries a measurement; standard: 60 s and 1024; edge: 600 s and 1024.",
)
@click.option("--seconds", type=click.FloatRange(0, 86400), help="At least this long a measurement, instead of the profile's.")
@click.option("--queries", type=click.IntRange(1, 10**7), help="At least this many a measurement, instead of the profile's.")
@click.option("--cold-rounds", type=click.IntRange(0, 1000), help="Fresh processes [default: 3 in the quick profile, else 10].")
@click.option("--budget", type=_Size(), metavar="SIZE", help="Run within this much memory: 4GB, 1GB, 512MB.")
@click.option("--json", "target", type=click.Path(path_type=Path), metavar="FILE", help="Also write all samples for machines.")
@click.option(
    "--compare",
    "compared",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="A.json B.json",
    help="Measure nothing; compare two written files.",
)
def command(
    pictures: tuple[str, ...],
    bundles: tuple[str, ...],
    questions: tuple[str, ...],
    together: bool,
    engines: tuple[tuple[str, ...], ...],
    precisions: tuple[tuple[str, ...], ...],
    threads: tuple[tuple[int, ...], ...],
    profile: str,
    seconds: float | None,
    queries: int | None,
    cold_rounds: int | None,
    budget: int | None,
    target: Path | None,
    compared: tuple[Path, Path] | None,
) -> int:
    """Measure a bundle on this device: from picture to answer, the model alone, cold start, memory, energy.

    Each PATH is a picture, or a folder of pictures; the bundle's own synthetic picture by default. Every combination of
    bundle, engine, precision and threads is a row, measured in processes of its own. Pictures with one knee and with two are
    reported apart. Without --profile it takes about ten seconds a row.
    """
    if compared:
        if any((pictures, bundles, questions, together, engines, precisions, threads, budget, target)):
            raise click.UsageError("--compare measures nothing; give it with its two files alone")
        return _compare(*compared)
    if getattr(sys, "frozen", False):  # sys.executable is the frozen program itself, which would start again and again
        raise click.UsageError(
            "bench measures fresh Python processes, which a frozen program cannot start; install osteo-edge with pip to use it"
        )
    from osteo_edge.benchmark.measure import PROFILES, SEED, plan
    from osteo_edge.benchmark.records import Settings, require_writable
    from osteo_edge.interruption import sigterm_as_interrupt

    if seconds is not None and seconds != seconds:
        raise click.BadParameter("not a number", param_hint="--seconds")
    by_profile = PROFILES[profile]
    settings = Settings(
        profile=profile if (seconds, queries, cold_rounds) == (None, None, None) else f"{profile}, changed",
        min_seconds=by_profile[0] if seconds is None else seconds,
        min_queries=queries or by_profile[1],
        cold_rounds=by_profile[2] if cold_rounds is None else cold_rounds,
        budget_bytes=budget,
        seed=SEED,
    )
    if target:
        require_writable(target)
    with sigterm_as_interrupt() as termination:
        try:
            asked = asked_names(bundles, questions)
            planned = plan(
                (asked,) if together else tuple((name,) for name in asked),
                _flat(engines, "auto"),
                _flat(precisions, "auto"),
                _flat(threads),
                pictures,
                settings,
            )
            code = _tell(_measure(planned, settings), target)
        except KeyboardInterrupt:
            if not termination.came:
                raise
            tell("osteo-edge: interrupted", err=True)
            code = exit_codes.INTERRUPTED
    return exit_codes.TERMINATED if termination.came else code


def _measure(planned: Plan, settings: Settings) -> Report:
    from osteo_edge.benchmark.limits import confinement
    from osteo_edge.benchmark.measure import measure

    bar = _Bar(len(planned.rows))
    try:
        with confinement(settings.budget_bytes) as limits:
            return measure(planned, settings, limits, on_progress=bar.show)
    finally:  # also gives a terminal its cursor back
        bar.finish()


def _tell(report: Report, target: Path | None) -> int:
    """Write and print; returns the exit code."""
    from osteo_edge.benchmark.records import write_report
    from osteo_edge.benchmark.table import to_text
    from osteo_edge.interruption import held_back

    if target:  # first: whoever reads the text through `head` still gets the file
        with held_back():
            write_report(report, target)
    tell_text(to_text(report))
    if target:
        tell("", err=True)
        tell(f"all samples are in {target}", err=True)
    if report.interrupted:
        tell("osteo-edge: interrupted", err=True)
        return exit_codes.INTERRUPTED
    return next((_code_of(row.fault) for row in report.rows if row.fault), exit_codes.ANSWERED)


def _flat(given: Sequence[tuple[Any, ...]], *default: Any) -> tuple[Any, ...]:
    """All values once, in the order they were given."""
    return tuple(dict.fromkeys(value for values in given for value in values)) or default


def _code_of(fault: str) -> int:
    """The exit code for what ended a row; a process that was ended, or ran out of memory, counts as a failing engine."""
    from osteo_edge import errors

    return exit_codes.of_class(getattr(errors, fault, errors.InferenceError))


def _compare(first: Path, second: Path) -> int:
    from osteo_edge.benchmark.compare import compare
    from osteo_edge.benchmark.records import read_report
    from osteo_edge.benchmark.table import comparison_text
    from osteo_edge.errors import ManifestError

    try:
        compared = compare(read_report(first), read_report(second))
    except ManifestError as error:
        raise click.UsageError(str(error)) from error
    tell_text(comparison_text(compared))
    return exit_codes.ANSWERED


class _Bar:
    """On standard error; a line a row where that is no terminal."""

    def __init__(self, rows: int) -> None:
        self._is_shown = sys.stderr.isatty()
        self._bar: Any = None
        self._rows, self._row = rows, 0
        self._share = 1.0

    def show(self, name: str, share: float) -> None:
        if share < self._share:
            self._begin(name)
        if self._bar is not None:
            self._bar.update(round(share * _STEPS) - self._bar.pos)
        self._share = share

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()

    def _begin(self, name: str) -> None:
        self._row += 1
        label = printable(f"{self._row}/{self._rows} {name}" if self._rows > 1 else name)
        if self._is_shown:
            self.finish()
            self._bar = click.progressbar(length=_STEPS, label=label, file=sys.stderr)
        else:
            tell(f"measuring {label} ...", err=True)
