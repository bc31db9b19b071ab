"""Pretrained weights from files: a network's own Keras file, and the convolutions of a quantized TFLite file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from train.networks.architectures.layers import KerasTensor
from train.networks.norms import is_convolution, readers_of
from train.runs.arrays import Floats

Weights = dict[str, list[Floats]]
Convolution = tuple[Floats, Floats]

_DONOR_SIDE_PX = 224


def own_weights_reader(build: Callable[..., KerasTensor]) -> Callable[..., Weights]:
    """A ``read_weights`` for a network that nobody publishes in Keras' format: it reads a file that
    ``keras.Model.save_weights`` wrote of ``build`` on three channels."""

    def read_weights(source: Path | str, **options: Any) -> Weights:
        channels = keras.Input((_DONOR_SIDE_PX, _DONOR_SIDE_PX, 3))
        donor = keras.Model(channels, build(channels, **options))
        donor.load_weights(source)
        return weights_by_layer(donor)

    return read_weights


def weights_by_layer(network: keras.Model) -> Weights:
    """Layer name -> its weights, of the layers that have any."""
    return {
        layer.name: [keras.ops.convert_to_numpy(variable) for variable in layer.weights]
        for layer in network.layers
        if layer.weights
    }


def read_tflite(source: Path | str) -> list[Convolution]:
    """Kernel, (rows, columns, in, out) or (rows, columns, in, 1) when depthwise, and bias (out,) of each convolution of
    a quantized TFLite file, in the order of its graph.

    Raises:
        ValueError: it is no such file.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # Without a delegate, which would merge operators.
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(source), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}
    found = []
    for operator in interpreter._get_ops_details():
        if operator["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            kernel, bias = (_dequantized(interpreter, details[index]) for index in operator["inputs"][1:3])
            # From (out, rows, columns, in); a depthwise kernel is (1, rows, columns, channels).
            found.append((kernel.transpose(1, 2, 3, 0), bias))
    return found


def _dequantized(interpreter: Any, detail: Mapping[str, Any]) -> Floats:
    quantization = detail["quantization_parameters"]
    values = interpreter.get_tensor(detail["index"]).astype(np.float64)
    if len(quantization["scales"]):
        shape = [1] * values.ndim
        shape[quantization["quantized_dimension"]] = -1
        values = (values - quantization["zero_points"].reshape(shape)) * quantization["scales"].reshape(shape)
    return np.asarray(values, np.float32)


def with_folded_norms(network: keras.Model, convolutions: Iterable[Convolution]) -> Weights:
    """Weights by layer of a chain of convolutions, each followed by a BatchNorm, that equals folded convolutions: each bias
    becomes the norm's offset, and the rest of the norm changes nothing.

    Raises:
        ValueError: the network has other convolutions.
    """
    places = [layer for layer in network.layers if is_convolution(layer)]
    readers = readers_of(network)
    weights: Weights = {}
    for place, (kernel, bias) in zip(places, convolutions, strict=True):
        if place.kernel.shape != kernel.shape:
            raise ValueError(f"{place.name} has a kernel {place.kernel.shape}, not {kernel.shape}")
        (norm,) = readers[place.name]
        one = np.ones_like(bias)
        weights[place.name] = [kernel]
        weights[norm.name] = [one, bias, 0 * one, one - np.float32(norm.epsilon)]
    return weights
