"""``python -m train compare``, ``python -m train label-sets`` and ``python -m train report``."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from osteo_edge.errors import OsteoEdgeError

run_folder = click.Path(path_type=Path, exists=True, file_okay=False)


def _one_line_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Ends with a line, not a traceback, where a run cannot be used."""

    @wraps(command)
    def guarded(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except OsteoEdgeError as error:
            click.echo(f"Error: {error}", err=True)
            raise SystemExit(2) from error

    return guarded


@click.command()
@click.argument("run_a", type=run_folder)
@click.argument("run_b", type=run_folder)
@click.option("--system", default="model", show_default=True, help="The system of the runs: the model or a baseline.")
@click.option("--against", help="The system of the second run, where it is another one.")
@click.option("--resamples", type=click.IntRange(100), default=2000, show_default=True, help="Bootstrap resamples.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--json", "as_plain", is_flag=True, help="JSON instead of a table.")
@_one_line_errors
def compare(run_a: Path, run_b: Path, system: str, against: str | None, resamples: int, seed: int, as_plain: bool) -> None:
    """Compare two models, or two systems of one run, on the radiographs that both have scored."""
    from train.judging.comparison import as_json, as_text, compare_systems, read_system

    first, second = read_system(run_a, system), read_system(run_b, against or system)
    names = (f"{run_a.resolve().name}, {first.name}", f"{run_b.resolve().name}, {second.name}")
    comparison = compare_systems(first, second, names, count=resamples, seed=seed)
    click.echo(json.dumps(as_json(comparison), indent=1) if as_plain else as_text(comparison))


@click.command("label-sets")
@click.argument("runs", type=run_folder, nargs=-1, required=True, metavar="RUN...")
@_one_line_errors
def label_sets(runs: tuple[Path, ...]) -> None:
    """Count the label sets of finished runs again, by the rules of today, and write metrics.json and the report.

    Thresholds stay; scores are those of oof.json.
    """
    from train.judging.label_sets import count_again
    from train.judging.pages.writing import write_reports

    for run in runs:
        for line in count_again(run):
            click.echo(f"{run}: {line}")
        write_reports(run)


@click.command()
@click.argument("run", type=run_folder)
@_one_line_errors
def report(run: Path) -> None:
    """Write results.csv, results.xlsx and report.html into the folder of a finished run."""
    from train.judging.pages.writing import write_reports

    for path in write_reports(run):
        click.echo(path)
