"""What every fold of a run works with: knees, folds, frozen features, and the untrained network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
import keras
import numpy as np

from osteo_edge.integrity import sha256_hex
from osteo_edge.records import to_plain
from train.data.crops import Crops, Finder, cached_crops
from train.data.dataset import LABELS, Dataset
from train.data.split import make_split, read_split, require_groups
from train.fitting.regions import frozen_features
from train.fitting.teaching import Teaching, teaching_of
from train.networks.network import LINEAR_TARGET, build_network, randomise, round_to_float16
from train.runs import cache
from train.runs.arrays import Floats, Integers, Words
from train.runs.config import IMAGENET_DOWNLOAD, RANDOM_WEIGHTS, Candidate, Config, ConfigError, from_project


@dataclass(frozen=True)
class Material:
    """What every fold works with.

    Attributes:
        radiographs: those in which a knee was found.
        features: region -> (radiographs, features) of the frozen network.
        key: digest of everything that the folds' results depend on.
    """

    config: Config
    cache: Path
    key: str
    radiographs: Dataset
    crops: Crops
    labels: Integers
    fold_of: Integers
    features: Mapping[str, Floats]
    teaching: Teaching

    @property
    def groups(self) -> Words:
        return np.array(self.radiographs.groups)


def require_enough(dataset: Dataset, config: Config) -> None:
    """Refuse a dataset that the configured folds, one inside the other, would leave without a class."""
    require_groups(dataset, (config.folds, config.choice.folds, config.linear.inner_folds))
    require_groups(dataset, (config.folds, config.training.validation_folds, config.linear.inner_folds))


def gather(config: Config, dataset: Dataset, finder: Finder, finder_digest: str, folder: Path) -> Material:
    """Find the knees, check what is left, make the folds, and describe every picture by frozen features.

    Raises:
        DatasetError: too few radiographs with a knee for the folds.
        ConfigError: the weights cannot be loaded.
    """
    digests = [row.sha256 for row in dataset.radiographs]
    crops_key = cache.key(digests, finder_digest, config.candidates)
    crops = cached_crops(dataset, finder, config.candidates, folder / f"crops-{crops_key}.npz")
    _tell_found(dataset, crops)
    radiographs = dataset.subset(crops.with_knees())
    require_enough(radiographs, config)
    crops = crops.renumbered()
    fold_of = _folds_of(radiographs, config)
    features = {
        candidate.name: frozen_features(new_network(config, candidate), crops.images[candidate.name], crops.owner)
        for candidate in config.candidates
    }
    return Material(
        config=config,
        cache=folder,
        key=cache.key(
            crops_key, _settings_of_folds(config), weights_digest(config.weights), fold_of.tolist(), marks_of(radiographs)
        ),
        radiographs=radiographs,
        crops=crops,
        labels=np.array(radiographs.label_indices),
        fold_of=fold_of,
        features=features,
        teaching=teaching_of(radiographs, config.start),
    )


def _tell_found(dataset: Dataset, crops: Crops) -> None:
    found = set(crops.with_knees().tolist())
    say(f"{len(crops.owner)} knees in {len(found)} of {len(dataset.radiographs)} radiographs")
    for index, row in enumerate(dataset.radiographs):
        if index not in found:
            say(f"  no knee found, left out: {row.path}")


def _folds_of(radiographs: Dataset, config: Config) -> Integers:
    if config.split:
        return read_split(from_project(config.split), radiographs, folds=config.folds)
    return make_split(radiographs, folds=config.folds, seed=config.seed)


def _settings_of_folds(config: Config) -> dict[str, Any]:
    """All settings that change a fold's result; where files lie and how scores are judged do not."""
    plain = to_plain(config)
    return {
        name: plain[name]
        for name in plain
        if name not in ("name", "data", "finder", "output", "weights", "split", "evaluation", "fusion")
    }


def marks_of(radiographs: Dataset) -> list[dict[str, Any]]:
    """All that the table says of each radiograph: a corrected label, age or T-score asks for other results."""
    return [{**vars(row), "path": ""} for row in radiographs.radiographs]


def weights_digest(weights: str) -> str:
    """SHA-256 of the file of pretrained weights, or the word that stands for other ones.

    Raises:
        ConfigError: the file cannot be read.
    """
    if weights in (RANDOM_WEIGHTS, IMAGENET_DOWNLOAD):
        return weights
    try:
        return sha256_hex(from_project(weights).read_bytes())
    except OSError as error:
        raise ConfigError(f"weights: {weights} cannot be read ({error.strerror})") from error


def new_network(config: Config, candidate: Candidate) -> keras.Model:
    """The untrained network, its weights already rounded: the frozen layers are shipped as they are trained upon."""
    network = open_network(
        config.backbone,
        config.weights,
        candidate,
        labels=len(LABELS),
        dropout=config.training.dropout,
        seed=config.seed,
        target=config.target,
    )
    round_to_float16(network)
    return network


def open_network(
    backbone: str,
    weights: str,
    candidate: Candidate,
    *,
    labels: int,
    dropout: float = 0.0,
    seed: int,
    target: str = LINEAR_TARGET,
) -> keras.Model:
    """A network with the weights that a configuration names; Keras' earlier networks are forgotten.

    Raises:
        ConfigError: an unknown backbone, or weights that cannot be loaded.
    """
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    network = build_network(
        backbone,
        height_px=candidate.height_px,
        width_px=candidate.width_px,
        labels=labels,
        dropout=dropout,
        imagenet_weights=_weights_source(weights),
        target=target,
    )
    if weights == RANDOM_WEIGHTS:
        randomise(network, seed=seed)
    return network


def _weights_source(weights: str) -> Path | Literal["imagenet"] | None:
    if weights == RANDOM_WEIGHTS:
        return None
    return "imagenet" if weights == IMAGENET_DOWNLOAD else from_project(weights)


def say(text: str) -> None:
    """Tell a person at the terminal how far the run is."""
    click.echo(text, err=True)
