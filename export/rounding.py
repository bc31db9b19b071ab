"""Kernels on the grid of an integer file, rounded so that the errors cancel on real radiographs.

Rounding each weight to its nearest grid point shifts the mean of what a convolution gives, and the shifts of
fifty layers add up: narrow depthwise networks lose most of their answers that way. Here each convolution in
turn is rounded column by column, each column's error being made up for by the columns that are still to come
(Frantar et al., GPTQ, ICLR 2023), on inputs from the layers already rounded; then its bias is moved so that
every channel keeps its mean (Nagel et al., Data-Free Quantization, ICCV 2019). Converters that round to the
same grid afterwards change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]

_CHUNK = 8
_PLACES_PER_KNEE = 96
_DAMPING = 0.01
# The largest weight of a channel comes to lie this far beyond the grid's last point, still within rounding, so
# that some weight ends on that point: a converter that derives the scale from it finds the same grid again.
_BEYOND = 0.45


def round_to_grid(form: keras.Model, knees: Floats, *, limit: int) -> keras.Model:
    """A copy of ``form`` whose kernels are integers of -limit to limit times one scale an output channel.

    The first convolution and the head, which stay in float, only have their biases moved.

    Args:
        knees: (N, H, W, 1) float32 of training radiographs.
        limit: 127 for 8 bits, 64 for ONNX Runtime's 7.
    """
    import keras

    rounded = keras.models.clone_model(form)
    rounded.set_weights(form.get_weights())
    before, after = _Walk(form, knees), _Walk(rounded, knees)
    chosen = [layer.name for layer in form.layers if type(layer).__name__ in ("Conv2D", "DepthwiseConv2D")][1:]
    for layer, twin in zip(form.layers, rounded.layers, strict=True):
        if layer.name in chosen:
            _round_kernel(twin, after.inputs(twin), limit)
        before.step(layer)
        after.step(twin)
        if getattr(twin, "bias", None) is not None:
            _keep_means(twin, before.output(layer), after.output(twin))
    return rounded


class _Walk:
    """Runs a network layer by layer, keeping only what later layers still need."""

    def __init__(self, network: keras.Model, knees: Floats) -> None:
        self._values: dict[int, Floats] = {id(network.inputs[0]): knees}
        self._uses: dict[int, int] = {}
        for layer in network.layers:
            for tensor in _inputs(layer):
                self._uses[id(tensor)] = self._uses.get(id(tensor), 0) + 1

    def inputs(self, layer: keras.Layer) -> Floats:
        return self._values[id(_inputs(layer)[0])]

    def output(self, layer: keras.Layer) -> Floats:
        return self._values[id(layer.output)]

    def step(self, layer: keras.Layer) -> None:
        sources = _inputs(layer)
        if not sources:
            return
        values = [self._values[id(source)] for source in sources]
        self._values[id(layer.output)] = np.concatenate([_call(layer, part) for part in _chunks(values)])
        for source in sources:
            self._uses[id(source)] -= 1
            if not self._uses[id(source)]:
                del self._values[id(source)]


def _inputs(layer: keras.Layer) -> list[Any]:
    if type(layer).__name__ == "InputLayer":
        return []
    return list(layer.input) if isinstance(layer.input, (list, tuple)) else [layer.input]


def _chunks(values: list[Floats]) -> Iterator[list[Floats]]:
    for start in range(0, len(values[0]), _CHUNK):
        yield [value[start : start + _CHUNK] for value in values]


def _call(layer: keras.Layer, values: list[Floats]) -> Floats:
    return np.asarray(layer(values if len(values) > 1 else values[0], training=False))


def _keep_means(layer: keras.Layer, before: Floats, after: Floats) -> None:
    axes = tuple(range(before.ndim - 1))
    shift = before.mean(axes, np.float64) - after.mean(axes, np.float64)
    layer.bias.assign(np.asarray(layer.bias) + shift.astype(np.float32))
    after += shift.astype(np.float32)


def _round_kernel(layer: keras.Layer, inputs: Floats, limit: int) -> None:
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    weights = layer.get_weights()
    height, width, channels, outputs = weights[0].shape
    patches = _patches(layer, inputs)  # (samples, height * width, channels)
    if depthwise:  # every channel is a small convolution of its own
        kernel = weights[0].reshape(height * width, channels, outputs).transpose(1, 0, 2)
        grid = _round_columns(kernel, patches.transpose(2, 0, 1), limit).transpose(1, 0, 2)
    else:
        kernel = weights[0].reshape(1, height * width * channels, outputs)
        grid = _round_columns(kernel, patches.reshape(1, len(patches), -1), limit)
    layer.set_weights([grid.reshape(weights[0].shape).astype(np.float32), *weights[1:]])


def _patches(layer: keras.Layer, inputs: Floats) -> Floats:
    """What the kernel meets at places drawn at random, (samples, taps, channels)."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    size, stride = (1, *layer.kernel_size, 1), (1, *layer.strides, 1)
    found = []
    for (part,) in _chunks([inputs]):
        all_patches = tf.image.extract_patches(part, size, stride, (1, 1, 1, 1), layer.padding.upper())
        flat = np.asarray(all_patches).reshape(-1, layer.kernel_size[0] * layer.kernel_size[1], inputs.shape[-1])
        count = min(len(flat), _PLACES_PER_KNEE * len(part))
        found.append(flat[rng.choice(len(flat), count, replace=False)])
    return np.concatenate(found)


def _round_columns(kernel: Floats, columns: Floats, limit: int) -> NDArray[np.float64]:
    """Round a kernel (groups, taps, outputs) that meets inputs (groups, samples, taps)."""
    scale = np.abs(kernel).max(axis=1, keepdims=True) / (limit + _BEYOND)
    scale[scale == 0] = 1
    upper = _compensation(columns)
    left, grid = kernel.astype(np.float64), np.empty(kernel.shape)
    for tap in range(kernel.shape[1]):
        grid[:, tap] = np.clip(np.rint(left[:, tap] / scale[:, 0]), -limit, limit)
        error = (left[:, tap] - grid[:, tap] * scale[:, 0]) / upper[:, tap, tap, None]
        left[:, tap:] -= upper[:, tap, tap:, None] * error[:, None, :]
    return _reach_last_point(grid, limit) * scale


def _reach_last_point(grid: NDArray[np.float64], limit: int) -> NDArray[np.float64]:
    """Where no weight of an output stands on the last point, its largest is put there."""
    largest = np.abs(grid).argmax(axis=1)[:, np.newaxis]
    values = np.take_along_axis(grid, largest, axis=1)
    np.put_along_axis(grid, largest, np.where(values == 0, 0, np.copysign(limit, values)), axis=1)
    return grid


def _compensation(columns: Floats) -> NDArray[np.float64]:
    """Upper Cholesky factor of the inverse of the inputs' covariance, (groups, taps, taps)."""
    centred = (columns - columns.mean(axis=1, keepdims=True)).astype(np.float64)
    hessian = centred.transpose(0, 2, 1) @ centred
    damping = _DAMPING * np.trace(hessian, axis1=1, axis2=2) / hessian.shape[1] + 1e-9
    hessian += damping[:, None, None] * np.eye(hessian.shape[1])
    return np.asarray(np.linalg.cholesky(np.linalg.inv(hessian)).transpose(0, 2, 1))
