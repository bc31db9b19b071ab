"""What a bundle says of itself: the records behind ``manifest.json``.

Every key is known and every value is checked; a manifest of another schema version is refused, never guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from osteo_edge.errors import IncompatibleBundleError, ManifestError
from osteo_edge.labels import BodyPart, BoneStatus
from osteo_edge.records import parse_json, parse_record

SCHEMA_VERSION = 1
MAX_MANIFEST_BYTES = 1 << 20

EngineName = Literal["onnxruntime", "litert"]
Precision = Literal["fp32", "fp16", "int8"]
ENGINE_NAMES: tuple[EngineName, ...] = ("onnxruntime", "litert")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")

_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_NOT_LISTED = "names a file that 'files' does not list"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle: SHA-256 in lower-case hexadecimal and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class RegionProfile:
    """The upright box around a knee that a member is shown, in knee widths from the joint's centre."""

    name: str
    half_width: float
    above: float
    below: float


@dataclass(frozen=True)
class InputSpec:
    """The tensor that a member takes: (1, height, width, 1), the input scaling being inside the graph.

    Attributes:
        value_range: lowest and highest value of the tensor.
        low_percentile, high_percentile: grey levels of the box that are stretched to ``value_range``.
    """

    height_px: int
    width_px: int
    dtype: Literal["float32"]
    layout: Literal["NHWC"]
    value_range: tuple[float, float]
    low_percentile: float
    high_percentile: float


@dataclass(frozen=True)
class Member:
    """One network of the bundle.

    Attributes:
        region: what it is shown.
        files: engine name -> precision -> path.
        default_precision: engine name -> the precision that ``auto`` means.
        head_weights: ``.npy`` file, (features, labels) float32: logits = mean over the map of features @ weights + bias.
    """

    name: str
    backbone: str
    region: RegionProfile
    input: InputSpec
    files: Mapping[str, Mapping[str, str]]
    default_precision: Mapping[str, str]
    head_weights: str


@dataclass(frozen=True)
class QualityLimits:
    """What a picture must have to be answered; see ``osteo_edge.images.quality``."""

    min_side_px: int
    min_dynamic_range: float


@dataclass(frozen=True)
class Conformal:
    """Split-conformal label sets (LAC; Sadinle, Lei and Wasserman 2019).

    Attributes:
        coverage: the share of radiographs whose set holds the true class, on average, for exchangeable pictures.
        min_probability: classes with at least this probability are in the set.
        calibration_size: number of out-of-fold radiographs that the threshold was fitted on.
    """

    coverage: float
    min_probability: float
    calibration_size: int


@dataclass(frozen=True)
class Metric:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Manifest:
    """The whole manifest; see the class of each field.

    Attributes:
        is_proven: whether cross-validation showed the scores to be better than chance (the interval of the macro AUC
            lies above 0.5). Where it did not, the runtime gives scores and refers every picture.
    """

    schema_version: int
    name: str
    version: str
    labels: tuple[str, ...]
    body_part: str
    view_position: str
    intended_use: str
    licence: str
    finder: str
    members: tuple[Member, ...]
    quality: QualityLimits
    conformal: Conformal
    is_proven: bool
    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]]
    provenance: Mapping[str, str]
    files: Mapping[str, FileEntry]


def parse_manifest(data: bytes) -> Manifest:
    """Read and check ``manifest.json``.

    Raises:
        ManifestError: unknown, missing or wrong fields; the message names the field.
        IncompatibleBundleError: another schema version.
    """
    if len(data) > MAX_MANIFEST_BYTES:
        raise ManifestError(f"manifest.json has {len(data)} bytes; at most {MAX_MANIFEST_BYTES} are read")
    plain = parse_json(data, what="manifest.json")
    _refuse_other_schema(plain)
    manifest = parse_record(Manifest, plain, where="manifest.json")
    _check_vocabulary(manifest)
    _check_files(manifest)
    _check_members(manifest)
    return manifest


def is_safe_path(path: str) -> bool:
    """Whether ``path`` is relative, inside the bundle, and free of ``..``, back-slashes, hidden names and odd characters."""
    return _SAFE_PATH.fullmatch(path) is not None and len(path) <= 200


def _refuse_other_schema(plain: object) -> None:
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise IncompatibleBundleError(
            f"manifest.json: schema_version is {str(version)[:20]}, this version of osteo-edge reads {SCHEMA_VERSION}; "
            "use a bundle made for it"
        )


def _check_vocabulary(manifest: Manifest) -> None:
    _require(is_safe_path(manifest.name) and "/" not in manifest.name, "name", "must be a plain file name")
    known = [status.value for status in BoneStatus]
    _require(list(manifest.labels) == known, "labels", f"must be {known}")
    _require(manifest.body_part in list(BodyPart), "body_part", f"must be one of {[part.value for part in BodyPart]}")
    _require(len(manifest.members) == 1, "members", "must hold exactly one member")
    _require(0 < manifest.conformal.coverage < 1, "conformal.coverage", "must lie between 0 and 1")
    _require(0 <= manifest.conformal.min_probability <= 1, "conformal.min_probability", "must lie between 0 and 1")
    _require(manifest.quality.min_side_px >= 1, "quality.min_side_px", "must be at least 1")
    _require(0 <= manifest.quality.min_dynamic_range < 1, "quality.min_dynamic_range", "must lie between 0 and 1")


def _check_files(manifest: Manifest) -> None:
    for path, entry in manifest.files.items():
        _require(is_safe_path(path), "files", f"has an unsafe path: {path[:60]!r}")
        _require(_SHA256.fullmatch(entry.sha256) is not None, f"files.{path}.sha256", "must be 64 lower-case hex digits")
        _require(entry.size >= 0, f"files.{path}.size", "must not be negative")
    _require(manifest.finder in manifest.files, "finder", _NOT_LISTED)


def _check_members(manifest: Manifest) -> None:
    for index, member in enumerate(manifest.members):
        where = f"members[{index}]"
        spec, region = member.input, member.region
        _require(1 <= spec.height_px <= 4096 and 1 <= spec.width_px <= 4096, f"{where}.input", "has an impossible size")
        _require(spec.value_range[0] < spec.value_range[1], f"{where}.input.value_range", "must rise")
        rising = 0 <= spec.low_percentile < spec.high_percentile <= 100
        _require(rising, f"{where}.input.low_percentile", "must lie below high_percentile, both within 0 and 100")
        sides = (region.half_width, region.above, region.below)
        _require(
            all(0.05 <= side <= 20 for side in sides), f"{where}.region", "must reach 0.05 to 20 knee widths on every side"
        )
        _require(member.head_weights in manifest.files, f"{where}.head_weights", _NOT_LISTED)
        _check_model_files(manifest, member, where)


def _check_model_files(manifest: Manifest, member: Member, where: str) -> None:
    _require(bool(member.files), f"{where}.files", "is empty")
    for engine, by_precision in member.files.items():
        _require(engine in ENGINE_NAMES, f"{where}.files", f"names an unknown engine: {engine[:40]!r}")
        for precision, path in by_precision.items():
            _require(precision in PRECISIONS, f"{where}.files.{engine}", f"names an unknown precision: {precision[:40]!r}")
            _require(path in manifest.files, f"{where}.files.{engine}.{precision}", _NOT_LISTED)
        default = member.default_precision.get(engine)
        _require(default in by_precision, f"{where}.default_precision.{engine}", "must be one of the engine's precisions")


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise ManifestError(f"manifest.json: {field} {message}")
