"""Work and floors that can be counted by hand, and probes that compute what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from benchmarks import roofline
from benchmarks.roofline import PEAKS, Peak, Work, floor_ms, peaks_of, products_of_one, row_of, work_of, write_probes
from osteo_edge.bundle import open_bundle
from tests.bundles import DENSITY

PEAK = Peak(float_products=50.0, integer_products=200.0, memory=10.0)


def test_products_of_a_layer() -> None:
    assert products_of_one("Conv", (64, 32, 3, 3)) == 32 * 9
    assert products_of_one("Conv", (96, 1, 7, 7)) == 49, "depthwise"
    assert products_of_one("MatMul", (96, 384)) == 96


def test_the_default_network_is_counted_once() -> None:
    work = work_of(open_bundle(DENSITY))
    assert 0.05 < work.products < 0.2
    assert work.weight_mb == pytest.approx(0.24, abs=0.02)
    assert work.activation_mb > work.weight_mb


def test_the_floor_is_the_longer_of_products_and_memory() -> None:
    work = Work(products=1.0, weight_mb=400.0, activation_mb=1.0)
    assert floor_ms(work, "fp32", PEAK) == (20.0, 40.0)
    assert floor_ms(work, "int8", PEAK) == (5.0, 10.0)
    row = row_of("native", "b", "litert", "fp16", np.array([80.0, 160.0, 80.0]), work, [PEAK] * 3)
    assert (row.floor_ms, row.bound, row.share) == (40.0, "memory", 0.5)


def test_peaks_are_of_each_round() -> None:
    cube = roofline.SIDE**3 / 1e6
    first, second = peaks_of({name: np.array([cube, cube / 2]) for name in PEAKS})
    assert (first.float_products, second.integer_products) == (1.0, 2.0)


def test_probes_compute_their_products(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in (("SIDE", 8), ("DEEP", 8), ("WIDE", 16)):
        monkeypatch.setattr(roofline, name, small)
    probes = write_probes(tmp_path)
    assert list(probes) == list(PEAKS)
    for name, (model, shown) in probes.items():
        session = ort.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
        (answer,) = session.run(None, {"image": np.load(shown)})
        assert np.abs(answer).max() > 0
        assert answer.shape[-1] == (16 if name == "memory" else 8)
