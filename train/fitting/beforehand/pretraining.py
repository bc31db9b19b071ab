"""Continued pre-training: a backbone learns the grade of osteoarthritis on knees that have no bone-density label.

The grade (Kellgren and Lawrence, Annals of the Rheumatic Diseases 1957, 0 to 4) is read from the folder that each picture
came from. No radiograph that anything is judged on takes part, hence one pre-trained backbone may serve every fold.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import keras
import numpy as np
from scipy.stats import spearmanr
from sklearn.model_selection import train_test_split

from osteo_edge.records import to_plain
from train.data.unlabelled import unlabelled_knees
from train.fitting.augmentation import augment
from train.fitting.beforehand.distil import RUN_FILE, WEIGHTS_FILE, backbone_weights
from train.fitting.material import open_network, weights_digest
from train.networks.network import FEATURES, INPUT, apply, round_to_float16
from train.runs import cache
from train.runs.arrays import Floats, Integers, Reals
from train.runs.config import Augmentation, Candidate, ConfigError, Rule, from_project, read_settings
from train.runs.versions import versions

GRADES = 5


@dataclass(frozen=True)
class PretrainConfig:
    """What a pre-training does.

    Attributes:
        data: folder of knees with ``index.csv`` (columns file and ``grade_column``).
        grade_column: holds the grade as the one digit in its cells; rows without one are left out.
        trainable_from: first layer that is trained; what comes before keeps its weights.
        held_out: share of the pictures that the grade is judged on.
    """

    name: str
    data: str
    finder: str
    output: str
    backbone: str
    weights: str
    grade_column: str
    seed: int
    region: Candidate
    augmentation: Augmentation
    trainable_from: str
    held_out: float
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float


def read_pretrain_config(path: Path) -> PretrainConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a wrong key.
    """
    return read_settings(PretrainConfig, path, _rules)


def _rules(config: PretrainConfig) -> Iterator[Rule]:
    yield 0 < config.held_out < 1, "held_out", "must lie between 0 and 1"
    yield min(config.epochs, config.batch_size) >= 1, "epochs", "and batch_size must be at least 1"
    yield config.learning_rate > 0, "learning_rate", "must be above 0"


def pretrain(config: PretrainConfig, output: Path) -> dict[str, Any]:
    """Train, judge on held-out pictures, and write ``weights.npz`` (half precision, without a head) and ``run.json``.

    Returns:
        ``run.json``: among others the rank correlation of predicted and true grade on held-out pictures.

    Raises:
        ConfigError: the data, weights or layers are not there, or fewer than two grades are.
        RunError: the folder cannot be written.
    """
    started = time.monotonic()
    folder = cache.open_cache(output)
    knees = unlabelled_knees(from_project(config.data), from_project(config.finder), config.region, folder)
    grades = read_grades(knees.rows, config.grade_column)
    known = np.flatnonzero(grades >= 0)
    if np.unique(grades[known]).size < 2:
        raise ConfigError(f"{config.data}: the column {config.grade_column!r} holds fewer than two grades")
    training, held_out = train_test_split(known, test_size=config.held_out, random_state=config.seed, stratify=grades[known])
    network = open_network(config.backbone, config.weights, config.region, labels=1, seed=config.seed)
    model = grade_model(network, config.trainable_from)
    history = _train(model, knees.images, grades, training, config)
    round_to_float16(network)
    predicted = apply(model, knees.images[held_out][..., np.newaxis])[:, 0]
    facts = {
        "schema_version": 1,
        "name": config.name,
        "config": to_plain(config),
        "weights_sha256": weights_digest(config.weights),
        "knees": {"training": len(training), "held_out": len(held_out)},
        "training_loss": history,
        "held_out": {
            "rank_correlation": round(float(spearmanr(predicted, grades[held_out]).statistic), 4),
            "mean_absolute_error": round(float(np.abs(_as_grade(predicted) - grades[held_out]).mean()), 4),
            "mean_absolute_error_of_the_median": round(float(np.abs(np.median(grades[training]) - grades[held_out]).mean()), 4),
        },
        "seconds": round(time.monotonic() - started),
        "versions": versions(),
    }
    np.savez_compressed(output / WEIGHTS_FILE, **backbone_weights(network))  # type: ignore[arg-type]
    cache.save_json(output / RUN_FILE, facts)
    cache.remove_cache(output)
    return facts


def read_grades(rows: Sequence[Mapping[str, str]], column: str) -> Integers:
    """Grade of each row, (rows,); -1 where the cell holds no digit of 0 to 4, or several."""
    digits = [re.findall(rf"[0-{GRADES - 1}]", row.get(column) or "") for row in rows]
    return np.array([int(found[0]) if len(found) == 1 else -1 for found in digits], np.int64)


def grade_model(network: keras.Model, trainable_from: str) -> keras.Model:
    """From pictures to one number around 0 that rises with the grade; shares the network's weights.

    BatchNorm stays in inference mode.

    Raises:
        ConfigError: there is no layer ``trainable_from``.
    """
    names = [layer.name for layer in network.layers]
    if trainable_from not in names:
        raise ConfigError(f"trainable_from: the network has no layer {trainable_from!r}")
    first = names.index(trainable_from)
    for place, layer in enumerate(network.layers):
        layer.trainable = place >= first and not isinstance(layer, keras.layers.BatchNormalization)
    pooled = keras.layers.GlobalAveragePooling2D(name="grade_pooling")(network.output[FEATURES])
    return keras.Model(network.get_layer(INPUT).output, keras.layers.Dense(1, name="grade")(pooled), name="grading")


def _train(model: keras.Model, images: Floats, grades: Integers, training: Integers, config: PretrainConfig) -> list[float]:
    """Mean loss of each epoch; every epoch sees every picture once, newly varied."""
    wanted = ((grades - (GRADES - 1) / 2) / (GRADES / 4)).astype(np.float32)
    steps = config.epochs * -(-len(training) // config.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(optimizer=keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, clipnorm=1.0), loss="huber")
    losses = []
    with click.progressbar(length=steps, label=f"Pre-training {config.backbone}", file=sys.stderr) as progress:
        for epoch in range(config.epochs):
            rng = np.random.default_rng([config.seed, epoch])
            order = rng.permutation(training)
            of_epoch = []
            for start in range(0, len(order), config.batch_size):
                chosen = order[start : start + config.batch_size]
                views = np.stack([augment(images[index], config.augmentation, rng) for index in chosen])
                loss = model.train_on_batch(views[..., np.newaxis], wanted[chosen])
                of_epoch.append(float(np.atleast_1d(loss)[0]))
                progress.update(1)
            losses.append(round(float(np.mean(of_epoch)), 5))
    return losses


def _as_grade(predicted: Reals) -> Reals:
    return np.clip(np.round(predicted * GRADES / 4 + (GRADES - 1) / 2), 0, GRADES - 1)
