"""Rows on features of networks with ImageNet weights: hierarchical, with covariates, random forest, stacking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import keras
import numpy as np

from osteo_edge.decision.scores import softmax
from train.data.dataset import LABELS, Dataset
from train.data.split import HoldOut, Indices, grouped_folds, hold_out
from train.ensembles.fit import apply_ensemble, fit_ensemble
from train.ensembles.members import Members, forest_member, linear_member, members
from train.ensembles.nested import inner_logits
from train.fitting.regions import frozen_features
from train.judging.baselines import logistic
from train.networks.network import build_network
from train.research.holdout.config import HoldOutConfig, View
from train.research.holdout.hold_out import cached_metadata
from train.research.holdout.judgement import describe_persons, rival_scores
from train.research.holdout.pictures import Pictures, find_rejected, gather_pictures, prepared_pictures, without
from train.research.holdout.preparation import Preparation
from train.research.papers.networks import Bench
from train.research.papers.outcomes import MODEL, Outcome, Protocol, judged
from train.research.papers.table import OnFeatures
from train.runs.arrays import Doubles, Floats, Integers, Reals, Words
from train.runs.cache import kept, key
from train.runs.config import Linear, from_project

Scorer = Callable[[Integers, Integers], Doubles]

MOBILENET, RESNET = "mobilenet_v2_1.0", "resnet50v2_conv4"
COVARIATES = ("age_years", "sex", "bmi")
LINEAR = Linear(pca_variance=0.9, inverse_penalties=(1e-4, 1e-3, 1e-2, 1e-1), inner_folds=4)
SIDE_PX = 224
FOLDS = 5
INNER_FOLDS = 4


@dataclass(frozen=True)
class Described:
    """Radiographs, their pictures before any preparation, and their features by the network's name, (radiographs, features)."""

    radiographs: Dataset
    pictures: Pictures
    features: dict[str, Floats]
    labels: Integers

    @property
    def groups(self) -> Words:
        return np.array(self.radiographs.groups)


def run_on_features(bench: Bench, recipe: OnFeatures, config_name: str, protocol: Protocol) -> Outcome:
    """One hold-out split on whole radiographs under their protocol; five folds by patient on the knee under ours."""
    config, _ = bench.configs[config_name]
    described = describe_radiographs(bench, config)
    scorer = _SCORERS[recipe.kind](described, config.seed)
    metadata = cached_metadata(described.radiographs, bench.cache)
    if protocol == "published":
        shares = config.shares
        split = hold_out(described.radiographs, test_share=shares.test, validation_share=shares.validation, seed=config.seed)
        # Nothing is stopped early here, hence the validation part is trained on as well.
        training = np.union1d(split.training, split.validation)
        usual = _usual(described.pictures, training, config.preparation)
        parts = [HoldOut(usual, np.empty(0, np.int64), split.test)]
        left_out = f", {len(training) - len(usual)} training radiographs rejected" if config.preparation.outliers else ""
        how = f"whole radiograph, frozen {_NETWORKS[recipe.kind]} features, one split with {shares.test:.0%} to test{left_out}"
    else:
        parts = list(_folds(described, config.seed))
        how = f"knee, frozen {_NETWORKS[recipe.kind]} features, {FOLDS} folds by patient group, out of fold"
    tested = np.concatenate([part.test for part in parts])
    systems = _scores(described, metadata, scorer, parts)
    return judged(
        protocol,
        how,
        described.labels[tested],
        systems,
        described.groups[tested],
        LABELS,
        resamples=config.resamples,
        seed=config.seed,
    )


def _usual(pictures: Pictures, training: Integers, preparation: Preparation) -> Integers:
    """The training radiographs of which a picture is left when the outliers are out."""
    left = without(pictures, find_rejected(pictures, training, preparation))
    return training[np.isin(training, left.owner)]


def _folds(described: Described, seed: int) -> list[HoldOut]:
    strata = [f"{row.label} {row.acquisition}" for row in described.radiographs.radiographs]
    folds = grouped_folds(strata, described.groups, folds=FOLDS, seed=seed)
    return [HoldOut(training, np.empty(0, np.int64), test) for training, test in folds]


