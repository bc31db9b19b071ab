from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from train.networks.architectures.applications import weights_by_name, with_lasting_names
from train.networks.backbones import BACKBONES
from train.networks.network import (
    apply,
    assign_weights,
    bag_of_two,
    build_network,
    cut,
    randomise,
    round_to_float16,
    set_batch_norm_training,
    set_head,
    settle_batch_norm,
    weights_of,
)
from train.networks.norms import fold, unfold
from train.networks.targets import as_head, fit_target
from train.runs.config import ConfigError, Linear

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


SMALL = ("small_cnn", "alexnet", "mobilenet_v2_0.35@block_3_expand_relu", "convnext_atto@stage_1_block_0_add")
EVERY = [
    *(pytest.param(name, id=name) for name in SMALL),
    *(pytest.param(record.name, marks=pytest.mark.slow) for record in BACKBONES if record.name not in SMALL),
]


def side_of(name: str) -> int:
    return 96 if name in ("inception_v3", "xception") else 64


def random_network(name: str) -> keras.Model:
    network = build_network(name, height_px=side_of(name), width_px=side_of(name), labels=3)
    randomise(network, seed=0)
    return network


def patches(side_px: int) -> NDArray[np.float32]:
    """Four pictures of squares of random grey, (4, side, side, 1)."""
    coarse = np.random.default_rng(1).uniform(0, 255, (4, 8, 8, 1))
    return coarse.repeat(side_px // 8, axis=1).repeat(side_px // 8, axis=2).astype(np.float32)


@pytest.mark.parametrize("name", EVERY)
def test_every_backbone_of_random_weights_answers_sanely_and_explains_itself(name: str) -> None:
    network = random_network(name)
    output = network(patches(side_of(name)))
    features, logits = np.asarray(output["features"]), np.asarray(output["logits"])
    assert features.ndim == 4
    assert 0.05 < features.std() < 500
    kernel, bias = network.get_layer("head").get_weights()
    np.testing.assert_allclose((features @ kernel).mean(axis=(1, 2)) + bias, logits, rtol=1e-3, atol=1e-3 * features.std())


@pytest.mark.parametrize("name", EVERY)
def test_folding_and_rounding_keep_the_answers_and_the_weights_can_be_stored(name: str) -> None:
    network, pictures = random_network(name), patches(side_of(name))
    before = np.asarray(network(pictures)["features"])
    fold(network)
    folded = network.get_weights()
    after = np.asarray(network(pictures)["features"])
    np.testing.assert_allclose(after, before, atol=1e-3 * before.std())
    fold(network)
    assert all(np.array_equal(one, other) for one, other in zip(folded, network.get_weights(), strict=True))
    round_to_float16(network)
    other = random_network(name)
    assign_weights(other, weights_of(network))
    np.testing.assert_array_equal(np.asarray(other(pictures)["features"]), np.asarray(network(pictures)["features"]))


def test_a_backbone_can_end_early(network: keras.Model) -> None:
    early = build_network(f"{SMALLEST}@block_3_expand_relu", height_px=SIDE_PX, width_px=32, labels=3)
    assert {variable.path for variable in early.weights} < {variable.path for variable in network.weights}
    assert early.output["features"].shape == (None, 16, 8, 48)
    assert not any(layer.name.startswith("block_4") for layer in early.layers)
    with pytest.raises(ConfigError, match="no layer 'no_such'"):
        build_network("alexnet@no_such", height_px=SIDE_PX, width_px=64, labels=3)


def test_stored_weights_of_this_project_are_pretrained_weights_too(
    tmp_path: Path, network: keras.Model, images: NDArray[np.float32]
) -> None:
    np.savez(tmp_path / "trunk.npz", **weights_of(network))
    for name in (SMALLEST, f"{SMALLEST}@block_3_expand_relu"):
        other = build_network(name, height_px=SIDE_PX, width_px=32, labels=2, imagenet_weights=tmp_path / "trunk.npz")
        expected = keras.Model(network.input, network.get_layer(name.partition("@")[2] or "out_relu").output)(images)
        np.testing.assert_allclose(other(images)["features"], expected, rtol=0.02, atol=0.02)
    with pytest.raises(ConfigError, match="does not hold the weights of alexnet"):
        build_network("alexnet", height_px=64, width_px=64, labels=3, imagenet_weights=tmp_path / "trunk.npz")


def test_names_are_lasting_and_separable_convolutions_are_taken_apart(images: NDArray[np.float32]) -> None:
    def build() -> keras.Model:
        features = keras.layers.Conv2D(4, 3)(picture := keras.Input((SIDE_PX, 32, 1)))
        features = keras.layers.SeparableConv2D(6, 3, strides=2, padding="same", name="apart")(features)
        return keras.Model(picture, keras.layers.Conv2D(2, 1)(features))

    first, second = build(), build()
    assert first.layers[1].name != second.layers[1].name
    networks = [with_lasting_names(one) for one in (first, second)]
    assert [[layer.name for layer in one.layers[1:]] for one in networks] == [
        ["conv2d_0", "apart_spatial", "apart", "conv2d_1"]
    ] * 2
    for name, weights in weights_by_name(first).items():
        networks[0].get_layer(name).set_weights(weights)
    np.testing.assert_allclose(np.asarray(networks[0](images)), np.asarray(first(images)), atol=1e-3)


def test_batch_norm_is_trained_only_where_asked_for() -> None:
    network = random_network("small_cnn")
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    _, upper = cut(network, "block_2_conv")
    assert not any(norm.trainable for norm in norms)
    _, upper = cut(network, "block_2_conv", trains_batch_norm=True)
    assert [norm.trainable for norm in norms] == [False, True, True, True]
    before = norms[1].moving_mean.numpy()
    activations = np.random.default_rng(0).uniform(0, 9, (4, *upper.input_shape[1:]))
    upper(activations, training=True)
    assert not np.array_equal(norms[1].moving_mean.numpy(), before)
    set_batch_norm_training(network, False)
    before = norms[1].moving_mean.numpy()
    upper(activations, training=True)
    np.testing.assert_array_equal(norms[1].moving_mean.numpy(), before)


def test_errors_name_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="inception_v3 needs at least 75 pixels"):
        build_network("inception_v3", height_px=96, width_px=64, labels=3)
    with pytest.raises(ConfigError, match="nobody offers weights of resnet18 for download"):
        build_network("resnet18", height_px=64, width_px=64, labels=3, imagenet_weights="imagenet")
    with pytest.raises(ConfigError, match="no such file of weights of alexnet"):
        build_network("alexnet", height_px=64, width_px=64, labels=3, imagenet_weights=tmp_path / "none.weights.h5")


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
    linear = fit_target("classes", features, labels, [str(i) for i in range(36)], Linear(0.9, (1e-3, 1e-1), 3), seed=0)
    kernel, bias = as_head(linear)
    np.testing.assert_allclose(features @ kernel + bias, linear.predict_logits(features), atol=1e-4)
    set_head(network, kernel, bias)
    np.testing.assert_allclose(network.get_layer("head").get_weights()[0], kernel, rtol=1e-6)


