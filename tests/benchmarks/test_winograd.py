"""The contest of ncnn and ONNX Runtime: every engine, form and number of threads, answers against fp32's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from benchmarks.places import HIDDEN, NATIVE
from benchmarks.winograd import DIRECT, REFERENCE, THREADS, WINOGRAD, Winograd, measure, table
from export.portability.places import has_avx512
from osteo_edge.records import parse_record, to_plain

from .conftest import tiny_model
from .test_ncnn_writer import write_chain

NCNN = os.environ.get("OSTEO_EDGE_NCNN_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(not NCNN, reason="OSTEO_EDGE_NCNN_PYTHON names no interpreter with ncnn")
def test_every_way_is_timed_and_compared(tmp_path: Path) -> None:
    side = write_chain(tmp_path, side=8)
    for name in ("fp32", "int8"):
        (tmp_path / f"{name}.onnx").write_bytes(tiny_model(1).SerializeToString())
    np.save(tmp_path / "knees.npy", np.random.default_rng(0).uniform(0, 255, (3, side, side, 1)).astype(np.float32))
    measured = measure(tmp_path, "tiny", str(NCNN), rounds=3, seconds=0)
    forms = (NATIVE, HIDDEN) if has_avx512() else (NATIVE,)
    names = (REFERENCE, "ONNX Runtime int8", WINOGRAD, DIRECT)
    assert {(row.form, row.name, row.threads) for row in measured.rows} == {
        (form, name, threads) for form in forms for name in names for threads in THREADS
    }
    for row in measured.rows:
        assert (row.max_difference is None) == (row.threads > 1)
        if row.name == REFERENCE:
            assert row.ratio == 1.0
    assert {
        row.max_difference for row in measured.rows if row.name == REFERENCE and row.form == NATIVE and row.threads == 1
    } == {0.0}
    assert max(row.max_difference or 0 for row in measured.rows if row.name == WINOGRAD) > 0.001  # another network altogether
    assert parse_record(Winograd, json.loads(json.dumps(to_plain(measured))), where="winograd") == measured
    assert WINOGRAD in table(measured)
