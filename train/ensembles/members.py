"""Members of ensembles on frozen features: linear classifiers, and a random forest on principal components.

A member is a function from training and test indices to the test pictures' logits; it fits all that it fits on the
training pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from train.data.split import Groups
from train.networks.targets import TargetKind, fit_target, require_every_label, require_finite
from train.runs.arrays import Doubles, Integers, Reals
from train.runs.config import ConfigError, Linear

# (training indices, test indices) -> logits (test, labels).
Member = Callable[[Integers, Integers], Doubles]
# (training indices, test indices) -> logits (test, members, labels).
Members = Callable[[Integers, Integers], Doubles]

TREES = 300
LEAF_PICTURES = 3
LOWEST_PROBABILITY = 1e-3


def members(each: Sequence[Member]) -> Members:
    """Several members as one function.

    Raises:
        ConfigError: there is none.
    """
    if not each:
        raise ConfigError("there is no member to score with")
    return lambda training, test: np.stack([member(training, test) for member in each], axis=1)


def linear_member(
    features: Reals,
    labels: Integers,
    groups: Groups,
    settings: Linear,
    *,
    seed: int,
    kind: TargetKind = "classes",
    t_scores: Reals | None = None,
    ages: Reals | None = None,
) -> Member:
    """``train.networks.targets.fit_target`` on (pictures, features)."""
    patients = np.asarray(groups)

    def score(training: Integers, test: Integers) -> Doubles:
        known = {"t_scores": _of(t_scores, training), "ages": _of(ages, training)}
        fitted = fit_target(kind, features[training], labels[training], patients[training], settings, seed=seed, **known)
        return fitted.predict_logits(features[test])

    return score


def _of(values: Reals | None, rows: Integers) -> Reals | None:
    return None if values is None else values[rows]


def forest_member(features: Reals, labels: Integers, *, pca_variance: float, seed: int) -> Member:
    """``fit_forest`` on (pictures, features)."""

    def score(training: Integers, test: Integers) -> Doubles:
        forest = fit_forest(features[training], labels[training], pca_variance=pca_variance, seed=seed)
        return forest.predict_logits(features[test])

    return score


@dataclass(frozen=True)
class Forest:
    """A random forest on principal components; it is for comparison, as no bundle holds the components."""

    pipeline: Pipeline

    def predict_proba(self, features: Reals) -> Doubles:
        """Probabilities (pictures, labels)."""
        require_finite(features, "features")
        return self.pipeline.predict_proba(features)  # type: ignore[no-any-return]

    def predict_logits(self, features: Reals) -> Doubles:
        """Logarithms of the probabilities; a class that no tree names keeps a thousandth."""
        return np.log(np.maximum(self.predict_proba(features), LOWEST_PROBABILITY))


def fit_forest(features: Reals, labels: Integers, *, pca_variance: float, seed: int) -> Forest:
    """Standardise, reduce, and grow trees on balanced samples (Breiman, Machine Learning 2001). Nothing is tuned.

    Raises:
        DatasetError: a feature is not a number, or a class is missing.
    """
    require_finite(features, "features")
    require_every_label(labels)
    trees = RandomForestClassifier(
        TREES, min_samples_leaf=LEAF_PICTURES, class_weight="balanced_subsample", random_state=seed, n_jobs=1
    )
    with threadpool_limits(1):
        pipeline = make_pipeline(StandardScaler(), PCA(pca_variance, svd_solver="full"), trees)
        return Forest(pipeline.fit(features, labels))
