"""``python -m train judge-grades``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command("judge-grades")
@click.option("--run", "folder", type=click.Path(path_type=Path), required=True, help="The run's folder, with its weights.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with index.csv, instead of the configured one.")
@click.option("--finder", type=click.Path(path_type=Path), help="The knee finder's file, instead of the configured one.")
def judge_grades(folder: Path, data: Path | None, finder: Path | None) -> None:
    """Calibrate and judge trained weights, and write what a bundle is made of beside them."""
    with told_in_one_line():
        from train.data.places import open_configured
        from train.grading.config import read_grading_config
        from train.grading.knees import read_index
        from train.runs.config import from_project
        from train.runs.folder import CONFIG_FILE

        config = read_grading_config(folder / CONFIG_FILE)
        opened, digest = open_configured(config.finder, finder)
        knees = read_index(data or from_project(config.data))

        quieten_tensorflow()
        from train.grading.run import judge

        judge(config, knees, opened, digest, folder=folder)
        click.echo(folder)
