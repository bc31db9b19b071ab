"""Write one picture: `python -m train.synthetic --output FILE.png --seed 7 --layout one_knee`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import click
import numpy as np

from train.synthetic.cases import LAYOUTS, sample_case, write_png
from train.synthetic.records import Layout
from train.synthetic.render import render


@click.command()
@click.option("--output", type=click.Path(path_type=Path), required=True, help="PNG file to write.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--layout", type=click.Choice(LAYOUTS), default="one_knee", show_default=True)
@click.option("--bone-density", type=click.FloatRange(0.2, 1.5), help="1.0 is normal; drawn if not given.")
@click.option("--bit-depth", type=click.Choice(["8", "16"]), default="8", show_default=True)
def main(output: Path, seed: int, layout: str, bone_density: float | None, bit_depth: str) -> None:
    """Write one synthetic radiograph of knees, for tests and examples only."""
    rng = np.random.default_rng(seed)
    knees, acquisition = sample_case(rng, layout=cast(Layout, layout), bone_density=bone_density)
    depth = cast(Literal[8, 16], int(bit_depth))
    write_png(output, render(knees, replace(acquisition, bit_depth=depth), seed=seed).pixels)


if __name__ == "__main__":
    main()
