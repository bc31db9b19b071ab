"""The outer folds: in each one the region is chosen, the network tuned and the held-back radiographs scored."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from train.data.dataset import LABELS
from train.data.split import label_folds
from train.fitting.finetune import Activations, AuxiliaryTask, Epoch, Trainer, best_epoch, cached_activations, picture_logits
from train.fitting.material import Material, new_network, say
from train.fitting.regions import choose_region, mean_figures, score_regions
from train.networks.network import LOGITS, cut, round_to_float16, set_head, weights_of, with_auxiliary
from train.networks.targets import as_raw_head
from train.runs import cache
from train.runs.arrays import Doubles, Floats, Integers, Reals


@dataclass(frozen=True)
class Tuned:
    """A trained network and how it came about.

    Attributes:
        network: weights rounded to half precision.
        histories: of the inner trainings that found the number of epochs.
        inner: as in ``FoldResult``.
    """

    network: keras.Model
    epochs: int
    histories: tuple[tuple[Epoch, ...], ...]
    inner: Doubles


@dataclass(frozen=True)
class FoldResult:
    """What one outer fold says of the radiographs that it held back.

    Attributes:
        candidates: region -> mean figures by cross-validation on the training part alone.
        logits: (held back, labels) of the fine-tuned network.
        inner: (training part, labels) logits by the inner trainings that did not see the picture; empty where not all of
            the inner parts were held back in turn. Ensembles and fusions are fitted on them.
        frozen: (held back, labels) probabilities of the linear classifier on frozen features of the same region.
    """

    region: str
    candidates: Mapping[str, Mapping[str, float]]
    epochs: int
    histories: tuple[tuple[Epoch, ...], ...]
    logits: list[list[float]]
    inner: list[list[float]]
    frozen: list[list[float]]
    seconds: float


def run_folds(material: Material) -> list[FoldResult]:
    """Every outer fold in turn; those that are in the cache are read back."""
    results: list[FoldResult] = []
    for fold in range(material.config.folds):
        file = material.cache / f"fold{fold}-{material.key}.json"
        if not file.exists():
            cache.save_json(file, _run_fold(material, fold))
        results.append(_read_fold(file))
        left = np.mean([result.seconds for result in results]) * (material.config.folds - fold - 1)
        say(f"Fold {fold}: {results[-1].region}, {results[-1].epochs} epochs; about {left / 60:.0f} min left for the folds")
    return results


def _run_fold(material: Material, fold: int) -> FoldResult:
    """Choose the region, tune and score; the held-back radiographs take part in the last step only."""
    started = time.monotonic()
    training, held_back = parts(material, fold)
    labels, groups = material.labels[training], material.groups[training]
    scores = _score_regions(material, training)
    region = choose_region(scores, labels)
    tuned = _tune(material, region, training, f"fold{fold}")
    cache.save_arrays(network_file(material, fold), weights_of(tuned.network))
    taught = material.teaching.of(training)
    linear = taught.fit(material.features[region][training], labels, groups, material.config.linear, seed=material.config.seed)
    return FoldResult(
        region=region,
        candidates={name: mean_figures(values, labels) for name, values in scores.items()},
        epochs=tuned.epochs,
        histories=tuned.histories,
        logits=score(tuned.network, material, region, held_back).tolist(),
        inner=tuned.inner.tolist(),
        frozen=linear.predict_proba(material.features[region][held_back]).tolist(),
        seconds=time.monotonic() - started,
    )


def parts(material: Material, fold: int) -> tuple[Integers, Integers]:
    """Indices of a fold's training radiographs, and of those that it holds back."""
    return np.flatnonzero(material.fold_of != fold), np.flatnonzero(material.fold_of == fold)


def network_file(material: Material, fold: int) -> Path:
    """Where the weights of a fold's network are kept until the run is finished."""
    return material.cache / f"network{fold}-{material.key}.npz"


def stored_networks(material: Material) -> list[dict[str, Reals]]:
    """The weights of every fold's network, once ``run_folds`` is through."""
    networks = []
    for fold in range(material.config.folds):
        with np.load(network_file(material, fold), allow_pickle=False) as stored:
            networks.append(dict(stored))
    return networks


def refit(material: Material, fold: int, epochs: int) -> tuple[str, keras.Model]:
    """A fold's region and network once more, now that the number of epochs is known."""
    training, _ = parts(material, fold)
    region = choose_region(_score_regions(material, training), material.labels[training])
    return region, train(material, region, training, None, epochs, f"fold{fold}").network


