"""The commands of the room: fit the segmenters, judge them, measure bones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from osteo_edge.errors import OsteoEdgeError
from train.data.dataset import Dataset, read_dataset
from train.runs.config import from_project

CONFIG = "train/configs/segmentation.toml"


class _OneLineErrors(click.Group):
    """Ends with a line, not a traceback, where the data or a setting cannot be used."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except OsteoEdgeError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_OneLineErrors)
def segmentation() -> None:
    """Outline bones: train two networks, judge them, measure bones. Research use, not a diagnosis."""


def _shared(command: Callable[..., None]) -> Callable[..., None]:
    options = (
        click.option("--config", "config_file", type=click.Path(path_type=Path), default=from_project(CONFIG),
                     show_default=CONFIG, help="TOML file."),
        click.option("--data", type=click.Path(path_type=Path), help="Folder with labels.csv, instead of the configured one."),
        click.option("--output", type=click.Path(path_type=Path), help="Folder for results, instead of the configured one."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@segmentation.command()
@_shared
@click.option("--only", multiple=True, help="Train only this one of the configured trainings; may be given again.")
def fit(config_file: Path, data: Path | None, output: Path | None, only: tuple[str, ...]) -> None:
    """Train every configured network; one that is finished is not trained again, a stopped one goes on."""
    from train.research.segmentation.room import fit_all

    settings, dataset, folder = _open(config_file, data, output)
    fit_all(settings, dataset, folder, only=only)


@segmentation.command()
@_shared
def judge(config_file: Path, data: Path | None, output: Path | None) -> None:
    """Judge the trained networks on the report half; write metrics.json, the kept weights and a figure."""
    from train.research.segmentation.room import judge_all

    settings, dataset, folder = _open(config_file, data, output)
    metrics = judge_all(settings, dataset, folder)
    for name, figures in metrics["report"].items():
        bones = "  ".join(f"{bone} {one.value:.3f}" for bone, one in figures["dice"].items())
        click.echo(f"{name}: Dice {bones}; 95 % distance {figures['distance_95']['mean'].value:.3f} knee widths")


@segmentation.command()
@_shared
@click.option("--finder", type=click.Path(path_type=Path), help="The knee finder's file, instead of the configured one.")
@click.option("--table", type=click.Path(path_type=Path), help="Write the measures of every radiograph to this .npz file too.")
def measure(config_file: Path, data: Path | None, output: Path | None, finder: Path | None, table: Path | None) -> None:
    """Measure the bones of every radiograph; write how each measure goes with T. Research figures only."""
    from osteo_edge.finder.joint_finder import JointFinder
    from train.research.segmentation.room import measure_all

    settings, dataset, folder = _open(config_file, data, output)
    joint_finder = JointFinder.from_bytes(_read(finder or from_project(settings.finder)))
    names, values, rows = measure_all(settings, dataset, joint_finder, folder)
    if table is not None:
        digests = np.array([row.sha256 for row in dataset.radiographs])
        np.savez(table, names=np.array(names), values=values, sha256=digests)
    for row in rows:
        parts = (f"{given} {row[given]['rho']:+.2f} (q {row[given]['q']:.3f})" for given in row if isinstance(row[given], dict))
        click.echo(f"{row['measure']} (n {row['n']}): {', '.join(parts)}")


@segmentation.command()
@_shared
@click.option("--folder", type=click.Path(path_type=Path, file_okay=False), required=True, help="Folder for the sheets.")
def sheets(config_file: Path, data: Path | None, output: Path | None, folder: Path) -> None:
    """Write a sheet with a grid for every knee that is to be drawn, and one with its outlines where it is drawn."""
    from train.research.segmentation.drawing import write_sheets

    settings, dataset, _ = _open(config_file, data, output)
    write_sheets(dataset, _joint_finder(settings), folder)


@segmentation.command()
@_shared
@click.option("--points", type=click.Path(path_type=Path), required=True, help="Lines of: number bone x,y x,y ...")
@click.option("--again", type=click.Path(path_type=Path), help="The same for the knees that are drawn a second time.")
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
def draw(
    config_file: Path, data: Path | None, output: Path | None, points: Path, again: Path | None, annotations: Path
) -> None:
    """Turn points that were set by eye on the sheets into outlines that follow the edges."""
    from train.research.segmentation.drawing import read_points, write_outlines

    settings, dataset, _ = _open(config_file, data, output)
    second = read_points(again) if again is not None else {}
    write_outlines(dataset, _joint_finder(settings), read_points(points), second, annotations)


def _joint_finder(settings: Any) -> Any:
    from osteo_edge.finder.joint_finder import JointFinder

    return JointFinder.from_bytes(_read(from_project(settings.finder)))


def _open(config_file: Path, data: Path | None, output: Path | None) -> tuple[Any, Dataset, Path]:
    from train.research.segmentation.settings import read_segmentation_settings

    settings = read_segmentation_settings(config_file)
    return settings, read_dataset(data or from_project(settings.data)), output or from_project(settings.output)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OsteoEdgeError(f"{path}: cannot be read ({error.strerror})") from error
