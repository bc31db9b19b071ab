"""``python -m train grade``."""

from __future__ import annotations

from pathlib import Path

import click

from train.command_line import quieten_tensorflow, told_in_one_line


@click.command("grade")
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the run.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with index.csv, instead of the configured one.")
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder, instead of the configured one.")
@click.option("--keep-cache", is_flag=True, help="Keep checkpoints, which are removed at the end.")
def command(config_file: Path, data: Path | None, output: Path | None, keep_cache: bool) -> None:
    """Train and judge a network that grades knees; a stopped run goes on where it was."""
    with told_in_one_line():
        from train.config import from_project
        from train.grading.config import read_grading_config
        from train.grading.knees import read_index
        from train.places import open_finder

        config = read_grading_config(config_file)
        opened, digest = open_finder(from_project(config.finder))
        knees = read_index(data or from_project(config.data))

        quieten_tensorflow()
        from train import cache
        from train.grading.run import grade

        folder = output or from_project(config.output)
        grade(config, knees, opened, digest, output=folder, config_text=config_file.read_text(encoding="utf-8"))
        if not keep_cache:
            cache.remove_cache(folder)
