"""``python -m train synthetic-spines``."""

from __future__ import annotations

from pathlib import Path

import click

from train.synthetic.spine import write_spine_dataset


@click.command("synthetic-spines")
@click.option("--output", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--count", type=click.IntRange(min=1), default=90, show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--scale", type=click.FloatRange(min=0.2, max=2), default=0.5, show_default=True)
def synthetic_spines(output: Path, count: int, seed: int, scale: float) -> None:
    """Write a folder of synthetic spines with labels.csv, for train/configs/spine.toml; of no medical use."""
    click.echo(write_spine_dataset(output, count=count, seed=seed, scale=scale))
