"""A whole run, step by step; every costly one is kept in the cache, so that a stopped run goes on where it was."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.data.crops import Finder
from train.data.dataset import Dataset
from train.data.split import SPLIT_FILE, write_split
from train.ensembles.nested import from_stored
from train.ensembles.nested_file import write_nested
from train.ensembles.with_covariates import fuse_run
from train.fitting.fold_networks import write_fold_networks
from train.fitting.folds import FoldResult, in_order, run_folds, stored_networks, train
from train.fitting.material import Material, gather, require_enough
from train.fitting.record import as_scores, choose_final_region, describe_run, measure
from train.judging.pages.figures import draw_figures
from train.judging.pages.writing import write_reports
from train.networks.network import weights_of
from train.runs import cache
from train.runs.config import Config
from train.runs.folder import CONFIG_FILE, CURVES_FILE, METRICS_FILE, REGIONS_FILE, RUN_FILE, WEIGHTS_FILE
from train.runs.scores import MODEL, write_scores

RESULTS_FOLDER = "results"


def fit(
    config: Config,
    finder: Finder,
    finder_digest: str,
    *,
    dataset: Dataset,
    output: Path,
    config_text: str,
    keep_cache: bool = False,
) -> None:
    """Train, measure and write a run's folder. Until all of it is there, a run that the folder holds stays as it is.

    Raises:
        DatasetError: the data cannot be trained on; found before any training.
        ConfigError: the settings do not fit the network or its weights.
        RunError: the folder cannot be written; found before any training.
    """
    started = time.monotonic()
    require_enough(dataset, config)
    material = gather(config, dataset, finder, finder_digest, cache.open_cache(output))
    gathered = time.monotonic()
    folds = run_folds(material)
    folds_done = time.monotonic()
    regions, chosen = choose_final_region(material, folds)
    epochs = round(float(np.median([fold.epochs for fold in folds])))
    network = train(material, chosen, np.arange(len(material.labels)), None, epochs, "final").network
    metrics, systems = measure(material, dataset, folds, chosen)
    histories = [fold.histories for fold in folds]

    results = cache.empty_folder(material.cache / RESULTS_FOLDER)
    (results / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    write_split(results / SPLIT_FILE, material.radiographs, material.fold_of, seed=config.seed)
    cache.save_json(results / REGIONS_FILE, regions)
    np.savez_compressed(results / WEIGHTS_FILE, **weights_of(network))  # type: ignore[arg-type]
    write_fold_networks(results, [fold.region for fold in folds], stored_networks(material))
    write_scores(results, as_scores(material.radiographs, material.fold_of, systems))
    _write_nested(results, material, folds)
    cache.save_json(results / METRICS_FILE, metrics)
    cache.save_json(results / CURVES_FILE, histories)
    draw_figures(results, histories, material.labels, systems[MODEL], metrics[MODEL])
    facts = {"epochs": epochs, "fold_epochs": [fold.epochs for fold in folds], "finder_sha256": finder_digest}
    # Folds that an earlier start has left in the cache count as well.
    seconds = gathered - started + sum(fold.seconds for fold in folds) + time.monotonic() - folds_done
    cache.save_json(results / RUN_FILE, describe_run(material, dataset, facts, seconds))

    write_reports(results)
    _publish(results, output)
    if not keep_cache:
        cache.remove_cache(output)


def _write_nested(results: Path, material: Material, folds: Sequence[FoldResult]) -> None:
    """Inner and outer scores for ensembles, and the fusion with covariates where one is configured."""
    if not all(fold.inner for fold in folds):
        return
    inner = [np.array(fold.inner)[:, np.newaxis] for fold in folds]
    outer = in_order(material, [fold.logits for fold in folds])[:, np.newaxis]
    nested = from_stored(inner, outer, material.fold_of)
    write_nested(results, [row.sha256 for row in material.radiographs.radiographs], nested)
    config = material.config
    if config.fusion is not None:
        fuse_run(results, config.fusion, material.radiographs, nested, count=config.evaluation.resamples, seed=config.seed)


def _publish(results: Path, output: Path) -> None:
    """Move the results to their place; ``run.json`` goes first and comes last, hence no mixture passes for a run."""
    (output / RUN_FILE).unlink(missing_ok=True)
    for path in sorted(results.iterdir(), key=lambda path: path.name == RUN_FILE):
        os.replace(path, output / path.name)
    results.rmdir()
