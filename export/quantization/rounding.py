"""Kernels on the grid of an integer file, rounded so that the errors cancel on real radiographs.

Rounding each weight to its nearest grid point shifts the mean of what a convolution gives, and the shifts of
fifty layers add up: narrow depthwise networks lose most of their answers that way. Here each kernel in turn is
rounded column by column, each column's error being made up for by the columns that are still to come (Frantar
et al., GPTQ, ICLR 2023), on inputs from the layers already rounded; then its bias is moved so that every channel
keeps its mean (Nagel et al., Data-Free Quantization, ICCV 2019). Converters that round to the same grid
afterwards change nothing.

All of it works on the fp32 ONNX graph, node by node and on one thread, so that the bytes do not tell how many
processors the machine had.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from numpy.lib.stride_tricks import sliding_window_view
from onnx import helper, numpy_helper

from export.errors import ExportError
from export.graph import INPUT_NAME
from export.quantization.integers import NO_ACTIVATIONS, Activations, output_axis
from export.quantization.ranges import one_thread_session
from export.quantization.wiring import Wiring, attribute, sides
from train.runs.arrays import Doubles, Floats, Integers

if TYPE_CHECKING:
    import keras

Means = Mapping[str, Doubles]
Constants = Mapping[str, Floats]

ROUNDING_KNEES = 64
_MAX_BYTES = 2**29  # of one tensor over all knees
_PLACES_PER_KNEE = 96
_DAMPING = 0.01
_BLOCK = 64
# The largest weight of a channel comes to lie this far beyond the grid's last point, still within rounding, so
# that some weight ends on that point: a converter that derives the scale from it finds the same grid again.
_BEYOND = 0.45


def round_to_grid(
    model: onnx.ModelProto,
    names: Collection[str],
    knees: Sequence[Floats],
    *,
    limit: int,
    means: Means,
    activations: Activations = NO_ACTIVATIONS,
) -> Constants:
    """Kernels of the nodes ``names`` that are integers of -limit to limit times one scale an output channel, and biases.

    The biases of all convolutions and matrix products are moved, since errors of earlier layers reach them too.

    Args:
        knees: (1, H, W, 1) float32 each, of training radiographs.
        limit: 127 for 8 bits, 64 for 7.
        means: ``channel_means`` of the same graph and knees.
        activations: how the integer file will round them, so that what this shifts is made up for too.
    """
    from threadpoolctl import threadpool_limits

    wiring = Wiring.of(model)
    walk = _Walk(wiring, knees[: _affordable(wiring)], activations)
    biased = _biased(wiring)
    changed: dict[str, Floats] = {}
    with threadpool_limits(1):
        for node in wiring.nodes:
            if node.name in names and wiring.is_weighted(node):
                kernel = _rounded_kernel(node, wiring.kernel(node), walk.read(node, node.input[0]), limit)
                changed[constant_name(node, 1)] = kernel
                walk.replace(node, 1, kernel)
            walk.step(node)
            if node.name in biased:
                place, axis = biased[node.name]
                shift = (means[node.output[0]] - _means(walk.values(node.output[0]), axis)).astype(np.float32)
                changed[constant_name(node, place)] = np.asarray(wiring.constants[node.input[place]], np.float32) + shift
                walk.move(node.output[0], shift, axis)
            walk.round(node)
            walk.forget(node)
    return changed


def constant_name(node: onnx.NodeProto, place: int) -> str:
    """What a constant is called that one place of one node alone reads."""
    return f"{node.name}/{place}"


def with_constants(model: onnx.ModelProto, changed: Constants) -> onnx.ModelProto:
    """A copy in which node inputs are the ``changed`` constants."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        for place in range(len(node.input)):
            if (name := constant_name(node, place)) in changed:
                node.input[place] = name
                value = np.ascontiguousarray(changed[name], np.float32)
                copy.graph.initializer.append(numpy_helper.from_array(value, name))
    return copy


