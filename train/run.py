"""A run's folder, written by ``fit`` and read by whoever exports or examines the model."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from osteo_edge.errors import ManifestError, OsteoEdgeError
from osteo_edge.manifest import InputSpec, RegionProfile
from osteo_edge.records import parse_json, parse_record

if TYPE_CHECKING:
    import keras

CONFIG_FILE = "config.toml"
REGIONS_FILE = "regions.json"
SCORES_FILE = "oof.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.json"
WEIGHTS_FILE = "weights.npz"
RUN_FILE = "run.json"


class RunError(OsteoEdgeError):
    """A run's folder is incomplete, damaged, or cannot be written."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        backbone: a name of ``train.backbones``.
        target: the kind of the head; only that of ``classes`` can be exported.
        body_part: what the radiographs show; only knees can be exported.
        labels: in the order of the network's logits.
        region, input: what the final network is shown, and how it is prepared.
        metrics: ``metrics.json``, decoded.
        training_digests: SHA-256 of every radiograph that the network was trained on.
    """

    folder: Path
    backbone: str
    target: str
    body_part: str
    labels: tuple[str, ...]
    region: RegionProfile
    input: InputSpec
    metrics: Mapping[str, Any]
    training_digests: frozenset[str]

    def network(self) -> keras.Model:
        """The final network with its weights: ``image`` to ``{"logits", "features"}``.

        Raises:
            RunError: the weights are missing, damaged or of another network.
        """
        from train.config import ConfigError
        from train.network import assign_weights, build_network

        network = build_network(
            self.backbone,
            height_px=self.input.height_px,
            width_px=self.input.width_px,
            labels=len(self.labels),
            target=self.target,
        )
        try:
            with np.load(self.folder / WEIGHTS_FILE, allow_pickle=False) as weights:
                assign_weights(network, dict(weights))
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, ConfigError) as error:
            raise RunError(f"{self.folder / WEIGHTS_FILE}: cannot be loaded ({error})") from error
        return network


def load_run(folder: Path) -> Run:
    """Open the folder of a finished run.

    Raises:
        RunError: a file is missing or is not what ``fit`` writes.
    """
    run, regions = read_json(folder / RUN_FILE), read_json(folder / REGIONS_FILE)
    scores = read_json(folder / SCORES_FILE)
    try:
        region, spec = read_candidates(folder)[regions["chosen"]]
        return Run(
            folder=folder,
            backbone=run["backbone"],
            target=run.get("target", "classes"),
            body_part=run.get("body_part", "knee"),
            labels=tuple(run["labels"]),
            region=region,
            input=spec,
            metrics=read_json(folder / METRICS_FILE),
            training_digests=frozenset(scores["radiographs"]),
        )
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder}: is not the folder of a finished run ({error!r})") from error


def read_candidates(folder: Path) -> dict[str, tuple[RegionProfile, InputSpec]]:
    """Every region that a run chose from, by name, with its input.

    Raises:
        RunError: ``regions.json`` is missing or is not what ``fit`` writes.
    """
    regions = read_json(folder / REGIONS_FILE)
    try:
        both = [
            (
                parse_record(RegionProfile, one["region"], where="regions.json"),
                parse_record(InputSpec, one["input"], where="regions.json"),
            )
            for one in regions["candidates"]
        ]
    except (KeyError, TypeError, ManifestError) as error:
        raise RunError(f"{folder}: is not the folder of a finished run ({error!r})") from error
    return {region.name: (region, spec) for region, spec in both}


def read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes(), what=path.name)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); let 'python -m train fit' finish") from error
    except ManifestError as error:
        raise RunError(f"{path.parent}: {error}") from error