def _score_regions(material: Material, training: Integers) -> dict[str, Doubles]:
    features = {name: values[training] for name, values in material.features.items()}
    labels, groups = material.labels[training], material.groups[training]
    return score_regions(features, labels, groups, material.config, material.teaching.of(training))


def _read_fold(file: Path) -> FoldResult:
    plain = json.loads(file.read_text(encoding="utf-8"))
    histories = tuple(tuple(Epoch(**line) for line in history) for history in plain.pop("histories"))
    return FoldResult(histories=histories, **plain)


def _tune(material: Material, region: str, training: Integers, name: str) -> Tuned:
    """Find the number of epochs on inner validation parts of ``training``, then train on all of it."""
    settings = material.config.training
    inner = label_folds(
        material.labels[training], material.groups[training], folds=settings.validation_folds, seed=material.config.seed
    )
    histories, logits = [], np.full((len(training), len(LABELS)), np.nan)
    for number, (kept, validation) in enumerate(inner):
        if number == settings.validation_parts:
            break
        one = train(material, region, training[kept], training[validation], settings.max_epochs, f"{name}-{number}")
        histories.append(one.history)
        logits[validation] = one.held_back
    epochs = round(float(np.median([best_epoch(history) for history in histories])))
    network = train(material, region, training, None, epochs, name).network
    return Tuned(network, epochs, tuple(histories), logits if np.isfinite(logits).all() else logits[:0])


@dataclass(frozen=True)
class Trained:
    """One training.

    Attributes:
        network: after its last epoch, weights rounded to half precision.
        held_back: (validation, labels) logits at the best epoch; None without a validation part.
    """

    network: keras.Model
    history: tuple[Epoch, ...]
    held_back: Doubles | None


def train(material: Material, region: str, training: Integers, validation: Integers | None, epochs: int, name: str) -> Trained:
    """Start from the linear classifier on frozen features, fine-tune, and round to half precision."""
    config, started = material.config, time.monotonic()
    network = new_network(config, config.candidate(region))
    trunk, upper = cut(network, config.training.trainable_from)
    linear = material.teaching.of(training).fit(
        material.features[region][training],
        material.labels[training],
        material.groups[training],
        config.linear,
        seed=config.seed,
    )
    set_head(network, *as_raw_head(linear))
    trainer = Trainer(
        upper,
        _activations(material, region, trunk),
        material.labels,
        config.training,
        seed=config.seed,
        checkpoint=material.cache / f"{name}-{material.key}.npz",
        auxiliary=_auxiliary(material, network),
    )
    history = trainer.run(training, validation, epochs=epochs)
    round_to_float16(network)
    say(f"  {name}: {region}, {history[-1].epoch} epochs in {time.monotonic() - started:.0f} s")
    return Trained(network, history, trainer.best_logits)


def _auxiliary(material: Material, network: keras.Model) -> AuxiliaryTask | None:
    settings = material.config.training
    if settings.t_score_weight == 0:
        return None
    return AuxiliaryTask(with_auxiliary(network, settings.trainable_from, 1), material.teaching.t_scores)


def _activations(material: Material, region: str, trunk: keras.Model) -> Activations:
    file = material.cache / f"trunk-{region}-{material.key}.npz"
    images = material.crops.images[region]
    return cached_activations(
        trunk, images, material.crops.owner, material.config.augmentation, seed=material.config.seed, file=file
    )


def score(network: keras.Model, material: Material, region: str, radiographs: Integers) -> Floats:
    """Logits (radiographs, labels) from their plain crops through the whole network, as the runtime computes them."""
    knees = np.flatnonzero(np.isin(material.crops.owner, radiographs))
    owner = np.searchsorted(radiographs, material.crops.owner[knees])
    to_logits = keras.Model(network.input, network.output[LOGITS])
    return picture_logits(to_logits, material.crops.images[region][knees][..., np.newaxis], owner)


def in_order(material: Material, by_fold: Sequence[list[list[float]]]) -> Doubles:
    """(radiographs, labels) from the folds' held-back rows."""
    rows = np.empty((len(material.labels), len(LABELS)))
    for fold, values in enumerate(by_fold):
        rows[material.fold_of == fold] = values
    return rows
