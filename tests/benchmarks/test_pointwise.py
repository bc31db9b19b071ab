"""The form with convolutions answers as the one with products does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from benchmarks.pointwise import with_convolutions


def block() -> onnx.ModelProto:
    """Depthwise convolution, norm, two products with GELU between, and the sum around: a block of ConvNeXt."""
    draw = np.random.default_rng(0)
    constants = {
        "depthwise": draw.normal(0, 0.3, (8, 1, 3, 3)),
        "gamma": draw.normal(1, 0.1, 8),
        "beta": draw.normal(0, 0.1, 8),
        "widen": draw.normal(0, 0.3, (8, 32)),
        "widen_bias": draw.normal(0, 0.1, 32),
        "narrow": draw.normal(0, 0.3, (32, 8)),
        "narrow_bias": draw.normal(0, 0.1, 8),
    }
    nodes = [
        helper.make_node("Conv", ["image", "depthwise"], ["map"], name="depthwise", group=8, pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["map"], ["pixels"], name="to_pixels", perm=[0, 2, 3, 1]),
        helper.make_node("LayerNormalization", ["pixels", "gamma", "beta"], ["normal"], name="norm", axis=-1),
        helper.make_node("MatMul", ["normal", "widen"], ["wide"], name="widen"),
        helper.make_node("Add", ["wide", "widen_bias"], ["biased"], name="widen_bias"),
        helper.make_node("Gelu", ["biased"], ["active"], name="gelu"),
        helper.make_node("MatMul", ["active", "narrow"], ["thin"], name="narrow"),
        helper.make_node("Add", ["thin", "narrow_bias"], ["narrow_biased"], name="narrow_bias"),
        helper.make_node("Transpose", ["narrow_biased"], ["back"], name="to_channels", perm=[0, 3, 1, 2]),
        helper.make_node("Add", ["image", "back"], ["logits"], name="sum"),
    ]
    sides = (1, 8, 6, 5)
    graph = helper.make_graph(
        nodes,
        "block",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, sides)],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def test_it_answers_alike_without_a_product() -> None:
    image = np.random.default_rng(1).normal(0, 1, (1, 8, 6, 5)).astype(np.float32)
    before, after = block(), with_convolutions(block())
    kinds = [node.op_type for node in after.graph.node]
    assert (kinds.count("MatMul"), kinds.count("Conv"), kinds.count("Transpose")) == (0, 3, 2)
    answers = [
        ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
        for model in (before, after)
    ]
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
