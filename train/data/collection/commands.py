"""``python -m train collect``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from osteo_edge.printable import counted, printable
from train.data.dataset import DatasetError
from train.runs.command_line import told_in_one_line


@click.command()
@click.argument("export", type=click.Path(path_type=Path))
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the export.")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="New folder for the films and labels.csv.")
@click.option("--leave-out", is_flag=True, help="Go on without the rows and films that are faulty.")
@click.option(
    "--key", type=click.Path(path_type=Path),
    help="CSV to write that leads back to the export: patients' data, to be kept where the export is.",
)  # fmt: skip
def collect(export: Path, config_file: Path, output: Path, leave_out: bool, key: Path | None) -> None:
    """Make a folder for training of a hospital's EXPORT: a table, and films in folders of any depth.

    Every fault is told before anything is written; ends with 2 where there are any, unless they are to be left out.
    """
    with told_in_one_line():
        from train.data.collection.config import read_collection_config
        from train.data.collection.joining import collect as join
        from train.data.collection.writing import write_collection

        found = join(export, read_collection_config(config_file))
        for note in found.notes:
            click.echo(f"note   {printable(note)}")
        for fault in found.faults:
            click.echo(f"fault  {printable(fault)}")
        if found.faults and not leave_out:
            raise DatasetError(
                f"{counted(len(found.faults), 'fault')}, nothing is written; mend them, or go on without by --leave-out"
            )
        labels = write_collection(export, found.films, output, key)
        for line in _told(output):
            click.echo(line)
        click.echo(labels)


def _told(folder: Path) -> Iterator[str]:
    """What was collected, and how the classes' people differ."""
    from train.data.dataset import LABELS, read_dataset
    from train.data.people import AGE, SEX, balance_of

    dataset = read_dataset(folder)
    films = counted(len(dataset.radiographs), "film")
    yield f"{films} of {counted(len(set(dataset.groups)), 'patient')}"
    for label in LABELS:
        of_label = [row.patient_group for row in dataset.radiographs if row.label == label]
        yield f"  {label}: {counted(len(of_label), 'film')} of {counted(len(set(of_label)), 'patient')}"
    for balance in (balance_of(dataset, name) for name in (AGE, SEX)):
        yield f"{balance.title}: {balance.sentence}"
