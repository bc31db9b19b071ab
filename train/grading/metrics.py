"""``metrics.json`` and ``scores.json`` of what grades knees, one network or several: what it says, cross-fitted by patient."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteo_edge.decision.scores import softmax
from train.fitting.material import say
from train.grading.calibration import COVERAGE, FitScorer, Sets, cross_fit, fit_network, set_figures, told_by_grade
from train.grading.judgement import confusion, differences, resampled_weights, with_intervals
from train.grading.knees import GRADES, VALIDATION, GradedKnee
from train.grading.question import LABELS

# Of a baseline that gives every knee nearly the same shares it says nothing.
_NOT_OF_BASELINES = "ece"


@dataclass(frozen=True)
class Judged:
    """What networks said of the validation knees.

    Attributes:
        knees: rows of the index.
        found: (knees,), whether the finder found the joint. Of the others the runtime says nothing, hence they neither
            calibrate it nor count among what it reports.
        logits: (knees, ..., grades), uncalibrated: of one network, or of several side by side.
    """

    knees: tuple[GradedKnee, ...]
    found: NDArray[np.bool_]
    logits: NDArray[np.float64]

    @property
    def grades(self) -> NDArray[np.int64]:
        return np.array([knee.grade for knee in self.knees])

    @property
    def patients(self) -> NDArray[np.str_]:
        return np.array([knee.patient for knee in self.knees])

    def where_found(self) -> Judged:
        """The knees that were found alone."""
        knees = tuple(knee for knee, found in zip(self.knees, self.found.tolist(), strict=True) if found)
        return Judged(knees, self.found[self.found], self.logits[self.found])


def metrics_of(
    judged: Judged,
    baselines: Mapping[str, NDArray[np.float64]],
    *,
    seed: int,
    resamples: int,
    fit: FitScorer = fit_network,
) -> dict[str, Any]:
    """Figures and label sets beside those of the baselines.

    Args:
        baselines: name -> probabilities (knees, grades).
        fit: what makes probabilities and label sets of logits, fitted on the other patients.

    Raises:
        DatasetError: too few patients of a grade.
    """
    grades, found = judged.grades, judged.found
    weights = resampled_weights(judged.patients, count=resamples, seed=seed)
    probabilities, _ = cross_fit(judged.logits, grades, judged.patients, seed=seed, fit=fit)
    answered = judged.where_found()
    found_ones, sets = cross_fit(answered.logits, answered.grades, answered.patients, seed=seed, fit=fit)
    return {
        "schema_version": 2,
        "part": VALIDATION,
        "knees": len(judged.knees),
        "patients": len(set(judged.patients.tolist())),
        "knees_found": int(found.sum()),
        "not_found_by_grade": np.bincount(grades[~found], minlength=GRADES).tolist(),
        "method": (
            f"95 % percentile bootstrap by patient, {resamples} resamples; the epoch was chosen on these knees; "
            "temperature and thresholds cross-fitted by patient, each tenth judged by those of the others"
        ),
        "figures": with_intervals(grades, probabilities, weights),
        "figures_where_found": with_intervals(answered.grades, found_ones, weights[:, found]),
        "label_sets": _label_sets(answered.grades, sets, weights[:, found]),
        "baselines": {name: _without_calibration(with_intervals(grades, one, weights)) for name, one in baselines.items()},
        "less_baseline": {
            name: _without_calibration(differences(grades, probabilities, one, weights)) for name, one in baselines.items()
        },
        "confusion": confusion(grades, probabilities),
    }


def uncalibrated(judged: Judged, *, seed: int, resamples: int) -> dict[str, dict[str, float]]:
    """Figures of one network's logits as they are."""
    weights = resampled_weights(judged.patients, count=resamples, seed=seed)
    return with_intervals(judged.grades, softmax(judged.logits), weights)


def _label_sets(grades: NDArray[np.int64], sets: Sets, weights: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "coverage": COVERAGE,
        "knees": len(grades),
        "figures": set_figures(grades, sets, weights),
        "told_by_grade": told_by_grade(grades, sets),
    }


def _without_calibration(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figure for name, figure in figures.items() if name != _NOT_OF_BASELINES}


def scores_text(judged: Judged) -> str:
    """SHA-256 of each picture -> grade, whether the finder found it, and logits (grades,): JSON, a line a knee."""
    rows = zip(judged.knees, judged.found.tolist(), np.round(judged.logits, 4).tolist(), strict=True)
    lines = ",\n".join(
        f" {json.dumps(knee.sha256)}: "
        + json.dumps({"grade": knee.grade, "was_found": found, "logits": [round(value, 4) for value in values]})
        for knee, found, values in rows
    )
    return f'{{"schema_version": 1, "knees": {{\n{lines}\n}}}}\n'


def tell(metrics: Mapping[str, Any]) -> None:
    """The figures that matter, in two lines."""
    figures, sets = metrics["figures"], metrics["label_sets"]["figures"]
    told = [f"{name} {figures[name]['value']:.3f}" for name in ("quadratic_kappa", "accuracy", "auc_definite", "ece")]
    told += [f"{name} {sets[name]['value']:.3f}" for name in ("reported", "error_among_reported", "mean_set_size")]
    covered = ", ".join(f"{label} {sets[f'coverage_{label}']['value']:.3f}" for label in LABELS)
    say(", ".join(told))
    say(f"coverage: {covered}")
