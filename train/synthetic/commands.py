"""``python -m train synthetic-hospital``."""

from __future__ import annotations

from pathlib import Path

import click

from train.synthetic.hospital import Encoding, write_hospital_export


@click.command("synthetic-hospital")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--patients", type=click.IntRange(min=6), default=60, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--scale", type=click.FloatRange(min=0.2, max=2), default=0.4, show_default=True)
@click.option(
    "--encoding", type=click.Choice(["latin-1", "utf-8-sig"]), default="latin-1", show_default=True, help="Of the table."
)
@click.option("--unmatched", is_flag=True, help="Classes of different ages.")
@click.option("--without-faults", is_flag=True, help="Leave out the rows that cannot be used.")
def synthetic_hospital(
    output: Path, patients: int, seed: int, scale: float, encoding: Encoding, unmatched: bool, without_faults: bool
) -> None:
    """Write a made-up hospital's export, for train/configs/collection-example.toml; of no medical use."""
    table = write_hospital_export(
        output,
        patients=patients,
        seed=seed,
        scale=scale,
        encoding=encoding,
        is_matched=not unmatched,
        with_faults=not without_faults,
    )
    click.echo(table)
