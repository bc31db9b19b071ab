"""A hold-out run, step by step, and its folder. A finished run is found again by the digest of its settings and data."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.errors import ManifestError
from osteo_edge.integrity import sha256_hex
from osteo_edge.records import parse_json, to_plain
from train.data.crops import Finder
from train.data.dataset import Dataset, DatasetError
from train.data.split import SPLIT_FILE, HoldOut, hold_out, write_hold_out
from train.fitting.material import say, weights_digest
from train.judging.baselines import describe_files
from train.networks.backbones import find_backbone
from train.networks.network import build_network, randomise
from train.research.holdout.config import HoldOutConfig, require_budget
from train.research.holdout.figures import draw_curves
from train.research.holdout.judgement import confusion, judge, rival_scores
from train.research.holdout.pictures import (
    Pictures,
    find_rejected,
    gather_pictures,
    masked_pictures,
    prepared_pictures,
    without,
)
from train.research.holdout.preparation import RUNTIME, Outlier
from train.research.holdout.training import TimedTrainer, Trained, chosen_epoch, prepare_for_training
from train.runs import cache
from train.runs.arrays import Doubles, Floats, Integers
from train.runs.config import ConfigError, from_project
from train.runs.folder import CONFIG_FILE, CURVES_FILE, METRICS_FILE, RUN_FILE, RunError
from train.runs.versions import versions

SCORES_FILE = "scores.json"
MODEL = "model"
RANDOM = "random"


@dataclass(frozen=True)
class HoldOutRun:
    """What a run's folder says.

    Attributes:
        run: ``run.json``. metrics: ``metrics.json``. scores: ``scores.json``: part -> SHA-256 -> label and logits.
    """

    run: dict[str, Any]
    metrics: dict[str, Any]
    scores: dict[str, Any]


def run_hold_out(
    config: HoldOutConfig,
    finder: Finder,
    finder_digest: str,
    *,
    dataset: Dataset,
    output: Path,
    config_text: str,
    shared_cache: Path | None = None,
    keep_checkpoint: bool = False,
) -> HoldOutRun:
    """Split, train against the clock, judge, and write the folder; or read it back where this very run is finished.

    A run that the clock stopped goes on from its checkpoint when it is kept and the budget is larger.

    Args:
        shared_cache: where prepared pictures lie that several runs use; the run's own folder otherwise.

    Raises:
        ConfigError: unknown backbone, or weights that cannot be loaded; before any training.
        DatasetError: too few patient groups, or a radiograph that cannot be read; before any training.
        RunError: the folder cannot be written.
    """
    require_budget(config.time_budget_s)
    find_backbone(config.backbone)
    hold_out(dataset, test_share=config.shares.test, validation_share=config.shares.validation, seed=config.seed)
    settings = settings_digest(config, dataset, finder_digest)
    finished = find_finished(output, settings, config.time_budget_s)
    if finished is not None:
        return finished
    own_cache = cache.open_cache(output)
    gathered = gather_pictures(dataset, config.view, finder, finder_digest, shared_cache or own_cache)
    pictures = masked_pictures(gathered, config, shared_cache or own_cache)
    radiographs = pictures.radiographs
    parts = hold_out(radiographs, test_share=config.shares.test, validation_share=config.shares.validation, seed=config.seed)
    labels = labels_of(radiographs, config)
    rejected = find_rejected(pictures, parts.training, config.preparation)
    pictures = prepared_pictures(without(pictures, rejected), config.preparation)
    _require_classes(pictures, labels, parts.training, config)
    network = new_network(config)
    say(f"{config.name}: {len(parts.training)} to train on, {len(parts.validation)} to validate, {len(parts.test)} to test")
    checkpoint = own_cache / f"checkpoint-{cache.key(settings)}.npz"
    trained = TimedTrainer(network, pictures, labels, parts, config, checkpoint=checkpoint, budget_s=config.time_budget_s).run()
    facts = {
        "settings_sha256": settings,
        "training_pictures": len(pictures.of(parts.training)[1]),
        "rejected": _reasons(rejected),
    }
    _write(config, pictures, labels, parts, trained, dataset, facts, output, config_text, shared_cache or own_cache)
    if not keep_checkpoint:
        cache.remove_cache(output)
    return read_hold_out_run(output)


def _require_classes(pictures: Pictures, labels: Integers, training: Integers, config: HoldOutConfig) -> None:
    left = set(labels[training[pictures.of(training)[1]]].tolist())
    for place, name in enumerate(config.classes):
        if place not in left:
            raise DatasetError(f"every training picture of {name} is an outlier; set outliers = false under [preparation]")


def _reasons(rejected: Sequence[Outlier]) -> list[dict[str, str]]:
    return [{"sha256": one.sha256, "reason": one.reason} for one in rejected]


def labels_of(radiographs: Dataset, config: HoldOutConfig) -> Integers:
    """Place of each radiograph's class in ``config.classes``; of two, the second is osteopenia or osteoporosis."""
    return np.minimum(np.array(radiographs.label_indices, np.int64), len(config.classes) - 1)


