"""Finished grading runs stacked: a small model on what they say of the validation knees, none of which any was trained on.

What is reported is cross-fitted: each patient is judged by temperatures, a stacking and thresholds of the other ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from osteo_edge.decision.ensemble import stack
from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Conformal, DenseLayer, Ensemble
from osteo_edge.storage import write_file
from train.data.split import label_folds
from train.ensembles.fit import CHOICE_FOLDS, logistic_layer, side_by_side
from train.ensembles.run import SCHEMA_VERSION, require_folder
from train.grading.baselines import baseline_scores
from train.grading.calibration import Floats, Grades, Patients, Scorer, cross_fit, fit_temperature, thresholds_of
from train.grading.judgement import resampled_weights, with_intervals
from train.grading.knees import GRADES, TRAINING, VALIDATION, GradedKnee, read_part
from train.grading.metrics import Judged, metrics_of, scores_text, tell
from train.grading.question import LABELS, QUESTION
from train.runs import cache
from train.runs.config import Rule, from_project, read_settings
from train.runs.folder import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    ENSEMBLE_FILE,
    JUDGED_FILE,
    METRICS_FILE,
    QUESTION_FILE,
    RUN_FILE,
    Calibration,
    CalibrationFile,
    RunError,
    digest_of_members,
    digest_of_weights,
    read_calibration,
    read_json,
)
from train.runs.versions import versions

# Inverse penalties of the regression.
CHOICES = (1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class StackingConfig:
    """Which runs are stacked. Paths are seen from the project's root.

    Attributes:
        data: folder with ``index.csv``, that the runs were judged on.
        members: folders of finished grading runs, in the bundle's order.
        resamples: of the patients, for the intervals.
    """

    name: str
    data: str
    output: str
    members: tuple[str, ...]
    seed: int
    resamples: int


def is_of_grades(members: Sequence[str]) -> bool:
    """Whether the first of the members' folders is that of a grading run."""
    first = from_project(members[0]) / RUN_FILE if members else None
    return first is not None and first.is_file() and read_json(first).get("kind") == "grades"


def read_stacking_config(path: Path) -> StackingConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a wrong key.
    """
    return read_settings(StackingConfig, path, _rules)


def _rules(config: StackingConfig) -> Iterator[Rule]:
    yield len(config.members) >= 2, "members", "must hold at least two runs"
    yield len(set(config.members)) == len(config.members), "members", "holds a run twice"
    yield config.resamples >= 100, "resamples", "must be at least 100"


def read_judged(folders: Sequence[Path], knees: Sequence[GradedKnee]) -> Judged:
    """The recorded scores of all members, side by side.

    Raises:
        RunError: a member is not finished, was judged on other knees, or by another finder.
    """
    chosen = tuple(knee for knee in knees if knee.part == VALIDATION)
    members = [_scores_of(folder, chosen) for folder in folders]
    finders = {read_json(folder / RUN_FILE).get("finder_sha256") for folder in folders}
    if len(finders) > 1:
        raise RunError("the runs were judged with different finders; judge them again (python -m train judge-grades)")
    return Judged(chosen, members[0][0], np.stack([logits for _, logits in members], axis=1))


def _scores_of(folder: Path, knees: Sequence[GradedKnee]) -> tuple[NDArray[np.bool_], Floats]:
    """Whether each knee was found, (knees,), and its logits, (knees, grades)."""
    try:
        scores = read_json(folder / JUDGED_FILE)["knees"]
        rows = [scores[knee.sha256] for knee in knees]
        logits = np.array([row["logits"] for row in rows], np.float64)
        return np.array([bool(row["was_found"]) for row in rows]), logits.reshape(len(knees), GRADES)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder / JUDGED_FILE}: does not hold every validation knee ({str(error)[:80]})") from error


@dataclass(frozen=True)
class Stacking:
    """A stacking of members whose logits were divided by these temperatures.

    Attributes:
        temperatures: (members, 1).
        conformal: thresholds fitted on patients held back from the stacking, which knows its own knees too well.
    """

    temperatures: Floats
    ensemble: Ensemble
    conformal: Conformal

    def probabilities(self, logits: Floats) -> Floats:
        """Members' logits (knees, members, grades) to (knees, grades), by the runtime's own rule."""
        return stacked(self.ensemble, logits / self.temperatures)


def fit_stacking(
    logits: Floats, grades: Grades, patients: Patients, *, seed: int, temperatures: Floats | None = None
) -> Stacking:
    """Multinomial logistic regression on all members' calibrated logits (Wolpert, Neural Networks 1992).

    Grades weigh as often as they come, so that the probabilities need no further temperature. Its penalty is that of lowest
    log-loss on held-back patients, whose probabilities then give the thresholds.

    Args:
        logits: (knees, members, grades).
        temperatures: (members, 1); None to fit them here.

    Raises:
        DatasetError: too few patients of a grade.
    """
    if temperatures is None:
        temperatures = np.array([[fit_temperature(logits[:, place], grades)] for place in range(logits.shape[1])])
    inputs = side_by_side(logits / temperatures)
    folds = list(label_folds(grades, patients, folds=CHOICE_FOLDS, seed=seed))
    held_back = [_held_back(inputs, grades, folds, choice) for choice in CHOICES]
    best = int(np.argmin([log_loss(grades, one, labels=list(range(GRADES))) for one in held_back]))
    ensemble = Ensemble("stacking", layers=(_layer(inputs, grades, CHOICES[best]),))
    return Stacking(temperatures, ensemble, thresholds_of(held_back[best], grades, patients))


def _held_back(inputs: Floats, grades: Grades, folds: Sequence[tuple[Grades, Grades]], choice: float) -> Floats:
    """(knees, grades): the probabilities of each fold's knees by a regression on the others."""
    probabilities = np.empty((len(grades), GRADES))
    for training, test in folds:
        layer = _layer(inputs[training], grades[training], choice)
        probabilities[test] = softmax(inputs[test] @ np.asarray(layer.kernel) + np.asarray(layer.bias))
    return probabilities


