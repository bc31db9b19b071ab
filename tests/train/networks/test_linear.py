from __future__ import annotations

import numpy as np
import pytest

from train.networks.linear import balanced_log_loss, fit_linear
from train.runs.config import Linear

SETTINGS = Linear(pca_variance=0.9, inverse_penalties=(1e-4,), inner_folds=2)


def test_every_class_weighs_the_same_in_the_fit() -> None:
    labels = np.repeat([0, 1, 2], [60, 12, 12])
    noise = np.random.default_rng(0).normal(size=(len(labels), 5))
    linear = fit_linear(noise, labels, [str(number) for number in range(len(labels))], SETTINGS, seed=0)
    np.testing.assert_allclose(linear.predict_proba(noise).mean(axis=0), 1 / 3, atol=0.02)


def test_every_class_weighs_the_same_in_the_loss() -> None:
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.9, 0.1]])
    assert balanced_log_loss(labels, probabilities) == pytest.approx((-np.log(0.5) - np.log(0.1)) / 2)