def _scores(described: Described, metadata: Reals, scorer: Scorer, parts: list[HoldOut]) -> dict[str, Reals]:
    """Probabilities of the model and of its rivals, the parts' test radiographs one after the other."""
    each = [
        {
            MODEL: softmax(scorer(part.training, part.test)),
            **rival_scores(described.radiographs, described.labels, metadata, part, len(LABELS)),
        }
        for part in parts
    ]
    systems = {name: np.concatenate([one[name] for one in each]) for name in each[0]}
    # The same shares for every radiograph: a constant must not turn into a ranking of folds.
    systems["majority"] = np.tile(systems["majority"].mean(axis=0), (len(systems["majority"]), 1))
    return systems


def describe_radiographs(bench: Bench, config: HoldOutConfig) -> Described:
    """Features of the configured view and preparation at 224 px, from the cache where they are there."""
    whole = View("whole", SIDE_PX, SIDE_PX)
    view = whole if config.view.kind == "whole" else _at_full_size(config.view)
    pictures = gather_pictures(bench.dataset, view, bench.finder, bench.finder_digest, bench.cache)
    digests = [row.sha256 for row in pictures.radiographs.radiographs]
    prepared = prepared_pictures(pictures, config.preparation)
    features = {}
    for name in (MOBILENET, RESNET):
        file = bench.cache / f"features-{key(name, digests, view, config.preparation, bench.finder_digest)}.npz"
        features[name] = kept(file, partial(_kept_features, prepared, name, config))["features"]
    return Described(pictures.radiographs, pictures, features, np.array(pictures.radiographs.label_indices))


def _kept_features(pictures: Pictures, name: str, config: HoldOutConfig) -> dict[str, Floats]:
    return {"features": _features(pictures, name, config)}


def _at_full_size(view: View) -> View:
    return View(view.kind, SIDE_PX, SIDE_PX, view.half_width, view.above, view.below)


def _features(pictures: Pictures, backbone: str, config: HoldOutConfig) -> Floats:
    return frozen_features(pretrained(backbone, SIDE_PX, config), pictures.images, pictures.owner)


def pretrained(backbone: str, side_px: int, config: HoldOutConfig) -> keras.Model:
    """The network with its configured weights, not to be trained."""
    keras.utils.clear_session()
    weights = from_project(config.weights[backbone].file)
    return build_network(backbone, height_px=side_px, width_px=side_px, labels=len(LABELS), imagenet_weights=weights)


def _linear(described: Described, seed: int, backbone: str, kind: str = "classes") -> Scorer:
    return linear_member(described.features[backbone], described.labels, described.groups, LINEAR, seed=seed, kind=kind)  # type: ignore[arg-type]


def _forest(described: Described, seed: int) -> Scorer:
    return forest_member(described.features[RESNET], described.labels, pca_variance=LINEAR.pca_variance, seed=seed)


def _hierarchical(described: Described, seed: int) -> Scorer:
    return _linear(described, seed, MOBILENET, "hierarchical")


def _stacking(described: Described, seed: int) -> Scorer:
    """Two linear members and a forest, stacked on scores that are held back inside the training part."""
    each = members([_linear(described, seed, MOBILENET), _linear(described, seed, RESNET), _forest(described, seed)])

    def score(training: Integers, test: Integers) -> Doubles:
        inner = _held_back(each, described, training, seed)
        fitted = fit_ensemble("stacking", inner, described.labels[training], described.groups[training], seed=seed)
        return apply_ensemble(fitted, each(training, test))

    return score


def _with_covariates(described: Described, seed: int) -> Scorer:
    """The linear member's held-back scores beside age, sex and BMI, in one logistic regression."""
    each = members([_linear(described, seed, MOBILENET)])
    persons = describe_persons(described.radiographs, COVARIATES)

    def score(training: Integers, test: Integers) -> Doubles:
        seen = np.hstack([_held_back(each, described, training, seed)[:, 0], persons[training]])
        unseen = np.hstack([each(training, test)[:, 0], persons[test]])
        fitted = logistic().fit(seen, described.labels[training])
        return fitted.predict_log_proba(unseen)  # type: ignore[no-any-return]

    return score


def _held_back(each: Members, described: Described, training: Indices, seed: int) -> Doubles:
    return inner_logits(each, described.labels, described.groups, training, folds=INNER_FOLDS, seed=seed)


_SCORERS: dict[str, Callable[[Described, int], Scorer]] = {
    "hierarchical": _hierarchical,
    "covariates": _with_covariates,
    "forest": _forest,
    "stacking": _stacking,
}
_NETWORKS = {"hierarchical": MOBILENET, "covariates": MOBILENET, "forest": RESNET, "stacking": f"{MOBILENET} and {RESNET}"}
