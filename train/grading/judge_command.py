"""``python -m train judge-grades``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command("judge-grades")
@click.option(
    "--run", "folder", type=click.Path(path_type=Path), required=True, help="The run's folder, or that of a stacking."
)
@click.option("--data", type=click.Path(path_type=Path), help="Folder with index.csv, instead of the configured one.")
@click.option("--finder", type=click.Path(path_type=Path), help="The knee finder's file, instead of the configured one.")
def judge_grades(folder: Path, data: Path | None, finder: Path | None) -> None:
    """Calibrate and judge trained weights, and write what a bundle is made of beside them; of a stacking, each member first."""
    with told_in_one_line():
        from train.runs.folder import ENSEMBLE_FILE

        if (folder / ENSEMBLE_FILE).is_file():
            _judge_stacking(folder, data, finder)
        else:
            _judge_network(folder, data, finder)
        click.echo(folder)


def _judge_network(folder: Path, data: Path | None, finder: Path | None) -> None:
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


def _judge_stacking(folder: Path, data: Path | None, finder: Path | None) -> None:
    quieten_tensorflow()
    from train.grading.knees import read_index
    from train.grading.stacking import read_stacking_config, run_stacking
    from train.runs.config import from_project
    from train.runs.folder import CONFIG_FILE

    config = read_stacking_config(folder / CONFIG_FILE)
    for member in config.members:
        _judge_network(from_project(member), data, finder)
    knees = read_index(data or from_project(config.data))
    run_stacking(config, knees, folder, (folder / CONFIG_FILE).read_text(encoding="utf-8"))
