"""How often 95 % bootstrap intervals hold the truth at a study's size: percentile against BCa, by simulation.

Scores are drawn from a known population, so that the true figures are known; each simulated study draws its patients
from it, one radiograph each, and makes both intervals as ``train.judging.evaluate.compare`` does.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click
import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.judging.evaluate import Method, compare, figures_of_merit
from train.runs.arrays import Doubles, Integers

METHODS: tuple[Method, ...] = ("percentile", "bca")
POPULATION = 300_000


@dataclass(frozen=True)
class Coverage:
    """Of one figure: the truth, and by method how many intervals held it and how wide they were on average."""

    truth: float
    held: Mapping[str, float]
    width: Mapping[str, float]


def measure_coverage(counts: Sequence[int], *, strength: float, studies: int, resamples: int, seed: int) -> dict[str, Coverage]:
    """Coverage by figure.

    Args:
        counts: patients of each class in a study; the population has the same shares.
        strength: distance in logits between neighbouring classes; 0 is a model that knows nothing.
    """
    rng = np.random.default_rng(seed)
    shares, size = np.divide(counts, sum(counts)), int(sum(counts))
    truth = figures_of_merit(*_draw(rng, shares, POPULATION, strength))
    intervals: dict[str, list[dict[str, Metric]]] = {method: [] for method in METHODS}
    with click.progressbar(range(studies), label="Simulated studies", file=sys.stderr) as numbers:
        for number in numbers:
            labels, probabilities = _draw(rng, shares, size, strength)
            groups = [str(patient) for patient in range(size)]
            for method in METHODS:
                figures, _ = compare(
                    labels, {"model": probabilities}, groups, model="model", count=resamples, seed=number, method=method
                )
                intervals[method].append(figures["model"])
    return {
        figure: Coverage(
            value,
            {
                method: float(np.mean([one[figure].low <= value <= one[figure].high for one in intervals[method]]))
                for method in METHODS
            },
            {method: float(np.mean([one[figure].high - one[figure].low for one in intervals[method]])) for method in METHODS},
        )
        for figure, value in truth.items()
    }


def _draw(rng: np.random.Generator, shares: Doubles, size: int, strength: float) -> tuple[Integers, Doubles]:
    """Labels and probabilities of ``size`` patients with at least two of every class."""
    labels = rng.choice(len(LABELS), size=size, p=shares)
    while np.bincount(labels, minlength=len(LABELS)).min() < 2:
        labels = rng.choice(len(LABELS), size=size, p=shares)
    severity = strength * labels + rng.normal(size=size)
    places = np.arange(len(LABELS))
    return labels, softmax(
        -((severity[:, np.newaxis] - strength * places) ** 2) / 2 + 0.3 * rng.normal(size=(size, len(LABELS)))
    )


def as_text(measured: Mapping[str, Coverage]) -> str:
    """A table: the truth, then per method the share of intervals that hold it and their mean width."""
    head = f"{'':<22}{'truth':>7}" + "".join(f"{method + ' held':>18}{'width':>8}" for method in METHODS)
    rows = [
        f"{figure:<22}{one.truth:>7.3f}" + "".join(f"{one.held[method]:>18.3f}{one.width[method]:>8.3f}" for method in METHODS)
        for figure, one in measured.items()
    ]
    return "\n".join([head, *rows])


@click.command("coverage")
@click.option(
    "--patients", type=click.IntRange(4), nargs=3, default=(20, 95, 30), show_default=True, help="Of each class in a study."
)
@click.option(
    "--strength", type=click.FloatRange(0), default=0.5, show_default=True, help="Logits between neighbouring classes."
)
@click.option("--studies", type=click.IntRange(10), default=400, show_default=True, help="Simulated studies.")
@click.option("--resamples", type=click.IntRange(100), default=1000, show_default=True, help="Bootstrap resamples of each.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def command(patients: tuple[int, int, int], strength: float, studies: int, resamples: int, seed: int) -> None:
    """Simulate how often 95 % intervals hold the truth: percentile against BCa bootstrap."""
    click.echo(as_text(measure_coverage(patients, strength=strength, studies=studies, resamples=resamples, seed=seed)))
