"""A comparison of segmenters, step by step; every costly one is kept in the cache, so that a stopped run goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from train.data.crops import Finder
from train.data.dataset import Dataset
from train.networks.network import weights_of
from train.research.segmentation.annotations import BONES, read_drawn
from train.research.segmentation.association import GIVEN, associations, write_table
from train.research.segmentation.drawing import COLOURS
from train.research.segmentation.fitting import fit_segmenter
from train.research.segmentation.judgement import (
    by_acquisition,
    differences,
    judge_masks,
    means,
    outlined,
    own_agreement,
    with_intervals,
)
from train.research.segmentation.measures import bone_measures
from train.research.segmentation.networks import Segmenter, read_segmenter, save_segmenter
from train.research.segmentation.pictures import Picture, cached_synthetic, real_pictures, synthetic_pictures
from train.research.segmentation.settings import Settings, Training
from train.research.segmentation.views import plain_view
from train.runs import cache
from train.runs.arrays import Booleans, Bytes, Doubles
from train.runs.config import ConfigError
from train.runs.folder import RunError

WEIGHTS_FILE = "segmenter.npz"
METRICS_FILE = "metrics.json"
MEASURES_FILE = "measures.json"
MEASURES_TABLE = "measures.csv"
OVERLAYS_FILE = "overlays.jpg"

_UNSEEN_SYNTHETIC = 24
_SHOWN = 4


def fit_all(settings: Settings, dataset: Dataset, output: Path, *, only: Sequence[str] = ()) -> None:
    """Train what is not trained yet; weights and facts of each training stay in the output's cache.

    Raises:
        ConfigError: ``only`` names no configured training, or a training diverged.
        DatasetError: the outlines or the radiographs cannot be used.
    """
    unknown = set(only) - {training.name for training in settings.trainings}
    if unknown:
        raise ConfigError(f"no training is named {sorted(unknown)[0]!r}")
    folder = cache.open_cache(output)
    pools = {"real": real_pictures(read_drawn(dataset, "tune")), "synthetic": _synthetic(settings, folder)}
    for training in settings.trainings:
        if not only or training.name in only:
            _fit_one(settings, training, [pools[material] for material in training.material], folder)


def _synthetic(settings: Settings, folder: Path) -> tuple[Picture, ...]:
    name = f"synthetic-{settings.synthetic_knees}-{settings.synthetic_seed}.npz"
    return cached_synthetic(settings.synthetic_knees, seed=settings.synthetic_seed, file=folder / name)


def _fit_one(settings: Settings, training: Training, pools: Sequence[Sequence[Picture]], folder: Path) -> None:
    finished = weights_file(settings, training, folder)
    if finished.exists():
        return
    checkpoint = finished.with_suffix(".checkpoint.npz")
    fitted = fit_segmenter(training.network, pools, settings.schedule, seed=settings.seed, checkpoint=checkpoint)
    facts: dict[str, Any] = {
        "network": training.network,
        "material": list(training.material),
        "pictures": [len(pool) for pool in pools],
        "parameters": int(fitted.network.count_params()),
        "seconds": round(fitted.seconds, 1),
        "losses": [round(loss, 4) for loss in fitted.losses],
    }
    cache.save_json(finished.with_suffix(".json"), facts)
    save_segmenter(finished, training.network, weights_of(fitted.network))
    checkpoint.unlink(missing_ok=True)


def weights_file(settings: Settings, training: Training, folder: Path) -> Path:
    """Named by all that decides the weights but the versions of the packages."""
    return folder / f"{training.name}-{settings.seed}-{settings.schedule.steps}.npz"


def read_trained(settings: Settings, training: Training, output: Path) -> Segmenter:
    """The network of one finished training.

    Raises:
        RunError: it is not finished.
    """
    path = weights_file(settings, training, output / cache.CACHE_FOLDER)
    if not path.exists():
        raise RunError(f"{training.name}: is not trained; run 'python -m train research segmentation fit' first")
    return read_segmenter(path)


def judge_all(settings: Settings, dataset: Dataset, output: Path) -> dict[str, Any]:
    """Judge every finished training on the report half, keep the better network's weights, and write the metrics.

    Raises:
        RunError: the training whose weights are to be kept is not finished.
        DatasetError: the outlines or the radiographs cannot be used.
    """
    trained = {training.name: training for training in settings.trainings if _is_finished(settings, training, output)}
    if settings.kept not in trained:
        raise RunError(f"{settings.kept}: is not trained; run 'python -m train research segmentation fit' first")
    knees = read_drawn(dataset, "report")
    pictures, groups = real_pictures(knees), [knee.row.patient_group for knee in knees]
    unseen = synthetic_pictures(_UNSEEN_SYNTHETIC, seed=settings.synthetic_seed + 1)
    values, on_synthetic = {}, {}
    for name, training in trained.items():
        segmenter = read_trained(settings, training, output)
        values[name] = judge_masks(pictures, outlined(segmenter, pictures))
        found = judge_masks(unseen, outlined(segmenter, unseen))
        on_synthetic[name] = {figure: means(table) for figure, table in found.items()}
    options = {"count": settings.resamples, "seed": settings.seed}
    metrics = {
        "what": "Outlines of bones on the report half of train/research/segmentation/knee_bones.json, knees that no network "
        "has seen. dice: Dice's coefficient; distance_95: 95th percentile of the distance between outlines, in knee widths. "
        "Means over the knees with 95 % bootstrap intervals by patient.",
        "n_knees": len(pictures),
        "bones": list(BONES),
        "trainings": {name: _facts(settings, training, output) for name, training in trained.items()},
        "not_trained": [training.name for training in settings.trainings if training.name not in trained],
        "report": {name: with_intervals(one, groups, **options) for name, one in values.items()},
        "difference_of": settings.kept,
        "differences": differences(values, groups, model=settings.kept, **options),
        "by_acquisition": {name: by_acquisition(one, knees) for name, one in values.items()},
        "unseen_synthetic": on_synthetic,
        "own_agreement": own_agreement(read_drawn(dataset)),
        "kept": settings.kept,
    }
    output.mkdir(parents=True, exist_ok=True)
    cache.save_json(output / METRICS_FILE, metrics)
    shutil.copyfile(weights_file(settings, trained[settings.kept], output / cache.CACHE_FOLDER), output / WEIGHTS_FILE)
    draw_overlays(output / OVERLAYS_FILE, {name: read_trained(settings, one, output) for name, one in trained.items()}, unseen)
    return metrics


def _is_finished(settings: Settings, training: Training, output: Path) -> bool:
    return weights_file(settings, training, output / cache.CACHE_FOLDER).exists()


def _facts(settings: Settings, training: Training, output: Path) -> dict[str, Any]:
    path = weights_file(settings, training, output / cache.CACHE_FOLDER).with_suffix(".json")
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def draw_overlays(path: Path, segmenters: Mapping[str, Segmenter], pictures: Sequence[Picture]) -> None:
    """Synthetic knees, a row for each network: the true outlines in white, the found ones in colour."""
    rows = []
    for segmenter in segmenters.values():
        shown = pictures[:_SHOWN]
        tiles = [_overlay(one, mask) for one, mask in zip(shown, outlined(segmenter, shown), strict=True)]
        rows.append(np.hstack(tiles))
    cv2.imwrite(str(path), np.vstack(rows), [cv2.IMWRITE_JPEG_QUALITY, 85])


def _overlay(picture: Picture, mask: Booleans) -> Bytes:
    tile = cv2.cvtColor(plain_view(picture).astype(np.uint8), cv2.COLOR_GRAY2BGR)
    for place, bone in enumerate(BONES):
        for one, colour in ((picture.bones[..., place], (255, 255, 255)), (mask[..., place], COLOURS[bone])):
            lines, _ = cv2.findContours(one.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(tile, lines, -1, colour, 1)
    return tile  # type: ignore[return-value]


def measure_all(
    settings: Settings, dataset: Dataset, finder: Finder, output: Path
) -> tuple[tuple[str, ...], Doubles, list[dict[str, Any]]]:
    """Measure every radiograph with the kept network and write how each measure goes with T.

    Returns:
        names, (radiographs, measures), and a row of ``association.associations`` for each.

    Raises:
        ConfigError: there are no kept weights.
    """
    names, table = bone_measures(dataset, finder, read_segmenter(output / WEIGHTS_FILE))
    rows = associations(dataset, names, table, count=settings.resamples, seed=settings.seed)
    plain = {
        "what": "Rank correlation of bone measures with T (quantitative ultrasound) over all radiographs, alone and partial; "
        "95 % bootstrap intervals by patient; p two-sided, q after Benjamini and Hochberg over the measures of a column. "
        "Research figures of one set; the network has learned outlines, never a label, from the tune half.",
        "n_radiographs": len(dataset.radiographs),
        "given": {name: list(columns) for name, columns in GIVEN.items()},
        "known": {name: int(np.isfinite(table[:, place]).sum()) for place, name in enumerate(names)},
        "measures": rows,
    }
    cache.save_json(output / MEASURES_FILE, plain)
    write_table(output / MEASURES_TABLE, rows)
    return names, table, rows
