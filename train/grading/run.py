"""A grading run, step by step, and its folder: training, then calibration and judgement, which can be done again alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteo_edge.integrity import sha256_hex
from osteo_edge.storage import write_file
from train.data.crops import Finder
from train.fitting.material import weights_digest
from train.grading.baselines import baseline_scores
from train.grading.calibration import calibrate
from train.grading.config import GradingConfig
from train.grading.fitting import Epoch, GradingTrainer, PlacedPart
from train.grading.knees import GRADES, TRAINING, VALIDATION, GradedKnee, Part, read_part
from train.grading.metrics import Judged, metrics_of, scores_text, tell, uncalibrated
from train.grading.question import LABELS, QUESTION
from train.grading.teachers import taught_shares
from train.grading.views import Place, find_places, negative, plain_views
from train.networks.network import LOGITS, apply, round_to_float16, weights_of
from train.runs import cache
from train.runs.config import from_project
from train.runs.folder import (
    CALIBRATION_FILE,
    CONFIG_FILE,
    CURVES_FILE,
    JUDGED_FILE,
    METRICS_FILE,
    QUESTION_FILE,
    REGIONS_FILE,
    RUN_FILE,
    WEIGHTS_FILE,
    CalibrationFile,
    load_network,
    read_json,
    write_digests,
)
from train.runs.versions import versions


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
    judged = Judged(validation.part.knees, _found(validation), logits.astype(np.float64))
    answered = judged.where_found()
    fitted = calibrate(answered.logits, answered.grades, answered.patients)
    metrics = metrics_of(judged, baseline_scores(knees, seed=config.seed), seed=config.seed, resamples=config.resamples)
    metrics["uncalibrated"] = uncalibrated(judged, seed=config.seed, resamples=config.resamples)

    region = {"region": config.region.region, "input": config.region.input}
    write_file(folder / JUDGED_FILE, scores_text(judged).encode())
    write_digests(folder, [knee.sha256 for knee in knees if knee.part == TRAINING])
    cache.save_json(folder / REGIONS_FILE, {"chosen": config.region.name, "candidates": [region]})
    cache.save_json(folder / QUESTION_FILE, {"schema_version": 1, "question": QUESTION})
    digest = sha256_hex((folder / WEIGHTS_FILE).read_bytes())
    cache.save_json(folder / CALIBRATION_FILE, CalibrationFile(1, digest, fitted))
    cache.save_json(folder / METRICS_FILE, metrics)
    cache.save_json(folder / RUN_FILE, {**facts, **_facts_of_judging(config, knees, finder_digest, validation, facts)})
    tell(metrics)
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
    return np.array([place.was_found for place in validation.places])


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
