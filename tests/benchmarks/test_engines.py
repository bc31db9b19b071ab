"""The bundle's files in one contest: rows, agreement, and the record."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

from benchmarks.__main__ import main
from benchmarks.contest import Entry
from benchmarks.engines import Latency, Rival, Task, chosen, measure, table
from benchmarks.places import HIDDEN, NATIVE
from export.portability.places import has_avx512
from osteo_edge.bundle import open_bundle
from osteo_edge.records import parse_record, to_plain

FORMS = {NATIVE, HIDDEN} if has_avx512() else {NATIVE}
PEERS = os.environ.get("OSTEO_EDGE_PEERS_PYTHON")


def _other_weights(path: Path, target: Path) -> Path:
    """The model with its weights turned round, so that it answers otherwise."""
    model = onnx.load(path)
    kernel = model.graph.initializer[0]
    kernel.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(kernel), kernel.name))
    onnx.save(model, target)
    return target


@pytest.fixture
def task(knees: Path) -> Task:
    return Task(("first", "second"), (knees, knees), are_real=True, threads=1, rounds=3, seconds=0)


def test_every_form_engine_and_member_has_a_row(make_entry: Callable[..., Entry], task: Task, tmp_path: Path) -> None:
    exact = make_entry("", 1, 2).models
    reduced = (exact[0], _other_weights(exact[1], tmp_path / "other.onnx"))
    rivals = [
        Rival("ONNX Runtime fp32", "onnxruntime", "fp32", exact),
        Rival("ONNX Runtime int8", "onnxruntime", "int8", reduced),
    ]
    latency = measure(rivals, task, {"a.onnx": "0" * 64})

    rows = {(row.form, row.precision, row.member): row for row in latency.rows}
    assert set(rows) == {(form, kind, who) for form in FORMS for kind in ("fp32", "int8") for who in ("", "first", "second")}
    for form in FORMS:
        assert rows[form, "fp32", ""].ratio == 1.0
        assert rows[form, "fp32", "first"].agreement is None
        assert rows[form, "int8", ""].agreement is None
        assert rows[form, "int8", "first"].agreement == 1.0
        assert rows[form, "int8", "second"].agreement < 1.0
        whole = np.array(rows[form, "int8", ""].samples_ms)
        parts = np.array([rows[form, "int8", who].samples_ms for who in ("first", "second")])
        np.testing.assert_allclose(whole, parts.sum(axis=0), atol=0.002)
    assert parse_record(Latency, json.loads(json.dumps(to_plain(latency))), where="latency") == latency
    assert "second" in table(latency)


def test_without_fp32_for_onnx_runtime_there_is_no_reference(make_entry: Callable[..., Entry], task: Task) -> None:
    rivals = [Rival("ONNX Runtime int8", "onnxruntime", "int8", make_entry("", 1, 2).models)]
    with pytest.raises(click.ClickException, match="no fp32 files for ONNX Runtime"):
        measure(rivals, task, {})


def test_only_some_may_be_asked_for_beside_the_reference(make_entry: Callable[..., Entry]) -> None:
    files = make_entry("", 1, 2).models
    names = ("onnxruntime fp32", "onnxruntime int8", "litert fp16")
    rivals = [Rival(name, *name.split(), files) for name in names]
    assert [rival.name for rival in chosen(rivals, ["litert"])] == ["onnxruntime fp32", "litert fp16"]
    assert chosen(rivals, []) == rivals


def test_peers_need_radiographs() -> None:
    result = CliRunner().invoke(main, ["engines", "--bundle", "knee-mobilenet_v2", "--peers", sys.executable])
    assert result.exit_code == 2
    assert "--peers needs --data" in result.output


def test_an_unknown_bundle_is_told_in_one_line() -> None:
    result = CliRunner().invoke(main, ["engines", "--bundle", "no-such-bundle"])
    assert result.exit_code == 1
    assert "no bundle named" in result.output


@pytest.mark.slow
def test_the_embedded_bundle_is_measured_whole(tmp_path: Path) -> None:
    target = tmp_path / "latency.json"
    options = ["--bundle", "knee-mobilenet_v2", "--rounds", "3", "--seconds", "0", "--json", str(target)]
    result = CliRunner().invoke(main, ["engines", *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    latency = parse_record(Latency, json.loads(target.read_text()), where="latency")
    bundle = open_bundle("knee-mobilenet_v2")
    (member,) = bundle.manifest.members
    kinds = {(engine, precision) for engine, files in member.files.items() for precision in files}
    assert {(row.form, row.engine, row.precision) for row in latency.rows} == {
        (form, *kind) for form in FORMS for kind in kinds
    }
    assert latency.files == {path: entry.sha256 for path, entry in bundle.manifest.files.items() if path in latency.files}
    assert set(latency.files) == {path for files in member.files.values() for path in files.values()}


@pytest.mark.slow
@pytest.mark.skipif(not PEERS, reason="OSTEO_EDGE_PEERS_PYTHON names no interpreter with openvino and nncf")
def test_openvino_is_measured_beside(tmp_path: Path) -> None:
    target = tmp_path / "latency.json"
    options = ["--bundle", "knee-mobilenet_v2", "--data", "examples", "--peers", str(PEERS), "--rounds", "3", "--seconds", "0"]
    result = CliRunner().invoke(main, ["engines", *options, "--json", str(target)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = [row for row in json.loads(target.read_text())["rows"] if row["engine"] == "openvino" and row["form"] == NATIVE]
    assert sorted(row["precision"] for row in rows) == ["fp32"] * 2 + ["int8"] * 6
    assert all((row["agreement"] is None) == (row["precision"] == "fp32") for row in rows)
