"""Every system of a study in repeated nested cross-validation, and the model that is chosen inside each fold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer

from osteo_edge.decision.scores import softmax
from train.data.dataset import LABELS, Dataset
from train.data.split import Groups, make_split
from train.ensembles.members import Member, forest_member, linear_member, members
from train.ensembles.nested import NestedLogits, from_stored, nested_logits
from train.fitting.material import say
from train.judging.evaluate import class_aucs
from train.research.study.config import StudyConfig
from train.research.study.features import Described
from train.runs import cache
from train.runs.arrays import Doubles, Integers, Reals

FOREST = "random_forest"


@dataclass(frozen=True)
class Repeat:
    """One outer cross-validation of all systems.

    Attributes:
        names: of the systems, in the order of the members of ``nested``.
    """

    names: tuple[str, ...]
    nested: NestedLogits

    @property
    def fold_of(self) -> Integers:
        return self.nested.fold_of

    def of(self, names: Sequence[str]) -> NestedLogits:
        """Some of the systems alone, in the order asked for."""
        places = [self.names.index(name) for name in names]
        return NestedLogits(self.fold_of, tuple(one[:, places] for one in self.nested.inner), self.nested.outer[:, places])

    def logits(self, name: str) -> Doubles:
        """Held-back logits (radiographs, labels) of one system."""
        logits: Doubles = self.nested.outer[:, self.names.index(name)]
        return logits


@dataclass(frozen=True)
class Selected:
    """The candidate of highest inner macro AUC in each fold, as one system.

    Attributes:
        chosen: name of the candidate, by fold.
        inner_auc: candidate -> inner macro AUC, by fold.
        nested: of that one system. Its inner logits are those of the chosen candidate, hence as good as the choice made
            them look: a fusion that is fitted on them trusts the image a little more than it should.
    """

    chosen: tuple[str, ...]
    inner_auc: Mapping[str, tuple[float, ...]]
    nested: NestedLogits


def run_repeats(config: StudyConfig, described: Described, folder: Path, key: str) -> list[Repeat]:
    """Every repeat in turn; those that are in the cache are read back."""
    names, score = _members(config, described)
    repeats = []
    for number in range(config.repeats):
        file = folder / f"repeat{number}-{key}.npz"
        fold_of = make_split(described.radiographs, folds=config.folds, seed=config.seed + number)
        stored = cache.kept(file, partial(_told_logits, config, described, names, score, fold_of, number))
        inner_logits = [stored[f"inner{fold}"] for fold in range(config.folds)]
        repeats.append(Repeat(names, from_stored(inner_logits, stored["outer"], fold_of)))
    return repeats


def _told_logits(
    config: StudyConfig,
    described: Described,
    names: tuple[str, ...],
    score: Sequence[Member],
    fold_of: Integers,
    number: int,
) -> dict[str, Doubles]:
    say(f"Repeat {number + 1} of {config.repeats}: {len(names)} systems")
    nested = _nested(config, described.radiographs, score, fold_of, number)
    return {"outer": nested.outer, **{f"inner{fold}": values for fold, values in enumerate(nested.inner)}}


def candidates_once(config: StudyConfig, described: Described, number: int) -> Repeat:
    """One repeat of the candidates alone; nothing is kept or shown."""
    names, score = _members(replace(config, systems=config.candidates, forest=""), described)
    fold_of = make_split(described.radiographs, folds=config.folds, seed=config.seed + number)
    return Repeat(names, _nested(config, described.radiographs, score, fold_of, number, is_silent=True))


def _nested(
    config: StudyConfig,
    radiographs: Dataset,
    score: Sequence[Member],
    fold_of: Integers,
    number: int,
    *,
    is_silent: bool = False,
) -> NestedLogits:
    labels, seed = np.array(radiographs.label_indices), config.seed + number
    return nested_logits(
        members(score), labels, radiographs.groups, fold_of, inner_folds=config.inner_folds, seed=seed, is_silent=is_silent
    )


def _members(config: StudyConfig, described: Described) -> tuple[tuple[str, ...], list[Member]]:
    radiographs = described.radiographs
    labels = np.array(radiographs.label_indices)
    known = {"t_scores": _t_scores(radiographs), "ages": _column(radiographs, "age_years")}
    names, score = [], []
    for system in config.systems:
        features = described.features[system.features]
        kind = {"kind": system.target, **known}
        names.append(system.name)
        score.append(_linear(features, labels, radiographs.groups, config, kind))
    if config.forest:
        names.append(FOREST)
        forest = described.features[config.forest]
        score.append(forest_member(forest, labels, pca_variance=config.linear.pca_variance, seed=config.seed))
    return tuple(names), score


def _linear(features: Reals, labels: Integers, groups: Groups, config: StudyConfig, kind: Mapping[str, Any]) -> Member:
    """A linear member; gaps in its features are filled with the medians of the pictures that it is fitted on."""

    def score(training: Integers, test: Integers) -> Doubles:
        whole = features
        if not np.isfinite(features).all():
            imputer = SimpleImputer(strategy="median", keep_empty_features=True).fit(features[training])
            whole = imputer.transform(features)
        return linear_member(whole, labels, groups, config.linear, seed=config.seed, **kind)(training, test)

    return score


def _t_scores(radiographs: Dataset) -> Doubles:
    return np.array([np.nan if row.t_score is None else row.t_score for row in radiographs.radiographs])


def _column(radiographs: Dataset, name: str) -> Doubles:
    return np.array([row.covariates.get(name, np.nan) for row in radiographs.radiographs])


def select(repeat: Repeat, candidates: Sequence[str], labels: Integers) -> Selected:
    """Choose inside each fold on the inner cross-validation alone; the first among equals."""
    pool = repeat.of(candidates)
    aucs = np.array([_inner_aucs(inner, labels[pool.parts(fold)[0]]) for fold, inner in enumerate(pool.inner)])
    places = aucs.argmax(axis=1)
    outer = np.empty((len(labels), 1, len(LABELS)))
    inner = []
    for fold, place in enumerate(places.tolist()):
        _, held_back = pool.parts(fold)
        outer[held_back, 0] = pool.outer[held_back, place]
        inner.append(pool.inner[fold][:, place : place + 1])
    return Selected(
        chosen=tuple(candidates[place] for place in places),
        inner_auc={name: tuple(column.tolist()) for name, column in zip(candidates, aucs.T, strict=True)},
        nested=from_stored(inner, outer, pool.fold_of),
    )


def _inner_aucs(inner: Doubles, labels: Integers) -> list[float]:
    return [float(class_aucs(labels, softmax(inner[:, place])).mean()) for place in range(inner.shape[1])]


def count_choices(selections: Sequence[Selected]) -> dict[str, int]:
    """How many folds, over all repeats, chose each candidate; the most chosen first."""
    return dict(Counter(name for one in selections for name in one.chosen).most_common())
