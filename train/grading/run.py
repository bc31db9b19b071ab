"""A grading run, step by step, and its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteo_edge.decision.scores import softmax
from osteo_edge.storage import write_file
from train import cache
from train.config import from_project
from train.crops import Finder
from train.grading.config import GradingConfig
from train.grading.fitting import Epoch, GradingTrainer, PlacedPart
from train.grading.judgement import confusion, resampled_weights, with_intervals
from train.grading.knees import TRAINING, VALIDATION, GradedKnee, Part, read_part
from train.grading.teachers import taught_shares
from train.grading.views import find_places, plain_views
from train.material import say, weights_digest
from train.network import LOGITS, apply, round_to_float16, weights_of
from train.run import CONFIG_FILE, CURVES_FILE, METRICS_FILE, RUN_FILE, WEIGHTS_FILE
from train.versions import versions

SCORES_FILE = "scores.json"


def grade(
    config: GradingConfig, knees: tuple[GradedKnee, ...], finder: Finder, finder_digest: str, *, output: Path, config_text: str
) -> dict[str, Any]:
    """Train, judge and write a run's folder; a stopped run goes on where it was.

    Returns:
        ``metrics.json``.

    Raises:
        DatasetError: a picture cannot be read.
        ConfigError: the settings do not fit the network or its weights.
        RunError: the folder cannot be written.
    """
    import keras

    folder = cache.open_cache(output)
    training, validation = (_placed(knees, part, finder) for part in (TRAINING, VALIDATION))
    trainer = GradingTrainer(config, training, validation, folder, taught=taught_shares(config, training, folder))
    network = trainer.run()
    round_to_float16(network)
    to_logits = keras.Model(network.input, network.output[LOGITS])
    views = plain_views(validation.part.pictures, validation.places, config.region)
    logits = apply(to_logits, views[..., np.newaxis])
    metrics = _metrics(config, validation, logits)

    (output / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    np.savez_compressed(output / WEIGHTS_FILE, **weights_of(network))  # type: ignore[arg-type]
    write_file(output / SCORES_FILE, _scores(validation, logits).encode())
    cache.save_json(output / METRICS_FILE, metrics)
    cache.save_json(output / CURVES_FILE, trainer.history)
    cache.save_json(output / RUN_FILE, _facts(config, finder_digest, training, validation, trainer.history))
    figures = metrics["figures"]
    say(", ".join(f"{name} {figures[name]['value']:.3f}" for name in ("quadratic_kappa", "accuracy", "auc_definite")))
    return metrics


def _placed(knees: tuple[GradedKnee, ...], part: Part, finder: Finder) -> PlacedPart:
    read = read_part(knees, part)
    return PlacedPart(read, find_places(read.pictures, [knee.side for knee in read.knees], finder))


def _metrics(config: GradingConfig, validation: PlacedPart, logits: NDArray[np.float32]) -> dict[str, Any]:
    part = validation.part
    probabilities, found = softmax(logits), np.array([place.was_found for place in validation.places])
    weights = resampled_weights(part.patients, count=config.resamples, seed=config.seed)
    return {
        "schema_version": 1,
        "part": VALIDATION,
        "knees": len(part.knees),
        "knees_found": int(found.sum()),
        "method": f"95 % percentile bootstrap by patient, {config.resamples} resamples; the epoch was chosen on these knees",
        "figures": with_intervals(part.grades, probabilities, weights),
        "figures_where_found": with_intervals(part.grades[found], probabilities[found], weights[:, found]),
        "confusion": confusion(part.grades, probabilities),
    }


def _scores(validation: PlacedPart, logits: NDArray[np.float32]) -> str:
    """SHA-256 of each picture -> grade, whether the finder found it, and logits: JSON, a line a knee."""
    rows = zip(validation.part.knees, validation.places, np.round(logits, 4).tolist(), strict=True)
    lines = ",\n".join(
        f" {json.dumps(knee.sha256)}: "
        + json.dumps({"grade": knee.grade, "was_found": place.was_found, "logits": [round(value, 4) for value in values]})
        for knee, place, values in rows
    )
    return f'{{"schema_version": 1, "knees": {{\n{lines}\n}}}}\n'


def _facts(
    config: GradingConfig, finder_digest: str, training: PlacedPart, validation: PlacedPart, history: list[Epoch]
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "name": config.name,
        "backbone": config.backbone,
        "weights_sha256": weights_digest(config.weights),
        "finder_sha256": finder_digest,
        "epochs": len(history),
        "seconds": round(sum(line.seconds for line in history)),
        "knees": {"training": len(training.part.knees), "validation": len(validation.part.knees)},
        "not_found": {name: _not_found(part) for name, part in (("training", training), ("validation", validation))},
        "finder": str(from_project(config.finder).name),
        "versions": versions(),
    }


def _not_found(placed: PlacedPart) -> int:
    return sum(not place.was_found for place in placed.places)
