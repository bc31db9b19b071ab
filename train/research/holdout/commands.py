"""The command of the room: one hold-out run."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from pathlib import Path

import click

from osteo_edge.errors import OsteoEdgeError

FAILED = 2


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the run.")
@click.option("--backbone", help="Name of the network, instead of the configured one.")
@click.option("--time-budget", type=float, help="Seconds for the training, instead of the configured ones.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with labels.csv, instead of the configured one.")
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder, instead of the configured one.")
@click.option("--keep-cache", is_flag=True, help="Keep pictures and checkpoint, so that a larger budget goes on from there.")
def holdout(
    config_file: Path,
    backbone: str | None,
    time_budget: float | None,
    data: Path | None,
    output: Path | None,
    keep_cache: bool,
) -> None:
    """Train one backbone on one split under a time budget."""
    try:
        _holdout(config_file, backbone, time_budget, data, output, keep_cache=keep_cache)
    except OsteoEdgeError as error:
        click.echo(f"Error: {error}", err=True)
        raise SystemExit(FAILED) from error


def _holdout(
    config_file: Path,
    backbone: str | None,
    time_budget: float | None,
    data: Path | None,
    output: Path | None,
    *,
    keep_cache: bool,
) -> None:
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.integrity import sha256_hex
    from train.data.dataset import read_dataset
    from train.networks.backbones import find_backbone
    from train.research.holdout.config import read_hold_out_config, require_budget
    from train.runs.config import from_project

    config = read_hold_out_config(config_file)
    config = replace(config, backbone=backbone or config.backbone, time_budget_s=time_budget or config.time_budget_s)
    require_budget(config.time_budget_s if time_budget is None else time_budget)
    find_backbone(config.backbone)
    finder_bytes = read_finder(from_project(config.finder))
    dataset = read_dataset(data or from_project(config.data))

    quieten_tensorflow()
    from train.research.holdout.hold_out import MODEL, run_hold_out

    folder = output or from_project(config.output)
    result = run_hold_out(
        config,
        JointFinder.from_bytes(finder_bytes),
        sha256_hex(finder_bytes),
        dataset=dataset,
        output=folder,
        config_text=config_file.read_text(encoding="utf-8"),
        keep_checkpoint=keep_cache,
    )
    figures, run = result.metrics[MODEL], result.run
    ended = "stopped by the time budget" if run["stopped_early"] else "finished"
    click.echo(
        f"{config.backbone}, {run['weights']['kind']} weights: {run['epochs']} epochs in {run['seconds']:.0f} s, {ended}"
    )
    if run["epochs"] == 0:
        click.echo("Not one epoch fitted the budget: the figures are those of the untrained network.")
    for figure in ("accuracy", "balanced_accuracy", "macro_auc"):
        value = figures[figure]
        click.echo(f"  {figure}: {value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f})")
    click.echo(f"Written to {folder}")


def read_finder(path: Path) -> bytes:
    """The finder's file.

    Raises:
        OsteoEdgeError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise OsteoEdgeError(f"{path}: the knee finder cannot be read ({error.strerror})") from error


def quieten_tensorflow() -> None:
    """TensorFlow tells of its own affairs otherwise: the processor's instructions, functions traced again."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
