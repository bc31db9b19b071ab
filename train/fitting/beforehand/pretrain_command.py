"""``python -m train pretrain``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the pre-training.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the result, instead of the configured one.")
def pretrain(config_file: Path, output: Path | None) -> None:
    """Teach a backbone the grade of osteoarthritis on knees without a bone-density label."""
    quieten_tensorflow()
    with told_in_one_line():
        from train.fitting.beforehand.pretraining import pretrain as run
        from train.fitting.beforehand.pretraining import read_pretrain_config
        from train.runs.config import from_project

        config = read_pretrain_config(config_file)
        facts = run(config, output or from_project(config.output))
    held_out = facts["held_out"]
    click.echo(
        f"held out: rank correlation {held_out['rank_correlation']:.2f}, grades off by {held_out['mean_absolute_error']:.2f}"
    )
