"""Temperature, thresholds a grade and label sets: fitted as they should be, cross-fitted by patient, contiguous."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Conformal
from osteo_edge.questions import check_question
from train.data.dataset import DatasetError
from train.grading.calibration import (
    Sets,
    calibrate,
    cross_fit,
    fit_temperature,
    set_figures,
    sets_of,
    thresholds_of,
    told_by_grade,
)
from train.grading.judgement import resampled_weights
from train.grading.question import LABELS, QUESTION

Made = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.str_]]


def made_up(count: int, *, seed: int, sharpness: float = 1.0) -> Made:
    """Logits whose softmax, at sharpness 1, are the very shares that the grades are drawn from; two knees a patient."""
    rng = np.random.default_rng(seed)
    severity = np.repeat(rng.uniform(-1, 5, count // 2), 2) + rng.normal(0, 0.3, count)
    logits = -1.2 * np.abs(np.arange(5) - severity[:, np.newaxis])
    grades = (softmax(logits).cumsum(axis=1) > rng.random((count, 1))).argmax(axis=1)
    return logits * sharpness, grades, np.repeat(np.arange(count // 2), 2).astype(str)


def test_sets_by_answer_part_between_the_answers_more_often_at_the_same_coverage() -> None:
    logits, grades, patients = made_up(4000, seed=8)
    probabilities = softmax(logits)
    told = [
        set_figures(grades, sets_of(probabilities, one), np.ones((1, len(grades))))
        for one in (thresholds_of(probabilities, grades, patients, by_answer=by_answer) for by_answer in (True, False))
    ]
    assert told[0]["reported"]["value"] > told[1]["reported"]["value"] + 0.01
    for label in LABELS:
        assert told[0][f"coverage_{label}"]["value"] == pytest.approx(told[1][f"coverage_{label}"]["value"], abs=0.03)


def test_the_question_is_one_that_the_runtime_takes() -> None:
    check_question(QUESTION, LABELS)
    assert QUESTION.answer_of(("kl0", "kl1")) is QUESTION.answers[0]
    assert QUESTION.answer_of(("kl1", "kl2")) is None
    assert QUESTION.degrees_of(("kl2", "kl3")) == "grade 2 or 3 of 4 (Kellgren-Lawrence)"


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_logits_are_too_sharp_by(sharpness: float) -> None:
    logits, grades, _ = made_up(4000, seed=1, sharpness=sharpness)
    assert fit_temperature(logits, grades) == pytest.approx(sharpness, rel=0.1)


def test_each_grade_has_a_threshold_that_keeps_enough_of_its_patients() -> None:
    logits, grades, patients = made_up(1000, seed=2)
    fitted = calibrate(logits, grades, patients)
    probabilities = softmax(logits / fitted.temperature)
    for grade, threshold in enumerate(fitted.conformal.min_probabilities):
        kept = (probabilities[grades == grade, grade] >= threshold).mean()
        assert 0.89 < kept < 0.95
    assert fitted.conformal.calibration_size == 1000


def test_two_knees_of_a_patient_count_as_one() -> None:
    logits, grades, patients = made_up(200, seed=3)
    twice = [np.concatenate([one, one]) for one in (logits, grades, patients)]
    assert calibrate(*twice).conformal.min_probabilities == calibrate(logits, grades, patients).conformal.min_probabilities


def test_too_few_patients_of_a_grade_rule_nothing_out() -> None:
    logits, grades, patients = made_up(400, seed=4)
    few = (grades != 4) | (np.cumsum(grades == 4) <= 5)
    thresholds = calibrate(logits[few], grades[few], patients[few]).conformal.min_probabilities
    assert thresholds[4] == 0
    assert min(thresholds[:4]) > 0


def test_cross_fitted_sets_hold_each_grade_as_often_as_wanted() -> None:
    logits, grades, patients = made_up(4000, seed=5, sharpness=2.0)
    probabilities, sets = cross_fit(logits, grades, patients, seed=1)
    figures = set_figures(grades, sets, resampled_weights(patients, count=100, seed=1))
    for label in LABELS:
        assert figures[f"coverage_{label}"]["value"] > 0.87  # ties and gaps only add grades
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert np.abs(probabilities - softmax(logits / 2)).max() < 0.05


def test_nobody_is_judged_by_thresholds_of_their_own() -> None:
    """Another patient's changed knees change what is said of this one; its own do not change its own temperature."""
    logits, grades, patients = made_up(400, seed=6)
    before, _ = cross_fit(logits, grades, patients, seed=1)
    apart = np.flatnonzero(np.abs(grades[0::2] - grades[1::2]) > 1)[0]
    own = patients == str(apart)
    changed = grades.copy()
    changed[own] = grades[own][::-1]  # the folds, which are drawn by grade, stay as they are
    after, _ = cross_fit(logits, changed, patients, seed=1)
    np.testing.assert_allclose(after[own], before[own])
    assert np.abs(after - before).max() > 1e-4


def test_a_grade_needs_patients_in_every_fold() -> None:
    logits, grades, patients = made_up(60, seed=7)
    with pytest.raises(DatasetError, match="a class is missing"):
        cross_fit(logits, grades, patients, seed=1)


def test_sets_have_no_gap() -> None:
    probabilities = np.array([[0.45, 0.02, 0.03, 0.05, 0.45], [0.01, 0.01, 0.9, 0.04, 0.04]])
    sets = sets_of(probabilities, Conformal(0.9, (0.3, 0.1, 0.1, 0.03, 0.3), 100))
    assert (sets.first.tolist(), sets.last.tolist()) == ([0, 2], [4, 3])


def test_figures_of_sets_count_what_is_told_and_what_is_wrong() -> None:
    grades = np.array([0, 1, 2, 3, 4, 0])
    sets = Sets(np.array([0, 1, 0, 2, 4, 2]), np.array([1, 2, 1, 3, 4, 2]))
    figures = {name: figure["value"] for name, figure in set_figures(grades, sets, np.ones((1, 6))).items()}
    assert figures["coverage"] == pytest.approx(4 / 6)
    assert figures["coverage_kl0"] == 0.5
    assert figures["coverage_kl2"] == 0
    assert figures["reported"] == pytest.approx(5 / 6)
    assert figures["error_among_reported"] == pytest.approx(2 / 5)
    assert figures["error_among_signs"] == pytest.approx(1 / 3)
    assert figures["error_among_no_definite_signs"] == pytest.approx(1 / 2)
    assert figures["mean_set_size"] == pytest.approx(10 / 6)
    assert figures["single_grade"] == pytest.approx(2 / 6)
    assert told_by_grade(grades, sets) == {
        "no_definite_signs": [1, 0, 1, 0, 0],
        "signs": [1, 0, 0, 1, 1],
        "unsure": [0, 1, 0, 0, 0],
    }