def new_network(config: HoldOutConfig) -> keras.Model:
    """The network as it starts: from the configured weights, or from random ones.

    Raises:
        ConfigError: the backbone is unknown, or the weights are missing or of another network.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(config.seed)
    weights = config.weights.get(config.backbone)
    network = build_network(
        config.backbone,
        height_px=config.view.height_px,
        width_px=config.view.width_px,
        labels=len(config.classes),
        dropout=config.fitting.dropout,
        imagenet_weights=from_project(weights.file) if weights else None,
    )
    if weights is None:
        randomise(network, seed=config.seed)
    prepare_for_training(network, from_random=weights is None)
    return network


def describe_weights(config: HoldOutConfig) -> dict[str, str]:
    """Where the training starts: the kind of weights, the file's name and its SHA-256.

    Raises:
        ConfigError: the file cannot be read.
    """
    weights = config.weights.get(config.backbone)
    if weights is None:
        return {"kind": RANDOM}
    path = from_project(weights.file)
    try:
        return {"kind": weights.kind, "file": path.name, "sha256": sha256_hex(path.read_bytes())}
    except OSError as error:
        raise ConfigError(f"weights: {weights.file} cannot be read ({error.strerror})") from error


def settings_digest(config: HoldOutConfig, dataset: Dataset, finder_digest: str) -> str:
    """SHA-256 of all that decides the result but for the clock: settings, weights, radiographs with their groups, finder."""
    # What is switched off stands aside as well: it changes nothing.
    switches = ("mask", "preparation") if config.mask == "" and config.preparation == RUNTIME else ()
    aside = ("name", "data", "finder", "output", "weights", "time_budget_s", "segmenter", *switches)
    settings = {name: value for name, value in to_plain(config).items() if name not in aside}
    marks = [(row.sha256, row.label, row.patient_group, row.acquisition) for row in dataset.radiographs]
    finder = finder_digest if config.view.kind == "knee" else ""
    segmenter = [weights_digest(config.segmenter)] if config.mask else []
    return sha256_hex(json.dumps([settings, describe_weights(config), marks, finder, *segmenter], sort_keys=True).encode())


def find_finished(output: Path, settings: str, budget_s: float) -> HoldOutRun | None:
    """The run that the folder holds, if it is this one and would not come farther now."""
    if not (output / RUN_FILE).exists():
        return None
    found = read_hold_out_run(output)
    is_this = found.run["settings_sha256"] == settings
    is_over = not found.run["stopped_early"] or budget_s <= found.run["time_budget_s"]
    return found if is_this and is_over else None


def read_hold_out_run(folder: Path) -> HoldOutRun:
    """Read back what ``run_hold_out`` wrote.

    Raises:
        RunError: a file is missing or damaged.
    """
    try:
        run, metrics, scores = (
            parse_json((folder / name).read_bytes(), what=name) for name in (RUN_FILE, METRICS_FILE, SCORES_FILE)
        )
        return HoldOutRun({"settings_sha256": run["settings_sha256"], **run}, metrics, scores)
    except OSError as error:
        raise RunError(f"{folder}: is not the folder of a finished hold-out run ({error.strerror})") from error
    except (ManifestError, KeyError, TypeError) as error:
        raise RunError(f"{folder}: is damaged ({error}); remove it and run it again") from error


def cached_metadata(dataset: Dataset, folder: Path) -> Doubles:
    """What the files say without their knees, (radiographs, values), from the cache where it is there."""
    file = folder / f"metadata-{cache.key([row.sha256 for row in dataset.radiographs])}.npz"
    return cache.kept(file, lambda: {"metadata": describe_files([row.path for row in dataset.radiographs])[0]})["metadata"]


def _write(
    config: HoldOutConfig,
    pictures: Pictures,
    labels: Integers,
    parts: HoldOut,
    trained: Trained,
    dataset: Dataset,
    facts: Mapping[str, Any],
    output: Path,
    config_text: str,
    pictures_cache: Path,
) -> None:
    """``run.json`` goes first and comes last, hence no mixture passes for a run.

    Args:
        facts: what ``run.json`` tells beside the training: the settings' digest, pictures learnt from and pictures rejected.
    """
    (output / RUN_FILE).unlink(missing_ok=True)
    radiographs, chosen = pictures.radiographs, chosen_epoch(trained.history, config.fitting.epoch_from)
    (output / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    write_hold_out(output / SPLIT_FILE, radiographs, parts, seed=config.seed)
    cache.save_json(output / SCORES_FILE, _scores(config, radiographs, labels, parts, trained, chosen))
    metadata = cached_metadata(radiographs, pictures_cache)
    cache.save_json(output / METRICS_FILE, _metrics(config, radiographs, labels, metadata, parts, trained, chosen))
    cache.save_json(output / CURVES_FILE, trained.history)
    draw_curves(output / "curves.png", trained.history, config)
    found = {row.sha256 for row in radiographs.radiographs}
    run = {
        "schema_version": 1,
        "name": config.name,
        **facts,
        "settings": config,
        "backbone": config.backbone,
        "weights": describe_weights(config),
        "classes": config.classes,
        "stopped_early": trained.stopped_early,
        "epochs": trained.history[-1].epoch,
        "judged_epoch": trained.history[chosen].epoch,
        "epoch_chosen_on": config.fitting.epoch_from,
        "seconds": round(trained.seconds, 1),
        "time_budget_s": config.time_budget_s,
        "radiographs": len(radiographs.radiographs),
        "without_knee": [row.sha256 for row in dataset.radiographs if row.sha256 not in found],
        "keras_backend": keras.backend.backend(),
        "versions": versions(),
    }
    cache.save_json(output / RUN_FILE, run)


def _scores(
    config: HoldOutConfig, radiographs: Dataset, labels: Integers, parts: HoldOut, trained: Trained, chosen: int
) -> dict[str, Any]:
    """Labels and logits of the judged epoch by SHA-256; the validation part serves stackers."""
    rows = radiographs.radiographs
    parts_scored: Sequence[tuple[str, Integers, Floats]] = (
        ("validation", parts.validation, trained.validation[chosen]),
        ("test", parts.test, trained.test[chosen]),
    )
    return {
        "schema_version": 1,
        "classes": config.classes,
        **{
            name: {
                rows[index].sha256: {"label": config.classes[labels[index]], "logits": values}
                for index, values in zip(part.tolist(), logits.tolist(), strict=True)
            }
            for name, part, logits in parts_scored
        },
    }


def _metrics(
    config: HoldOutConfig,
    radiographs: Dataset,
    labels: Integers,
    metadata: Doubles,
    parts: HoldOut,
    trained: Trained,
    chosen: int,
) -> dict[str, Any]:
    truth, groups = labels[parts.test], np.array(radiographs.groups)[parts.test]
    rivals = rival_scores(radiographs, labels, metadata, parts, len(config.classes))
    systems = {MODEL: softmax(trained.test[chosen]), **rivals}
    figures, differences = judge(truth, systems, groups, config.classes, model=MODEL, count=config.resamples, seed=config.seed)
    counts = {part: Counter(config.classes[labels[index]] for index in getattr(parts, part)) for part in ("training", "test")}
    return {
        "schema_version": 1,
        "classes": config.classes,
        "method": f"one split by patient group, test share {config.shares.test:g}; 95 % percentile bootstrap by patient, "
        f"{config.resamples} resamples of the test part",
        "radiographs": counts,
        MODEL: figures.pop(MODEL),
        "baselines": figures,
        "model_less_baseline": differences,
        "confusion_matrix": {name: confusion(truth, scores, len(config.classes)).tolist() for name, scores in systems.items()},
    }
