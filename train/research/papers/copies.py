"""What copies across a split are worth: the same classifier on the same pictures, split by file and split by patient.

Published sets hold copies and crops of one radiograph as if they were several. Here every radiograph gets a few
artificial ones. A split by file leaves a copy of most test pictures in the training part; a split by patient leaves none.
Nothing else differs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import click
import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler, normalize

from train.data.dataset import LABELS
from train.data.split import grouped_folds
from train.fitting.augmentation import augment
from train.fitting.regions import frozen_features
from train.research.holdout.config import TWO_CLASSES, HoldOutConfig, View
from train.research.holdout.judgement import figures_of
from train.research.holdout.pictures import gather_pictures
from train.research.papers.features import pretrained
from train.research.papers.networks import Bench
from train.runs.arrays import Doubles, Floats, Integers, Reals
from train.runs.cache import kept, key
from train.runs.config import Augmentation

BACKBONE = "mobilenet_v2_0.35"
SIDE_PX = 160
COPIES = 4
SEEDS = (1, 2, 3)
FOLDS = 5
# A crop of a copy that someone saved anew: turned and scaled a little, with other grey levels.
CROP = Augmentation(views=2, rotation_degrees=4, scale=0.1, shift=0.05, contrast=0.15, gamma=0.15, noise=2.0)


@dataclass(frozen=True)
class Inflation:
    """One measurement, means over the seeds.

    Attributes:
        by_file, by_patient: figure -> mean over the seeds. each: the same for every seed, by its number.
    """

    classes: tuple[str, ...]
    by_file: Mapping[str, float]
    by_patient: Mapping[str, float]
    each: Mapping[str, Mapping[str, Mapping[str, float]]]


def measure_copies(bench: Bench, config: HoldOutConfig) -> dict[str, Inflation]:
    """Nearest neighbour on frozen features of copies, for three and for two classes."""
    owner, by_seed = _cached_features(bench, config)
    truth = np.array(bench.dataset.label_indices)[owner]
    return {
        "three_classes": _measure(by_seed, truth, owner, LABELS),
        "two_classes": _measure(by_seed, np.minimum(truth, 1), owner, TWO_CLASSES),
    }


def _cached_features(bench: Bench, config: HoldOutConfig) -> tuple[Integers, dict[int, Floats]]:
    """The radiograph that each copy is of, and the copies' features by seed."""
    view = View("whole", SIDE_PX, SIDE_PX)
    pictures = gather_pictures(bench.dataset, view, bench.finder, bench.finder_digest, bench.cache)
    owner = np.repeat(pictures.owner, COPIES)
    digests = [row.sha256 for row in bench.dataset.radiographs]
    file = bench.cache / f"copies-{key(BACKBONE, digests, view, CROP, COPIES, SEEDS)}.npz"

    def make() -> dict[str, Floats]:
        network, features = pretrained(BACKBONE, SIDE_PX, config), {}
        with click.progressbar(SEEDS, label="Copies", file=sys.stderr) as seeds:
            for seed in seeds:
                rng = np.random.default_rng(seed)
                copies = np.stack([augment(image, CROP, rng) for image in pictures.images for _ in range(COPIES)])
                features[str(seed)] = frozen_features(network, copies, np.arange(len(copies)))
        return features

    stored = kept(file, make)
    return owner, {seed: stored[str(seed)] for seed in SEEDS}


def _measure(by_seed: Mapping[int, Floats], labels: Integers, owner: Integers, classes: tuple[str, ...]) -> Inflation:
    each: dict[str, dict[str, dict[str, float]]] = {"by_file": {}, "by_patient": {}}
    for seed, features in by_seed.items():
        for way, groups in (("by_file", np.arange(len(owner))), ("by_patient", owner)):
            scores = nearest_neighbour(features, labels, groups, seed=seed)
            figures = figures_of(labels, scores, classes)
            each[way][str(seed)] = {name: figures[name] for name in ("accuracy", "balanced_accuracy")}
    return Inflation(classes, _mean(each["by_file"].values()), _mean(each["by_patient"].values()), each)


def nearest_neighbour(features: Reals, labels: Integers, groups: Integers, *, seed: int) -> Doubles:
    """Out-of-fold answers (pictures, classes), one-hot: the class of the most similar picture of the other folds."""
    answers = np.empty(len(labels), np.int64)
    for training, test in grouped_folds(labels, groups.astype(str), folds=FOLDS, seed=seed):
        scaler = StandardScaler().fit(features[training])
        classifier = KNeighborsClassifier(1).fit(normalize(scaler.transform(features[training])), labels[training])
        answers[test] = classifier.predict(normalize(scaler.transform(features[test])))
    return np.eye(labels.max() + 1)[answers]


def _mean(figures: Iterable[Mapping[str, float]]) -> dict[str, float]:
    lines = list(figures)
    return {name: float(np.mean([line[name] for line in lines])) for name in lines[0]}
