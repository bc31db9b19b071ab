"""Grading runs stacked: what is fitted, that nobody is judged by a stacking of their own, and what is refused."""

from __future__ import annotations

import numpy as np

from osteo_edge.decision.scores import softmax
from tests.train.grading.test_grading_calibration import made_up
from train.grading.calibration import Scorer, cross_fit
from train.grading.stacking import Stacking, fit_stacking

Both = tuple[np.ndarray, np.ndarray, np.ndarray]


def two_members(count: int, *, seed: int) -> Both:
    """Logits (knees, 2, grades): a member that knows the shares, too sharp by two, and one that knows nothing."""
    logits, grades, patients = made_up(count, seed=seed, sharpness=2.0)
    empty = np.random.default_rng(seed).normal(0, 1, logits.shape)
    return np.stack([logits, empty], axis=1), grades, patients


def log_loss(probabilities: np.ndarray, grades: np.ndarray) -> float:
    return float(-np.log(probabilities[np.arange(len(grades)), grades]).mean())


def fit(logits: np.ndarray, grades: np.ndarray, patients: np.ndarray) -> Scorer:
    fitted = fit_stacking(logits, grades, patients, seed=1)
    return Scorer(fitted.probabilities, fitted.conformal)


def test_a_member_that_knows_nothing_is_not_heard() -> None:
    logits, grades, patients = two_members(1000, seed=1)
    probabilities, _ = cross_fit(logits, grades, patients, seed=1, fit=fit)
    best = log_loss(softmax(logits[:, 0] / 2), grades)  # of the very shares that the grades were drawn from
    mean = log_loss(softmax(logits / 2).mean(axis=1), grades)
    assert best < log_loss(probabilities, grades) < best + 0.05 < mean


def test_thresholds_are_of_patients_that_the_stacking_was_not_fitted_on() -> None:
    logits, grades, patients = two_members(2000, seed=2)
    fitted = fit_stacking(logits, grades, patients, seed=1)
    others, of_others, _ = two_members(4000, seed=3)
    probabilities = fitted.probabilities(others)
    kept = [
        (probabilities[of_others == grade, grade] >= threshold).mean()
        for grade, threshold in enumerate(fitted.conformal.min_probabilities)
    ]
    assert min(kept) > 0.84
    assert 0.88 < np.mean(kept) < 0.93


def test_temperatures_of_the_members_are_those_that_are_given() -> None:
    logits, grades, patients = two_members(400, seed=4)
    given = np.array([[2.0], [1.0]])
    fitted: Stacking = fit_stacking(logits, grades, patients, seed=1, temperatures=given)
    assert fitted.temperatures is given
    np.testing.assert_allclose(fitted.probabilities(logits).sum(axis=1), 1)
