"""A linear classifier on features: standardise, principal components, logistic regression; all fitted inside the fold."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from train.data.split import Groups, label_folds
from train.runs.arrays import Integers, Reals
from train.runs.config import Linear


def fit_linear(features: Reals, labels: Integers, groups: Groups, settings: Linear, *, seed: int) -> Pipeline:
    """Fit on (pictures, features); the penalty is chosen by an inner grouped cross-validation.

    Every class weighs the same, in the fit and in the choice.
    """
    # On such small matrices more threads only wait for one another.
    with threadpool_limits(1):
        inverse_penalty = _choose_inverse_penalty(features, labels, groups, settings, seed=seed)
        scaler, components = _reducer(settings)
        steps = [("scaler", scaler), ("components", components), ("classifier", _classifier(inverse_penalty))]
        return Pipeline(steps).fit(features, labels)


def _choose_inverse_penalty(features: Reals, labels: Integers, groups: Groups, settings: Linear, *, seed: int) -> float:
    """The one of lowest mean loss; components are found once a fold, since they cost more than all classifiers."""
    losses = np.zeros(len(settings.inverse_penalties))
    for training, test in label_folds(labels, groups, folds=settings.inner_folds, seed=seed):
        reducer = make_pipeline(*_reducer(settings)).fit(features[training])
        seen, unseen = reducer.transform(features[training]), reducer.transform(features[test])
        for place, inverse_penalty in enumerate(settings.inverse_penalties):
            classifier = _classifier(inverse_penalty).fit(seen, labels[training])
            losses[place] += balanced_log_loss(labels[test], classifier.predict_proba(unseen))
    return settings.inverse_penalties[int(losses.argmin())]


def _reducer(settings: Linear) -> tuple[StandardScaler, PCA]:
    return StandardScaler(), PCA(settings.pca_variance, svd_solver="full")


def _classifier(inverse_penalty: float) -> LogisticRegression:
    return LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=5000)


def balanced_log_loss(labels: Integers, probabilities: Reals) -> float:
    """Cross-entropy in nats in which every class weighs the same, however many pictures it has."""
    weights = compute_sample_weight("balanced", labels)
    return float(log_loss(labels, probabilities, sample_weight=weights, labels=np.arange(probabilities.shape[1])))
