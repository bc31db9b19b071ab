"""``python -m train research study``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the study.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of radiographs, instead of the configured one.")
@click.option("--output", type=click.Path(path_type=Path), help="The study's folder, instead of the configured one.")
def study(config_file: Path, data: Path | None, output: Path | None) -> None:
    """Compare networks, regions, targets, ensembles and covariates on frozen features; goes on where it was stopped."""
    with told_in_one_line():
        _study(config_file, data, output)


def _study(config_file: Path, data: Path | None, output: Path | None) -> None:
    from train.data.dataset import read_dataset
    from train.data.places import open_configured
    from train.research.study.config import read_study_config
    from train.runs.config import from_project

    config = read_study_config(config_file)
    finder, digest = open_configured(config.finder)
    # Here already: a faulty folder is refused before TensorFlow takes its seconds to start.
    dataset = read_dataset(data or from_project(config.data))

    quieten_tensorflow()
    from train.judging.pages.writing import write_reports
    from train.research.study.study import study as run

    folder = output or from_project(config.output)
    text = config_file.read_text(encoding="utf-8")
    run(config, finder, digest, dataset=dataset, output=folder, config_text=text)
    for path in write_reports(folder):
        click.echo(path)
