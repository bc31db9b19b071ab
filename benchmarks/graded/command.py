"""What smaller and faster costs bundles that grade osteoarthritis: every file, through the runtime, on the validation knees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
import numpy as np

from benchmarks import pareto
from benchmarks.accuracy import time_files
from benchmarks.contest import ratio
from benchmarks.engines import ENGINES
from benchmarks.graded import tables
from benchmarks.graded.asking import open_graded
from benchmarks.graded.films import GradedSet, read_external, read_validation
from benchmarks.graded.judging import default_file, describe, files_of, judge
from benchmarks.graded.records import FULL, SCHEMA_VERSION, FileFigures, Grades
from benchmarks.pages import chart_option, hand_on, json_option, page_option
from benchmarks.pareto import Point
from osteo_edge.benchmark.measure import describe_device
from osteo_edge.bundle import Bundle
from osteo_edge.device import processor
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.printable import counted
from train.data.dataset import DatasetError

# Waiting processes a processor, above which times are those of a busy machine.
BUSY = 0.5

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_bundles = click.option("--bundle", "names", multiple=True, required=True, help="Name or folder; may be given again.")
_learnt = click.option("--data", type=_FOLDER, required=True, help="Folder of graded knees, with the part bundles learnt from.")
_resamples = click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True)


@click.command("grades")
@_bundles
@_learnt
@_resamples
@click.option("--rounds", type=click.IntRange(0), default=15, show_default=True, help="Of timing; 0 for none.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@json_option
@page_option
@chart_option
def grades(
    names: Sequence[str],
    data: Path,
    resamples: int,
    rounds: int,
    threads: int,
    target: Path | None,
    page: Path | None,
    chart: Path | None,
) -> None:
    """Accuracy of every file of bundles that grade osteoarthritis, on the validation knees."""
    if chart and not rounds:
        raise click.UsageError("--chart is of times too, and needs --rounds")
    try:
        bundles = [open_graded(name) for name in names]
        found = measure(bundles, read_validation(data), resamples=resamples)
        if rounds:
            found = timed(found, bundles, rounds=rounds, threads=threads)
    except (OsteoEdgeError, DatasetError) as error:
        raise click.ClickException(str(error)) from error
    hand_on(found, lines_of(found), "grades", target=target, page=page)
    if chart:
        draw(found, chart)


@click.command("external")
@_bundles
@click.option("--data", type=_FOLDER, required=True, help="Folder of knees sorted by grade in its index.")
@click.option("--learnt", type=_FOLDER, required=True, help="Folder of the graded knees that bundles learnt from.")
@_resamples
@json_option
@page_option
def external(names: Sequence[str], data: Path, learnt: Path, resamples: int, target: Path | None, page: Path | None) -> None:
    """Bundles as they ship on knees of another country, graded by other readers."""
    try:
        bundles = [open_graded(name) for name in names]
        foreign = read_external(data, read_validation(learnt).class_shares)
        found = measure(bundles, foreign, resamples=resamples, only_default=True)
    except (OsteoEdgeError, DatasetError) as error:
        raise click.ClickException(str(error)) from error
    hand_on(found, external_lines(found), "external", target=target, page=page)


def measure(bundles: Sequence[Bundle], of: GradedSet, *, resamples: int, only_default: bool = False) -> Grades:
    """Ask and judge every file, or the one of each bundle that ``auto`` means here.

    Raises:
        ClickException: two bundles have one name, one has no full-precision file to compare with, or a picture is another.
    """
    _require_comparable(bundles)
    load = load_of_a_processor()
    judged = {
        bundle.manifest.name: judge(
            bundle, of, [default_file(bundle)] if only_default else files_of(bundle), resamples=resamples
        )
        for bundle in bundles
    }
    return Grades(
        schema_version=SCHEMA_VERSION,
        pictures=describe(of),
        resamples=resamples,
        processor=processor().model,
        threads=1,
        rounds=0,
        load=load,
        bundles={name: asked for name, (asked, _) in judged.items()},
        rows=tuple(row for _, rows in judged.values() for row in rows),
    )


def load_of_a_processor() -> float:
    """As ``Grades.load`` has it."""
    device = describe_device()
    return round((device.load or 0.0) / device.processors, 2)


def _require_comparable(bundles: Sequence[Bundle]) -> None:
    names = [bundle.manifest.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise click.ClickException("two of the bundles have one name; give each its own")
    for bundle in bundles:
        if FULL not in files_of(bundle):
            raise click.ClickException(
                f"{bundle.manifest.name} has no fp32 files for ONNX Runtime, which the others are measured against"
            )


def timed(found: Grades, bundles: Sequence[Bundle], *, rounds: int, threads: int) -> Grades:
    """With the time of each file, all of them in one contest."""
    timings = time_files(bundles, rounds=rounds, threads=threads)
    base = timings[bundles[0].manifest.name, *FULL]

    def with_time(row: FileFigures) -> FileFigures:
        samples = timings[row.bundle, row.engine, row.precision]
        return replace(
            row,
            median_ms=round(float(np.median(samples)), 3),
            ratio=round(ratio(samples, base), 4),
            samples_ms=tuple(round(float(one), 3) for one in samples),
        )

    return replace(found, threads=threads, rounds=rounds, rows=tuple(map(with_time, found.rows)))


def lines_of(found: Grades) -> list[str]:
    """The part of the page."""
    return [
        *tables.facts(found),
        "A refused knee counts as wrong and, where a figure needs scores, has the class shares of the training "
        f"part.{_timing(found)}",
        "Bold: what `auto` takes on this processor. Lost, changed and crossed (reported by both, with another answer): against "
        "ONNX Runtime fp32 of the same bundle.",
        "",
        *tables.accuracy_table(found),
        "",
        "In the set: share of the answered knees whose set holds the true grade, in all and by grade. Reported: share of all "
        "knees. Wrong: share of these whose answer does not hold the true grade.",
        "",
        *tables.sets_table(found),
        "",
        *(tables.answered_line(row) for row in found.rows if row.is_default),
    ]


def _timing(found: Grades) -> str:
    if not found.rounds:
        return ""
    told = f" ms: the networks alone for one knee, {found.processor}, {counted(found.threads, 'thread')}, in turns."
    if found.load > BUSY:
        told += f" Other work was under way (load {found.load:g} a processor before the start): an idle machine is faster."
    return told


def external_lines(found: Grades) -> list[str]:
    """The part of the page."""
    return [
        *tables.facts(found),
        "",
        *tables.accuracy_table(found),
        "",
        *tables.sets_table(found),
        "",
        *map(tables.answered_line, found.rows),
    ]


def draw(found: Grades, path: Path) -> None:
    """Kappa against time and size."""
    points = [
        Point(
            row.bundle,
            f"{ENGINES[row.engine]} {row.precision}",
            row.precision,
            row.all_pictures["quadratic_kappa"],
            row.median_ms,
            row.megabytes,
        )
        for row in found.rows
    ]
    pareto.draw(
        points,
        path,
        title="Grades of the validation knees, time and size",
        value="quadratic kappa, 95 % interval",
        time=f"ms for one knee, networks alone, {counted(found.threads, 'thread')}",
    )
