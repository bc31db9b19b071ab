"""``python -m train ensemble``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the ensemble.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of radiographs, instead of the configured one.")
@click.option("--output", type=click.Path(path_type=Path), help="The ensemble's folder, instead of the configured one.")
def ensemble(config_file: Path, data: Path | None, output: Path | None) -> None:
    """Combine finished runs, of classes or of grades, and judge what comes of it."""
    quieten_tensorflow()
    with told_in_one_line():
        from train.grading.stacking import is_of_grades
        from train.runs.config import from_project, read_toml

        if is_of_grades(read_toml(config_file).get("members", ())):
            _stack_grades(config_file, data, output)
            return
        from train.data.dataset import read_dataset
        from train.ensembles.run import read_ensemble_config, run_ensemble
        from train.judging.pages.writing import write_reports

        config = read_ensemble_config(config_file)
        dataset = read_dataset(data or from_project(config.data))
        folder = output or from_project(config.output)
        run_ensemble(config, dataset, folder, config_file.read_text(encoding="utf-8"))
        for path in write_reports(folder):
            click.echo(path)


def _stack_grades(config_file: Path, data: Path | None, output: Path | None) -> None:
    from train.grading.knees import read_index
    from train.grading.stacking import read_stacking_config, run_stacking
    from train.runs.config import from_project

    config = read_stacking_config(config_file)
    folder = output or from_project(config.output)
    run_stacking(config, read_index(data or from_project(config.data)), folder, config_file.read_text(encoding="utf-8"))
    click.echo(folder)
