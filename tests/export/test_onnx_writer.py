"""The ONNX graph that is written layer by layer: the same answers for every backbone, in few and fused operators."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from export.errors import ExportError
from export.graph import inference_form
from export.onnx_writer import IR_VERSION, OPSET
from export.parity import run_file, run_network
from export.to_onnx import to_onnx
from osteo_edge.manifest import InputSpec
from train.networks.network import build_network, randomise, round_to_float16, set_head


def spec_of(height_px: int, width_px: int) -> InputSpec:
    return InputSpec(height_px, width_px, "float32", "NHWC", (0.0, 255.0), 1.0, 99.0)


def pictures(spec: InputSpec) -> NDArray[np.float32]:
    """Squares of random grey of several sizes, so that the answers of random networks differ."""
    rng = np.random.default_rng(0)
    parts = []
    for side in (1, 4, 8, 16, 32):
        coarse = rng.uniform(0, 255, (1, -(-spec.height_px // side), -(-spec.width_px // side), 1))
        parts.append(coarse.repeat(side, axis=1).repeat(side, axis=2)[:, : spec.height_px, : spec.width_px])
    return np.concatenate(parts).astype(np.float32)


def random_network(name: str, spec: InputSpec) -> Any:
    """Weights as training stores them, and a head that makes the answers differ from picture to picture."""
    keras.utils.clear_session()
    network = build_network(name, height_px=spec.height_px, width_px=spec.width_px, labels=3)
    randomise(network, seed=1)
    round_to_float16(network)
    pooled = run_network(network, pictures(spec)).pooled
    kernel = np.random.default_rng(2).normal(size=(pooled.shape[1], 3))
    kernel /= (pooled @ kernel).std(axis=0)
    set_head(network, kernel, -(pooled @ kernel).mean(axis=0))
    return network


def operators(data: bytes) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load_from_string(data).graph.node)


@pytest.mark.parametrize("name", ["mobilenet_v3_small_minimalistic", "resnet50v2_conv4", "small_cnn"])
def test_only_the_feature_map_is_transposed(name: str) -> None:
    spec = spec_of(72, 64)
    counts = operators(to_onnx(inference_form(random_network(name, spec)), spec))
    assert counts["Transpose"] == 1


@pytest.mark.slow
def test_convnext_tiny_is_written_in_fused_operators() -> None:
    spec = spec_of(64, 64)
    counts = operators(to_onnx(inference_form(random_network("convnext_tiny", spec)), spec))
    assert counts["LayerNormalization"] == 23
    assert counts["Gelu"] == 18
    assert counts["MatMul"] == 36
    assert counts["Conv"] == 22
    # Two a block around the norm and the products, two around each norm before a strided convolution, less the first and last.
    assert counts["Transpose"] <= 2 * 18 + 2 * 4
    assert counts.total() < 229
    assert not {"Erf", "ReduceMean", "Sqrt", "Div", "Pow"} & (set(counts) - {"ReduceMean"})
    assert counts["ReduceMean"] == 1  # the mean over the last feature map


def test_the_file_is_of_the_stated_operator_set() -> None:
    spec = spec_of(64, 64)
    model = onnx.load_from_string(to_onnx(inference_form(random_network("small_cnn", spec)), spec))
    assert [(one.domain, one.version) for one in model.opset_import] == [("", OPSET)]
    assert model.ir_version == IR_VERSION
    assert {node.domain for node in model.graph.node} == {""}


def test_the_same_network_gives_the_same_bytes() -> None:
    spec = spec_of(64, 64)
    form = inference_form(random_network("convnext_atto", spec))
    assert to_onnx(form, spec) == to_onnx(inference_form(random_network("convnext_atto", spec)), spec)


def small(*layers: Any) -> Any:
    """A network of a few layers between a picture of 12 x 9 and a head."""
    image = keras.Input((12, 9, 1), name="image")
    features = image
    for layer in layers:
        features = layer(features)
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(features))
    network = keras.Model(image, {"logits": logits, "features": features})
    rng = np.random.default_rng(5)
    network.set_weights([rng.normal(0.2, 0.5, weight.shape) for weight in network.get_weights()])
    return network


def norm() -> Any:
    return keras.layers.LayerNormalization(epsilon=1e-6)


@pytest.mark.parametrize(
    "layers",
    [
        (keras.layers.Conv2D(4, 3, strides=2, padding="same"), keras.layers.AveragePooling2D(3, 1, padding="same")),
        (keras.layers.Conv2D(4, 3, padding="same"), keras.layers.MaxPooling2D(3, 2, padding="same")),
        (keras.layers.Conv2D(4, 3), keras.layers.ZeroPadding2D(1), keras.layers.MaxPooling2D(3, 2)),
        (keras.layers.Conv2D(4, 3, dilation_rate=2, padding="same"), keras.layers.ReLU(6.0)),
        (keras.layers.Conv2D(4, 3), keras.layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", strides=2)),
        (keras.layers.Conv2D(4, 3), keras.layers.Conv2D(6, 3, groups=2)),
        (keras.layers.Conv2D(4, 3), norm(), keras.layers.Conv2D(5, 1, use_bias=False), keras.layers.Conv2D(5, 1, strides=2)),
        (keras.layers.Conv2D(4, 3), norm(), keras.layers.Conv2D(5, 1), keras.layers.ReLU(), keras.layers.Conv2D(3, 3)),
        (keras.layers.Conv2D(4, 3), keras.layers.Activation("tanh"), keras.layers.Conv2D(3, 1)),
    ],
)
def test_layers_answer_as_in_keras(layers: tuple[Any, ...]) -> None:
    """Borders, strides and layouts, where frameworks differ; means over padded pixels and zeros before a maximum among them."""
    spec = spec_of(12, 9)
    form = inference_form(small(*layers))
    given = run_file("onnxruntime", to_onnx(form, spec), pictures(spec) / 100, spec=spec, what="the file")
    expected = run_network(form, pictures(spec) / 100)
    np.testing.assert_allclose(given.logits, expected.logits, rtol=1e-4, atol=1e-4)


def test_uint8_pictures_are_cast_inside() -> None:
    spec = replace(spec_of(12, 9), dtype="uint8")
    form = inference_form(small(keras.layers.Conv2D(4, 3)))
    model = onnx.load_from_string(to_onnx(form, spec))
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    import onnxruntime

    whole = np.rint(pictures(spec))[:1]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"image": whole.astype(np.uint8)})
    np.testing.assert_allclose(logits, run_network(form, whole).logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (keras.layers.GaussianNoise(0.1), "GaussianNoise, which the ONNX writer does not know"),
        (keras.layers.ReLU(negative_slope=0.1), "no plain rectifier"),
        (keras.layers.Activation("softsign"), "softsign"),
        (keras.layers.LayerNormalization(axis=(1, 2)), "only the channels"),
        (keras.layers.Softmax(), "Softmax"),
    ],
)
def test_layers_without_an_operator_are_refused(layer: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        to_onnx(inference_form(small(keras.layers.Conv2D(4, 3), layer)), spec_of(12, 9))
