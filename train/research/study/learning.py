"""Performance against the number of training radiographs: whether more of them would help."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import click
import numpy as np

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS, DatasetError
from train.data.split import Groups, label_folds
from train.judging.evaluate import COMPARED, compare
from train.networks.linear import fit_linear
from train.runs.arrays import Booleans, Doubles, Integers, Reals, Words
from train.runs.config import Linear

FOLDS = 5


@dataclass(frozen=True)
class LearningStep:
    """Figures of the linear classifier at one size.

    Attributes:
        asked: wanted number of training radiographs.
        radiographs: mean number that it was fitted on: patients and the shares of the classes stay whole.
        figures: means over repeats, with 95 % bootstrap intervals by patient.
        scores: out-of-fold probabilities, (repeats, radiographs, labels).
    """

    asked: int
    radiographs: float
    figures: Mapping[str, Metric]
    scores: Doubles


def learning_curve(
    features: Reals,
    labels: Integers,
    groups: Groups,
    settings: Linear,
    sizes: Sequence[int],
    repeats: int,
    seed: int,
    *,
    folds: int = FOLDS,
    resamples: int = 2000,
) -> tuple[LearningStep, ...]:
    """Cross-validate the linear classifier on ever larger parts of each training fold.

    Test folds are the same at every size, and a smaller part lies inside the larger ones, so that sizes can be
    compared. Parts hold whole patient groups and keep the classes' shares.

    Args:
        features: (radiographs, features).
        sizes: ascending numbers of training radiographs; at most what a training fold holds.
        repeats: times that folds and parts are drawn anew.

    Raises:
        DatasetError: sizes are not ascending, larger than a training fold, or so small that a class has fewer
            patient groups than the classifier's inner cross-validation needs.
    """
    _require_sizes(sizes)
    patients = np.asarray(groups)
    scores = np.empty((len(sizes), repeats, len(labels), len(LABELS)))
    used: list[list[int]] = [[] for _ in sizes]
    steps = repeats * folds * len(sizes)
    with click.progressbar(length=steps, label="Learning curve", file=sys.stderr) as bar:
        for repeat in range(repeats):
            rng = np.random.default_rng((seed, repeat))
            for training, test in label_folds(labels, patients, folds=folds, seed=seed + repeat):
                order = _order_of_patients(labels[training], patients[training], rng)
                for place, size in enumerate(sizes):
                    part = training[_part(labels[training], order, size)]
                    _require_groups(labels[part], patients[part], size, settings.inner_folds)
                    classifier = fit_linear(features[part], labels[part], patients[part], settings, seed=seed + repeat)
                    scores[place, repeat, test] = classifier.predict_proba(features[test])
                    used[place].append(len(part))
                    bar.update(1)
    systems = {str(place): one for place, one in enumerate(scores)}
    figures, _ = compare(labels, systems, patients, model="0", count=resamples, seed=seed)
    return tuple(
        LearningStep(size, float(np.mean(used[place])), {name: figures[str(place)][name] for name in COMPARED}, scores[place])
        for place, size in enumerate(sizes)
    )


def _require_sizes(sizes: Sequence[int]) -> None:
    if not sizes or list(sizes) != sorted(set(sizes)):
        raise DatasetError(f"sizes of a learning curve must ascend, not {list(sizes)}")


def _order_of_patients(labels: Integers, patients: Words, rng: np.random.Generator) -> Doubles:
    """For each radiograph the share of its class that comes up to its patient, in a random order of patients: (0, 1]."""
    order = np.empty(len(labels))
    for label in np.unique(labels):
        of_label = labels == label
        names, numbers = np.unique(patients[of_label], return_inverse=True)
        turn = rng.permutation(len(names))
        sizes = np.bincount(numbers)
        reached = np.empty(len(names))
        reached[turn] = sizes[turn].cumsum()
        order[of_label] = (reached / of_label.sum())[numbers]
    return order


def _part(labels: Integers, order: Doubles, size: int) -> Booleans:
    """The radiographs whose patients come first, the same share of every class."""
    if size > len(labels):
        raise DatasetError(f"a learning curve cannot fit on {size} radiographs: a training fold holds {len(labels)}")
    # Half a radiograph of grace: shares are rounded to whole radiographs class by class.
    grace = 0.5 / np.bincount(labels)[labels]
    chosen: Booleans = order <= size / len(labels) + grace
    return chosen


def _require_groups(labels: Integers, patients: Words, size: int, inner_folds: int) -> None:
    for place, label in enumerate(LABELS):
        count = len(np.unique(patients[labels == place]))
        if count < inner_folds:
            raise DatasetError(
                f"a learning curve on {size} radiographs leaves {count} patient groups of {label}; the inner "
                f"cross-validation needs {inner_folds}: begin with a larger size"
            )
