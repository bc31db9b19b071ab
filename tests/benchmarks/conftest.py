"""Tiny model files with the runtime's contract, and what a contest of them needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.contest import Entry
from benchmarks.places import NATIVE, environments

SIDE = 8
LABELS = 3


def tiny_model(seed: int, *, opset: int = 20) -> onnx.ModelProto:
    """ "image" (1, 8, 8, 1) to "features" (1, 8, 8, 1) and "logits" (1, 3), with random weights."""
    kernel = np.random.default_rng(seed).normal(size=(SIDE * SIDE, LABELS)).astype(np.float32)
    nodes = [
        helper.make_node("Identity", ["image"], ["features"]),
        helper.make_node("Flatten", ["image"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "kernel"], ["logits"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, SIDE, SIDE, 1])
    outputs = [
        helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, LABELS]),
        helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, SIDE, SIDE, 1]),
    ]
    graph = helper.make_graph(nodes, "tiny", [image], outputs, [numpy_helper.from_array(kernel, "kernel")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


@pytest.fixture
def knees(tmp_path: Path) -> Path:
    """Five knees (N, H, W, 1)."""
    path = tmp_path / "knees.npy"
    np.save(path, np.random.default_rng(0).uniform(0, 255, (5, SIDE, SIDE, 1)).astype(np.float32))
    return path


@pytest.fixture
def make_entry(tmp_path: Path, knees: Path) -> Callable[..., Entry]:
    """An entry of ONNX Runtime, natively, with a tiny model for each seed."""
    import sys

    with environments(()) as forms:
        variables = forms[NATIVE]

    def make(name: str, *seeds: int) -> Entry:
        paths = []
        for seed in seeds:
            path = tmp_path / f"tiny-{seed}.onnx"
            path.write_bytes(tiny_model(seed).SerializeToString())
            paths.append(path)
        return Entry(name, (sys.executable,), variables, "onnxruntime", tuple(paths), (knees,) * len(paths), 1)

    return make
