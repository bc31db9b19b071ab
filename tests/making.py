"""Making other bundles from a copy of the embedded one, as a maker of bundles would."""

from __future__ import annotations

import copy
import io
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from osteo_edge.bundle import MANIFEST, MANIFEST_DIGEST, manifest_digest_line
from osteo_edge.integrity import sha256_hex
from osteo_edge.questions import Question
from osteo_edge.records import to_plain
from osteo_edge.selftest import EXPECTED

LEG = {"name": "leg", "half_width": 0.8, "above": 1.6, "below": 2.2}
Regions = tuple[Mapping[str, Any] | None, ...]

FIGURE = {"value": 0.8, "low": 0.7, "high": 0.9}


def rewrite_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """Change the manifest and make its digest fit again."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    data = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / MANIFEST_DIGEST).write_bytes(manifest_digest_line(sha256_hex(data)))
    return folder


def rewrite_file(folder: Path, path: str, data: bytes) -> None:
    """Replace or add a file, and list it."""
    (folder / path).write_bytes(data)
    entry = {"sha256": sha256_hex(data), "size": len(data)}
    rewrite_manifest(folder, lambda manifest: manifest["files"].update({path: entry}))


def rename(folder: Path, name: str) -> Path:
    """Another name, so that the bundle may be installed."""
    return rewrite_manifest(folder, lambda manifest: manifest.update(name=name))


def keep_one_file(folder: Path) -> Path:
    """Leave the fp32 file for ONNX Runtime alone, so that copying and packing the bundle takes no time."""
    manifest, expected = json.loads((folder / MANIFEST).read_text()), json.loads((folder / EXPECTED).read_text())
    member = manifest["members"][0]
    kept = member["files"]["onnxruntime"]["fp32"]
    for path in [path for by_precision in member["files"].values() for path in by_precision.values() if path != kept]:
        (folder / path).unlink()
        del manifest["files"][path], expected["files"][path]
    member |= {
        "files": {"onnxruntime": {"fp32": kept}},
        "accepted": {"onnxruntime": ["fp32"]},
        "default_precision": {"onnxruntime": "fp32"},
    }
    manifest["choices"] = []
    (folder / MANIFEST).write_text(json.dumps(manifest))
    rewrite_file(folder, EXPECTED, json.dumps(expected).encode())
    return folder


def add_precision(folder: Path, engine: str, precision: str) -> Path:
    """Have the member a file of this precision that it accepts: a copy of the fp32 one, whatever the bundle holds."""
    manifest, expected = json.loads((folder / MANIFEST).read_text()), json.loads((folder / EXPECTED).read_text())
    (member,) = manifest["members"]
    exact = member["files"][engine]["fp32"]
    copied = exact.replace(".fp32.", f".copy-{precision}.")
    if precision in member["files"][engine]:
        del expected["files"][member["files"][engine][precision]]
    shutil.copy(folder / exact, folder / copied)
    manifest["files"][copied], expected["files"][copied] = manifest["files"][exact], expected["files"][exact]
    member["files"][engine][precision] = copied
    member["accepted"][engine] = sorted({"fp32", precision, *member["accepted"][engine]})
    (folder / MANIFEST).write_text(json.dumps(manifest))
    rewrite_file(folder, EXPECTED, json.dumps(expected).encode())
    return folder


def make_ensemble(
    folder: Path, ensemble: Mapping[str, Any], *, regions: tuple[Mapping[str, Any] | None, ...] = (None,)
) -> Path:
    """Add the embedded member once more for each region, its files under other names; None is its own region.

    A member with another region answers otherwise, and has no record for the self-test.
    """
    manifest = json.loads((folder / MANIFEST).read_text())
    expected = json.loads((folder / EXPECTED).read_text())
    first = manifest["members"][0]
    for number, region in enumerate(regions, start=2):
        member = copy.deepcopy(first) | {"name": f"member_{number}", "region": region or first["region"]}
        member["head_weights"] = _copy_file(folder, manifest, first["head_weights"], number)
        for engine, by_precision in first["files"].items():
            for precision, path in by_precision.items():
                member["files"][engine][precision] = _copy_file(folder, manifest, path, number)
                expected["files"][member["files"][engine][precision]] = expected["files"][path]
        manifest["members"].append(member)
    manifest["ensemble"] = {"kind": "mean", "weights": [], "layers": [], "exits": []} | dict(ensemble)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    rewrite_file(folder, EXPECTED, json.dumps(expected).encode())
    return folder


def fusion(**changes: Any) -> dict[str, Any]:
    """A fusion by age, sex and a prior fracture in which age weighs most; the picture counts as it is."""
    rows = {
        "picture": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "known": [[-2.0, 0.0, 2.0], [0.0, 0.5, 0.0], [-0.5, 0.0, 0.5]],
        "missing": [[0, 0, 0], [0, 0, 0], [0.1, 0, 0]],
    }
    plain = {
        "covariates": [
            _covariate("age_years", "number", "years", 18, 110, 50, 12, {"normal": [20, 49], "osteoporosis": [30, 84]}),
            _covariate("sex", "sex", "", 0, 1, 0.7, 0.45, {}),
            _covariate("prior_fracture", "yes_no", "", 0, 1, 0.2, 0.4, {}),
        ],
        "required": ["age_years", "sex"],
        "kernel": [row for part in rows.values() for row in part],
        "bias": [0.0, 0.0, 0.0],
        "conformal": {"coverage": 0.8, "min_probabilities": [0.3] * 3, "calibration_size": 145},
        "is_proven": True,
        "image_adds": False,
        "metrics": {"macro_auc": FIGURE},
        "without_image": {"macro_auc": FIGURE},
        "gain": {"macro_auc": {"value": 0.0, "low": -0.1, "high": 0.1}},
    }
    return plain | changes


def add_fusion(folder: Path, **changes: Any) -> Path:
    return rewrite_manifest(folder, lambda manifest: manifest.update(fusion=fusion(**changes)))


def remove_fusion(folder: Path) -> Path:
    """A bundle that answers from the picture alone."""
    return rewrite_manifest(folder, lambda manifest: manifest.update(fusion=None))


def _covariate(name: str, kind: str, unit: str, low: float, high: float, mean: float, deviation: float, support: Any) -> Any:
    numbers = {"low": low, "high": high, "mean": mean, "deviation": deviation}
    return {"name": name, "kind": kind, "unit": unit, "support": support} | numbers


def _copy_file(folder: Path, manifest: dict[str, Any], path: str, number: int) -> str:
    target = path.replace("members/", f"members/{number}_")
    shutil.copy(folder / path, folder / target)
    manifest["files"][target] = manifest["files"][path]
    return target


def ask(folder: Path, question: Question, *, name: str = "", enough: float = 0.2, **changes: Any) -> Path:
    """A bundle of another question, proven and without covariates: the embedded network's logits in turn, one a label.

    Its fp32 file for ONNX Runtime alone is kept.

    Args:
        enough: a label of at least this probability is in the set.
        changes: of the manifest.
    """
    keep_one_file(folder)
    manifest, expected = json.loads((folder / MANIFEST).read_text()), json.loads((folder / EXPECTED).read_text())
    (member,), count = manifest["members"], len(question.labels)
    path = member["files"]["onnxruntime"]["fp32"]
    record = expected["files"][path]
    shares = list(record["probabilities"].values())
    kept = [shares[place] for place in _in_turn(count, len(shares))]
    record["probabilities"] = {label: round(share / sum(kept), 6) for label, share in zip(question.labels, kept, strict=True)}
    asked = {"labels": list(question.labels), "question": to_plain(question), "fusion": None, "is_proven": True}
    sets = {"conformal": {"coverage": 0.9, "min_probabilities": [enough] * count, "calibration_size": 10}}
    rewrite_manifest(folder, lambda plain: plain.update(asked | sets | changes))
    rewrite_file(folder, path, _logits_in_turn(folder / path, count))
    rewrite_file(folder, member["head_weights"], _columns_in_turn(folder / member["head_weights"], count))
    rewrite_file(folder, EXPECTED, json.dumps(expected).encode())
    return rename(folder, name or f"knee-{question.name}")


def change_finder(folder: Path, **changes: float) -> Path:
    """Another finder of knees, for example with another ``threshold``."""
    path = json.loads((folder / MANIFEST).read_text())["finder"]
    with np.load(folder / path) as arrays:
        held = dict(arrays)
    buffer = io.BytesIO()
    np.savez(buffer, **{name: np.asarray(changes.get(name, array), array.dtype) for name, array in held.items()})
    rewrite_file(folder, path, buffer.getvalue())
    return folder


def _in_turn(count: int, of: int) -> list[int]:
    return [place % of for place in range(count)]


def _logits_in_turn(path: Path, count: int) -> bytes:
    model = onnx.load(path)
    graph = model.graph
    output = next(one for one in graph.output if one.name == "logits")
    shape = output.type.tensor_type.shape.dim
    for node in graph.node:
        node.output[:] = ["all_logits" if name == "logits" else name for name in node.output]
    places = _in_turn(count, shape[1].dim_value)
    graph.initializer.append(helper.make_tensor("places", TensorProto.INT64, [count], places))
    graph.node.append(helper.make_node("Gather", ["all_logits", "places"], ["logits"], axis=1))
    shape[1].dim_value = count
    data: bytes = model.SerializeToString()
    return data


def _columns_in_turn(path: Path, count: int) -> bytes:
    buffer, columns = io.BytesIO(), np.load(path)
    np.save(buffer, np.ascontiguousarray(columns[:, _in_turn(count, columns.shape[1])]))
    return buffer.getvalue()
