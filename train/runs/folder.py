"""A run's folder, written by ``fit`` and read by whoever exports or examines the model.

There are two kinds. A run of classes is judged out of fold, on few radiographs; a run of grades (``train.grading``) was trained
on one part of an official split, and calibrated and judged on another.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from osteo_edge.errors import ManifestError, OsteoEdgeError
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import Conformal, InputSpec, RegionProfile
from osteo_edge.records import parse_json, parse_record
from osteo_edge.storage import replacing

if TYPE_CHECKING:
    import keras

CONFIG_FILE = "config.toml"
REGIONS_FILE = "regions.json"
SCORES_FILE = "oof.json"
JUDGED_FILE = "scores.json"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.json"
WEIGHTS_FILE = "weights.npz"
RUN_FILE = "run.json"
# Of ensembles alone.
ENSEMBLE_FILE = "ensemble.json"
# What a bundle is asked; without it, for bone density.
QUESTION_FILE = "question.json"
# Of runs of grades alone.
CALIBRATION_FILE = "calibration.json"
TRAINED_FILE = "trained.npy"

Kind = Literal["classes", "grades"]
# Of pictures that a run of classes may answer: the least that its few large films were judged on.
_MIN_SIDE_PX = 256
_DIGEST_BYTES = 32
JUDGE_AGAIN = "make it again with 'python -m train judge-grades', or for several runs 'python -m train ensemble'"


class RunError(OsteoEdgeError):
    """A run's folder is incomplete, damaged, or cannot be written."""


@dataclass(frozen=True)
class Calibration:
    """Logits divided by ``temperature`` give the probabilities that ``conformal``'s thresholds are of."""

    temperature: float
    conformal: Conformal


@dataclass(frozen=True)
class CalibrationFile:
    """``calibration.json``, of the weights with this SHA-256 alone; of a stacking, as ``digest_of_members`` gives it."""

    schema_version: Literal[1]
    weights_sha256: str
    calibration: Calibration


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        backbone: a name of ``train.networks.backbones``.
        target: the kind of the head; only that of ``classes`` can be exported.
        body_part: what the radiographs show; only knees can be exported.
        labels: in the order of the network's logits.
        region, input: what the final network is shown, and how it is prepared.
        metrics: ``metrics.json``, decoded.
        training_digests: SHA-256 of every radiograph that the network was trained on.
        calibration: of a run of grades; None for a run of classes, whose label sets stand in its metrics.
        min_side_px: of the pictures that it may answer.
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
    calibration: Calibration | None = None
    min_side_px: int = _MIN_SIDE_PX

    @property
    def kind(self) -> Kind:
        return "grades" if self.calibration else "classes"

    def network(self) -> keras.Model:
        """The final network with its weights: ``image`` to ``{"logits", "features"}``, the logits divided by the temperature.

        Raises:
            RunError: the weights are missing, damaged or of another network.
        """
        from train.networks.network import scale_head

        network = load_network(self.folder, self.backbone, self.input, labels=len(self.labels), target=self.target)
        if self.calibration:
            scale_head(network, 1 / self.calibration.temperature)
        return network


def load_network(folder: Path, backbone: str, spec: InputSpec, *, labels: int, target: str = "classes") -> keras.Model:
    """The network of a run's folder, as it was trained.

    Raises:
        RunError: the weights are missing, damaged or of another network.
    """
    from train.networks.network import assign_weights, build_network
    from train.runs.config import ConfigError

    network = build_network(backbone, height_px=spec.height_px, width_px=spec.width_px, labels=labels, target=target)
    try:
        with np.load(folder / WEIGHTS_FILE, allow_pickle=False) as weights:
            assign_weights(network, dict(weights))
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, ConfigError) as error:
        raise RunError(f"{folder / WEIGHTS_FILE}: cannot be loaded ({error})") from error
    return network


