"""From a network's logits to what is said of a knee: one temperature, and one threshold a grade for the label sets.

Both are fitted on patients that the network was not trained on. What is reported of them is cross-fitted: each patient is
judged by a temperature and thresholds of the other ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from osteo_edge.decision.conformal import label_set, standings
from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Conformal
from train.data.split import label_folds
from train.grading.judgement import interval
from train.grading.knees import GRADES
from train.grading.question import FIRST_DEFINITE, LABELS, QUESTION
from train.runs.folder import Calibration

Grades = NDArray[np.int64]
Floats = NDArray[np.float64]
Patients = NDArray[np.str_]

COVERAGE = 0.9
FOLDS = 10
_LOG_TEMPERATURES = (-3.0, 3.0)


@dataclass(frozen=True)
class Scorer:
    """What was fitted on some knees, to be asked about others.

    Attributes:
        probabilities: logits (knees, ..., grades), one network's or several ones', to (knees, grades).
        conformal: thresholds on these probabilities.
    """

    probabilities: Callable[[Floats], Floats]
    conformal: Conformal


# Logits, grades and patients of the knees that it is fitted on.
FitScorer = Callable[[Floats, Grades, Patients], Scorer]


@dataclass(frozen=True)
class Sets:
    """The lowest and the highest grade of each knee's label set, (knees,) each."""

    first: Grades
    last: Grades


