"""The inference form is the trained network with fewer layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from export.errors import ExportError
from export.graph import head_weights, inference_form
from export.parity import (
    EXACT_TOLERANCE,
    INFERENCE_FORM_TOLERANCE,
    compare,
    require_linear_head,
    run_file,
    run_network,
)
from export.to_litert import to_litert
from export.to_onnx import to_onnx
from osteo_edge.manifest import InputSpec
from osteo_edge.records import parse_record
from train.networks.backbones import BACKBONES

INPUT = {"dtype": "float32", "layout": "NHWC", "value_range": [0.0, 255.0], "low_percentile": 1.0, "high_percentile": 99.0}


def test_it_answers_as_the_trained_network(network: Any, form: Any, pictures: Any) -> None:
    trained, folded = run_network(network, pictures), run_network(form, pictures)
    assert compare(trained.probabilities, folded.probabilities).max_difference < INFERENCE_FORM_TOLERANCE


def test_normalisation_padding_and_dropout_are_gone(form: Any) -> None:
    kinds = {type(layer).__name__ for layer in form.layers}
    assert kinds.isdisjoint({"BatchNormalization", "ZeroPadding2D", "Dropout", "Identity"})


def test_kernels_hold_values_of_half_precision(form: Any) -> None:
    kernels = [weight for weight in form.get_weights() if weight.ndim > 1]
    assert len(kernels) == 20  # 19 convolutions and the head
    assert all(np.array_equal(kernel, kernel.astype(np.float16).astype(np.float32)) for kernel in kernels)


def test_layer_names_depend_on_their_place_alone(form: Any) -> None:
    assert [layer.name for layer in form.layers[:2]] == ["image", "layer_001"]
    assert all(layer.name.startswith("layer_") for layer in form.layers[1:])


def test_the_head_explains_the_logits(form: Any, pictures: Any) -> None:
    answers = run_network(form, pictures)
    bias = answers.logits - answers.pooled @ head_weights(form)
    np.testing.assert_allclose(bias, np.broadcast_to(bias[0], bias.shape), atol=1e-3)


# Trained networks are held to INFERENCE_FORM_TOLERANCE when they are exported. Random ones, under heads that stretch their
# features to unit spread, amplify the rounding of single precision: 2.4e-5 was seen.
RANDOM_FORM_TOLERANCE = 5e-5
SMALL = ("small_cnn", "alexnet", "mobilenet_v2_0.35@block_3_expand_relu", "convnext_atto@stage_1_block_0_add")
EVERY = [
    *(pytest.param(name, id=name) for name in SMALL),
    *(pytest.param(record.name, marks=pytest.mark.slow) for record in BACKBONES if record.name not in SMALL),
]


def trained_alike(name: str, side_px: int, seen: NDArray[np.float32]) -> Any:
    """A network whose norms have something to fold, as training leaves it, and whose answers depend on the picture."""
    import keras

    from train.networks.network import build_network, randomise, round_to_float16, set_head

    network = build_network(name, height_px=side_px, width_px=side_px, labels=3)
    randomise(network, seed=0)
    rng = np.random.default_rng(0)
    for layer in network.layers:
        if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.LayerNormalization)):
            layer.beta.assign(rng.normal(0, 0.1, layer.beta.shape))
            if layer.gamma is not None:
                layer.gamma.assign(rng.uniform(0.7, 1.1, layer.gamma.shape))
    pooled = run_network(network, seen).pooled
    kernel = rng.normal(size=(pooled.shape[1], 3))
    kernel /= (pooled @ kernel).std(axis=0)
    set_head(network, kernel, -(pooled @ kernel).mean(axis=0))
    round_to_float16(network)
    assert run_network(network, seen).probabilities.std(axis=0).min() > 0.05
    return network


def varied(side_px: int) -> NDArray[np.float32]:
    """Pictures (6, side, side, 1) that differ as much as pictures can."""
    down, right = np.mgrid[:side_px, :side_px].astype(np.float32) / side_px
    disc = ((down - 0.5) ** 2 + (right - 0.5) ** 2 < 0.15) * 255.0
    noise = np.random.default_rng(1).uniform(0, 255, (side_px, side_px))
    return np.stack([noise, down * 255, right * 255, disc, 255 - disc, 0 * disc]).astype(np.float32)[..., np.newaxis]


@pytest.mark.parametrize("name", EVERY)
def test_every_backbone_keeps_its_answers_in_every_fp32_form(name: str) -> None:
    side_px = 96 if name in ("inception_v3", "xception") else 64
    seen = varied(side_px)
    network = trained_alike(name, side_px, seen)
    expected = run_network(network, seen).probabilities
    form = inference_form(network)
    folded = run_network(form, seen).probabilities
    assert compare(expected, folded).max_difference < RANDOM_FORM_TOLERANCE
    kinds = {type(layer).__name__ for layer in form.layers}
    assert kinds.isdisjoint({"LayerScale", "Dropout", "SpatialDropout2D", "SeparableConv2D"})
    kernels = [weight for weight in form.get_weights() if weight.ndim > 1]
    assert all(np.array_equal(kernel, kernel.astype(np.float16).astype(np.float32)) for kernel in kernels)
    spec = parse_record(InputSpec, {**INPUT, "height_px": side_px, "width_px": side_px}, where="test")
    files = {"onnxruntime": to_onnx(form, spec), "litert": to_litert(form, spec, ["fp32"])["fp32"]}
    for engine, data in files.items():
        answers = run_file(engine, data, seen, spec=spec, what=f"{name} for {engine}")
        assert compare(expected, answers.probabilities).max_difference < EXACT_TOLERANCE
        require_linear_head(answers, head_weights(form), what=f"{name} for {engine}")


@pytest.mark.parametrize("name", ["small_cnn", "mobilenet_v2_0.35@block_3_expand_relu"])
def test_batch_norm_after_a_convolution_is_gone(name: str) -> None:
    form = inference_form(trained_alike(name, 64, varied(64)))
    assert "BatchNormalization" not in {type(layer).__name__ for layer in form.layers}


def test_layer_norms_keep_what_no_single_convolution_can_take() -> None:
    form = inference_form(trained_alike("convnext_atto@stage_0_block_1_add", 64, varied(64)))
    norms = [layer for layer in form.layers if type(layer).__name__ == "LayerNormalization"]
    assert [norm.scale for norm in norms] == [True, False, False]


def test_an_unfolded_kernel_is_not_rounded() -> None:
    from train.networks.network import build_network, randomise

    network = build_network("small_cnn", height_px=64, width_px=64, labels=3)
    randomise(network, seed=0)
    seen = varied(64)
    expected = run_network(network, seen).probabilities
    assert compare(expected, run_network(inference_form(network), seen).probabilities).max_difference < INFERENCE_FORM_TOLERANCE


def test_a_network_that_is_no_inference_form_is_refused() -> None:
    import keras

    image = keras.Input((64, 64, 1), name="image")
    features = keras.layers.Conv2D(4, 3, activation="gelu")(image)
    logits = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(features))
    spec = parse_record(InputSpec, {**INPUT, "height_px": 64, "width_px": 64}, where="test")
    with pytest.raises(ExportError, match="still holds its activation"):
        to_onnx(keras.Model(image, {"logits": logits, "features": features}), spec)


def test_zeros_before_a_maximum_stay_zeros() -> None:
    """ONNX Runtime would make them the pool's own padding, which never wins against negative values."""
    import keras

    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 1), name="image")
    negative = keras.layers.Conv2D(4, 3, bias_initializer=keras.initializers.Constant(-900.0), name="conv")(image)
    padded = keras.layers.ZeroPadding2D(((1, 1), (2, 1)), name="pad")(negative)
    features = keras.layers.MaxPooling2D(3, strides=2, name="pool")(padded)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling")(features)
    network = keras.Model(image, {"logits": keras.layers.Dense(3, name="head")(pooled), "features": features})
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 1)).astype(np.float32)
    spec = parse_record(InputSpec, {**INPUT, "height_px": 32, "width_px": 32}, where="test")
    form = inference_form(network)
    answers = run_file("onnxruntime", to_onnx(form, spec), pixels, spec=spec, what="test")
    expected = keras.ops.convert_to_numpy(form(pixels)["features"])
    assert expected.max() == 0
    assert expected.min() < 0
    np.testing.assert_allclose(answers.logits, keras.ops.convert_to_numpy(form(pixels)["logits"]), rtol=1e-4)