def channel_means(model: onnx.ModelProto, knees: Sequence[Floats]) -> Means:
    """The mean of every channel, over knees and places, of what convolutions and matrix products give with their bias."""
    wiring = Wiring.of(model)
    walk, biased, found = _Walk(wiring, knees[: _affordable(wiring)]), _biased(wiring), {}
    for node in wiring.nodes:
        walk.step(node)
        if node.name in biased:
            found[node.output[0]] = _means(walk.values(node.output[0]), biased[node.name][1])
        walk.forget(node)
    return found


def carry_kernels(form: keras.Model, exact: onnx.ModelProto, rounded: onnx.ModelProto) -> keras.Model:
    """A copy of ``form`` with the kernels and biases that ``rounded`` has where ``exact`` has those of ``form``.

    Raises:
        ExportError: a changed kernel is not found in the Keras network.
    """
    import keras

    copy = keras.models.clone_model(form)
    copy.set_weights(form.get_weights())
    wiring = Wiring.of(rounded)
    names = layers_of(form, exact)
    for node in wiring.weighted():
        if node.name not in names:
            raise ExportError(f"the kernel of {node.name} is no layer's of the Keras network; leave out compensated rounding")
        layer = copy.get_layer(names[node.name])
        weights = layer.get_weights()
        weights[0] = _keras_kernel(layer, _channels_first(node, wiring.kernel(node)))
        reader = wiring.bias_reader(node)
        if reader is not None and len(weights) > 1:
            weights[1] = np.asarray(wiring.constants[reader[0].input[reader[1]]], np.float32).reshape(weights[1].shape)
        layer.set_weights(weights)
    return copy


def layers_of(form: keras.Model, exact: onnx.ModelProto) -> dict[str, str]:
    """Name of each node with a kernel -> name of the Keras layer that the kernel is from, told by its values."""
    by_kernel: dict[tuple[tuple[int, ...], bytes], list[str]] = {}
    for layer in form.layers:
        if getattr(layer, "kernel", None) is not None:
            by_kernel.setdefault(_key(_onnx_kernel(layer)), []).append(layer.name)
    wiring, found = Wiring.of(exact), {}
    for node in wiring.weighted():
        names = by_kernel.get(_key(_channels_first(node, wiring.kernel(node))))
        if names:
            found[node.name] = names.pop(0)
    return found


class _Walk:
    """Runs a graph node by node on all knees, keeping only what later nodes still need."""

    def __init__(self, wiring: Wiring, knees: Sequence[Floats], activations: Activations = NO_ACTIVATIONS) -> None:
        self._wiring, self._activations = wiring, activations
        self._values: dict[str, Floats] = {INPUT_NAME: np.stack(list(knees))}
        self._uses = {name: len(readers) for name, readers in wiring.readers.items()}
        self._replaced: dict[tuple[str, int], Floats] = {}

    def values(self, tensor: str) -> Floats:
        """What all knees give, (knees, *shape of the tensor)."""
        return self._values[tensor]

    def read(self, node: onnx.NodeProto, tensor: str) -> Floats:
        """The same, as ``node`` reads it."""
        return self._activations.before(node, tensor, self._values[tensor])

    def round(self, node: onnx.NodeProto) -> None:
        """Round what ``node`` gave as the integer file will."""
        for output in node.output:
            self._values[output] = self._activations.after(output, self._values[output])

    def replace(self, node: onnx.NodeProto, place: int, constant: Floats) -> None:
        self._replaced[node.name, place] = constant

    def move(self, tensor: str, shift: Floats, axis: int) -> None:
        """Add ``shift`` to every channel of a tensor; ``axis`` counts without the knees."""
        values = self._values[tensor]
        spread = [1] * values.ndim
        spread[axis if axis < 0 else axis + 1] = -1
        values += shift.reshape(spread)

    def step(self, node: onnx.NodeProto) -> None:
        given = [name for name in node.input if name in self._values]
        session = one_thread_session(self._alone(node, given))
        values = {name: self.read(node, name) for name in given}
        knees = range(len(self._values[INPUT_NAME]))
        parts = [session.run(None, {name: value[knee] for name, value in values.items()}) for knee in knees]
        for place, output in enumerate(node.output):
            self._values[output] = np.stack([part[place] for part in parts])

    def forget(self, node: onnx.NodeProto) -> None:
        for name in dict.fromkeys(node.input):
            self._uses[name] -= 1
            if not self._uses[name] and name != INPUT_NAME:
                self._values.pop(name, None)

    def _alone(self, node: onnx.NodeProto, given: Sequence[str]) -> onnx.ModelProto:
        """A model of this node alone."""
        constants = {
            name: self._replaced.get((node.name, place), self._wiring.constants.get(name))
            for place, name in enumerate(node.input)
            if name and name not in given
        }
        graph = helper.make_graph(
            [node],
            "node",
            [_value_info(name, self._values[name]) for name in dict.fromkeys(given)],
            [helper.make_empty_tensor_value_info(name) for name in node.output],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        return helper.make_model(graph, opset_imports=self._wiring.opsets, ir_version=self._wiring.ir_version)


def _value_info(name: str, values: Floats) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(values.dtype), values.shape[1:])


