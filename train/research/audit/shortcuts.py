"""What can be guessed without looking at a knee: cheap baselines, out of fold, with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS, Dataset
from train.data.split import Groups, make_split, require_groups
from train.judging.baselines import baseline_scores, permuted_macro_auc
from train.judging.evaluate import figures_of_merit, interval, resamples
from train.networks.linear import fit_linear
from train.research.audit.descriptors import Descriptor
from train.runs.arrays import Bytes, Doubles, Integers
from train.runs.config import Linear

Verdict = Literal["pass", "warn", "fail"]

FOLDS = 5
PERMUTATIONS = 20
CHANCE = 0.5
_FAR_FROM_CHANCE = 0.05  # for the mean of the permutations
# Macro AUC that nothing without a knee should reach; below, but surely above chance, is a warning.
GIVING_AWAY = 0.7
LINEAR = Linear(pca_variance=0.9, inverse_penalties=(1e-4, 1e-3, 1e-2, 1e-1), inner_folds=3)
_BACKGROUND_PX = 32

_SENTENCES = {
    "file_metadata": "size, format and bytes of the file, no pixels",
    "border_ring": "the outermost sixteenth of the picture on every side",
    "background": "the picture with its middle masked (the inner three fifths of both sides)",
    "thumbnail_8": "the whole picture shrunk to 8 x 8",
    "thumbnail_32": "the whole picture shrunk to 32 x 32",
    "permuted_labels": "the 32 x 32 thumbnail with labels shuffled over patient groups",
}
# A thumbnail shows the knee, if blurred: it may know something rightly. It is never worse than a warning.
_SHOWS_KNEES = ("thumbnail_8", "thumbnail_32")


@dataclass(frozen=True)
class Shortcut:
    """One baseline: macro AUC and balanced accuracy with 95 % bootstrap intervals by patient group.

    For the permuted labels the interval is the central 95 % of the permutations, and balanced accuracy is absent.
    """

    name: str
    shown: str
    macro_auc: Metric
    balanced_accuracy: Metric | None
    verdict: Verdict
    reason: str


def judge_shortcuts(
    dataset: Dataset, descriptors: Sequence[Descriptor], *, count: int, seed: int, permutations: int = PERMUTATIONS
) -> tuple[Shortcut, ...]:
    """Fit and judge every baseline in grouped ``FOLDS``-fold cross-validation.

    Raises:
        DatasetError: a class has too few patient groups for the folds.
    """
    require_groups(dataset, (FOLDS, LINEAR.inner_folds))
    labels = np.array(dataset.label_indices)
    fold_of = make_split(dataset, folds=FOLDS, seed=seed)
    scores = baseline_scores(dataset, fold_of, LINEAR, seed=seed)
    systems = {name: scores[name] for name in ("file_metadata", "border_ring")}
    features = _pictures(descriptors)
    for name, values in features.items():
        systems[name] = _out_of_fold(values, labels, dataset.groups, fold_of, seed=seed)
    found = [_judge(name, labels, scores, dataset.groups, count=count, seed=seed) for name, scores in systems.items()]
    if permutations:
        found.append(_judge_permuted(features["thumbnail_32"], labels, dataset.groups, permutations, seed=seed))
    return tuple(found)


def _pictures(descriptors: Sequence[Descriptor]) -> dict[str, Doubles]:
    works = [descriptor.work for descriptor in descriptors]
    background = np.array([_shrunk(work, _BACKGROUND_PX) for work in works])
    rim = _BACKGROUND_PX // 5
    outside = np.ones((_BACKGROUND_PX, _BACKGROUND_PX), bool)
    outside[rim:-rim, rim:-rim] = False
    return {
        "background": background[:, outside],
        "thumbnail_8": np.array([_shrunk(work, 8).ravel() for work in works]),
        "thumbnail_32": np.array([_shrunk(work, 32).ravel() for work in works]),
    }


def _shrunk(work: Bytes, side_px: int) -> Doubles:
    return cv2.resize(work, (side_px, side_px), interpolation=cv2.INTER_AREA).astype(np.float64) / 255


def _out_of_fold(features: Doubles, labels: Integers, groups: Groups, fold_of: Integers, *, seed: int) -> Doubles:
    scores = np.empty((len(labels), len(LABELS)))
    for fold in np.unique(fold_of):
        test = fold_of == fold
        classifier = fit_linear(features[~test], labels[~test], np.asarray(groups)[~test], LINEAR, seed=seed)
        scores[test] = classifier.predict_proba(features[test])
    return scores


def _judge(name: str, labels: Integers, scores: Doubles, groups: Groups, *, count: int, seed: int) -> Shortcut:
    whole = figures_of_merit(labels, scores)
    drawn = [
        figures_of_merit(labels[chosen], scores[chosen])
        for chosen in resamples(groups, count=count, seed=seed)
        if np.unique(labels[chosen]).size == np.unique(labels).size
    ]
    macro, balanced = (interval(whole[figure], [one[figure] for one in drawn]) for figure in ("macro_auc", "balanced_accuracy"))
    verdict, reason = verdict_of(name, macro)
    return Shortcut(name, _SENTENCES[name], macro, balanced, verdict, reason)


def verdict_of(name: str, macro_auc: Metric) -> tuple[Verdict, str]:
    """Pass, warn or fail by the macro AUC's interval, and why."""
    if not macro_auc.low > CHANCE:
        return "pass", "not shown to be better than chance"
    if name in _SHOWS_KNEES:
        return "warn", "better than chance without any detail: a model must be shown to know more than this"
    if macro_auc.value >= GIVING_AWAY:
        return "fail", "gives the label away without a knee: a model can score well here and know nothing"
    return "warn", "better than chance without a knee: report it beside every model"


def _judge_permuted(features: Doubles, labels: Integers, groups: Groups, permutations: int, *, seed: int) -> Shortcut:
    aucs = permuted_macro_auc(features, labels, groups, LINEAR, folds=FOLDS, permutations=permutations, seed=seed)
    macro = interval(float(np.mean(aucs)), aucs)
    # The mean's own spread: with few permutations it strays, and that is no leak.
    spread = float(np.std(aucs, ddof=1) / np.sqrt(len(aucs))) if len(aucs) > 1 else CHANCE
    at_chance = abs(macro.value - CHANCE) <= max(_FAR_FROM_CHANCE, 3 * spread)
    reason = "at chance, as it must be" if at_chance else "not at chance: the judging itself leaks"
    return Shortcut("permuted_labels", _SENTENCES["permuted_labels"], macro, None, "pass" if at_chance else "fail", reason)
