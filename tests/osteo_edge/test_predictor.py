"""The pipeline on members that take whole grey levels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from osteo_edge import OsteoPredictor, open_bundle
from osteo_edge.engines.select import choose, open_engine
from osteo_edge.selftest import reference_tensors, run_self_test
from tests.making import keep_one_file, rewrite_file, rewrite_manifest


@pytest.fixture
def whole(bundle_copy: Path) -> Path:
    """The embedded network behind an input of bytes."""
    folder = keep_one_file(bundle_copy)
    path = open_bundle(folder).manifest.members[0].files["onnxruntime"]["fp32"]
    model = onnx.load(folder / path)
    image = model.graph.input[0]
    image.type.tensor_type.elem_type = TensorProto.UINT8
    for node in model.graph.node:
        node.input[:] = ["floats" if name == image.name else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", [image.name], ["floats"], to=TensorProto.FLOAT))
    rewrite_file(folder, path, model.SerializeToString())
    return rewrite_manifest(folder, _take_bytes)


def _take_bytes(manifest: dict[str, Any]) -> None:
    manifest["members"][0]["input"]["dtype"] = "uint8"


def test_members_of_whole_grey_levels_answer_nearly_the_same(whole: Path, example: Path) -> None:
    bundle = open_bundle(whole)
    (tensors,) = reference_tensors(bundle)
    assert {tensor.dtype.name for tensor in tensors} == {"uint8"}
    engine = open_engine(bundle, choose(bundle.manifest)[0], threads=1)
    assert engine.inputs[0].dtype == "uint8"
    rounded = OsteoPredictor(whole).predict(example, explain=True)
    exact = OsteoPredictor(engine="onnxruntime", precision="fp32").predict(example)
    differences = np.subtract(list(rounded.probabilities.values()), list(exact.probabilities.values()))
    assert 0 < np.abs(differences).max() < 0.02
    assert {result.engine for result in run_self_test(bundle)} == {"finder", "onnxruntime"}
