"""``python -m train distil``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the distillation.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the result, instead of the configured one.")
@click.option(
    "--time-budget", type=click.FloatRange(min=1), default=3600.0, show_default=True, help="Seconds, earlier starts counted."
)
def distil(config_file: Path, output: Path | None, time_budget: float) -> None:
    """Teach a backbone without ImageNet weights the features of one that has them; goes on where it was stopped."""
    quieten_tensorflow()
    with told_in_one_line():
        from train.fitting.beforehand.distil import distil as run
        from train.fitting.beforehand.distil import read_distil_config
        from train.runs.config import from_project

        config = read_distil_config(config_file)
        facts = run(config, output or from_project(config.output), time_budget_s=time_budget)
    shares = ", ".join(f"{level} {share:.2f}" for level, share in facts["explained_variance"].items())
    ended = "the time budget ended first" if facts["stopped_early"] else "whole schedule"
    click.echo(f"{facts['steps']} steps ({ended}); explained variance on held-out knees: {shares}")
