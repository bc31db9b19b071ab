"""What a grading network must beat: the grades' shares, the files' size, and the border of the pictures, without a knee."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

import click
import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.pipeline import make_pipeline

from train.grading.knees import TRAINING, VALIDATION, GradedKnee
from train.judging.baselines import logistic, outer_ring

Floats = NDArray[np.float64]

# Without which a logistic regression on the ring's nearly thousand values takes minutes.
_RING_COMPONENTS = 64


def baseline_scores(knees: Sequence[GradedKnee], *, seed: int) -> dict[str, Floats]:
    """Probabilities (validation knees, grades) of each baseline, fitted on the training knees.

    The knees' files must be those of the index, as ``read_part`` has found them.
    """
    parts = {part: [knee for knee in knees if knee.part == part] for part in (TRAINING, VALIDATION)}
    grades = np.array([knee.grade for knee in parts[TRAINING]])
    seen, unseen = (_describe(parts[part], part) for part in (TRAINING, VALIDATION))
    fitted = {
        "majority": DummyClassifier(strategy="prior"),
        "file_metadata": logistic(),
        "border_ring": make_pipeline(PCA(min(_RING_COMPONENTS, len(grades)), random_state=seed), logistic()),
    }
    columns = {"majority": 0, "file_metadata": 0, "border_ring": 1}
    return {
        name: classifier.fit(seen[columns[name]], grades).predict_proba(unseen[columns[name]])
        for name, classifier in fitted.items()
    }


def _describe(knees: Sequence[GradedKnee], part: str) -> tuple[Floats, Floats]:
    """The logarithm of each file's size, (knees, 1), and the picture's outer ring, (knees, values)."""
    with click.progressbar(knees, label=f"Borders of {part}", file=sys.stderr) as rows:
        both = [_describe_file(knee.path.read_bytes()) for knee in rows]
    return np.array([[size] for size, _ in both]), np.array([ring for _, ring in both])


def _describe_file(data: bytes) -> tuple[float, Floats]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    return math.log(len(data)), outer_ring(np.asarray(picture, np.uint8))