def _affordable(wiring: Wiring) -> int:
    largest = max(int(np.prod(shape)) for shape in wiring.shapes.values()) * np.dtype(np.float32).itemsize
    return max(1, min(ROUNDING_KNEES, _MAX_BYTES // largest))


def _biased(wiring: Wiring) -> dict[str, tuple[int, int]]:
    """Node that adds the bias of a convolution or matrix product -> the bias's place and the axis of its channels."""
    readers = [(node, reader) for node in wiring.weighted() if (reader := wiring.bias_reader(node))]
    return {reader.name: (place, 1 if node.op_type == "Conv" else -1) for node, (reader, place) in readers}


def _means(values: Floats, axis: int) -> Doubles:
    """Of every channel; ``axis`` counts without the knees."""
    kept = axis % values.ndim if axis < 0 else axis + 1
    return np.asarray(values.mean(tuple(other for other in range(values.ndim) if other != kept), np.float64))


def _rounded_kernel(node: onnx.NodeProto, kernel: Floats, inputs: Floats, limit: int) -> Floats:
    if node.op_type != "Conv":
        table = kernel if output_axis(node) == 1 else kernel.T
        columns = np.concatenate(list(_drawn(inputs.reshape(len(inputs), -1, inputs.shape[-1]))))
        grid = _round_columns(table[np.newaxis], columns[np.newaxis], limit)[0]
        return np.ascontiguousarray(grid if output_axis(node) == 1 else grid.T, np.float32)
    groups = attribute(node, "group", 1)
    columns = np.concatenate(list(_drawn(_patches(node, kernel, inputs))))  # (samples, groups * taps of a group)
    columns = columns.reshape(len(columns), groups, -1).transpose(1, 0, 2)
    table = kernel.reshape(groups, len(kernel) // groups, -1).transpose(0, 2, 1)  # (groups, taps, outputs of a group)
    grid = _round_columns(table, columns, limit)
    return grid.transpose(0, 2, 1).reshape(kernel.shape).astype(np.float32)


def _drawn(places: Any) -> Iterator[Floats]:
    """Places drawn at random from each knee's, (samples, channels)."""
    rng = np.random.default_rng(0)
    for knee in places:
        count = min(len(knee), _PLACES_PER_KNEE)
        yield knee[rng.choice(len(knee), count, replace=False)]


class _Places:
    """The patches of one knee that a kernel meets, made when asked for."""

    def __init__(self, padded: Floats, node: onnx.NodeProto, kernel: Floats) -> None:
        down, right = sides(node, "strides", (1, 1))
        taps_down, taps_right = sides(node, "dilations", (1, 1))
        height, width = kernel.shape[2:]
        reach = ((height - 1) * taps_down + 1, (width - 1) * taps_right + 1)
        windows = sliding_window_view(padded, reach, axis=(1, 2))  # (C, rows, columns, reach, reach)
        self._windows = windows[:, ::down, ::right, ::taps_down, ::taps_right]

    def __len__(self) -> int:
        return int(self._windows.shape[1] * self._windows.shape[2])

    def __getitem__(self, places: Integers) -> Floats:
        rows, columns = np.divmod(places, self._windows.shape[2])
        return self._windows[:, rows, columns].transpose(1, 0, 2, 3).reshape(len(places), -1)


def _patches(node: onnx.NodeProto, kernel: Floats, inputs: Floats) -> Iterator[_Places]:
    top, left, bottom, right = sides(node, "pads", (0, 0, 0, 0))
    for knee in inputs:
        yield _Places(np.pad(knee[0], ((0, 0), (top, bottom), (left, right))), node, kernel)


def _round_columns(kernel: Floats, columns: Floats, limit: int) -> Doubles:
    """Round a kernel (groups, taps, outputs) that meets inputs (groups, samples, taps)."""
    scale = np.abs(kernel).max(axis=1, keepdims=True) / (limit + _BEYOND)
    scale[scale == 0] = 1
    upper = _compensation(columns)
    left, grid = kernel.astype(np.float64), np.empty(kernel.shape)
    for start in range(0, kernel.shape[1], _BLOCK):
        stop = min(start + _BLOCK, kernel.shape[1])
        errors = np.empty_like(left[:, start:stop])
        for tap in range(start, stop):
            grid[:, tap] = np.clip(np.rint(left[:, tap] / scale[:, 0]), -limit, limit)
            errors[:, tap - start] = (left[:, tap] - grid[:, tap] * scale[:, 0]) / upper[:, tap, tap, None]
            left[:, tap:stop] -= upper[:, tap, tap:stop, None] * errors[:, tap - start, None, :]
        # What later blocks make up for is added at once: one product instead of many passes through memory.
        left[:, stop:] -= upper[:, start:stop, stop:].transpose(0, 2, 1) @ errors
    return np.asarray(_reach_last_point(grid, limit) * scale)


def _reach_last_point(grid: Doubles, limit: int) -> Doubles:
    """Where no weight of an output stands on the last point, its largest is put there."""
    largest = np.abs(grid).argmax(axis=1)[:, np.newaxis]
    values = np.take_along_axis(grid, largest, axis=1)
    np.put_along_axis(grid, largest, np.where(values == 0, 0, np.copysign(limit, values)), axis=1)
    return grid


def _compensation(columns: Floats) -> Doubles:
    """Upper Cholesky factor of the inverse of the inputs' covariance, (groups, taps, taps)."""
    centred = columns - columns.mean(axis=1, keepdims=True)
    hessian = (centred.transpose(0, 2, 1) @ centred).astype(np.float64)
    damping = _DAMPING * np.trace(hessian, axis1=1, axis2=2) / hessian.shape[1] + 1e-9
    hessian += damping[:, None, None] * np.eye(hessian.shape[1])
    return np.asarray(np.linalg.cholesky(np.linalg.inv(hessian)).transpose(0, 2, 1))


def _key(kernel: Floats) -> tuple[tuple[int, ...], bytes]:
    return kernel.shape, np.ascontiguousarray(kernel, np.float32).tobytes()


def _channels_first(node: onnx.NodeProto, kernel: Floats) -> Floats:
    """A node's kernel as (outputs, inputs of a group, height, width)."""
    if node.op_type == "Conv":
        return kernel
    return (kernel.T if output_axis(node) == 1 else kernel)[:, :, np.newaxis, np.newaxis]


def _onnx_kernel(layer: keras.Layer) -> Floats:
    """A layer's kernel as (outputs, inputs of a group, height, width)."""
    kernel = np.asarray(layer.kernel, np.float32)
    if kernel.ndim == 2:
        return kernel.T[:, :, np.newaxis, np.newaxis]
    if type(layer).__name__ == "DepthwiseConv2D":
        height, width, channels, outputs = kernel.shape
        return kernel.reshape(height, width, 1, channels * outputs).transpose(3, 2, 0, 1)
    return kernel.transpose(3, 2, 0, 1)


def _keras_kernel(layer: keras.Layer, kernel: Floats) -> Floats:
    """The inverse of ``_onnx_kernel``."""
    return kernel.transpose(2, 3, 1, 0).reshape(layer.kernel.shape)
