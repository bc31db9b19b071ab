"""The exported files: names, shapes, arithmetic, bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export import parity
from export.errors import ExportError
from export.graph import head_weights, inference_form
from export.members import ModelFile
from export.to_litert import to_litert
from export.to_onnx import serialise, to_onnx
from osteo_edge.engines.select import EngineChoice, open_engine

FILES = [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("litert", "fp32"), ("litert", "fp16"), ("litert", "int8")]


def file_of(exported: Any, engine: str, precision: str) -> ModelFile:
    return next(file for file in exported.members[0].files if (file.engine, file.precision) == (engine, precision))


@pytest.mark.parametrize(("engine_name", "precision"), FILES)
def test_tensors_have_the_same_names_and_shapes_everywhere(exported: Any, engine_name: str, precision: str) -> None:
    member = exported.bundle.manifest.members[0]
    choice = EngineChoice(engine_name, precision, member.files[engine_name][precision])
    engine = open_engine(exported.bundle, choice, threads=1)
    assert [(tensor.name, tensor.shape, tensor.dtype) for tensor in engine.inputs] == [("image", (1, 96, 64, 1), "float32")]
    assert {tensor.name: tensor.shape for tensor in engine.outputs} == {"logits": (1, 3), "features": (1, 12, 8, 96)}
    engine.close()


def test_transposes_stand_at_the_ends_only(exported: Any) -> None:
    nodes = onnx.load_from_string(file_of(exported, "onnxruntime", "fp32").data).graph.node
    kinds = [node.op_type for node in nodes]
    assert kinds.count("Transpose") == 1
    assert "Transpose" in kinds[-3:]
    assert "BatchNormalization" not in kinds
    assert "Pad" not in kinds


def test_the_fp32_files_answer_as_the_network(exported: Any) -> None:
    for engine in ("onnxruntime", "litert"):
        assert file_of(exported, engine, "fp32").comparison.max_difference <= parity.EXACT_TOLERANCE


def test_the_same_network_gives_the_same_bytes(exported: Any, network: Any, spec: Any) -> None:
    again = inference_form(network)
    assert to_onnx(again, spec) == file_of(exported, "onnxruntime", "fp32").data
    assert to_litert(again, spec, ["fp32"])["fp32"] == file_of(exported, "litert", "fp32").data


def test_onnx_files_say_nothing_of_their_making(exported: Any) -> None:
    for precision in ("fp32", "int8"):
        data = file_of(exported, "onnxruntime", precision).data
        model = onnx.load_from_string(data)
        assert b"location" not in data
        said = [model.producer_name, model.producer_version, model.doc_string, *model.metadata_props]
        assert not any([*said, *(node.doc_string for node in model.graph.node)])


def test_a_graph_that_would_name_another_file_is_refused(exported: Any) -> None:
    model = onnx.load_from_string(file_of(exported, "onnxruntime", "fp32").data)
    (given,) = (node for node in model.graph.node if model.graph.output[0].name in node.output)
    model.graph.output[0].name = given.output[0] = "location"
    with pytest.raises(ExportError, match="location"):
        serialise(model)


@pytest.mark.parametrize("place", [0, 8, -1])
def test_a_changed_weight_breaks_parity_loudly(exported: Any, form: Any, spec: Any, pictures: Any, place: int) -> None:
    model = onnx.load_from_string(file_of(exported, "onnxruntime", "fp32").data)
    kernels = [tensor for tensor in model.graph.initializer if tensor.name.endswith(("Conv.1", "MatMul.1", "Gemm.1"))]
    changed = numpy_helper.to_array(kernels[place]).copy()
    changed.flat[:10] += 1.0
    kernels[place].CopyFrom(numpy_helper.from_array(changed, kernels[place].name))
    answers = parity.run_file("onnxruntime", model.SerializeToString(), pictures, spec=spec, what="a file")
    comparison = parity.compare(parity.run_network(form, pictures).probabilities, answers.probabilities)
    with pytest.raises(ExportError, match="does not answer as the trained network"):
        parity.require_parity(comparison, tolerance=parity.EXACT_TOLERANCE, what="a file")


def test_scores_that_are_no_numbers_are_an_error() -> None:
    with pytest.raises(ExportError, match="not numbers"):
        parity.compare(np.full((2, 3), 1 / 3), np.full((2, 3), np.nan))


@pytest.mark.parametrize(("engine_name", "precision"), FILES)
def test_saliency_is_exact_for_every_file(
    exported: Any, form: Any, spec: Any, pictures: Any, engine_name: str, precision: str
) -> None:
    data = file_of(exported, engine_name, precision).data
    answers = parity.run_file(engine_name, data, pictures, spec=spec, what="a file")
    parity.require_linear_head(answers, head_weights(form), what="a file")