def test_settled_norms_hold_the_mean_over_the_batches() -> None:
    image = keras.Input((4, 4, 1))
    norm = keras.layers.BatchNormalization(name="norm")
    network = keras.Model(image, norm(image))
    batches = np.random.default_rng(3).normal(5, 2, (3, 8, 4, 4, 1)).astype(np.float32)
    settle_batch_norm(network, batches)
    np.testing.assert_allclose(norm.moving_mean, [batches.mean()], rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, [batches.var(axis=(1, 2, 3, 4)).mean()], rtol=1e-5)
    assert norm.momentum == 0.99


def test_an_unfolded_network_is_the_same_and_its_norms_take_what_they_expect() -> None:
    network = build_network("mobilenet_v2_0.35@block_3_expand_relu", height_px=64, width_px=64, labels=3)
    randomise(network, seed=4)
    round_to_float16(network)  # which folds
    pictures = np.random.default_rng(5).uniform(0, 255, (8, 64, 64, 1)).astype(np.float32)
    before = apply(keras.Model(network.input, network.output["logits"]), pictures)
    unfold(network, pictures)
    np.testing.assert_allclose(
        apply(keras.Model(network.input, network.output["logits"]), pictures), before, rtol=1e-3, atol=1e-3
    )
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    statistics = [np.array(norm.moving_variance) for norm in norms]
    set_batch_norm_training(network, True)
    training = keras.ops.convert_to_numpy(network(pictures, training=True)["logits"])
    assert np.abs(training - before).max() < 0.05 * np.abs(before).max() + 0.05, "in training it begins as itself"
    assert any(np.abs(one - 1).max() > 0.1 for one in statistics)
