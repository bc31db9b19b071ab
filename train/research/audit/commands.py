"""The commands of the room: audit a folder; measure the audit itself on planted twins."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.errors import OsteoEdgeError

if TYPE_CHECKING:
    from train.research.audit.examination import Audit

CLEAN, FINDINGS, FAILED = 0, 1, 2
DEFAULT_OUTPUT = "audit"
RESULTS = Path(__file__).parents[2] / "results" / "audit"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option(
    "--output", type=click.Path(path_type=Path), default=DEFAULT_OUTPUT, show_default=True,
    help="Folder for audit.json and audit.html.",
)  # fmt: skip
@click.option("--split", type=click.Path(path_type=Path), help="split.json of a run: is a patient or a copy on both sides?")
@click.option("--write-groups", type=click.Path(path_type=Path), help="CSV table to write, with copies put into one group.")
@click.option("--aggregate", type=click.Path(path_type=Path), help="JSON to write as well, that names no file and no patient.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--resamples", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--no-pictures", is_flag=True, help="Leave the pictures out of the report.")
@click.option("--quick", is_flag=True, help="Leave out the permuted labels, the slowest check.")
def audit(
    folder: Path,
    output: Path,
    split: Path | None,
    write_groups: Path | None,
    aggregate: Path | None,
    seed: int,
    resamples: int,
    no_pictures: bool,
    quick: bool,
) -> None:
    """Find copies, contradictions, leaks and shortcuts in FOLDER (labels.csv, or folders named by class).

    Ends with 0 where everything passes, 1 where there are findings (warnings among them), 2 where FOLDER cannot be audited.
    The report names files and shows pictures: treat it as patients' data.
    """
    try:
        found = _examine(folder, output, split, seed, resamples, quick=quick)
        _write(found, output, folder.resolve().name, write_groups, aggregate, with_pictures=not no_pictures)
    except OsteoEdgeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(FAILED) from error
    for check in found.checks:
        click.echo(f"{check.verdict:4}  {check.name}: {check.reason}")
    click.echo(f"Report: {output / 'audit.html'}")
    raise SystemExit(CLEAN if found.is_clean else FINDINGS)


def _examine(folder: Path, output: Path, split: Path | None, seed: int, resamples: int, *, quick: bool) -> Audit:
    _quieten()
    from train.research.audit.examination import examine

    _prepare(output)
    return examine(folder, split=split, resamples=resamples, seed=seed, quick=quick)


def _write(
    found: Audit, output: Path, title: str, write_groups: Path | None, aggregate: Path | None, *, with_pictures: bool
) -> None:
    from train.research.audit.page import aggregate_audit, plain_audit, write_page
    from train.runs.cache import save_json

    try:
        save_json(output / "audit.json", plain_audit(found))
        (output / "audit.html").write_text(write_page(found, title=title, with_pictures=with_pictures), encoding="utf-8")
        if aggregate:
            save_json(aggregate, aggregate_audit(found))
        if write_groups:
            rows = zip(found.names, (row.label for row in found.dataset.radiographs), found.groups, strict=True)
            _write_groups(write_groups, list(rows))
    except OSError as error:
        raise OsteoEdgeError(f"{error.filename or output}: cannot be written ({error.strerror})") from error


def _quieten() -> None:
    """Keras comes along with the baselines; TensorFlow tells of its own affairs otherwise."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def _prepare(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OsteoEdgeError(f"{output}: cannot be the report's folder ({error.strerror})") from error


def _write_groups(path: Path, rows: list[tuple[str, str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "patient_group"))
        writer.writerows(rows)


@click.command("audit-check")
@click.option(
    "--output", type=click.Path(path_type=Path), default=RESULTS, show_default="train/results/audit",
    help="Folder for planted.json.",
)  # fmt: skip
@click.option("--count", type=click.IntRange(min=4), default=38, show_default=True, help="Synthetic radiographs to plant from.")
@click.option(
    "--pictures", type=click.Path(path_type=Path), help="Folder of real pictures without copies to plant from as well."
)
@click.option(
    "--limit", type=click.IntRange(min=1), default=12, show_default=True, help="Real pictures to plant from, at most."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def audit_check(output: Path, count: int, pictures: Path | None, limit: int, seed: int) -> None:
    """Measure precision and recall of the search for copies on planted twins."""
    try:
        _quieten()
        from train.research.audit.planted import measure
        from train.runs.cache import save_json

        figures = measure(count=count, pictures=pictures, limit=limit, seed=seed)
        _prepare(output)
        save_json(output / "planted.json", figures)
    except OsteoEdgeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(FAILED) from error
    for source, one in figures["sources"].items():
        shares = ", ".join(f"{name} {one[name]['count']} of {one[name]['of']}" for name in ("precision", "recall"))
        click.echo(f"{source}: {shares}, {one['seconds']} s")
