"""The accuracy table: what stands in a row, which files no other beats, and the default bundle's own evidence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import accuracy
from benchmarks.accuracy import Row, measure, points, with_default
from benchmarks.pareto import frontier
from export.report.material import read_material
from osteo_edge.bundle import open_bundle
from osteo_edge.manifest import Metric
from tests.bundles import DENSITY

ROW = Row(
    bundle="a",
    engine="onnxruntime",
    precision="fp32",
    macro_auc=Metric(0.6, 0.5, 0.7),
    lost=None,
    balanced_accuracy_lost=None,
    calibration_error=None,
    agreement=None,
    same_label=None,
    flips=None,
    knees=None,
    megabytes=2.0,
    ratio=1.0,
    median_ms=2.0,
    samples_ms=(2.0,),
)


@pytest.fixture
def no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Times that are known: int8 takes half as long as all others."""

    def timings(bundles: Any, **settings: Any) -> Any:
        return {
            (bundle.manifest.name, engine, precision): np.full(5, 1.0 if precision == "int8" else 2.0)
            for bundle in bundles
            for engine, by_precision in bundle.manifest.members[0].files.items()
            for precision in by_precision
        }

    monkeypatch.setattr(accuracy, "time_files", timings)


@pytest.mark.usefixtures("no_clock")
def test_rows_are_the_bundles_own_evidence() -> None:
    bundle = open_bundle(DENSITY)
    found = measure([read_material(bundle)], rounds=5, threads=1)
    rows = {(row.engine, row.precision): row for row in found.rows}
    plan = json.loads(bundle.read("evidence/quantization.json"))["plan"]
    judged = next(one for one in plan["reduced"] if one["precision"] == "int8")
    int8 = rows["onnxruntime", "int8"]
    assert int8.lost is not None
    assert int8.lost.value == -judged["figures"]["difference"]["macro_auc"]["value"]
    assert int8.lost.low <= int8.lost.value <= int8.lost.high
    assert int8.macro_auc.value == judged["figures"]["reduced"]["macro_auc"]["value"]
    assert int8.ratio == 2.0
    assert rows["onnxruntime", "fp32"].lost is None
    assert rows["onnxruntime", "fp32"].macro_auc == bundle.manifest.metrics["macro_auc"]
    assert ("litert", "int8") in rows or any("LiteRT" in what for what in found.left_out)


@pytest.mark.usefixtures("no_clock")
def test_it_writes_table_json_and_chart(tmp_path: Path) -> None:
    target, chart = tmp_path / "a" / "accuracy.json", tmp_path / "b" / "accuracy.svg"
    done = CliRunner().invoke(accuracy.command, ["--rounds", "3", "--json", str(target), "--chart", str(chart)])
    assert done.exit_code == 0, done.output
    assert "knee-mobilenet_v2" in done.output
    assert {row["precision"] for row in json.loads(target.read_text())["rows"]} >= {"fp32", "int8"}
    assert chart.read_text().count("<svg") == 1


def test_an_unknown_bundle_is_told() -> None:
    done = CliRunner().invoke(accuracy.command, ["--bundle", "no-such-bundle"])
    assert done.exit_code == 1
    assert "no-such-bundle" in done.output


def test_a_point_is_a_row_in_time_rather_than_speed() -> None:
    faster = replace(ROW, bundle="b", ratio=2.0, macro_auc=Metric(0.5, 0.4, 0.6))
    larger = replace(ROW, bundle="c", megabytes=3.0)
    assert frontier(points([ROW, faster, larger])) == tuple(points([faster, ROW]))


def test_the_default_bundle_is_always_there() -> None:
    assert with_default(["dist/other"]) == [accuracy.DEFAULT, "dist/other"]
    assert with_default(["x/knee-mobilenet_v2", "dist/other"]) == ["x/knee-mobilenet_v2", "dist/other"]