def fit_temperature(logits: Floats, grades: Grades) -> float:
    """The temperature of lowest cross-entropy (Guo et al., ICML 2017)."""

    def loss(log_temperature: float) -> float:
        scaled = logits / math.exp(log_temperature)
        return float(-np.log(softmax(scaled)[np.arange(len(grades)), grades]).mean())

    return math.exp(float(minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded").x))


def calibrate(logits: Floats, grades: Grades, patients: Patients, *, coverage: float = COVERAGE) -> Calibration:
    """Fit the temperature, then the thresholds of the label sets.

    Args:
        logits: (knees, grades) of the network.
        grades, patients: (knees,).
        coverage: wanted of each grade.
    """
    temperature = fit_temperature(logits, grades)
    return Calibration(temperature, thresholds_of(softmax(logits / temperature), grades, patients, coverage=coverage))


def thresholds_of(
    probabilities: Floats, grades: Grades, patients: Patients, *, coverage: float = COVERAGE, by_answer: bool = False
) -> Conformal:
    """Of each grade the threshold that keeps enough of its own knees in their sets.

    Class-conditional split-conformal prediction with the score 1 - p(grade): of all sets that hold each class often enough,
    those of thresholds on the probabilities are the smallest (Sadinle, Lei and Wasserman, JASA 2019).

    Args:
        by_answer: whether thresholds are on ``standings``. Then more knees are told, and more of them wrongly: little at home,
            much on another country's knees (docs/training.md), so that it is not the default.
    """
    standing = (
        [list(standings(_named(row), QUESTION).values()) for row in probabilities.tolist()] if by_answer else probabilities
    )
    scores = np.asarray(standing, np.float64)
    thresholds = tuple(_threshold(scores, grades, patients, grade, coverage) for grade in range(GRADES))
    return Conformal(coverage, thresholds, len(grades), by_answer=by_answer)


def _named(row: list[float]) -> dict[str, float]:
    return dict(zip(LABELS, row, strict=True))


def fit_network(logits: Floats, grades: Grades, patients: Patients) -> Scorer:
    """One network's temperature and thresholds: logits are (knees, grades)."""
    fitted = calibrate(logits, grades, patients)
    return Scorer(lambda others: softmax(others / fitted.temperature), fitted.conformal)


def _threshold(scores: Floats, grades: Grades, patients: Patients, grade: int, coverage: float) -> float:
    """The highest one that keeps ceil((n + 1) * coverage) of the n patients who have such a knee.

    A patient counts once, with two such knees each by half: two knees of one person are no two independent ones (after Dunn,
    Wasserman and Ramdas, JASA 2023).
    """
    of_grade = grades == grade
    own, (_, owner, knees) = (
        scores[of_grade, grade],
        np.unique(patients[of_grade], return_inverse=True, return_counts=True),
    )
    order = np.argsort(-own, kind="stable")
    kept = np.cumsum((1 / knees)[owner][order])
    needed = math.ceil((len(knees) + 1) * coverage - 1e-9)
    enough = np.flatnonzero(kept >= needed - 1e-9)
    return float(own[order][enough[0]]) if enough.size else 0.0


def sets_of(probabilities: Floats, conformal: Conformal) -> Sets:
    """Label sets by the runtime's own rule, which leaves no gap."""
    rows = [label_set(_named(row), conformal, QUESTION) for row in probabilities.tolist()]
    ends = np.array([(LABELS.index(one[0]), LABELS.index(one[-1])) for one in rows], np.int64).reshape(-1, 2)
    return Sets(ends[:, 0], ends[:, 1])


def cross_fit(
    logits: Floats, grades: Grades, patients: Patients, *, seed: int, fit: FitScorer = fit_network
) -> tuple[Floats, Sets]:
    """Probabilities (knees, grades) and sets of each tenth of the patients by what was fitted on the other nine.

    Args:
        logits: (knees, ..., grades), as ``fit`` takes them.

    Raises:
        DatasetError: too few patients of a grade.
    """
    probabilities = np.empty((len(grades), GRADES))
    first, last = np.empty(len(grades), np.int64), np.empty(len(grades), np.int64)
    for others, held_back in label_folds(grades, patients, folds=FOLDS, seed=seed):
        fitted = fit(logits[others], grades[others], patients[others])
        probabilities[held_back] = fitted.probabilities(logits[held_back])
        sets = sets_of(probabilities[held_back], fitted.conformal)
        first[held_back], last[held_back] = sets.first, sets.last
    return probabilities, Sets(first, last)


def set_figures(grades: Grades, sets: Sets, weights: Floats) -> dict[str, dict[str, float]]:
    """What the sets do: coverage of each grade, share of the knees that are reported, and how often what is reported is wrong.

    Args:
        weights: (resamples, knees), for the intervals.
    """
    values = _set_figures(grades, sets, np.ones((1, len(grades))))
    drawn = _set_figures(grades, sets, weights)
    return {name: {"value": float(values[name][0]), **interval(drawn[name])} for name in values}


def _set_figures(grades: Grades, sets: Sets, weights: Floats) -> dict[str, Floats]:
    covered = (sets.first <= grades) & (grades <= sets.last)
    says_signs, says_none = sets.first >= FIRST_DEFINITE, sets.last < FIRST_DEFINITE
    is_reported, has_signs = says_signs | says_none, grades >= FIRST_DEFINITE
    is_wrong = is_reported & (says_signs != has_signs)
    of_grade = {label: _share(weights, covered, grades == grade) for grade, label in enumerate(LABELS)}
    return {
        "coverage": _share(weights, covered),
        **{f"coverage_{label}": share for label, share in of_grade.items()},
        "reported": _share(weights, is_reported),
        "error_among_reported": _share(weights, is_wrong, is_reported),
        "error_among_signs": _share(weights, is_wrong, says_signs),
        "error_among_no_definite_signs": _share(weights, is_wrong, says_none),
        "mean_set_size": weights @ (sets.last - sets.first + 1) / weights.sum(axis=1),
        "single_grade": _share(weights, sets.first == sets.last),
    }


def _share(weights: Floats, chosen: NDArray[np.bool_], among: NDArray[np.bool_] | None = None) -> Floats:
    """Weighted share, (resamples,); 0 where there is nothing to take it of."""
    whole = weights.sum(axis=1) if among is None else weights @ among
    part = weights @ (chosen if among is None else chosen & among)
    return np.divide(part, whole, out=np.zeros_like(whole, dtype=np.float64), where=whole > 0)


def told_by_grade(grades: Grades, sets: Sets) -> Mapping[str, Any]:
    """Code of what is told, ``unsure`` where nothing is -> how many knees of each grade."""
    told = np.where(sets.first >= FIRST_DEFINITE, 1, np.where(sets.last < FIRST_DEFINITE, 0, 2))
    codes = (*(answer.code for answer in QUESTION.answers), "unsure")
    return {code: np.bincount(grades[told == place], minlength=GRADES).tolist() for place, code in enumerate(codes)}
