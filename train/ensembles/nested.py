"""The cross-validation around an ensemble: members' inner held-back scores to fit it on, outer ones to judge it by."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import click
import numpy as np

from train.data.dataset import LABELS, DatasetError
from train.data.split import Groups, label_folds
from train.ensembles.fit import (
    EnsembleName,
    Fitted,
    apply_ensemble,
    crossfit_ensemble,
    fit_ensemble,
    members_run,
)
from train.ensembles.members import Members
from train.networks.targets import require_every_label, require_finite
from train.runs.arrays import Doubles, Integers


@dataclass(frozen=True)
class NestedLogits:
    """Members' logits of one outer cross-validation.

    Attributes:
        fold_of: (pictures,) the outer fold that each is held back in.
        inner: for each outer fold, (training part, members, labels) in the pictures' order: each picture scored by
            members that were fitted on other inner folds of that training part.
        outer: (pictures, members, labels), each picture scored by members fitted on the whole training part of its fold.
    """

    fold_of: Integers
    inner: tuple[Doubles, ...]
    outer: Doubles

    def parts(self, fold: int) -> tuple[Integers, Integers]:
        """Indices of the training part and of the held-back pictures."""
        return np.flatnonzero(self.fold_of != fold), np.flatnonzero(self.fold_of == fold)

    def member(self, place: int) -> NestedLogits:
        """One member alone."""
        chosen = slice(place, place + 1)
        return NestedLogits(self.fold_of, tuple(one[:, chosen] for one in self.inner), self.outer[:, chosen])


@dataclass(frozen=True)
class EnsembleScores:
    """Ensembles on the held-back pictures of every outer fold.

    Attributes:
        logits: kind -> (pictures, labels).
        fitted: kind -> what was fitted in each fold.
        members_run: kind -> mean number of members run on the held-back pictures; below all for a cascade alone.
    """

    logits: Mapping[str, Doubles]
    fitted: Mapping[str, tuple[Fitted, ...]]
    members_run: Mapping[str, float]


def inner_logits(score: Members, labels: Integers, groups: Groups, training: Integers, *, folds: int, seed: int) -> Doubles:
    """Held-back logits (training, members, labels) by grouped cross-validation within the pictures ``training``.

    Raises:
        DatasetError: a class is missing from a fold, or a member gives something that is not a number.
    """
    require_every_label(labels[training])
    parts, places = [], []
    for kept, held_back in label_folds(labels[training], np.asarray(groups)[training], folds=folds, seed=seed):
        parts.append(score(training[kept], training[held_back]))
        places.append(held_back)
    logits = np.concatenate(parts)[np.argsort(np.concatenate(places))]
    require_finite(logits, "members' logits")
    return logits


def nested_logits(
    score: Members,
    labels: Integers,
    groups: Groups,
    fold_of: Integers,
    *,
    inner_folds: int,
    seed: int,
    is_silent: bool = False,
) -> NestedLogits:
    """Run the members through every outer fold of ``fold_of`` and the inner folds of its training part.

    Args:
        is_silent: shows no progress.

    Raises:
        DatasetError: as ``inner_logits``; or an outer fold parts a patient group.
    """
    _refuse_parted_groups(fold_of, groups)
    inner, outer, folds = [], [], range(int(fold_of.max()) + 1)
    with nullcontext(folds) if is_silent else click.progressbar(folds, label="Members", file=sys.stderr) as progress:
        for fold in progress:
            training, held_back = np.flatnonzero(fold_of != fold), np.flatnonzero(fold_of == fold)
            inner.append(inner_logits(score, labels, groups, training, folds=inner_folds, seed=seed))
            outer.append((held_back, score(training, held_back)))
    whole = np.empty((len(labels), *inner[0].shape[1:]))
    for held_back, logits in outer:
        whole[held_back] = logits
    return from_stored(inner, whole, fold_of)


def from_stored(inner_by_fold: Sequence[Doubles], outer: Doubles, fold_of: Integers) -> NestedLogits:
    """Members' logits that were made and stored earlier, for instance by fine-tuned networks, checked.

    Args:
        inner_by_fold: for each outer fold (training part, members, labels), as ``NestedLogits.inner``.
        outer: (pictures, members, labels).
        fold_of: (pictures,) from 0.

    Raises:
        DatasetError: shapes that do not go together, or scores that are missing or not numbers.
    """
    if outer.ndim != 3 or outer.shape[2] != len(LABELS) or len(outer) != len(fold_of):
        raise DatasetError(f"outer logits must be ({len(fold_of)}, members, {len(LABELS)}), not {outer.shape}")
    folds = np.unique(fold_of)
    if not np.array_equal(folds, np.arange(len(inner_by_fold))) or len(folds) < 2:
        raise DatasetError(f"inner logits of {len(inner_by_fold)} folds do not go with outer folds {folds.tolist()}")
    require_finite(outer, "outer logits")
    for fold, inner in enumerate(inner_by_fold):
        expected = (int((fold_of != fold).sum()), *outer.shape[1:])
        if inner.shape != expected:
            raise DatasetError(f"inner logits of fold {fold} must be {expected}, not {inner.shape}")
        require_finite(inner, f"inner logits of fold {fold}")
    return NestedLogits(fold_of, tuple(np.asarray(inner, np.float64) for inner in inner_by_fold), np.asarray(outer, np.float64))


def nested_scores(
    nested: NestedLogits, labels: Integers, groups: Groups, kinds: Sequence[EnsembleName], *, seed: int
) -> EnsembleScores:
    """Fit every kind of ensemble on each fold's inner logits, and apply it to the pictures held back.

    Raises:
        ConfigError, DatasetError: as ``fit_ensemble``.
    """
    patients = np.asarray(groups)
    logits: dict[str, Doubles] = {kind: np.empty((len(labels), len(LABELS))) for kind in kinds}
    fitted: dict[str, list[Fitted]] = {kind: [] for kind in kinds}
    run = {kind: np.empty(len(labels)) for kind in kinds}
    for fold, inner in enumerate(nested.inner):
        training, held_back = nested.parts(fold)
        for kind in kinds:
            one = fit_ensemble(kind, inner, labels[training], patients[training], seed=seed)
            logits[kind][held_back] = apply_ensemble(one, nested.outer[held_back])
            run[kind][held_back] = members_run(one, nested.outer[held_back])
            fitted[kind].append(one)
    return EnsembleScores(
        logits, {kind: tuple(one) for kind, one in fitted.items()}, {kind: float(one.mean()) for kind, one in run.items()}
    )


def as_one_member(nested: NestedLogits, kind: EnsembleName, labels: Integers, groups: Groups, *, seed: int) -> NestedLogits:
    """An ensemble as a single member, so that something further, such as a fusion, can be fitted and judged on it.

    Its inner logits are cross-fitted: no picture is scored by an ensemble that was fitted on it.
    """
    patients = np.asarray(groups)
    inner = []
    for fold, logits in enumerate(nested.inner):
        training, _ = nested.parts(fold)
        inner.append(crossfit_ensemble(kind, logits, labels[training], patients[training], seed=seed)[:, np.newaxis])
    outer = nested_scores(nested, labels, groups, (kind,), seed=seed).logits[kind]
    return from_stored(inner, outer[:, np.newaxis], nested.fold_of)


def _refuse_parted_groups(fold_of: Integers, groups: Groups) -> None:
    home: dict[str, int] = {}
    for group, fold in zip(np.asarray(groups).tolist(), fold_of.tolist(), strict=True):
        if home.setdefault(group, fold) != fold:
            raise DatasetError(f"patient group {group!r} stands in two folds")
