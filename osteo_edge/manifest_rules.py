"""Reads ``manifest.json``: every key is known and every value is checked.

A manifest of another schema version is refused, never guessed at.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from osteo_edge.device import TELLING_FEATURES
from osteo_edge.errors import IncompatibleBundleError, ManifestError
from osteo_edge.labels import BodyPart
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS, SCHEMA_VERSION, Manifest
from osteo_edge.questions import check_question
from osteo_edge.records import parse_json, parse_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osteo_edge.manifest import Conformal, Covariate, Ensemble, Fusion, Member, Tree

MAX_MANIFEST_BYTES = 1 << 20
MAX_MEMBERS = 8
MAX_LAYERS = 4
MAX_TREES = 256
MAX_NODES = 1 << 14
MAX_COVARIATES = 32
_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_NOT_LISTED = "names a file that 'files' does not list"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COVARIATE = re.compile(r"[a-z][a-z0-9_]{0,39}")


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
    _check_choices(manifest)
    check_ensemble(manifest.ensemble, members=len(manifest.members), labels=len(manifest.labels))
    if manifest.fusion:
        check_fusion(manifest.fusion, labels=manifest.labels)
    return manifest


def is_safe_path(path: str) -> bool:
    """Whether ``path`` is relative, inside the bundle, and free of ``..``, back-slashes, hidden names and odd characters."""
    return _SAFE_PATH.fullmatch(path) is not None and len(path) <= 200


def _refuse_other_schema(plain: object) -> None:
    version = plain.get("schema_version") if isinstance(plain, dict) else None
    if version != SCHEMA_VERSION or isinstance(version, bool):
        shown = str(version)[:20] if isinstance(version, int) else "no number"
        raise IncompatibleBundleError(
            f"manifest.json: schema_version is {shown}, this version of osteo-edge reads {SCHEMA_VERSION}; "
            "use a bundle made for it"
        )


def _check_vocabulary(manifest: Manifest) -> None:
    _require(is_safe_path(manifest.name) and "/" not in manifest.name, "name", "must be a plain file name")
    check_question(manifest.question, manifest.labels)
    _require(manifest.body_part in list(BodyPart), "body_part", f"must be one of {[part.value for part in BodyPart]}")
    _require(1 <= len(manifest.members) <= MAX_MEMBERS, "members", f"must hold 1 to {MAX_MEMBERS} members")
    _check_conformal(manifest.conformal, manifest.labels, "conformal")
    _require(manifest.quality.min_side_px >= 1, "quality.min_side_px", "must be at least 1")
    _require(0 <= manifest.quality.min_dynamic_range < 1, "quality.min_dynamic_range", "must lie between 0 and 1")


def _check_files(manifest: Manifest) -> None:
    for path, entry in manifest.files.items():
        _require(is_safe_path(path), "files", f"has an unsafe path: {path[:60]!r}")
        _require(_SHA256.fullmatch(entry.sha256) is not None, f"files.{path}.sha256", "must be 64 lower-case hex digits")
        _require(entry.size >= 0, f"files.{path}.size", "must not be negative")
    _require(manifest.finder in manifest.files, "finder", _NOT_LISTED)


def _check_members(manifest: Manifest) -> None:
    names = [member.name for member in manifest.members]
    _require(len(set(names)) == len(names), "members", "must each have a name of their own")
    for index, member in enumerate(manifest.members):
        where = f"members[{index}]"
        spec, region = member.input, member.region
        _require(1 <= spec.height_px <= 4096 and 1 <= spec.width_px <= 4096, f"{where}.input", "has an impossible size")
        low, high = spec.value_range
        _require(low < high, f"{where}.input.value_range", "must rise")
        is_held = spec.dtype == "float32" or 0 <= low < high <= 255
        _require(is_held, f"{where}.input.value_range", "must lie between 0 and 255 for uint8")
        rising = 0 <= spec.low_percentile < spec.high_percentile <= 100
        _require(rising, f"{where}.input.low_percentile", "must lie below high_percentile, both within 0 and 100")
        sides = (region.half_width, region.above, region.below)
        _require(
            all(0.05 <= side <= 20 for side in sides), f"{where}.region", "must reach 0.05 to 20 knee widths on every side"
        )
        _require(member.head_weights in manifest.files, f"{where}.head_weights", _NOT_LISTED)
        _check_model_files(manifest, member, where)
    shared = set(ENGINE_NAMES).intersection(*(member.files for member in manifest.members))
    _require(bool(shared), "members", "share no engine: one at least must have files of all members")


def _check_model_files(manifest: Manifest, member: Member, where: str) -> None:
    _require(bool(member.files), f"{where}.files", "is empty")
    for engine, by_precision in member.files.items():
        _require(engine in ENGINE_NAMES, f"{where}.files", f"names an unknown engine: {engine[:40]!r}")
        for precision, path in by_precision.items():
            _require(precision in PRECISIONS, f"{where}.files.{engine}", f"names an unknown precision: {precision[:40]!r}")
            _require(path in manifest.files, f"{where}.files.{engine}.{precision}", _NOT_LISTED)
        accepted = member.accepted.get(engine, ())
        _require("fp32" in accepted, f"{where}.accepted.{engine}", "must hold fp32")
        _require(set(accepted) <= set(by_precision), f"{where}.accepted.{engine}", "names a precision without a file")
        default = member.default_precision.get(engine)
        _require(default in accepted, f"{where}.default_precision.{engine}", "must be one of the accepted precisions")
    _require(set(member.accepted) == set(member.files), f"{where}.accepted", "must name the engines that have files")


def _check_choices(manifest: Manifest) -> None:
    for index, choice in enumerate(manifest.choices):
        unknown = sorted(set(choice.features) - set(TELLING_FEATURES))
        _require(not unknown, f"choices[{index}].features", f"names unknown instructions: {', '.join(unknown)[:60]}")
        is_accepted = all(choice.precision in member.accepted.get(choice.engine, ()) for member in manifest.members)
        _require(is_accepted, f"choices[{index}]", f"names {choice.engine} {choice.precision}, which a member does not accept")


def check_ensemble(ensemble: Ensemble, *, members: int, labels: int) -> None:
    """Check that ``ensemble`` fits so many members and labels, and holds nothing that its kind does not use.

    Raises:
        ManifestError: names the field.
    """
    kind = ensemble.kind
    suits_one = kind in ("mean", "stacking", "forest")
    _require(members > 1 or suits_one, "ensemble.kind", f"must be mean for one member, not {kind}")
    _require(len(ensemble.weights) == (members if kind == "weighted" else 0), "ensemble.weights", _count("weighted", "member"))
    if kind == "weighted":
        are_shares = min(ensemble.weights) >= 0 and abs(sum(ensemble.weights) - 1) <= 1e-6
        _require(are_shares, "ensemble.weights", "must not be negative, and must sum to 1")
    exits = len(ensemble.exits)
    _require(exits == (members - 1 if kind == "cascade" else 0), "ensemble.exits", _count("cascade", "member but the last"))
    _require(all(0 <= one <= 1 for one in ensemble.exits), "ensemble.exits", "must lie between 0 and 1")
    _require(bool(ensemble.layers) == (kind == "stacking"), "ensemble.layers", "must be there for stacking alone")
    _require(len(ensemble.layers) <= MAX_LAYERS, "ensemble.layers", f"must be at most {MAX_LAYERS}")
    width = members * labels
    for index, layer in enumerate(ensemble.layers):
        width = _check_dense(layer.kernel, layer.bias, inputs=width, where=f"ensemble.layers[{index}]")
    _require(not ensemble.layers or width == labels, "ensemble.layers", f"must end with {labels} outputs, one a label")
    _check_trees(ensemble, inputs=members * labels, labels=labels)


def _check_trees(ensemble: Ensemble, *, inputs: int, labels: int) -> None:
    trees = ensemble.trees
    _require(bool(trees) == (ensemble.kind == "forest"), "ensemble.trees", "must be there for forest alone")
    _require(len(trees) <= MAX_TREES, "ensemble.trees", f"must be at most {MAX_TREES}")
    _require(sum(len(tree.feature) for tree in trees) <= MAX_NODES, "ensemble.trees", f"must have at most {MAX_NODES} nodes")
    for index, tree in enumerate(trees):
        _check_tree(tree, inputs=inputs, labels=labels, where=f"ensemble.trees[{index}]")


def _check_tree(tree: Tree, *, inputs: int, labels: int, where: str) -> None:
    """Children that come after their parent and have no other make it a tree, which every walk leaves."""
    nodes = len(tree.feature)
    columns = (tree.threshold, tree.left, tree.right, tree.values)
    _require(nodes >= 1, where, "has no node")
    _require(all(len(column) == nodes for column in columns), where, "must have as many numbers of each kind as nodes")
    children = []
    for node, (feature, left, right, values) in enumerate(zip(tree.feature, tree.left, tree.right, tree.values, strict=True)):
        if (feature, left, right) == (-1, -1, -1):
            are_shares = len(values) == labels and min(values) >= 0 and abs(sum(values) - 1) <= 1e-6
            _require(are_shares, f"{where}.values[{node}]", f"must be {labels} probabilities that sum to 1")
            continue
        _require(0 <= feature < inputs, f"{where}.feature[{node}]", f"must be -1 for a leaf, or lie below {inputs}")
        _require(node < left < nodes, f"{where}.left[{node}]", "must be a later node of the tree")
        _require(node < right < nodes, f"{where}.right[{node}]", "must be a later node of the tree")
        _require(not values, f"{where}.values[{node}]", "must be empty, since the node is no leaf")
        children += [left, right]
    _require(sorted(children) == list(range(1, nodes)), where, "must reach each node but the root from one other")


def check_fusion(fusion: Fusion, *, labels: Sequence[str]) -> None:
    """Check that ``fusion`` fits the labels and its own covariates.

    Raises:
        ManifestError: names the field.
    """
    names = [covariate.name for covariate in fusion.covariates]
    _require(1 <= len(names) <= MAX_COVARIATES, "fusion.covariates", f"must hold 1 to {MAX_COVARIATES} covariates")
    _require(len(set(names)) == len(names), "fusion.covariates", "must each have a name of their own")
    for index, covariate in enumerate(fusion.covariates):
        _check_covariate(covariate, labels, f"fusion.covariates[{index}]")
    _require(bool(fusion.required), "fusion.required", "must name at least one covariate")
    _require(len(set(fusion.required)) == len(fusion.required), "fusion.required", "names a covariate twice")
    _require(set(fusion.required) <= set(names), "fusion.required", "must name covariates of the fusion")
    width = len(labels) + 2 * len(names)
    outputs = _check_dense(fusion.kernel, fusion.bias, inputs=width, where="fusion")
    _require(outputs == len(labels), "fusion.kernel", f"must have {len(labels)} columns, one a label")
    _check_conformal(fusion.conformal, labels, "fusion.conformal")


def _check_covariate(covariate: Covariate, labels: Sequence[str], where: str) -> None:
    _require(_COVARIATE.fullmatch(covariate.name) is not None, f"{where}.name", "must be lower-case letters, digits and _")
    _require(covariate.low < covariate.high, f"{where}.low", "must lie below high")
    if covariate.kind != "number":
        _require((covariate.low, covariate.high) == (0, 1), f"{where}.low", f"and high must be 0 and 1 for {covariate.kind}")
    _require(covariate.deviation > 0, f"{where}.deviation", "must be above 0")
    _require(set(covariate.support) <= set(labels), f"{where}.support", "must name labels of the bundle")
    _require(all(low <= high for low, high in covariate.support.values()), f"{where}.support", "must not fall")


def _check_dense(kernel: tuple[tuple[float, ...], ...], bias: tuple[float, ...], *, inputs: int, where: str) -> int:
    """The number of outputs, when the kernel is (inputs, outputs) and the bias (outputs,)."""
    _require(len(kernel) == inputs, f"{where}.kernel", f"must have {inputs} rows")
    _require(all(len(row) == len(bias) for row in kernel), f"{where}.kernel", f"must have {len(bias)} columns, as the bias has")
    return len(bias)


def _check_conformal(conformal: Conformal, labels: Sequence[str], where: str) -> None:
    _require(0 < conformal.coverage < 1, f"{where}.coverage", "must lie between 0 and 1")
    thresholds = conformal.min_probabilities
    _require(len(thresholds) == len(labels), f"{where}.min_probabilities", f"must hold {len(labels)} numbers, one a label")
    _require(all(0 <= one <= 1 for one in thresholds), f"{where}.min_probabilities", "must lie between 0 and 1")


def _count(kind: str, each: str) -> str:
    return f"must hold one number a {each} for {kind}, and none otherwise"


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise ManifestError(f"manifest.json: {field} {message}")