def _layer(inputs: Floats, grades: Grades, choice: float) -> DenseLayer:
    with threadpool_limits(1):
        return logistic_layer(inputs, grades, choice, class_weight=None)


def stacked(ensemble: Ensemble, logits: Floats) -> Floats:
    """Calibrated logits (knees, members, grades) to probabilities (knees, grades), by the runtime's own rule."""
    return softmax(np.array([stack(ensemble.layers, one) for one in logits]))


def run_stacking(config: StackingConfig, knees: Sequence[GradedKnee], output: Path, config_text: str) -> Mapping[str, Any]:
    """Fit, judge and write the folder that a bundle is made of.

    Returns:
        ``metrics.json``.

    Raises:
        RunError: a member is not finished or does not go with the others, or the folder cannot be written.
        DatasetError: too few patients of a grade.
    """
    folders = [from_project(member) for member in config.members]
    judged = read_judged(folders, knees)
    for part in (TRAINING, VALIDATION):
        read_part(knees, part)  # the baselines look at these files, which must be those of the index

    def fit(logits: Floats, grades: Grades, patients: Patients) -> Scorer:
        fitted = fit_stacking(logits, grades, patients, seed=config.seed)
        return Scorer(fitted.probabilities, fitted.conformal)

    baselines = baseline_scores(knees, seed=config.seed)
    metrics = metrics_of(judged, baselines, seed=config.seed, resamples=config.resamples, fit=fit)
    metrics["method"] = metrics["method"].replace("temperature and thresholds", "temperatures, stacking and thresholds")
    names = [folder.name for folder in folders]
    metrics["members"] = members_alone(judged, names, seed=config.seed, resamples=config.resamples)

    together, _ = cross_fit(judged.logits, judged.grades, judged.patients, seed=config.seed, fit=fit)
    answered = judged.where_found()
    in_bundles = np.array([[read_calibration(folder).temperature] for folder in folders])
    stacking = fit_stacking(answered.logits, answered.grades, answered.patients, seed=config.seed, temperatures=in_bundles)

    require_folder(output)
    (output / RUN_FILE).unlink(missing_ok=True)
    write_file(output / CONFIG_FILE, config_text.encode())
    write_file(output / JUDGED_FILE, scores_text(replace(judged, logits=np.log(together))).encode())
    cache.save_json(output / ENSEMBLE_FILE, {"schema_version": SCHEMA_VERSION, "members": names, "ensemble": stacking.ensemble})
    cache.save_json(output / QUESTION_FILE, {"schema_version": 1, "question": QUESTION})
    calibration = CalibrationFile(1, digest_of_members(folders), Calibration(1.0, stacking.conformal))
    cache.save_json(output / CALIBRATION_FILE, calibration)
    cache.save_json(output / METRICS_FILE, metrics)
    cache.save_json(output / RUN_FILE, _describe(config, folders, judged))
    tell(metrics)
    return metrics


def _describe(config: StackingConfig, folders: Sequence[Path], judged: Judged) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": config.name,
        "kind": "grades",
        "labels": LABELS,
        "members": [{"run": folder.name, "weights_sha256": digest_of_weights(folder)} for folder in folders],
        "ensemble": "stacking",
        "knees": {"validation": len(judged.knees)},
        "versions": versions(),
    }


def members_alone(judged: Judged, names: Sequence[str], *, seed: int, resamples: int) -> Mapping[str, Any]:
    """Each member's figures as it is, before any calibration, and those of their plain mean."""
    weights = resampled_weights(judged.patients, count=resamples, seed=seed)
    alone = {name: softmax(judged.logits[:, place]) for place, name in enumerate(names)}
    alone["mean"] = np.mean(list(alone.values()), axis=0)
    return {name: with_intervals(judged.grades, probabilities, weights) for name, probabilities in alone.items()}
