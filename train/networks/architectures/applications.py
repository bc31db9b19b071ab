"""Networks of ``keras.applications`` without top, with names that do not depend on what was built before them."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import keras
from keras.src.utils.naming import to_snake_case

from train.networks.architectures.files import Weights, read_tflite, with_folded_norms
from train.networks.architectures.layers import KerasTensor
from train.networks.norms import is_convolution

_DONOR_SHAPE = (224, 224, 3)
_SPATIAL = "spatial"


def build(channels: KerasTensor, *, builder: str, **options: Any) -> KerasTensor:
    """The feature map of scaled channels.

    Args:
        builder: a function of ``keras.applications``.
        options: its arguments.
    """
    model = getattr(keras.applications, builder)(include_top=False, weights=None, input_tensor=channels, **options)
    return model.output


def with_lasting_names(network: keras.Model) -> keras.Model:
    """The same untrained network, in which layers that Keras named by a counter of the whole process are numbered from 0.

    Separable convolutions become a depthwise and a pointwise one, which is what they compute, so that what follows them can be
    folded and quantized like any other convolution.
    """
    names = _lasting_names(network)
    pointwise: dict[str, keras.layers.Conv2D] = {}
    if not any(name != old for old, name in names.items()) and not any(map(_is_separable, network.layers)):
        return network

    def clone(layer: keras.Layer) -> keras.Layer:
        name = names.get(layer.name, layer.name)
        if _is_separable(layer):
            depthwise, pointwise[depthwise.name] = _split(layer, name)
            return depthwise
        return type(layer).from_config({**layer.get_config(), "name": name})

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> KerasTensor:
        output = layer(*args, **kwargs)
        return pointwise[layer.name](output) if layer.name in pointwise else output

    return keras.models.clone_model(network, clone_function=clone, call_function=call)


def read_weights(source: Path | str, *, builder: str, cut_at: str | None = None, **options: Any) -> Weights:
    """Weights by lasting name, from a file that Keras' own network without top loads, from a quantized ``.tflite`` of a network
    of plain blocks, or from Keras' download.

    Args:
        cut_at: the layer where the network whose weights the file holds ends.

    Raises:
        ValueError, OSError, KeyError: the file holds other weights.
    """
    build_donor = getattr(keras.applications, builder)
    if source == "imagenet":
        return weights_by_name(build_donor(include_top=False, input_shape=_DONOR_SHAPE, weights="imagenet", **options))
    donor = build_donor(include_top=False, input_shape=_DONOR_SHAPE, weights=None, **options)
    if Path(source).suffix == ".tflite":
        return with_folded_norms(donor, read_tflite(source)[: _count_convolutions(donor)])
    if cut_at is not None:
        donor = keras.Model(donor.input, donor.get_layer(cut_at).output)
    donor.load_weights(source)
    return weights_by_name(donor)


def _count_convolutions(network: keras.Model) -> int:
    """How many of a file's convolutions come before the head, which some networks make of convolutions too."""
    return sum(map(is_convolution, network.layers))


def weights_by_name(donor: keras.Model) -> Weights:
    """Lasting name -> weights, for the layers of ``with_lasting_names``."""
    names = _lasting_names(donor)
    found: Weights = {}
    for layer in donor.layers:
        weights = [keras.ops.convert_to_numpy(variable) for variable in layer.weights]
        name = names.get(layer.name, layer.name)
        if _is_separable(layer):
            found[f"{name}_{_SPATIAL}"], weights = weights[:1], weights[1:]
        if weights:
            found[name] = weights
    return found


def _lasting_names(network: keras.Model) -> dict[str, str]:
    """Keras' name -> name, for every operation that Keras named itself."""
    seen: Counter[str] = Counter()
    names = {}
    for operation in network.operations:
        kind = to_snake_case(type(operation).__name__)
        if re.fullmatch(rf"{kind}(_\d+)?", operation.name):
            names[operation.name] = f"{kind}_{seen[kind]}"
            seen[kind] += 1
    return names


def _is_separable(layer: keras.Layer) -> bool:
    return isinstance(layer, keras.layers.SeparableConv2D)


def _split(layer: keras.layers.SeparableConv2D, name: str) -> tuple[keras.layers.DepthwiseConv2D, keras.layers.Conv2D]:
    depthwise = keras.layers.DepthwiseConv2D(
        layer.kernel_size,
        strides=layer.strides,
        padding=layer.padding,
        depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate,
        use_bias=False,
        name=f"{name}_{_SPATIAL}",
    )
    pointwise = keras.layers.Conv2D(layer.filters, 1, activation=layer.activation, use_bias=layer.use_bias, name=name)
    return depthwise, pointwise
