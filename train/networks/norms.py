"""Factors and offsets of norms, moved into the convolution beside them: the same function, with nothing left in the norm.

A trained network is folded before its weights are rounded, so that what is stored, measured and shipped are the same numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from train.networks.architectures.layers import LayerScale
from train.runs.arrays import Doubles, Floats

_TRIVIAL = 1e-6

Operation = Any


def fold(network: keras.Model) -> None:
    """Rewrite the weights of ``network`` in place; its answers outside training change by rounding errors alone.

    Folded is what ``norms_after``, ``scales_after`` and ``norms_before`` find. What is folded already stays as it is, to the
    last bit.
    """
    for convolution, norm in norms_after(network):
        _fold_batch_norm(convolution, norm)
    for convolution, scale in scales_after(network):
        _fold_scale(convolution, scale)
    for norm, convolution in norms_before(network):
        _fold_layer_norm(norm, convolution)


def unfold(network: keras.Model, pictures: Floats) -> None:
    """Give every BatchNorm the mean and variance that it meets on ``pictures``, in place: the same function outside training.

    Published weights are folded (mean 0, variance 1): trained on the statistics of its batches, such a network would be another
    one at the first step. Unfolded, it begins as itself.
    """
    norms = [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    taken = keras.Model(network.input, [norm.input for norm in norms])(pictures, training=False)
    for norm, values in zip(norms, taken, strict=True):
        inputs = keras.ops.convert_to_numpy(values).astype(np.float64).reshape(-1, values.shape[-1])
        _take_on(norm, inputs.mean(axis=0), inputs.var(axis=0))


def _take_on(norm: keras.layers.BatchNormalization, mean: Doubles, variance: Doubles) -> None:
    """Set the statistics, and the factor and offset so that nothing changes."""
    gamma, beta, old_mean, old_variance = (
        keras.ops.convert_to_numpy(one).astype(np.float64)
        for one in (norm.gamma, norm.beta, norm.moving_mean, norm.moving_variance)
    )
    slope = gamma / np.sqrt(old_variance + norm.epsilon)
    norm.set_weights([slope * np.sqrt(variance + norm.epsilon), beta + slope * (mean - old_mean), mean, variance])


def norms_after(network: keras.Model) -> Iterator[tuple[keras.Layer, keras.layers.BatchNormalization]]:
    """Convolutions with the BatchNorm that alone follows them."""
    return _followed(network, lambda norm: isinstance(norm, keras.layers.BatchNormalization) and norm.center)


def scales_after(network: keras.Model) -> Iterator[tuple[keras.Layer, LayerScale]]:
    """Convolutions with the LayerScale that alone follows them."""
    return _followed(network, lambda scale: isinstance(scale, LayerScale))


def norms_before(network: keras.Model) -> Iterator[tuple[keras.layers.LayerNormalization, keras.layers.Conv2D]]:
    """LayerNorms with the one convolution that reads them, where it pads nothing: padding knows nothing of an offset."""
    for layer, readers in _read_by(network):
        if isinstance(layer, keras.layers.LayerNormalization) and layer.center and layer.scale and len(readers) == 1:
            (convolution,) = readers
            is_plain = type(convolution) is keras.layers.Conv2D and convolution.use_bias and convolution.groups == 1
            if is_plain and (convolution.padding == "valid" or convolution.kernel_size == (1, 1)):
                yield layer, convolution


def readers_of(network: keras.Model) -> dict[str, list[Operation]]:
    """Name -> the operations that read its output within ``network``; layers may have other readers elsewhere."""
    readers: dict[str, list[Operation]] = defaultdict(list)
    for nodes in network._nodes_by_depth.values():
        for node in nodes:
            for parent in node.parent_nodes:
                readers[parent.operation.name].append(node.operation)
    return readers


def is_convolution(layer: Operation) -> bool:
    return isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))


def factor_and_offset(norm: keras.layers.BatchNormalization) -> tuple[Doubles, Doubles]:
    """What a BatchNorm outside training does: ``x * factor + offset``, one of each a channel."""
    variance = np.asarray(norm.moving_variance, np.float64)
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(variance)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(variance)
    return factor, beta - np.asarray(norm.moving_mean, np.float64) * factor


def scaled_kernel(convolution: keras.Layer, factor: Doubles) -> Doubles:
    """The kernel as if every output were multiplied by its factor, (rows, columns, in, out or multiplier)."""
    kernel = np.asarray(convolution.kernel, np.float64)
    is_depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
    return kernel * (factor.reshape(kernel.shape[2:]) if is_depthwise else factor)


def _read_by(network: keras.Model) -> Iterator[tuple[keras.Layer, Sequence[Operation]]]:
    readers = readers_of(network)
    for layer in network.layers:
        yield layer, readers[layer.name]


def _followed(network: keras.Model, is_wanted: Callable[[Operation], bool]) -> Iterator[tuple[keras.Layer, Any]]:
    for layer, readers in _read_by(network):
        is_linear = is_convolution(layer) and getattr(layer.activation, "__name__", "") == "linear"
        if is_linear and len(readers) == 1 and is_wanted(readers[0]):
            yield layer, readers[0]


def _fold_batch_norm(convolution: keras.Layer, norm: keras.layers.BatchNormalization) -> None:
    factor, offset = factor_and_offset(norm)
    bias = np.asarray(convolution.bias, np.float64) if convolution.use_bias else np.zeros_like(factor)
    is_folded = np.abs(factor - 1).max() < _TRIVIAL and not np.asarray(norm.moving_mean).any() and not bias.any()
    if is_folded:
        return
    convolution.kernel.assign(scaled_kernel(convolution, factor))
    if convolution.use_bias:
        convolution.bias.assign(np.zeros_like(bias))
    if norm.scale:
        norm.gamma.assign(np.ones_like(factor))
    norm.beta.assign(offset + bias * factor)
    norm.moving_mean.assign(np.zeros_like(factor))
    norm.moving_variance.assign(np.full_like(factor, 1 - norm.epsilon))


def _fold_scale(convolution: keras.Layer, scale: LayerScale) -> None:
    factor = np.asarray(scale.gamma, np.float64)
    convolution.kernel.assign(scaled_kernel(convolution, factor))
    if convolution.use_bias:
        convolution.bias.assign(np.asarray(convolution.bias, np.float64) * factor)
    scale.gamma.assign(np.ones_like(factor))


def _fold_layer_norm(norm: keras.layers.LayerNormalization, convolution: keras.layers.Conv2D) -> None:
    kernel = np.asarray(convolution.kernel, np.float64)
    gamma, beta = np.asarray(norm.gamma, np.float64), np.asarray(norm.beta, np.float64)
    offset = np.einsum("hwio,i->o", kernel, beta)
    convolution.kernel.assign(kernel * gamma[:, np.newaxis])
    convolution.bias.assign(np.asarray(convolution.bias, np.float64) + offset)
    norm.gamma.assign(np.ones_like(gamma))
    norm.beta.assign(np.zeros_like(beta))
