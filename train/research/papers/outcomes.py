"""What a model gave under one protocol, and what its difference from the published figure means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from osteo_edge.manifest import Metric
from train.data.split import Groups
from train.research.holdout.judgement import confusion, judge
from train.research.papers.table import Row
from train.runs.arrays import Integers, Reals

Protocol = Literal["published", "ours"]
Figures = Mapping[str, Metric]

MODEL = "model"
SHOWN = ("accuracy", "balanced_accuracy", "macro_auc")
CHANCE_AUC = 0.5


@dataclass(frozen=True)
class Outcome:
    """A model's figures on one test part.

    Attributes:
        how: weights, size, epochs, in words.
        test_radiographs: how many it was judged on.
        figures: accuracy, balanced accuracy, macro AUC and recalls with 95 % intervals.
        baselines: the same of what needs no knee, on the same radiographs.
        never_answered: classes of recall 0. only_answer: the one class it always answers, if there is one.
        trained_epochs: 0 where not one fitted the time budget; None where no network was trained.
    """

    protocol: Protocol
    how: str
    test_radiographs: int
    figures: Figures
    baselines: Mapping[str, Figures]
    never_answered: tuple[str, ...]
    only_answer: str | None
    trained_epochs: int | None = None
    stopped_early: bool = False


@dataclass(frozen=True)
class RowResult:
    """A row of the report.

    Attributes:
        not_run: why there are no outcomes, or fewer; empty where all are there.
        meaning: sentences on the difference.
    """

    row: Row
    outcomes: tuple[Outcome, ...]
    not_run: str
    meaning: tuple[str, ...]


def judged(
    protocol: Protocol,
    how: str,
    labels: Integers,
    systems: Mapping[str, Reals],
    groups: Groups,
    classes: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Outcome:
    """Figures of the system ``model`` and of every other one as its baselines.

    Args:
        systems: name -> (radiographs, classes) probabilities, ``model`` among them.
    """
    figures, _ = judge(labels, systems, groups, classes, model=MODEL, count=resamples, seed=seed)
    counts = confusion(labels, systems[MODEL], len(classes))
    return Outcome(
        protocol=protocol,
        how=how,
        test_radiographs=len(labels),
        figures=figures.pop(MODEL),
        baselines=figures,
        never_answered=missed_classes(counts.tolist(), classes),
        only_answer=only_answer(counts.tolist(), classes),
    )


def missed_classes(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> tuple[str, ...]:
    """Classes of which not one radiograph was recognised."""
    return tuple(name for place, name in enumerate(classes) if counts[place][place] == 0)


def only_answer(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> str | None:
    """The class that every radiograph was answered with, if it is one."""
    answered = np.flatnonzero(np.sum(counts, axis=0))
    return classes[answered[0]] if len(answered) == 1 else None


def as_metric(plain: Mapping[str, Any]) -> Metric:
    return Metric(plain["value"], plain["low"], plain["high"])


def meaning_of(row: Row, outcomes: Sequence[Outcome]) -> tuple[str, ...]:
    """What the outcomes say of the published figure; every sentence follows from numbers of the row."""
    sentences = [sentence for outcome in outcomes for sentence in _of_one(outcome)]
    theirs = next((one for one in outcomes if one.protocol == "published" and one.trained_epochs != 0), None)
    if row.published is not None and theirs is not None:
        sentences.insert(0, _against_published(row.published, row.paper, theirs))
    return tuple(sentences)


def _against_published(published: float, paper: str, outcome: Outcome) -> str:
    accuracy, majority = outcome.figures["accuracy"], outcome.baselines["majority"]["accuracy"].value
    if paper == "P4":
        return f"Other pictures than the paper's {published:.2f}: no comparison, only what the method gives on knees."
    if accuracy.low <= published <= accuracy.high:
        above = accuracy.low > majority
        tail = "" if above else f"; but answering the commonest class alone gives {majority:.2f} here"
        return f"The published {published:.2f} lies inside our interval{tail}."
    if published > accuracy.high:
        return f"The published {published:.2f} lies above our whole interval ({accuracy.low:.2f} to {accuracy.high:.2f})."
    return f"The published {published:.2f} lies below our whole interval ({accuracy.low:.2f} to {accuracy.high:.2f})."


def _of_one(outcome: Outcome) -> list[str]:
    where = "Their protocol" if outcome.protocol == "published" else "Ours"
    if outcome.trained_epochs == 0:
        return [f"{where}: not one epoch fitted the time budget; the figures are of an untrained network."]
    sentences = []
    if outcome.only_answer is not None:
        sentences.append(f"{where}: it always answers {outcome.only_answer}; the accuracy is that class's share.")
    elif outcome.never_answered:
        sentences.append(f"{where}: recall is zero for {' and '.join(outcome.never_answered)}.")
    area = outcome.figures["macro_auc"]
    if area.low > CHANCE_AUC:
        sentences.append(f"{where}: better than chance (macro AUC {area.value:.2f}, {area.low:.2f} to {area.high:.2f}).")
    else:
        sentences.append(
            f"{where}: not shown to be better than chance (macro AUC {area.value:.2f}, {area.low:.2f} to {area.high:.2f})."
        )
    return sentences
