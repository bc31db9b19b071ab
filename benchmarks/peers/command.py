"""The same radiographs through what a user would pick instead of osteo-edge, in interleaved rounds.

The peers are Keras as the papers use it, the same network with depthwise convolutions, TensorFlow as a graph, PyTorch, and
plain scripts on ONNX Runtime, LiteRT and OpenVINO. Every one does the same job: a picture file in, probabilities out. The
peers are given the boxes of the knees, which osteo-edge finds itself; that favours them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from benchmarks.peers.entrants import gather
from benchmarks.peers.programme import programme
from benchmarks.peers.records import read, write
from benchmarks.peers.rounds import Contest
from benchmarks.peers.table import table

EXAMPLE = Path("examples/synthetic-knee.png")
RUNS = ("train/results/knee-convnext_tiny", "train/results/knee-mobilenet_v2")


@click.command("peers")
@click.option("--bundle", "names", multiple=True, default=("knee-mobilenet_v2",), show_default=True, help="The first is ours.")
@click.option(
    "--run", "folders", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), default=RUNS,
    show_default=True, help="Networks for Keras, TensorFlow and PyTorch.",
)  # fmt: skip
@click.option(
    "--peers", "others", multiple=True, type=click.Path(exists=True, dir_okay=False),
    help="Another Python with OpenVINO, PyTorch and Keras, or others.",
)  # fmt: skip
@click.option("--image", type=click.Path(exists=True, dir_okay=False, path_type=Path), default=EXAMPLE, show_default=True)
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Radiographs to go through as well."
)
@click.option("--pictures", type=click.IntRange(0), default=1000, show_default=True, help="Of the folder; 0: none.")
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option("--cold-rounds", type=click.IntRange(0), default=7, show_default=True, help="Whole processes; 0: none.")
@click.option("--seconds", type=click.FloatRange(0), default=0.5, show_default=True, help="An entrant runs a picture, about.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Kept up to date while measuring.")
@click.option("--chart", type=click.Path(dir_okay=False, path_type=Path), help="Also draw it, PNG or SVG.")
@click.option(
    "--again",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Measure nothing; print and draw what this file of --json holds.",
)
def command(
    names: Sequence[str],
    folders: Sequence[Path],
    others: Sequence[str],
    image: Path,
    data: Path | None,
    pictures: int,
    rounds: int,
    cold_rounds: int,
    seconds: float,
    target: Path | None,
    chart: Path | None,
    again: Path | None,
) -> None:
    """Keras, TensorFlow, PyTorch, ONNX Runtime, LiteRT and OpenVINO against osteo-edge, on the same picture files."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError
    from train.runs.folder import load_run

    if chart and chart.suffix not in (".png", ".svg"):
        raise click.UsageError("--chart names a .png or .svg file")
    try:
        if again:
            found = read(again)
        else:
            bundles = [open_bundle(name) for name in names]
            runs = [load_run(folder) for folder in folders]
            with tempfile.TemporaryDirectory(prefix="peers-") as temporary:
                place = Path(temporary)
                click.echo("making the peers' files", err=True)
                asked = programme(bundles[0], image, data, place, pictures, rounds, cold_rounds, seconds)
                field = gather(bundles, runs, (sys.executable, *others), data, place)
                with click.progressbar(length=asked.steps, label="rounds", file=sys.stderr) as bar:
                    contest = Contest(field, bundles, asked, place, on_round=lambda: bar.update(1))
                    for found in contest.measure():
                        if target:
                            write(found, target)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(found))
    if chart:
        from benchmarks.peers.chart import draw

        draw(found, chart)
