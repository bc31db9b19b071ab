"""Figures of merit of what a file says: of all pictures, and of those alone that it answers.

A refused picture has no scores. Of all pictures it counts as wrong and as not reported; where a figure needs scores, it has the
class shares of the training part, which is what is known without a picture.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.graded.asking import Answers
from benchmarks.graded.films import GradedSet
from osteo_edge.manifest import Metric
from osteo_edge.questions import Question
from train.grading.judgement import medians, resampled_weights, weighted_figures
from train.grading.knees import GRADES
from train.judging.evaluate import interval
from train.runs.arrays import Booleans, Doubles

FIGURES = ("quadratic_kappa", "accuracy", "median_kappa", "median_accuracy", "balanced_accuracy", "auc_definite", "ece")
SEED = 1


@dataclass(frozen=True)
class Sets:
    """What the sets of a file are worth.

    Attributes:
        coverage: share of the answered pictures whose set holds the true grade.
        by_grade: the same of each grade.
        mean_size: grades in a set.
        reported: share of all pictures, refused ones too, that get an answer.
        wrong: share of the reported whose answer does not hold the true grade.
    """

    coverage: Metric
    by_grade: tuple[Metric, ...]
    mean_size: float
    reported: Metric
    wrong: Metric


@dataclass(frozen=True)
class Changes:
    """How often a reduced file says something else than the full-precision one.

    Attributes:
        labels: pictures with another likeliest grade.
        withdrawn, added: reported by the full-precision file alone, or by the reduced one alone.
        crossed: reported by both, with another answer.
    """

    labels: int
    withdrawn: int
    added: int
    crossed: int


def draws(of: GradedSet, *, resamples: int) -> Doubles:
    """Weights (1 + resamples, pictures): every picture once, then as many patients as there are drawn with replacement."""
    return np.concatenate([np.ones((1, len(of.films))), resampled_weights(of.patients, count=resamples, seed=SEED)])


def of_all(of: GradedSet, answers: Answers, weights: Doubles) -> dict[str, Metric]:
    """Each figure with its 95 % interval."""
    return {name: measured(values) for name, values in _drawn(of, answers, weights).items()}


def of_answered(of: GradedSet, answers: Answers, weights: Doubles) -> dict[str, Metric]:
    """Likewise of the answered pictures alone; empty where some grade has none of them."""
    kept = answers.is_answered
    if len(set(of.grades[kept].tolist())) < GRADES:
        return {}
    with np.errstate(invalid="ignore"):
        drawn = weighted_figures(of.grades[kept], answers.probabilities[kept], weights[:, kept])
    return {name: measured(drawn[name]) for name in FIGURES}


def difference(of: GradedSet, reduced: Answers, full: Answers, weights: Doubles) -> dict[str, Metric]:
    """Reduced less full precision of all pictures, paired."""
    drawn, others = _drawn(of, reduced, weights), _drawn(of, full, weights)
    return {name: measured(drawn[name] - others[name]) for name in drawn}


def sets_of(of: GradedSet, answers: Answers, asked: Question, weights: Doubles) -> Sets:
    holds = answers.is_in_set[np.arange(len(of.films)), of.grades]
    answered, reported = answers.is_answered, answers.is_reported
    is_wrong = np.array([bool(code) and code != true for code, true in zip(answers.codes, true_codes(of, asked), strict=True)])
    return Sets(
        coverage=share(holds & answered, answered, weights),
        by_grade=tuple(
            share(holds & part, part, weights) for part in (answered & (of.grades == grade) for grade in range(GRADES))
        ),
        mean_size=float(answers.is_in_set[answered].sum(axis=1).mean()) if answered.any() else 0.0,
        reported=share(reported, np.ones_like(reported), weights),
        wrong=share(is_wrong, reported, weights),
    )


def true_codes(of: GradedSet, asked: Question) -> tuple[str, ...]:
    """Code of the answer that holds each picture's true grade."""
    codes = [answer.code for answer in asked.answers for _ in answer.labels]
    return tuple(codes[film.grade] for film in of.films)


def changes_between(reduced: Answers, full: Answers) -> Changes:
    pairs = list(zip(reduced.codes, full.codes, strict=True))
    return Changes(
        labels=int((reduced.named != full.named).sum()),
        withdrawn=sum(bool(theirs and not mine) for mine, theirs in pairs),
        added=sum(bool(mine and not theirs) for mine, theirs in pairs),
        crossed=sum(bool(mine and theirs and mine != theirs) for mine, theirs in pairs),
    )


def refusals_by_code(answers: Answers) -> dict[str, int]:
    return dict(sorted(Counter(code for code in answers.refusals if code).items()))


def share(part: Booleans, whole: Booleans, weights: Doubles) -> Metric:
    """Share of ``whole`` (pictures,) that is ``part``; resamples without any of ``whole`` are left out, and 0 of nothing."""
    of, among = weights @ part, weights @ whole
    if among[0] == 0:
        return Metric(0.0, 0.0, 1.0)
    return measured(of[among > 0] / among[among > 0])


def measured(values: Doubles) -> Metric:
    """The first value with the 95 % interval of the others, six digits each.

    Resamples of a small set that lack one side of a comparison have no such figure, and are left out.
    """
    found = interval(float(values[0]), values[1:][np.isfinite(values[1:])])
    return Metric(*(round(one, 6) for one in (found.value, found.low, found.high)))


def _drawn(of: GradedSet, answers: Answers, weights: Doubles) -> Mapping[str, Doubles]:
    answered = answers.is_answered[:, np.newaxis]
    scores = np.where(answered, answers.probabilities, of.class_shares)
    with np.errstate(invalid="ignore"):
        figures = weighted_figures(of.grades, scores, weights)
    is_right, of_grade = answers.named == of.grades, np.eye(GRADES)[of.grades]
    right, counts = weights @ (of_grade * is_right[:, np.newaxis]), weights @ of_grade
    figures["accuracy"] = right.sum(axis=1) / counts.sum(axis=1)
    figures["median_accuracy"] = weights @ (answers.is_answered & (medians(scores) == of.grades)) / weights.sum(axis=1)
    figures["balanced_accuracy"] = np.divide(right, counts, out=np.zeros_like(right), where=counts > 0).mean(axis=1)
    return {name: figures[name] for name in FIGURES}
