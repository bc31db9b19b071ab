"""Frozen features of every radiograph, by every network and region of a study; cached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from osteo_edge.integrity import sha256_hex
from train.data.crops import Crops, Finder, cached_crops
from train.data.dataset import Dataset
from train.fitting.material import open_network, say, weights_digest
from train.fitting.regions import frozen_features
from train.research.segmentation.masking import mask_crops
from train.research.segmentation.measures import bone_measures
from train.research.segmentation.networks import read_segmenter
from train.research.study.config import MEASURES, FeatureSet, StudyConfig
from train.runs import cache
from train.runs.arrays import Floats, Reals
from train.runs.config import Candidate, from_project


@dataclass(frozen=True)
class Described:
    """Radiographs in which a knee was found, and what the networks see in them.

    Attributes:
        features: feature set -> (radiographs, features); NaN among measures of bone alone, where one cannot be had.
        knees: how many knees were found in all.
    """

    radiographs: Dataset
    features: Mapping[str, Reals]
    knees: int


def describe(config: StudyConfig, dataset: Dataset, finder: Finder, finder_digest: str, folder: Path) -> Described:
    """Find the knees and run every network over them.

    Raises:
        DatasetError: a radiograph cannot be read.
        ConfigError: a network's weights cannot be loaded.
    """
    key = cache.key([row.sha256 for row in dataset.radiographs], finder_digest, config.regions)
    crops = cached_crops(dataset, finder, config.regions, folder / f"crops-{key}.npz")
    radiographs, crops = dataset.subset(crops.with_knees()), crops.renumbered()
    say(f"{len(crops.owner)} knees in {len(radiographs.radiographs)} of {len(dataset.radiographs)} radiographs")
    features = {}
    for one in config.features:
        segmenter = config.segmenter if one.mask or one.region == MEASURES else ""
        digests = [weights_digest(weights) for weights in (one.weights, segmenter) if weights]
        file = folder / f"features-{cache.key(key, one, digests, config.seed)}.npz"
        features[one.name] = cache.kept(file, partial(_told_values, config, one, radiographs, crops, finder))["features"]
    return Described(radiographs, features, len(crops.owner))


def digest_of(radiographs: Dataset) -> str:
    """One digest of a set of radiographs, whatever their order."""
    return sha256_hex("\n".join(sorted(row.sha256 for row in radiographs.radiographs)).encode())


def _told_values(config: StudyConfig, one: FeatureSet, radiographs: Dataset, crops: Crops, finder: Finder) -> dict[str, Reals]:
    say(f"  features of {one.name}")
    return {"features": _values(config, one, radiographs, crops, finder)}


def _values(config: StudyConfig, one: FeatureSet, radiographs: Dataset, crops: Crops, finder: Finder) -> Reals:
    if one.region == MEASURES:
        return bone_measures(radiographs, finder, read_segmenter(from_project(config.segmenter)))[1]
    region = next(region for region in config.regions if region.name == one.region)
    return _run(config, one, region, crops)


def _run(config: StudyConfig, one: FeatureSet, region: Candidate, crops: Crops) -> Floats:
    images = crops.images[region.name]
    if one.mask:
        images = mask_crops(images, region, read_segmenter(from_project(config.segmenter)), one.mask)
    network = open_network(one.backbone, one.weights, region, labels=1, seed=config.seed)
    return frozen_features(network, images, crops.owner)
