"""Which part of the leg the network is shown: chosen by cross-validation on frozen ImageNet features, nested in the folds."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.data.split import Groups, label_folds
from train.fitting.teaching import Teaching, plain_classes
from train.judging.evaluate import COMPARED, figures_of_merit, interval, resamples
from train.networks.network import apply
from train.runs.arrays import Doubles, Floats, Integers, Reals
from train.runs.config import Choice, Config, Linear


def frozen_features(network: keras.Model, images: Floats, owner: Integers) -> Floats:
    """Features of each picture before any training: mean over the map, over the mirrored view, and over its knees.

    Args:
        images: (knees, height, width) float32 in 0 to 255.
        owner: (knees,) the picture that each knee is of, counted from 0 without gaps.

    Returns:
        (pictures, features) float32.
    """
    pooling = keras.Model(network.input, network.get_layer("pooling").output)
    views = (images, images[:, :, ::-1])
    knees = np.mean([apply(pooling, view[..., np.newaxis]) for view in views], axis=0)
    return mean_by_owner(knees, owner)


def mean_by_owner(values: Reals, owner: Integers) -> Floats:
    """(pictures, columns) float32, the mean over each picture's knees."""
    return np.stack([values[owner == picture].mean(axis=0) for picture in range(owner.max() + 1)]).astype(np.float32)


def cross_validate(
    features: Reals,
    labels: Integers,
    groups: Groups,
    choice: Choice,
    linear: Linear,
    *,
    seed: int,
    teaching: Teaching | None = None,
) -> Doubles:
    """Out-of-fold probabilities of the linear classifier, (repeats, pictures, labels), each repeat with other folds.

    Args:
        teaching: what it is taught; the classes by default.
    """
    patients, taught = np.asarray(groups), teaching or plain_classes(len(labels))
    scores = np.empty((choice.repeats, len(labels), len(LABELS)))
    for repeat in range(choice.repeats):
        for training, test in label_folds(labels, patients, folds=choice.folds, seed=seed + repeat):
            rows = taught.of(training)
            classifier = rows.fit(features[training], labels[training], patients[training], linear, seed=seed + repeat)
            scores[repeat, test] = classifier.predict_proba(features[test])
    return scores


def mean_figures(scores: Doubles, labels: Integers) -> dict[str, float]:
    """Macro AUC (one against the rest) and balanced accuracy, the mean over the repeats."""
    repeats = [figures_of_merit(labels, repeat) for repeat in scores]
    return {figure: float(np.mean([one[figure] for one in repeats])) for figure in COMPARED}


def score_regions(
    features: Mapping[str, Reals], labels: Integers, groups: Groups, config: Config, teaching: Teaching
) -> dict[str, Doubles]:
    """Cross-validated probabilities of every candidate, (repeats, pictures, labels), by its name."""
    return {
        name: cross_validate(of_region, labels, groups, config.choice, config.linear, seed=config.seed, teaching=teaching)
        for name, of_region in features.items()
    }


def choose_region(scores: Mapping[str, Doubles], labels: Integers) -> str:
    """The candidate of highest macro AUC; the first in the configuration among equals."""
    return max(scores, key=lambda name: mean_figures(scores[name], labels)["macro_auc"])


def with_intervals(scores: Doubles, labels: Integers, groups: Groups, *, count: int, seed: int) -> dict[str, Metric]:
    """Mean figures of one candidate with 95 % bootstrap intervals by patient."""
    drawn = [
        mean_figures(scores[:, chosen], labels[chosen])
        for chosen in resamples(groups, count=count, seed=seed)
        if np.unique(labels[chosen]).size == len(LABELS)
    ]
    values = mean_figures(scores, labels)
    return {figure: interval(values[figure], [one[figure] for one in drawn]) for figure in COMPARED}
