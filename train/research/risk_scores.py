"""What the published risk scores alone tell of the labelled radiographs' persons, beside the picture and age and sex.

The scores are the runtime's own, and none of them was fitted here. The labels are of quantitative ultrasound: what a score or a
picture tells of them need not hold for DXA.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from osteo_edge.clinical.assessment import assess
from osteo_edge.clinical.instruments import (
    ARTHRITIS,
    ASIAN,
    ESTROGEN_EVER,
    ESTROGEN_NOW,
    FRACTURE,
    FRACTURES,
    INSTRUMENTS,
    MENOPAUSE,
    OST,
    Instrument,
)
from osteo_edge.clinical.known import ASKED, read_known
from osteo_edge.covariates import AGE, SEX
from osteo_edge.labels import BoneStatus
from osteo_edge.manifest import Metric
from osteo_edge.records import to_plain
from osteo_edge.storage import write_file
from train.data.dataset import LABELS, Dataset, RadiographRow, read_dataset
from train.judging.evaluate import interval, resamples, weighted_auc
from train.runs.arrays import Booleans, Doubles, Words
from train.runs.command_line import told_in_one_line
from train.runs.scores import MODEL, Scores, read_scores

SCHEMA_VERSION = 1
# With fewer of either kind no figure says anything.
FEWEST = 5
COMPARED = {"picture": MODEL, "age_sex": "age_sex"}
EVERYBODY = "everybody, also those whom it was not made for; the cut-off of women"
TARGETS = ("osteoporosis", "low_density")

# What the table does not say, and is taken for granted so that a score can be computed at all.
ASSUMED: Mapping[str, str] = {
    ARTHRITIS: "no: the table does not ask it",
    ASIAN: "yes: the table does not ask it",
    ESTROGEN_EVER: "as estrogen_use, which the table asks without saying when",
    FRACTURES: "one where prior_fracture is yes: the table counts neither them nor the bones",
    MENOPAUSE: "yes where an age at menopause is given or a woman is 60 and over, else not said",
}


@dataclass(frozen=True)
class Ruler:
    """Something that orders persons.

    Attributes:
        name: for machines.
        values: (persons,), high for more risk; NaN where it has none.
        in_range: (persons,), who is referred; None where there is no cut-off.
    """

    name: str
    values: Doubles
    in_range: Booleans | None = None


@dataclass(frozen=True)
class Figures:
    """How well a ruler tells a target in a group of persons; intervals of 95 % by patient.

    Attributes:
        beside: the score in whose persons it is measured.
        group: who they are.
        sensitivity, specificity, referred: at the published cut-off; None where there is none.
        less: other ruler -> this AUC less that one's in the same persons, paired.
    """

    ruler: str
    beside: str
    group: str
    target: str
    persons: int
    with_target: int
    auc: Metric
    sensitivity: Metric | None
    specificity: Metric | None
    referred: Metric | None
    less: Mapping[str, Metric]


def told_of(row: RadiographRow) -> dict[str, float | str]:
    """What the table says of a person and what is assumed, under the names that the scores ask for."""
    known: dict[str, float | str] = {name: value for name, value in row.covariates.items() if name in (*ASKED, AGE)}
    if SEX in row.covariates:
        known[SEX] = "female" if row.covariates[SEX] else "male"
    known |= {ARTHRITIS: 0.0, ASIAN: 1.0}
    if ESTROGEN_NOW in known:
        known[ESTROGEN_EVER] = known[ESTROGEN_NOW]
    if FRACTURE in known:
        known[FRACTURES] = known[FRACTURE]
    if "menopause_age_years" in row.covariates or row.covariates.get(AGE, 0.0) >= 60:
        known[MENOPAUSE] = 1.0
    return known


def score_rulers(dataset: Dataset) -> Iterator[tuple[str, Ruler]]:
    """Each score of each population that it was made for, and OST of everybody, as a yardstick; first who they are."""
    assessments = [assess(read_known(told_of(row))) for row in dataset.radiographs]
    for place, instrument in enumerate(INSTRUMENTS):
        for population in instrument.populations:
            outcomes = [assessment.outcomes[place] for assessment in assessments]
            values = [
                float(one.value) if one.value is not None and one.population is population else np.nan for one in outcomes
            ]
            in_range = np.array([bool(one.is_in_range) and one.population is population for one in outcomes])
            yield str(population), Ruler(instrument.code, _risk(instrument, values), in_range)
    anybody = [OST.compute(one.person.values) for one in assessments]
    below = np.array([value in OST.populations[0].referral for value in anybody])
    yield EVERYBODY, Ruler(OST.code, _risk(OST, anybody), below)


def _risk(instrument: Instrument, values: Sequence[float]) -> Doubles:
    """High for more risk, whichever way the score goes."""
    is_low_worse = instrument.populations[0].referral.at_least is None
    return -np.array(values, np.float64) if is_low_worse else np.array(values, np.float64)


def compared_rulers(dataset: Dataset, systems: Mapping[str, Scores], target: str) -> dict[str, Ruler]:
    """Age alone, and the out-of-fold scores of a run's systems: the picture's, and age and sex's."""
    digests = [row.sha256 for row in dataset.radiographs]
    rulers = {"age": Ruler("age", np.array([row.covariates.get(AGE, np.nan) for row in dataset.radiographs]))}
    for name, system in COMPARED.items():
        probabilities = systems[system].subset(digests).probabilities.mean(axis=0)
        column = probabilities[:, LABELS.index(BoneStatus.OSTEOPOROSIS)]
        rulers[name] = Ruler(
            name, column if target == "osteoporosis" else 1 - probabilities[:, LABELS.index(BoneStatus.NORMAL)]
        )
    return rulers


