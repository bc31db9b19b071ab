"""Two systems on the radiographs that both have scored: paired differences, DeLong's and McNemar's tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteo_edge.manifest import Metric
from osteo_edge.records import to_plain
from train.data.dataset import LABELS
from train.judging.evaluate import AccuracyDifference, AucDifference, compare, delong, mcnemar
from train.judging.pages.wording import FIGURES, with_interval
from train.runs.folder import RunError
from train.runs.scores import Scores, read_scores

FIRST, SECOND = "first", "second"


@dataclass(frozen=True)
class Comparison:
    """Two systems side by side.

    Attributes:
        names: of the two, as people know them.
        first, second: figure -> value and interval.
        difference: figure -> first less second, paired.
        auc_tests: label -> DeLong's test of that label against the rest.
        only_in: how many radiographs only the first, and only the second, has scored.
    """

    names: tuple[str, str]
    radiographs: int
    patients: int
    only_in: tuple[int, int]
    resamples: int
    first: Mapping[str, Metric]
    second: Mapping[str, Metric]
    difference: Mapping[str, Metric]
    auc_tests: Mapping[str, AucDifference]
    accuracy_test: AccuracyDifference


def read_system(run_folder: Path, system: str) -> Scores:
    """The scores of one system of a run.

    Raises:
        RunError: the scores cannot be read, or the run has no such system.
    """
    systems = read_scores(run_folder)
    if system not in systems:
        raise RunError(f"{run_folder}: has no scores of {system!r}; it has those of {', '.join(sorted(systems))}")
    return systems[system]


def compare_systems(first: Scores, second: Scores, names: tuple[str, str], *, count: int, seed: int) -> Comparison:
    """Compare on the common radiographs; each system's figures are means over its own repeats.

    Raises:
        RunError: nothing in common, other labels for one radiograph, other patient groups, or a class without a radiograph.
    """
    common = sorted(set(first.digests) & set(second.digests))
    ahead, behind = _in_common(first, second, common, names)
    systems = {FIRST: ahead.probabilities, SECOND: behind.probabilities}
    groups = _groups(ahead, behind, names)
    figures, differences = compare(ahead.labels, systems, groups, model=FIRST, count=count, seed=seed, compared=tuple(FIGURES))
    return Comparison(
        names=names,
        radiographs=len(common),
        patients=len(set(groups)),
        only_in=(len(first.digests) - len(common), len(second.digests) - len(common)),
        resamples=count,
        first=figures[FIRST],
        second=figures[SECOND],
        difference=differences[SECOND],
        auc_tests={
            label: delong(ahead.labels == place, systems[FIRST][..., place], systems[SECOND][..., place], groups)
            for place, label in enumerate(LABELS)
        },
        accuracy_test=mcnemar(ahead.labels, systems[FIRST], systems[SECOND], groups),
    )


def _in_common(first: Scores, second: Scores, common: list[str], names: tuple[str, str]) -> tuple[Scores, Scores]:
    where = f"{names[0]} and {names[1]}"
    if not common:
        raise RunError(f"{where} have no radiograph in common; compare runs on the same data")
    ahead, behind = first.subset(common), second.subset(common)
    contradictions = int((ahead.labels != behind.labels).sum())
    if contradictions:
        raise RunError(f"{where} give {contradictions} of {len(common)} radiographs other labels; compare runs on one table")
    lost = [label for place, label in enumerate(LABELS) if place not in ahead.labels]
    if lost:
        raise RunError(f"{where} have no radiograph of {lost[0]} in common; figures need every class")
    return ahead, behind


def _groups(ahead: Scores, behind: Scores, names: tuple[str, str]) -> tuple[str, ...]:
    """The coarser of two groupings: scores of an old schema count each radiograph as a patient."""
    if _refines(behind.groups, ahead.groups):
        return ahead.groups
    if _refines(ahead.groups, behind.groups):
        return behind.groups
    raise RunError(f"{names[0]} and {names[1]} group the radiographs by other patients; compare runs on the same groups")


def _refines(fine: tuple[str, ...], coarse: tuple[str, ...]) -> bool:
    """Whether no fine group spans two coarse ones."""
    return len(set(zip(fine, coarse, strict=True))) == len(set(fine))


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as JSON's own types."""
    return {"schema_version": 1, **to_plain(comparison)}


def as_text(comparison: Comparison) -> str:
    """The comparison as a table for a terminal."""
    return "\n".join(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    first, second = comparison.names
    yield f"1: {first}"
    yield f"2: {second}"
    yield f"{comparison.radiographs} radiographs of {comparison.patients} patients, scored by both{_left_out(comparison)}."
    yield f"95 % percentile bootstrap by patient, {comparison.resamples} resamples; differences are paired, 1 less 2."
    yield ""
    yield f"{'':<26}{'1':<24}{'2':<24}difference"
    for figure, title in FIGURES.items():
        values = (comparison.first[figure], comparison.second[figure])
        mark = " *" if _excludes_zero(comparison.difference[figure]) else ""
        yield f"{title:<26}{_cells(values)}{with_interval(comparison.difference[figure], signed=True)}{mark}"
    yield "* the interval excludes zero. Many figures are compared: one in twenty does so by chance."
    yield ""
    yield "AUC against the rest, DeLong's test:"
    for label, test in comparison.auc_tests.items():
        yield f"  {label:<16}{with_interval(test.difference, signed=True):<26}p = {test.p_value:.3g}"
    accuracy = comparison.accuracy_test
    yield (
        f"Accuracy, McNemar's exact test: only 1 right in {accuracy.first_ahead} patients, only 2 right in "
        f"{accuracy.second_ahead}, p = {accuracy.p_value:.3g}"
    )
    yield "Research use, not a diagnosis."


def _left_out(comparison: Comparison) -> str:
    only_first, only_second = comparison.only_in
    return f" ({only_first} only in 1, {only_second} only in 2: left out)" if any(comparison.only_in) else ""


def _cells(values: tuple[Metric, Metric]) -> str:
    return "".join(f"{with_interval(value):<24}" for value in values)


def _excludes_zero(metric: Metric) -> bool:
    return bool(np.sign(metric.low) * np.sign(metric.high) > 0)
