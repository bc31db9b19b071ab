"""The table of backbones: its records, and their pretrained weights against the publishers' own networks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.applications.convnext import ConvNeXt
from numpy.typing import NDArray

import train.networks.network
from train.networks.architectures.files import read_tflite
from train.networks.backbones import BACKBONES, Backbone, find_backbone
from train.networks.network import build_network
from train.networks.norms import is_convolution, readers_of
from train.runs.config import ConfigError

APPLICATIONS = keras.applications
PREPROCESSING: dict[str, ModuleType] = {
    "MobileNetV2": APPLICATIONS.mobilenet_v2,
    "VGG16": APPLICATIONS.vgg16,
    "VGG19": APPLICATIONS.vgg19,
    "DenseNet169": APPLICATIONS.densenet,
    "InceptionV3": APPLICATIONS.inception_v3,
    "Xception": APPLICATIONS.xception,
    "ResNet50": APPLICATIONS.resnet,
    "ResNet50V2": APPLICATIONS.resnet_v2,
}


def randomly_weighted(donor: keras.Model) -> keras.Model:
    """Weights, norms' statistics too, with which no part of the network fades out."""
    rng = np.random.default_rng(0)
    for variable in donor.weights:
        shape = tuple(variable.shape)
        if variable.path.endswith(("gamma", "moving_variance")):
            variable.assign(rng.uniform(0.6, 1.0, shape))
        elif len(shape) < 2:
            variable.assign(rng.normal(0, 0.1, shape))
        else:
            is_depthwise = "depthwise" in variable.path
            inputs = np.prod(shape[:2] if is_depthwise else shape[:-1])
            variable.assign(rng.normal(0, np.sqrt(1.5 / inputs), shape))
    return donor