def truth_of(dataset: Dataset, target: str) -> Booleans:
    labels = [row.label for row in dataset.radiographs]
    if target == "osteoporosis":
        return np.array([label == BoneStatus.OSTEOPOROSIS for label in labels])
    return np.array([label != BoneStatus.NORMAL for label in labels])


def measure(dataset: Dataset, systems: Mapping[str, Scores], *, count: int, seed: int) -> Iterator[Figures]:
    """Each score in those whom it was made for, with age, the picture, and age and sex in the same persons.

    Groups with fewer than ``FEWEST`` persons with or without the target are left out.
    """
    groups = np.array(dataset.groups)
    for target in TARGETS:
        truth, others = truth_of(dataset, target), compared_rulers(dataset, systems, target)
        for group, ruler in score_rulers(dataset):
            persons = np.isfinite(ruler.values)
            if min(truth[persons].sum(), (~truth[persons]).sum()) >= FEWEST:
                yield from _together(group, target, ruler, others, truth, groups, persons, count=count, seed=seed)


def _together(
    group: str,
    target: str,
    ruler: Ruler,
    others: Mapping[str, Ruler],
    truth: Booleans,
    groups: Words,
    persons: Booleans,
    *,
    count: int,
    seed: int,
) -> Iterator[Figures]:
    """One score and what it is compared with, in the same persons and resamples."""
    own, weights = truth[persons], _weights(truth[persons], groups[persons], count=count, seed=seed)
    areas = {one.name: weighted_auc(own, one.values[persons], weights) for one in (ruler, *others.values())}
    for one in (ruler, *others.values()):
        less = {other: _metric(areas[one.name] - areas[other]) for other in others if one is ruler}
        rates = _rates(one, own, persons, weights)
        counts = (int(persons.sum()), int(own.sum()))
        yield Figures(one.name, ruler.name, group, target, *counts, _metric(areas[one.name]), *rates, less)


def _weights(truth: Booleans, groups: Words, *, count: int, seed: int) -> Doubles:
    """The persons as they are, then resamples of patients that hold both kinds, (1 + resamples, persons)."""
    drawn = [np.bincount(chosen, minlength=len(truth)) for chosen in resamples(groups.tolist(), count=count, seed=seed)]
    weights = np.array([np.ones(len(truth)), *drawn], np.float64)
    kept: Doubles = weights[(weights[:, truth].sum(axis=1) > 0) & (weights[:, ~truth].sum(axis=1) > 0)]
    return kept


def _rates(
    ruler: Ruler, truth: Booleans, persons: Booleans, weights: Doubles
) -> tuple[Metric | None, Metric | None, Metric | None]:
    if ruler.in_range is None:
        return None, None, None
    referred = ruler.in_range[persons]
    sensitivity = _share(weights, truth & referred, truth)
    specificity = _share(weights, ~truth & ~referred, ~truth)
    return sensitivity, specificity, _share(weights, referred, np.ones(len(truth), bool))


def _share(weights: Doubles, part: Booleans, whole: Booleans) -> Metric:
    return _metric(weights[:, part].sum(axis=1) / weights[:, whole].sum(axis=1))


def _metric(drawn: Doubles) -> Metric:
    """The first value with the interval of the others."""
    return interval(float(drawn[0]), drawn[1:])


def as_json(figures: Iterable[Figures], *, run: str, count: int, seed: int) -> dict[str, Any]:
    """The record that is kept; it names no file and no person."""
    return {
        "schema_version": SCHEMA_VERSION,
        "labels": "T-scores of quantitative ultrasound, by the World Health Organization's limits",
        "assumed": dict(ASSUMED),
        "run": run,
        "resamples": count,
        "seed": seed,
        "figures": to_plain(tuple(figures)),
    }


def as_table(figures: Sequence[Figures]) -> str:
    """Markdown, for a page."""
    head = "| in whom | persons, with | | AUC | sensitivity | specificity | referred | AUC less the picture's |"
    lines = [f"target: {target}\n\n{head}\n|---|---|---|---|---|---|---|---|\n{_lines(figures, target)}" for target in TARGETS]
    return "\n\n".join(lines)


def _lines(figures: Sequence[Figures], target: str) -> str:
    return "\n".join(
        f"| {one.group} | {one.persons}, {one.with_target} | {one.ruler} | {_cell(one.auc)} | {_cell(one.sensitivity)} | "
        f"{_cell(one.specificity)} | {_cell(one.referred)} | {_cell(one.less.get('picture'))} |"
        for one in figures
        if one.target == target
    )


def _cell(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})"


@click.command("risk-scores")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder with labels.csv.")
@click.option("--run", "run_folder", type=click.Path(path_type=Path, exists=True, file_okay=False), required=True)
@click.option("--output", type=click.Path(path_type=Path), required=True, help="JSON file to write.")
@click.option("--resamples", "count", type=click.IntRange(100), default=2000, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
def command(data: Path, run_folder: Path, output: Path, count: int, seed: int) -> None:
    """Measure what published risk scores alone tell, beside a finished run's picture and age and sex."""
    with told_in_one_line():
        systems = read_scores(run_folder)
        scored = set(systems[MODEL].digests)
        dataset = read_dataset(data)
        dataset = dataset.subset(place for place, row in enumerate(dataset.radiographs) if row.sha256 in scored)
        figures = tuple(measure(dataset, systems, count=count, seed=seed))
    record = as_json(figures, run=run_folder.resolve().name, count=count, seed=seed)
    write_file(output, (json.dumps(record, indent=1) + "\n").encode())
    click.echo(as_table(figures))