def load_run(folder: Path) -> Run:
    """Open the folder of a finished run.

    Raises:
        RunError: a file is missing or is not what ``fit`` writes.
    """
    run, regions = read_json(folder / RUN_FILE), read_json(folder / REGIONS_FILE)
    try:
        region, spec = read_candidates(folder)[regions["chosen"]]
        is_graded = run.get("kind") == "grades"
        return Run(
            folder=folder,
            backbone=run["backbone"],
            target=run.get("target", "classes"),
            body_part=run.get("body_part", "knee"),
            labels=tuple(run["labels"]),
            region=region,
            input=spec,
            metrics=read_json(folder / METRICS_FILE),
            training_digests=read_digests(folder) if is_graded else frozenset(read_json(folder / SCORES_FILE)["radiographs"]),
            calibration=read_calibration(folder) if is_graded else None,
            min_side_px=int(run["min_side_px"]) if is_graded else _MIN_SIDE_PX,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{folder}: is not the folder of a finished run ({error!r})") from error


def read_calibration(folder: Path, members: Sequence[Path] = ()) -> Calibration:
    """What was fitted for a run of grades, or for a stacking of ``members``: for just these weights.

    Raises:
        RunError: a file is missing or damaged, or is of other weights.
    """
    try:
        record = parse_record(CalibrationFile, read_json(folder / CALIBRATION_FILE), where=CALIBRATION_FILE)
    except ManifestError as error:
        raise RunError(f"{folder}: {error}; {JUDGE_AGAIN}") from error
    if record.weights_sha256 != (digest_of_members(members) if members else digest_of_weights(folder)):
        other = "its members" if members else WEIGHTS_FILE
        raise RunError(f"{folder / CALIBRATION_FILE}: is of other weights than {other}; {JUDGE_AGAIN}")
    return record.calibration


def digest_of_weights(folder: Path) -> str:
    """SHA-256 of a run's file of weights.

    Raises:
        RunError: it cannot be read.
    """
    try:
        return sha256_hex((folder / WEIGHTS_FILE).read_bytes())
    except OSError as error:
        raise RunError(f"{folder / WEIGHTS_FILE}: cannot be read ({error.strerror})") from error


def digest_of_members(folders: Sequence[Path]) -> str:
    """SHA-256 of all that the members' calibrated logits depend on, in their order.

    Raises:
        RunError: as ``digest_of_weights`` and ``read_calibration``.
    """
    lines = [f"{digest_of_weights(folder)} {read_calibration(folder).temperature!r}\n" for folder in folders]
    return sha256_hex("".join(lines).encode())


def write_digests(folder: Path, digests: Iterable[str]) -> None:
    """Write which pictures a run of grades was trained on: (pictures, 32) uint8, half the size of hexadecimal digits."""
    rows = [np.frombuffer(bytes.fromhex(digest), np.uint8) for digest in sorted(digests)]
    with replacing(folder / TRAINED_FILE) as file:
        np.save(file, np.stack(rows), allow_pickle=False)


def read_digests(folder: Path) -> frozenset[str]:
    """SHA-256, hexadecimal, of the pictures that a run of grades was trained on.

    Raises:
        RunError: the file is missing or damaged.
    """
    path = folder / TRAINED_FILE
    try:
        rows = np.load(path, allow_pickle=False)
        if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _DIGEST_BYTES:
            raise ValueError(f"holds {rows.dtype} of shape {rows.shape}, no digests")
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{path}: cannot be loaded ({error}); {JUDGE_AGAIN}") from error
    return frozenset(row.tobytes().hex() for row in rows)


def read_judged_digests(folder: Path) -> frozenset[str]:
    """SHA-256 of the pictures that a run of grades was calibrated and judged on.

    Raises:
        RunError: the file is missing or damaged.
    """
    try:
        return frozenset(read_json(folder / JUDGED_FILE)["knees"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder / JUDGED_FILE}: is not a file of graded knees ({error!r}); {JUDGE_AGAIN}") from error


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
