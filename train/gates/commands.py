"""The commands of the gate for knees: collect windows, fit and judge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np

from train.finder.commands import RESULTS as FINDER
from train.finder.commands import data_option, read_finder, write_json
from train.gates import fitting, judgement, network
from train.gates.pictures import knees, others
from train.gates.windows import of_knees, of_others

RESULTS = Path(__file__).parents[1] / "results" / "knee-gate"
GATE = Path(__file__).parents[2] / "osteo_edge" / "gates" / "knee.npz"
SEED = 20261125


@click.group()
def gates() -> None:
    """Make and judge the gate behind the finder."""


@gates.command()
@data_option
@click.option(
    "--more", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Further pictures, a folder a kind."
)
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="File of windows to write (.npz)."
)
def collect(data: Path, more: Path | None, output: Path) -> None:
    """Cut what the finder hits in everything that is fitted on."""
    finder = read_finder(FINDER / "finder.npz")
    rng = np.random.default_rng(SEED)
    windows = of_others(finder, others(data, more, "fit"), rng, varied=True)
    windows.extend(of_knees(finder, knees(data, "fit"), rng, varied=True))
    fitting.save(windows, output)
    click.echo(f"{len(windows.cuts)} windows")


@gates.command()
@click.argument("windows", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1, required=True)
@click.option("--gate", type=click.Path(path_type=Path, dir_okay=False), default=GATE, show_default="the program's own")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), default=RESULTS, show_default="train/results/knee-gate"
)
def fit(windows: Sequence[Path], gate: Path, output: Path) -> None:
    """Leave out each clinic and kind in turn, choose by the rule, fit on all; write the gate and evaluation.json."""
    material = fitting.read(*windows)
    clinics = list(judgement.clinics_left_out(material))
    kinds = list(judgement.kinds_left_out(material))
    by_score, limit = judgement.choose(clinics, kinds)
    fitted = fitting.fit(material, np.ones(len(material.is_knee), bool), network.MEMBERS)
    np.savez(gate, **fitting.in_layout(fitting.as_gate(fitted, by_score, judgement.likeness(limit))))  # type: ignore[arg-type]
    figures = {
        "what": "gates fitted without a clinic or kind, asked of its windows that reach the gate; the limit is chosen on these",
        "windows": int(material.counts.sum()),
        "by_score": by_score,
        "limit": judgement.likeness(limit),
        "knees_of_clinics_left_out": judgement.as_shares(clinics, by_score, limit),
        "kinds_left_out": judgement.as_shares(kinds, by_score, limit),
    }
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "evaluation.json", figures)
    click.echo(json.dumps(figures, indent=2))
