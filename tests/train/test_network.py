from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from train.config import ConfigError, Linear
from train.linear import as_head, fit_linear
from train.network import assign_weights, bag_of_two, build_network, cut, randomise, round_to_float16, set_head, weights_of

SMALLEST = "mobilenet_v2_0.35"
SIDE_PX = 64


@pytest.fixture(scope="module")
def network() -> keras.Model:
    network = build_network(SMALLEST, height_px=SIDE_PX, width_px=32, labels=3)
    randomise(network, seed=0)
    return network


@pytest.fixture
def images() -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 255, (3, SIDE_PX, 32, 1)).astype(np.float32)


def test_outputs_and_exact_activation_maps(network: keras.Model, images: NDArray[np.float32]) -> None:
    output = network.predict(images, verbose=0)
    assert network.input.name == "image"
    assert set(output) == {"logits", "features"}
    assert output["logits"].shape == (3, 3)
    assert output["features"].shape == (3, 2, 1, 1280)
    kernel, bias = network.get_layer("head").get_weights()
    maps = output["features"] @ kernel
    np.testing.assert_allclose(maps.mean(axis=(1, 2)) + bias, output["logits"], rtol=1e-4, atol=1e-4)


def test_one_channel_stem_equals_three_channels_on_a_grey_picture(tmp_path: Path, images: NDArray[np.float32]) -> None:
    donor = keras.applications.MobileNetV2((SIDE_PX, 32, 3), alpha=0.35, include_top=False, weights=None)
    randomise(donor, seed=1)
    donor.save_weights(tmp_path / "donor.weights.h5")
    network = build_network(SMALLEST, height_px=SIDE_PX, width_px=32, labels=3, imagenet_weights=tmp_path / "donor.weights.h5")
    expected = donor.predict(np.repeat(images, 3, axis=3) / 127.5 - 1, verbose=0)
    given = network.predict(images, verbose=0)["features"]
    assert expected.std() > 0.1
    np.testing.assert_allclose(given, expected, atol=1e-3)


def test_bag_is_the_mean_of_its_knees(network: keras.Model, images: NDArray[np.float32]) -> None:
    trunk, upper = cut(network, "block_13_expand")
    activations = trunk.predict(images, verbose=0)
    logits = network.predict(images, verbose=0)["logits"]
    bag = bag_of_two(upper).predict([activations, activations[::-1]], verbose=0)
    np.testing.assert_allclose(bag, (logits + logits[::-1]) / 2, rtol=1e-4, atol=1e-4)


def test_only_kernels_above_the_cut_are_trained(network: keras.Model) -> None:
    _, upper = cut(network, "block_16_expand")
    trained = {variable.path.split("/")[0] for variable in upper.trainable_variables}
    assert trained == {"block_16_expand", "block_16_depthwise", "block_16_project", "Conv_1", "head"}
    assert {variable.path for variable in network.trainable_variables} == {v.path for v in upper.trainable_variables}


@pytest.mark.parametrize("layer", ["no_such_layer", "block_15_project"])
def test_impossible_cut_is_refused(network: keras.Model, layer: str) -> None:
    with pytest.raises(ConfigError, match="cannot be cut"):
        cut(network, layer)


def test_stored_weights_give_the_same_network(network: keras.Model, images: NDArray[np.float32]) -> None:
    round_to_float16(network)
    stored = weights_of(network)
    statistics = {path for path in stored if path.endswith(("moving_mean", "moving_variance"))}
    assert {stored[path].dtype for path in statistics} == {np.dtype(np.float32)}
    assert {array.dtype for path, array in stored.items() if path not in statistics} == {np.dtype(np.float16)}
    other = build_network(SMALLEST, height_px=SIDE_PX, width_px=32, labels=3)
    assign_weights(other, stored)
    expected, given = network.predict(images, verbose=0), other.predict(images, verbose=0)
    np.testing.assert_array_equal(given["logits"], expected["logits"])
    with pytest.raises(ConfigError, match="another network"):
        assign_weights(other, {"head/kernel": stored["head/kernel"]})


def test_wrong_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.weights.h5").write_text("nothing")
    with pytest.raises(ConfigError, match="does not hold the weights"):
        build_network(SMALLEST, height_px=32, width_px=32, labels=3, imagenet_weights=tmp_path / "text.weights.h5")
    with pytest.raises(ConfigError, match="unknown backbone"):
        build_network("resnet", height_px=32, width_px=32, labels=3)


def test_head_equals_the_linear_classifier(network: keras.Model) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 12)
    features = (rng.normal(size=(36, 1280)) + labels[:, np.newaxis] * rng.normal(size=1280)).astype(np.float32)
    linear = fit_linear(features, labels, [str(i) for i in range(36)], Linear(0.9, (1e-3, 1e-1), 3), seed=0)
    kernel, bias = as_head(linear)
    np.testing.assert_allclose(features @ kernel + bias, linear.decision_function(features), atol=1e-4)
    set_head(network, kernel, bias)
    np.testing.assert_allclose(network.get_layer("head").get_weights()[0], kernel, rtol=1e-6)
