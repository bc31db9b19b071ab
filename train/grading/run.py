"""A grading run, step by step, and its folder: training, then calibration and judgement, which can be done again alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteo_edge.decision.scores import softmax
from osteo_edge.integrity import sha256_hex
from osteo_edge.storage import write_file
from train import cache
from train.config import from_project
from train.crops import Finder
from train.grading.baselines import baseline_scores
from train.grading.calibration import COVERAGE, Sets, calibrate, cross_fit, set_figures, told_by_grade
from train.grading.config import GradingConfig
from train.grading.fitting import Epoch, GradingTrainer, PlacedPart
from train.grading.judgement import confusion, differences, resampled_weights, with_intervals
from train.grading.knees import GRADES, TRAINING, VALIDATION, GradedKnee, Part, read_part
from train.grading.question import LABELS, QUESTION
from train.grading.teachers import taught_shares
from train.grading.views import Place, find_places, negative, plain_views
from train.material import say, weights_digest
from train.network import LOGITS, apply, round_to_float16, weights_of
from train.run import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    CURVES_FILE,
    JUDGED_FILE,
    METRICS_FILE,
    QUESTION_FILE,
    REGIONS_FILE,
    RUN_FILE,
    WEIGHTS_FILE,
    Calibration,
    CalibrationFile,
    load_network,
    read_json,
    write_digests,
)
from train.versions import versions

# Of a baseline that gives every knee nearly the same shares it says nothing.
_NOT_OF_BASELINES = "ece"

Logits = NDArray[np.float32]


def grade(
    config: GradingConfig, knees: tuple[GradedKnee, ...], finder: Finder, finder_digest: str, *, output: Path, config_text: str
) -> dict[str, Any]:
    """Train, calibrate, judge and write a run's folder; a stopped run goes on where it was.

    Returns:
        ``metrics.json``.

    Raises:
        DatasetError: a picture cannot be read.
        ConfigError: the settings do not fit the network or its weights.
        RunError: the folder cannot be written.
    """
    folder = cache.open_cache(output)
    training, validation = (_placed(knees, part, finder) for part in (TRAINING, VALIDATION))
    trainer = GradingTrainer(config, training, validation, folder, taught=taught_shares(config, training, folder))
    network = trainer.run()
    round_to_float16(network)

    (output / RUN_FILE).unlink(missing_ok=True)
    (output / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    np.savez_compressed(output / WEIGHTS_FILE, **weights_of(network))  # type: ignore[arg-type]
    cache.save_json(output / CURVES_FILE, trainer.history)
    facts = _facts_of_training(config, training, trainer.history)
    return _judge(config, knees, _as_the_runtime_sees(validation, finder), finder_digest, output, facts)


def judge(
    config: GradingConfig, knees: tuple[GradedKnee, ...], finder: Finder, finder_digest: str, *, folder: Path
) -> dict[str, Any]:
    """Calibrate and judge the weights that lie in a run's folder, and write everything but them and the curves anew.

    Returns:
        ``metrics.json``.

    Raises:
        DatasetError: a picture cannot be read.
        RunError: the weights cannot be loaded, or the folder cannot be written.
    """
    facts = read_json(folder / RUN_FILE) if (folder / RUN_FILE).exists() else {}
    validation = _as_the_runtime_sees(_placed(knees, VALIDATION, finder), finder)
    return _judge(config, knees, validation, finder_digest, folder, facts)


def _judge(
    config: GradingConfig,
    knees: Sequence[GradedKnee],
    validation: PlacedPart,
    finder_digest: str,
    folder: Path,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    import keras

    network = load_network(folder, config.backbone, config.region.input, labels=GRADES)
    to_logits = keras.Model(network.input, network.output[LOGITS])
    views = plain_views(validation.part.pictures, validation.places, config.region)
    logits = apply(to_logits, views[..., np.newaxis])
    fitted = _calibration(validation, logits)
    metrics = metrics_of(config, validation, logits, baseline_scores(knees, seed=config.seed))

    region = {"region": config.region.region, "input": config.region.input}
    write_file(folder / JUDGED_FILE, _scores(validation, logits).encode())
    write_digests(folder, [knee.sha256 for knee in knees if knee.part == TRAINING])
    cache.save_json(folder / REGIONS_FILE, {"chosen": config.region.name, "candidates": [region]})
    cache.save_json(folder / QUESTION_FILE, {"schema_version": 1, "question": QUESTION})
    digest = sha256_hex((folder / WEIGHTS_FILE).read_bytes())
    cache.save_json(folder / CALIBRATION_FILE, CalibrationFile(1, digest, fitted))
    cache.save_json(folder / METRICS_FILE, metrics)
    cache.save_json(folder / RUN_FILE, {**facts, **_facts_of_judging(config, knees, finder_digest, validation, facts)})
    _tell(metrics)
    return metrics


def _placed(knees: tuple[GradedKnee, ...], part: Part, finder: Finder) -> PlacedPart:
    read = read_part(knees, part)
    return PlacedPart(read, find_places(read.pictures, [knee.side for knee in read.knees], finder))


def _as_the_runtime_sees(placed: PlacedPart, finder: Finder) -> PlacedPart:
    """The same places without what the table alone tells: a knee whose side the finder does not tell is shown as it is."""
    pictures = zip(placed.part.pictures, placed.places, strict=True)
    return replace(placed, places=tuple(_with_own_side(picture, place, finder) for picture, place in pictures))


def _with_own_side(picture: NDArray[np.uint8], place: Place, finder: Finder) -> Place:
    if not place.was_found:
        return place
    joints = finder.find(negative(picture) if place.is_inverted else picture)
    return replace(place, joint=max(joints, key=lambda joint: joint.score))


def _found(validation: PlacedPart) -> NDArray[np.bool_]:
    """Of the others the runtime says nothing, hence they neither calibrate it nor count among what it reports."""
    return np.array([place.was_found for place in validation.places])


def _calibration(validation: PlacedPart, logits: Logits) -> Calibration:
    found, part = _found(validation), validation.part
    return calibrate(logits[found].astype(np.float64), part.grades[found], part.patients[found])


def metrics_of(
    config: GradingConfig, validation: PlacedPart, logits: Logits, baselines: Mapping[str, NDArray[np.float64]]
) -> dict[str, Any]:
    """``metrics.json``: figures and label sets, cross-fitted by patient, beside those of the baselines.

    Args:
        logits: (knees, grades) of the validation knees, uncalibrated.
        baselines: name -> probabilities (knees, grades).

    Raises:
        DatasetError: too few patients of a grade.
    """
    part, found = validation.part, _found(validation)
    weights = resampled_weights(part.patients, count=config.resamples, seed=config.seed)
    probabilities, _ = cross_fit(logits.astype(np.float64), part.grades, part.patients, seed=config.seed)
    found_ones, sets = cross_fit(logits[found].astype(np.float64), part.grades[found], part.patients[found], seed=config.seed)
    return {
        "schema_version": 2,
        "part": VALIDATION,
        "knees": len(part.knees),
        "patients": len(set(part.patients.tolist())),
        "knees_found": int(found.sum()),
        "not_found_by_grade": np.bincount(part.grades[~found], minlength=GRADES).tolist(),
        "method": (
            f"95 % percentile bootstrap by patient, {config.resamples} resamples; the epoch was chosen on these knees; "
            "temperature and thresholds cross-fitted by patient, each tenth judged by those of the others"
        ),
        "figures": with_intervals(part.grades, probabilities, weights),
        "figures_where_found": with_intervals(part.grades[found], found_ones, weights[:, found]),
        "uncalibrated": with_intervals(part.grades, softmax(logits), weights),
        "label_sets": _label_sets(part.grades[found], sets, weights[:, found]),
        "baselines": {
            name: _without_calibration(with_intervals(part.grades, scores, weights)) for name, scores in baselines.items()
        },
        "less_baseline": {
            name: _without_calibration(differences(part.grades, probabilities, scores, weights))
            for name, scores in baselines.items()
        },
        "confusion": confusion(part.grades, probabilities),
    }


def _label_sets(grades: NDArray[np.int64], sets: Sets, weights: NDArray[np.float64]) -> dict[str, Any]:
    return {
        "coverage": COVERAGE,
        "knees": len(grades),
        "figures": set_figures(grades, sets, weights),
        "told_by_grade": told_by_grade(grades, sets),
    }


def _without_calibration(figures: Mapping[str, Any]) -> dict[str, Any]:
    return {name: figure for name, figure in figures.items() if name != _NOT_OF_BASELINES}


def _scores(validation: PlacedPart, logits: Logits) -> str:
    """SHA-256 of each picture -> grade, whether the finder found it, and logits: JSON, a line a knee."""
    rows = zip(validation.part.knees, validation.places, np.round(logits, 4).tolist(), strict=True)
    lines = ",\n".join(
        f" {json.dumps(knee.sha256)}: "
        + json.dumps({"grade": knee.grade, "was_found": place.was_found, "logits": [round(value, 4) for value in values]})
        for knee, place, values in rows
    )
    return f'{{"schema_version": 1, "knees": {{\n{lines}\n}}}}\n'


def _facts_of_training(config: GradingConfig, training: PlacedPart, history: list[Epoch]) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "weights_sha256": weights_digest(config.weights),
        "epochs": len(history),
        "seconds": round(sum(line.seconds for line in history)),
        "not_found": {"training": _not_found(training)},
        "versions": versions(),
    }


def _facts_of_judging(
    config: GradingConfig,
    knees: Sequence[GradedKnee],
    finder_digest: str,
    validation: PlacedPart,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    part = validation.part
    side_px = min(part.pictures.shape[1:])
    return {
        "schema_version": 1,
        "name": config.name,
        "kind": "grades",
        "labels": LABELS,
        "backbone": config.backbone,
        "finder": from_project(config.finder).name,
        "finder_sha256": finder_digest,
        # The coarsest that training has shown it.
        "min_side_px": int(side_px * config.variation.coarsest),
        "knees": {"training": len(knees) - len(part.knees), "validation": len(part.knees)},
        "not_found": {**facts.get("not_found", {}), "validation": _not_found(validation)},
    }


def _not_found(placed: PlacedPart) -> int:
    return int((~_found(placed)).sum())


def _tell(metrics: Mapping[str, Any]) -> None:
    figures, sets = metrics["figures"], metrics["label_sets"]["figures"]
    told = [f"{name} {figures[name]['value']:.3f}" for name in ("quadratic_kappa", "accuracy", "auc_definite", "ece")]
    told += [f"{name} {sets[name]['value']:.3f}" for name in ("reported", "error_among_reported", "mean_set_size")]
    covered = ", ".join(f"{label} {sets[f'coverage_{label}']['value']:.3f}" for label in LABELS)
    say(", ".join(told))
    say(f"coverage: {covered}")
