"""``python -m train fit`` and ``python -m train fold-networks``."""

from __future__ import annotations

from pathlib import Path

import click

from train.runs.command_line import quieten_tensorflow, told_in_one_line


@click.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the run.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the table, instead of the configured one.")
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder, instead of the configured one.")
@click.option("--finder", type=click.Path(path_type=Path), help="The knee finder's file, instead of the configured one.")
@click.option("--keep-cache", is_flag=True, help="Keep prepared knees and checkpoints, which are removed at the end.")
def fit(config_file: Path, data: Path | None, output: Path | None, finder: Path | None, keep_cache: bool) -> None:
    """Train and measure a network, of classes or of grades, as the configuration says; a stopped run goes on where it was."""
    with told_in_one_line():
        from train.grading.config import is_grading_config

        if is_grading_config(config_file):
            from train.grading.commands import fit_grades

            fit_grades(config_file, data, output, finder, keep_cache=keep_cache)
        else:
            _fit_classes(config_file, data, output, finder, keep_cache=keep_cache)


def _fit_classes(config_file: Path, data: Path | None, output: Path | None, finder: Path | None, *, keep_cache: bool) -> None:
    from train.data.dataset import read_dataset
    from train.data.places import open_configured
    from train.runs.config import from_project, read_config

    config = read_config(config_file)
    opened, digest = open_configured(config.finder, finder)
    # Here already: a faulty folder is refused before TensorFlow takes its seconds to start.
    dataset = read_dataset(data or from_project(config.data))

    quieten_tensorflow()
    from train.fitting.fit import fit as run

    run(
        config,
        opened,
        digest,
        dataset=dataset,
        output=output or from_project(config.output),
        config_text=config_file.read_text(encoding="utf-8"),
        keep_cache=keep_cache,
    )


@click.command("fold-networks")
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the finished run.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with labels.csv, instead of the configured one.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The run's folder, instead of the configured one.")
@click.option("--keep-cache", is_flag=True, help="Keep prepared knees and checkpoints, which are removed at the end.")
def fold_networks(config_file: Path, data: Path | None, folder: Path | None, keep_cache: bool) -> None:
    """Train a finished run's folds again, for export to judge quantization on; new runs keep theirs."""
    with told_in_one_line():
        from train.data.dataset import read_dataset
        from train.data.places import open_configured
        from train.runs.config import from_project, read_config

        config = read_config(config_file)
        opened, digest = open_configured(config.finder)
        dataset = read_dataset(data or from_project(config.data))
        quieten_tensorflow()
        from train.fitting.refitting import refit_folds

        run = folder or from_project(config.output)
        off = refit_folds(config, opened, digest, dataset=dataset, run=run, keep_cache=keep_cache)
        click.echo(f"{run}: every fold's network again, off its recorded probabilities by at most {off:.1e}")
