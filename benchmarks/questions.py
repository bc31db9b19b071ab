"""What a further question costs: bundles asked of one picture together, against each alone, in turns.

Warm, three predictors of one process answer in shuffled turns; cold, whole ``osteo-edge predict`` processes do.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from benchmarks.cold_start import EXAMPLE, program
from benchmarks.graded.tables import table
from benchmarks.pages import hand_on, json_option, page_option
from benchmarks.processes import run_interleaved
from osteo_edge import OsteoPredictor
from osteo_edge.bundle import embedded_bundles
from osteo_edge.device import processor
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.printable import counted

SCHEMA_VERSION: Literal[1] = 1
TOGETHER = "together"
WARM, COLD = "warm", "cold"


@dataclass(frozen=True)
class Turn:
    """One way to ask.

    Attributes:
        kind: ``warm``: ``predict`` of a file in a running process; ``cold``: a whole process.
        asked: name of the bundle, or ``together``.
        median_ms: of the rounds.
        ratios: bundle alone -> times its time that asking all together takes: the median over the rounds of the ratio within
            a round; empty for a bundle alone.
    """

    kind: Literal["warm", "cold"]
    asked: str
    median_ms: float
    ratios: Mapping[str, float]
    samples_ms: tuple[float, ...]


@dataclass(frozen=True)
class Questions:
    """``questions.json``.

    Attributes:
        threads: of each engine; 0 for as many as ``osteo-edge predict`` takes.
        bundles: name -> digest.
    """

    schema_version: Literal[1]
    processor: str
    threads: int
    image: str
    bundles: Mapping[str, str]
    rows: tuple[Turn, ...]


@click.command("questions")
@click.argument("image", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=EXAMPLE)
@click.option("--bundle", "names", multiple=True, help="Name or folder, twice at least; by default the embedded ones.")
@click.option("--rounds", type=click.IntRange(3), default=200, show_default=True, help="Of warm turns.")
@click.option("--cold-rounds", type=click.IntRange(0), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(0), default=0, show_default=True, help="Of each engine; 0 for all.")
@json_option
@page_option
def command(
    image: Path,
    names: Sequence[str],
    rounds: int,
    cold_rounds: int,
    threads: int,
    target: Path | None,
    page: Path | None,
) -> None:
    """Time of several questions of one picture, against each alone."""
    asked = names or embedded_bundles()
    if len(asked) < 2:
        raise click.UsageError("one bundle alone has no further question; name two or more (--bundle)")
    try:
        found = measure(asked, image, rounds=rounds, cold_rounds=cold_rounds, threads=threads)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    hand_on(found, lines_of(found), "questions", target=target, page=page)


def measure(names: Sequence[str], image: Path, *, rounds: int, cold_rounds: int, threads: int) -> Questions:
    """Warm turns, then cold ones.

    Raises:
        BundleError: a bundle cannot be opened, or they cannot be asked together.
        InputError: the picture cannot be read.
    """
    with ExitStack() as stack:
        ways = [*((name,) for name in names), tuple(names)]
        predictors = [stack.enter_context(OsteoPredictor(list(way), threads=threads or None)) for way in ways]
        digests = {one.bundle: one.digest for one in predictors[-1].models}
        if len(digests) < len(names):
            raise click.ClickException("two of the bundles have one name; give each its own")
        titles = [*digests, TOGETHER]
        warm = _warm(dict(zip(titles, predictors, strict=True)), image, rounds)
    samples = {WARM: warm, COLD: _cold(dict(zip(titles, ways, strict=True)), image, cold_rounds, threads)}
    rows = [row for kind, taken in samples.items() for row in turns(kind, taken)]  # type: ignore[arg-type]
    return Questions(SCHEMA_VERSION, processor().model, threads, str(image), digests, tuple(rows))


def turns(kind: Literal["warm", "cold"], samples: Mapping[str, Sequence[float]]) -> list[Turn]:
    """A row for each way to ask, of milliseconds round by round; none where nothing was measured."""
    if not all(samples.values()):
        return []
    return [
        Turn(
            kind,
            asked,
            round(statistics.median(taken), 2),
            {one: _ratio(taken, samples[one]) for one in samples if one != TOGETHER} if asked == TOGETHER else {},
            tuple(round(one, 3) for one in taken),
        )
        for asked, taken in samples.items()
    ]


def _ratio(taken: Sequence[float], alone: Sequence[float]) -> float:
    return round(statistics.median(mine / theirs for mine, theirs in zip(taken, alone, strict=True)), 3)


def _warm(predictors: Mapping[str, OsteoPredictor], image: Path, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each, after a round that is not counted."""
    order, taken = random.Random(0), {name: [] for name in predictors}  # type: ignore[var-annotated]
    with click.progressbar(range(rounds + 1), label="warm", file=sys.stderr) as bar:
        for turn in bar:
            for name in order.sample(sorted(predictors), len(predictors)):
                start = time.perf_counter()
                predictors[name].predict(image)
                if turn:
                    taken[name].append((time.perf_counter() - start) * 1000)
    return taken


def _cold(ways: Mapping[str, Sequence[str]], image: Path, rounds: int, threads: int) -> dict[str, list[float]]:
    limit = ["--threads", str(threads)] if threads else []
    commands = {
        title: [*program(), "predict", str(image), *limit, *(part for name in way for part in ("--bundle", str(name)))]
        for title, way in ways.items()
    }
    if not rounds:
        return {title: [] for title in commands}
    with click.progressbar(length=rounds, label="cold", file=sys.stderr) as bar:
        runs = run_interleaved(commands, rounds=rounds, on_round=lambda: bar.update(1))
    return {title: [run.seconds * 1000 for run in of_one] for title, of_one in runs.items()}


def lines_of(found: Questions) -> list[str]:
    """The part of the page."""
    threads = counted(found.threads, "thread") if found.threads else "all threads"
    rows = [
        {
            "": "whole process" if row.kind == COLD else "warm",
            "asked": row.asked,
            "ms": f"{row.median_ms:.1f}" if row.median_ms < 100 else f"{row.median_ms:.0f}",
            "times each alone": ", ".join(f"{ratio:.2f} ({name})" for name, ratio in row.ratios.items()),
        }
        for row in found.rows
    ]
    return [f"{found.processor}, {threads}, in turns; medians.", "", *table(list(rows[0]), rows)]
