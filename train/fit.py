"""A whole run, step by step; every costly one is kept in the cache, so that a stopped run goes on where it was."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from train import cache
from train.config import Config
from train.crops import Finder
from train.dataset import read_dataset
from train.figures import draw_figures
from train.folds import run_folds, train
from train.material import gather, require_enough
from train.network import weights_of
from train.report import MODEL, choose_final_region, describe_run, measure, write_scores
from train.run import CONFIG_FILE, CURVES_FILE, METRICS_FILE, REGIONS_FILE, RUN_FILE, WEIGHTS_FILE
from train.split import SPLIT_FILE, write_split


def fit(
    config: Config, finder: Finder, finder_digest: str, *, data: Path, output: Path, config_text: str, keep_cache: bool = False
) -> None:
    """Train, measure and write a run's folder.

    Raises:
        DatasetError: the data cannot be trained on; found before any training.
        ConfigError: the settings do not fit the network or its weights.
    """
    started = time.monotonic()
    dataset = read_dataset(data)
    require_enough(dataset, config)
    material = gather(config, dataset, finder, finder_digest, cache.open_cache(output))
    (output / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    write_split(output / SPLIT_FILE, material.radiographs, material.fold_of, seed=config.seed)
    gathered = time.monotonic()
    folds = run_folds(material)
    folds_done = time.monotonic()
    regions, chosen = choose_final_region(material, folds)
    cache.save_json(output / REGIONS_FILE, regions)
    epochs = round(float(np.median([fold.epochs for fold in folds])))
    network, _ = train(material, chosen, np.arange(len(material.labels)), None, epochs, "final")
    np.savez_compressed(output / WEIGHTS_FILE, **weights_of(network))  # type: ignore[arg-type]
    metrics, probabilities = measure(material, dataset, folds, chosen)
    write_scores(output, material, folds)
    cache.save_json(output / METRICS_FILE, metrics)
    cache.save_json(output / CURVES_FILE, [fold.histories for fold in folds])
    draw_figures(output, [fold.histories for fold in folds], material.labels, probabilities, metrics[MODEL])
    facts = {"epochs": epochs, "fold_epochs": [fold.epochs for fold in folds], "finder_sha256": finder_digest}
    # Folds that an earlier start has left in the cache count as well.
    seconds = gathered - started + sum(fold.seconds for fold in folds) + time.monotonic() - folds_done
    cache.save_json(output / RUN_FILE, describe_run(material, dataset, facts, seconds))
    if not keep_cache:
        cache.remove_cache(output)