def pictures(side_px: int, count: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(0, 255, (count, side_px, side_px, 1)).astype(np.float32)


def as_colours(grey: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.repeat(grey, 3, axis=3)


def test_names_are_unique_and_every_record_is_sourced() -> None:
    names = [record.name for record in BACKBONES]
    assert len(set(names)) == len(names) >= 15
    for record in BACKBONES:
        assert record.source
        assert len(record.scaling.scale) == len(record.scaling.offset) in (1, 3)
        assert find_backbone(record.name) is record


def test_a_name_may_say_where_the_network_ends() -> None:
    assert find_backbone("vgg16@block3_pool").features_layer == "block3_pool"
    assert find_backbone("vgg16").features_layer is None
    with pytest.raises(ConfigError, match="known are convnext_tiny, convnext_atto"):
        find_backbone("vgg17")


@pytest.mark.parametrize("record", [record for record in BACKBONES if record.scaling.channels == 3], ids=lambda one: one.name)
def test_three_channels_are_standardised_each_by_its_own(record: Backbone) -> None:
    assert len(set(zip(record.scaling.scale, record.scaling.offset, strict=True))) == 3


def published(record: Backbone) -> pytest.param:
    quick = record.name == "mobilenet_v2_0.35"
    return pytest.param(record, id=record.name, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize("record", [published(one) for one in BACKBONES if one.options.get("builder") in PREPROCESSING])
def test_a_grey_picture_is_seen_as_keras_own_network_sees_it(record: Backbone, tmp_path: Path) -> None:
    side_px = 96 if record.min_side_px > 64 else 64
    options = dict(record.options)
    builder = options.pop("builder")
    donor = randomly_weighted(
        getattr(APPLICATIONS, builder)(input_shape=(side_px, side_px, 3), include_top=False, weights=None, **options)
    )
    if record.features_layer is not None:
        donor = keras.Model(donor.input, donor.get_layer(record.features_layer).output)
    file = tmp_path / "donor.weights.h5"
    donor.save_weights(file)
    network = build_network(record.name, height_px=side_px, width_px=side_px, labels=3, imagenet_weights=file)
    grey = pictures(side_px)
    expected = np.asarray(donor(PREPROCESSING[builder].preprocess_input(as_colours(grey))))
    assert expected.std() > 0
    np.testing.assert_allclose(np.asarray(network(grey)["features"]), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))


def tiny_convnext(**arguments: Any) -> keras.Model:
    return ConvNeXt(depths=[1, 2, 1, 1], projection_dims=[8, 16, 24, 32], name="convnext_tiny", **arguments)


@pytest.mark.parametrize(
    "is_reduced", [pytest.param(True, id="reduced"), pytest.param(False, id="tiny", marks=pytest.mark.slow)]
)
def test_convnext_equals_keras_own_with_its_weights(is_reduced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if is_reduced:
        sizes = {"depths": (1, 2, 1, 1), "widths": (8, 16, 24, 32)}
        record = replace(find_backbone("convnext_tiny"), options=sizes)
        monkeypatch.setattr(keras.applications, "ConvNeXtTiny", tiny_convnext)
        monkeypatch.setattr(train.networks.network, "find_backbone", lambda name: record)
    donor = randomly_weighted(keras.applications.ConvNeXtTiny(include_top=False, weights=None, input_shape=(64, 64, 3)))
    donor.save_weights(tmp_path / "donor.weights.h5")
    network = build_network(
        "convnext_tiny", height_px=64, width_px=64, labels=3, imagenet_weights=tmp_path / "donor.weights.h5"
    )
    expected = np.asarray(donor(as_colours(pictures(64))))
    assert expected.std() > 0.1
    np.testing.assert_allclose(np.asarray(network(pictures(64))["features"]), expected, atol=1e-4)


def test_a_file_that_lacks_layers_is_refused(tmp_path: Path) -> None:
    shape = (32, 32, 3)
    shallow = keras.applications.VGG16(input_shape=shape, include_top=False, weights=None)
    keras.Model(shallow.input, shallow.get_layer("block2_pool").output).save_weights(tmp_path / "part.weights.h5")
    with pytest.raises(ConfigError, match="does not hold the weights of vgg16"):
        build_network("vgg16", height_px=32, width_px=32, labels=3, imagenet_weights=tmp_path / "part.weights.h5")


# The real files of weights.


@pytest.fixture(scope="module")
def radiographs(request: pytest.FixtureRequest) -> NDArray[np.float32]:
    """Six radiographs, (6, 224, 224, 1)."""
    import cv2

    folder = request.getfixturevalue("data_folder")
    files = sorted(path for path in (folder / "knee").rglob("*.*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))[:6]
    greys = [
        cv2.resize(cv2.imread(str(file), cv2.IMREAD_GRAYSCALE), (224, 224), interpolation=cv2.INTER_AREA) for file in files
    ]
    return np.stack(greys)[..., np.newaxis].astype(np.float32)


def tensors_of(file: Path, picture: NDArray[np.float32]) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """What every convolution of a quantized TFLite file reads and gives, in real numbers."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(file),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], as_colours(picture[np.newaxis]).astype(np.uint8))
    interpreter.invoke()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}

    def read(index: int) -> NDArray[np.float64]:
        scale, zero_point = details[index]["quantization"]
        return (interpreter.get_tensor(index).astype(np.float64) - zero_point) * scale

    convolutions = [one for one in interpreter._get_ops_details() if one["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D")]
    return [(read(one["inputs"][0]), read(one["outputs"][0])) for one in convolutions]


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float:
    return float(np.corrcoef(np.ravel(one), np.ravel(other))[0, 1])


@pytest.mark.slow
@pytest.mark.parametrize("file", ["efficientnet_lite0.npz", "efficientnet_lite0_int8.tflite"])
def test_efficientnet_lite0_equals_its_int8_file(data_folder: Path, radiographs: NDArray[np.float32], file: str) -> None:
    source = data_folder / "weights" / file
    network = build_network("efficientnet_lite0", height_px=224, width_px=224, labels=3, imagenet_weights=source)
    for picture in radiographs:
        given = np.asarray(network(picture[np.newaxis])["features"]).mean(axis=(1, 2))
        expected = tensors_of(source.with_name("efficientnet_lite0_int8.tflite"), picture)[-1][1].mean(axis=(1, 2))
        assert correlation(given, expected) > 0.99


@pytest.mark.slow
def test_mobilenet_v3_equals_its_uint8_file_layer_by_layer(data_folder: Path, radiographs: NDArray[np.float32]) -> None:
    """Each convolution on what the file's own reads. As a whole they agree less: the file rounds the activations of every
    layer to 8 bits with one scale a tensor, and the errors add up."""
    name = "mobilenet_v3_large_minimalistic"
    source = data_folder / "weights" / f"{name}_uint8.tflite"
    network = build_network(name, height_px=224, width_px=224, labels=3, imagenet_weights=source)
    readers = readers_of(network)
    convolutions = [layer for layer in network.layers if is_convolution(layer)]
    assert len(read_tflite(source)) == len(convolutions) + 2  # the two of its top
    tensors = tensors_of(source, radiographs[0])[: len(convolutions)]
    for place, (convolution, (read, given)) in enumerate(zip(convolutions, tensors, strict=True)):
        seen = read if place else radiographs[:1] / 127.5 - 1
        if convolution.padding == "valid" and convolution.strides == (2, 2):
            seen = np.pad(seen, ((0, 0), *network.get_layer(f"{convolution.name}_pad").padding, (0, 0)))
        (norm,) = readers[convolution.name]
        answer = norm(convolution(seen.astype(np.float32)), training=False)
        if isinstance(readers[norm.name][0], keras.layers.ReLU):
            answer = keras.ops.relu(answer)
        assert correlation(answer, given) > 0.997, convolution.name
    whole = np.asarray(network(radiographs[:1])["features"]).mean(axis=(1, 2))
    assert correlation(whole, tensors[-1][1].mean(axis=(1, 2))) > 0.9


@pytest.mark.slow
def test_resnet50v2_takes_the_half_precision_file(data_folder: Path, radiographs: NDArray[np.float32]) -> None:
    source = data_folder / "weights" / "resnet50v2_conv1_to_conv4.fp16.weights.h5"
    network = build_network("resnet50v2_conv4", height_px=224, width_px=224, labels=3, imagenet_weights=source)
    donor = keras.applications.ResNet50V2(include_top=False, weights=None, input_shape=(224, 224, 3))
    donor = keras.Model(donor.input, donor.get_layer("conv5_block1_preact_relu").output)
    donor.load_weights(source)
    expected = np.asarray(donor(as_colours(radiographs[:1]) / 127.5 - 1))
    assert expected.shape == (1, 7, 7, 1024)
    assert correlation(np.asarray(network(radiographs[:1])["features"]), expected) > 0.99999
