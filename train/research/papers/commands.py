"""The command of the room: run what is missing and write the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from osteo_edge.errors import OsteoEdgeError
from train.research.holdout.commands import FAILED, quieten_tensorflow, read_finder
from train.research.holdout.config import read_hold_out_config, require_budget
from train.research.papers.table import PAPERS, ROWS
from train.runs.config import PROJECT, ConfigError, from_project

CONFIGS = PROJECT / "train" / "configs" / "papers"
CONFIG_NAMES = ("published", "p4", "ours")


@click.command()
@click.option("--only", multiple=True, help="A paper (P1) or a row (p1-vgg16); may be given several times.")
@click.option("--time-budget-per-model", type=float, help="Seconds for each training, instead of the configured ones.")
@click.option("--side-px", type=click.IntRange(32, 1024), help="Side of the pictures that networks are trained on.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with labels.csv, instead of the configured one.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=PROJECT / "train" / "results" / "papers", help="The report's folder."
)
@click.option("--no-training", is_flag=True, help="Report the runs that are there; train nothing.")
def papers(
    only: tuple[str, ...],
    time_budget_per_model: float | None,
    side_px: int | None,
    data: Path | None,
    output: Path,
    no_training: bool,
) -> None:
    """Run the papers' models under their protocol and ours, and write the report."""
    try:
        _papers(only, time_budget_per_model, side_px, data, output, train_missing=not no_training)
    except OsteoEdgeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(FAILED) from error


def _papers(
    only: tuple[str, ...],
    budget_s: float | None,
    side_px: int | None,
    data: Path | None,
    output: Path,
    *,
    train_missing: bool,
) -> None:
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.integrity import sha256_hex
    from train.data.dataset import read_dataset

    require_known(only)
    configs = {}
    for name in CONFIG_NAMES:
        file = CONFIGS / f"{name}.toml"
        config = read_hold_out_config(file)
        if budget_s is not None:
            require_budget(budget_s)
            config = replace(config, time_budget_s=budget_s)
        if side_px is not None:
            config = replace(config, view=replace(config.view, height_px=side_px, width_px=side_px))
        configs[name] = (config, file.read_text(encoding="utf-8"))
    first = configs["published"][0]
    finder_bytes = read_finder(from_project(first.finder))
    dataset = read_dataset(data or from_project(first.data))

    quieten_tensorflow()
    from train.research.papers.networks import Bench
    from train.research.papers.report import HTML_FILE, make_report
    from train.runs.cache import open_cache

    bench = Bench(
        dataset=dataset,
        finder=JointFinder.from_bytes(finder_bytes),
        finder_digest=sha256_hex(finder_bytes),
        configs=configs,
        output=output,
        cache=open_cache(output),
        train_missing=train_missing,
    )
    make_report(bench, only)
    click.echo(f"Written to {output / HTML_FILE}")


def require_known(only: tuple[str, ...]) -> None:
    """Refuse names that are neither a paper's nor a row's.

    Raises:
        ConfigError: names what is known.
    """
    known = [*(paper.key for paper in PAPERS), *(row.key for row in ROWS)]
    for name in only:
        if name not in known:
            raise ConfigError(f"--only: unknown {name[:40]!r}; known are {', '.join(known)}")
