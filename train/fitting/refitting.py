"""The fold networks of a finished run whose own were not kept: each fold is trained again as its record says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osteo_edge.decision.scores import softmax
from train.data.crops import Finder
from train.data.dataset import Dataset
from train.fitting.fold_networks import write_fold_networks
from train.fitting.folds import parts, refit, score
from train.fitting.material import Material, gather, say
from train.networks.network import weights_of
from train.runs import cache
from train.runs.config import Config
from train.runs.folder import RUN_FILE, RunError, read_json
from train.runs.scores import MODEL, Scores, read_scores

# Sums of float32 in another order, over the epochs of a fine-tuning.
MAX_DIFFERENCE = 0.005


def refit_folds(
    config: Config, finder: Finder, finder_digest: str, *, dataset: Dataset, run: Path, keep_cache: bool = False
) -> float:
    """Train every fold of ``run`` again and write ``fold_networks.npz``.

    Returns:
        The largest difference from the recorded probabilities.

    Raises:
        RunError: a fold does not give its recorded scores again: other data, weights or settings.
    """
    epochs = read_json(run / RUN_FILE)["fold_epochs"]
    recorded = read_scores(run)[MODEL]
    material = gather(config, dataset, finder, finder_digest, cache.open_cache(run))
    _require_same_radiographs(material, recorded, run)
    regions, weights, differences = [], [], []
    for fold in range(config.folds):
        region, network = refit(material, fold, epochs[fold])
        _, held_back = parts(material, fold)
        answers = softmax(np.asarray(score(network, material, region, held_back), np.float64))
        differences.append(float(np.abs(answers - _of_fold(material, recorded, fold)).max()))
        say(f"Fold {fold}: {region}, {epochs[fold]} epochs; off its record by at most {differences[-1]:.1e}")
        regions.append(region)
        weights.append(weights_of(network))
    if max(differences) > MAX_DIFFERENCE:
        raise RunError(
            f"{run}: trained again, a fold is off its recorded probabilities by {max(differences):.2g}, {MAX_DIFFERENCE:g} "
            "allowed; check that data, weights and package versions are those of run.json, or train the run anew"
        )
    write_fold_networks(run, regions, weights)
    if not keep_cache:
        cache.remove_cache(run)
    return max(differences)


def _require_same_radiographs(material: Material, recorded: Scores, run: Path) -> None:
    here = {row.sha256: int(fold) for row, fold in zip(material.radiographs.radiographs, material.fold_of, strict=True)}
    there = dict(zip(recorded.digests, recorded.fold_of[0].tolist(), strict=True))
    if here != there:
        raise RunError(f"{run}: its radiographs or folds are others than those of the configuration and the data folder")


def _of_fold(material: Material, recorded: Scores, fold: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Recorded probabilities (held back, labels)."""
    _, held_back = parts(material, fold)
    place_of = {digest: place for place, digest in enumerate(recorded.digests)}
    places = [place_of[material.radiographs.radiographs[index].sha256] for index in held_back]
    return recorded.probabilities[0, places]
