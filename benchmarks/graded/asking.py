"""Asking one file of a bundle of many pictures, by the runtime as it ships, and keeping what it says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
import numpy as np

from benchmarks.graded.films import GradedFilm
from osteo_edge import OsteoPredictor
from osteo_edge.answered import Answer
from osteo_edge.bundle import Bundle, open_bundle
from osteo_edge.labels import Status
from osteo_edge.prediction import Prediction
from train.grading.knees import GRADES
from train.runs.arrays import Booleans, Doubles, Integers

QUESTION = "osteoarthritis"


@dataclass(frozen=True)
class Answers:
    """What was said of N pictures.

    Attributes:
        probabilities: (N, grades); not a number where the picture was refused.
        is_in_set: (N, grades), whether the grade cannot be ruled out; False where the picture was refused.
        codes: of what was reported; empty where it was referred or refused.
        refusals: code of the first reason; empty where there is an answer.
        knees: joints that were found.
    """

    probabilities: Doubles
    is_in_set: Booleans
    codes: tuple[str, ...]
    refusals: tuple[str, ...]
    knees: tuple[int, ...]

    @property
    def is_answered(self) -> Booleans:
        """(N,)"""
        return np.array([not refusal for refusal in self.refusals])

    @property
    def is_reported(self) -> Booleans:
        """(N,)"""
        return np.array([bool(code) for code in self.codes])

    @property
    def named(self) -> Integers:
        """The likeliest grade, (N,); -1 where the picture was refused."""
        likeliest = np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=1)
        return np.where(self.is_answered, likeliest, -1)


def open_graded(name: str) -> Bundle:
    """A bundle that is asked of osteoarthritis, in five grades.

    Raises:
        BundleError: it cannot be opened.
        ClickException: it is asked something else.
    """
    bundle = open_bundle(name)
    asked = bundle.manifest.question
    if asked.name != QUESTION or len(asked.labels) != GRADES:
        raise click.ClickException(
            f"{bundle.manifest.name} is asked of {asked.title}, in {len(asked.labels)} labels; these figures are of "
            f"{QUESTION} in {GRADES} grades"
        )
    return bundle


def ask(predictor: OsteoPredictor, films: Sequence[GradedFilm], *, on_film: Callable[[], object] = lambda: None) -> Answers:
    """Ask of each picture file in turn.

    Raises:
        ClickException: a file is not that of the index.
    """
    said = []
    for film, prediction in zip(films, predictor.predict_many(str(film.path) for film in films), strict=True):
        if prediction.digest not in (film.sha256, None):
            raise click.ClickException(f"{film.path}: is not the file of the index (another SHA-256)")
        said.append(prediction)
        on_film()
    return gather([prediction.answer_to(QUESTION) for prediction in said], said)


def gather(answers: Sequence[Answer], predictions: Sequence[Prediction]) -> Answers:
    """Answers side by side, with what their pictures show."""
    rows = [list(answer.probabilities.values()) or [np.nan] * GRADES for answer in answers]
    sets = [[label in answer.label_set for label in answer.asked.labels] for answer in answers]
    return Answers(
        np.array(rows, np.float64),
        np.array(sets, np.bool_),
        tuple(answer.answer or "" for answer in answers),
        tuple(answer.findings[0].code if answer.status is Status.REJECTED else "" for answer in answers),
        tuple(len(prediction.joints) for prediction in predictions),
    )
