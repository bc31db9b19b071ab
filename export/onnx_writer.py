"""The inference form written as an ONNX graph, layer by layer.

Converters of whole frameworks spell LayerNormalization and GELU out in dozens of operators, surround every convolution with
transposes, and leave files with operators that no engine has, all with exit code 0. The layers of the inference form are
few, and each has its operator here. Activations are NCHW, as ONNX convolutions want them; what follows a LayerNormalization
stays NHWC, where its channels lie side by side and a convolution of one pixel is a matrix product, up to the next layer that
needs NCHW.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.graph import FEATURES, INPUT_NAME, LOGITS, same_padding
from train.runs.arrays import Floats

if TYPE_CHECKING:
    import keras

    from osteo_edge.manifest import InputSpec

OPSET = 20  # the first with Gelu as an operator; ONNX Runtime has it since 1.17
IR_VERSION = 9

Layout = Literal["NCHW", "NHWC", "flat"]
_TO: dict[Layout, list[int]] = {"NCHW": [0, 3, 1, 2], "NHWC": [0, 2, 3, 1]}
_INPUT_TYPES = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8}


@dataclass(frozen=True)
class Value:
    """A tensor of the graph; ``shape`` is (rows, columns, channels), or (channels,) when flat."""

    name: str
    layout: Layout
    shape: tuple[int, ...]


def write_graph(form: keras.Model, spec: InputSpec) -> onnx.ModelProto:
    """The graph of a functional model, batch 1, input "image" (1, H, W, 1), outputs "logits" and "features" (NHWC).

    Raises:
        ExportError: a layer that is not known here, or a setting of it that is not.
    """
    writer = _Writer()
    writer.begin(form, spec)
    for layer in form.layers:
        if type(layer).__name__ != "InputLayer":
            writer.add_layer(layer)
    writer.end(form)
    shapes = {name: writer.value_of(form.output[name]) for name in (LOGITS, FEATURES)}
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, *value.shape]) for name, value in sorted(shapes.items())
    ]
    image = helper.make_tensor_value_info(INPUT_NAME, _INPUT_TYPES[spec.dtype], [1, spec.height_px, spec.width_px, 1])
    graph = helper.make_graph(writer.nodes, "osteo_edge", [image], outputs, writer.constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


class _Writer:
    """Nodes and constants so far, and which of the graph's tensors stands for which of Keras'."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._values: dict[int, Value] = {}
        self._laid_out: dict[tuple[str, Layout], Value] = {}

    def begin(self, form: keras.Model, spec: InputSpec) -> None:
        name = INPUT_NAME
        if spec.dtype != "float32":
            name = self.node("Cast", [name], to=TensorProto.FLOAT)
        # With one channel NHWC and NCHW are the same bytes.
        name = self.node("Reshape", [name, self.constant(np.array([1, 1, spec.height_px, spec.width_px], np.int64))])
        self._values[id(form.inputs[0])] = Value(name, "NCHW", (spec.height_px, spec.width_px, 1))

    def end(self, form: keras.Model) -> None:
        features = self.as_layout(self.value_of(form.output[FEATURES]), "NHWC")
        self.nodes.append(helper.make_node("Identity", [features.name], [FEATURES]))
        self.nodes.append(helper.make_node("Identity", [self.value_of(form.output[LOGITS]).name], [LOGITS]))

    def value_of(self, tensor: Any) -> Value:
        return self._values[id(tensor)]

    def add_layer(self, layer: keras.Layer) -> None:
        kind = type(layer).__name__
        if kind not in _LAYERS:
            raise ExportError(f"the network's layer {layer.name} is a {kind}, which the ONNX writer does not know")
        sources = layer.input if isinstance(layer.input, (list, tuple)) else [layer.input]
        shape = tuple(int(side) for side in layer.output.shape[1:])
        name, layout = _LAYERS[kind](self, layer, [self.value_of(source) for source in sources])
        self._values[id(layer.output)] = Value(name, layout, shape)

    def node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Append a node with one output; its name."""
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, array: NDArray[Any]) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def floats(self, array: Any) -> str:
        return self.constant(np.asarray(array, np.float32))

    def as_layout(self, value: Value, layout: Layout) -> Value:
        """The value in another layout, transposed once however often it is asked for."""
        if value.layout == layout:
            return value
        if (value.name, layout) not in self._laid_out:
            name = self.node("Transpose", [value.name], perm=_TO[layout])
            self._laid_out[value.name, layout] = Value(name, layout, value.shape)
            self._laid_out[name, value.layout] = value
        return self._laid_out[value.name, layout]

    def per_channel(self, values: Any, layout: Layout) -> str:
        """A constant with one number a channel, shaped to be broadcast."""
        array = np.asarray(values, np.float32).reshape(-1)
        return self.floats(array.reshape(-1, 1, 1) if layout == "NCHW" and array.size > 1 else array)


Written = tuple[str, Layout]


def _convolution(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    value = sources[0]
    kernel = np.asarray(layer.kernel, np.float32)
    is_pointwise = kernel.shape[:2] == (1, 1) and tuple(layer.strides) == (1, 1) and layer.groups == 1
    if value.layout == "NHWC" and is_pointwise:
        product = writer.node("MatMul", [value.name, writer.floats(kernel[0, 0])])
        return (writer.node("Add", [product, writer.floats(layer.bias)]) if layer.use_bias else product), "NHWC"
    return _convolve(writer, layer, value, kernel.transpose(3, 2, 0, 1), groups=layer.groups)


def _depthwise(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    kernel = np.asarray(layer.kernel, np.float32)
    rows, columns, channels, multiplier = kernel.shape
    spread = kernel.transpose(2, 3, 0, 1).reshape(channels * multiplier, 1, rows, columns)
    return _convolve(writer, layer, sources[0], spread, groups=channels)


def _convolve(writer: _Writer, layer: keras.Layer, value: Value, kernel: Floats, *, groups: int) -> Written:
    value = writer.as_layout(value, "NCHW")
    inputs = [value.name, writer.floats(kernel)]
    if layer.use_bias:
        inputs.append(writer.floats(layer.bias))
    name = writer.node(
        "Conv",
        inputs,
        kernel_shape=list(kernel.shape[2:]),
        strides=list(layer.strides),
        dilations=list(layer.dilation_rate),
        pads=_pads(layer, value, kernel.shape[2:], layer.dilation_rate),
        group=groups,
    )
    if layer.activation.__name__ != "linear":
        raise ExportError(f"the convolution {layer.name} still holds its activation; the inference form takes it out")
    return name, "NCHW"


def _pads(layer: keras.Layer, value: Value, kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """TensorFlow's padding as ONNX wants it: all beginnings, then all ends."""
    if layer.padding == "valid":
        return [0, 0, 0, 0]
    sides = zip(value.shape[:2], kernel, layer.strides, dilations, strict=True)
    before, after = zip(*(same_padding(*side) for side in sides), strict=True)
    return [*before, *after]


def _max_pool(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    return _pool(writer, layer, sources[0], "MaxPool")


def _average_pool(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    # TensorFlow's mean at the border is over the pixels that exist.
    return _pool(writer, layer, sources[0], "AveragePool", count_include_pad=0)


def _pool(writer: _Writer, layer: keras.Layer, value: Value, operator: str, **attributes: int) -> Written:
    value = writer.as_layout(value, "NCHW")
    size, strides = list(layer.pool_size), list(layer.strides)
    pads = _pads(layer, value, size, (1, 1))
    return writer.node(operator, [value.name], kernel_shape=size, strides=strides, pads=pads, **attributes), "NCHW"


def _zero_padding(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    value = writer.as_layout(sources[0], "NCHW")
    (top, bottom), (left, right) = layer.padding
    amounts = writer.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    return writer.node("Pad", [value.name, amounts], mode="constant"), "NCHW"


def _layer_normalization(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    value = writer.as_layout(sources[0], "NHWC")
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis]
    if list(axes) not in ([-1], [len(value.shape)]):
        raise ExportError(f"the norm {layer.name} is over axes {list(axes)}; only the channels are known to the ONNX writer")
    channels = value.shape[-1]
    inputs = [value.name, writer.floats(layer.gamma if layer.scale else np.ones(channels))]
    if layer.center:
        inputs.append(writer.floats(layer.beta))
    return writer.node("LayerNormalization", inputs, axis=-1, epsilon=float(layer.epsilon)), "NHWC"


def _batch_normalization(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    from train.networks.norms import factor_and_offset

    value = sources[0]
    factor, offset = factor_and_offset(layer)
    if value.layout == "NCHW":
        ones, zeros = np.ones(len(factor), np.float32), np.zeros(len(factor), np.float32)
        rest = [writer.floats(one) for one in (factor, offset, zeros, ones)]
        return writer.node("BatchNormalization", [value.name, *rest], epsilon=0.0), "NCHW"
    scaled = writer.node("Mul", [value.name, writer.floats(factor)])
    return writer.node("Add", [scaled, writer.floats(offset)]), value.layout


def _rescaling(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    value = sources[0]
    scaled = writer.node("Mul", [value.name, writer.per_channel(layer.scale, value.layout)])
    return writer.node("Add", [scaled, writer.per_channel(layer.offset, value.layout)]), value.layout


def _concatenate(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    if layer.axis not in (-1, 3):
        raise ExportError(f"the layer {layer.name} concatenates axis {layer.axis}; only channels are known to the ONNX writer")
    return writer.node("Concat", [writer.as_layout(value, "NCHW").name for value in sources], axis=1), "NCHW"


def _add(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    return _elementwise(writer, "Add", sources)


def _multiply(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    return _elementwise(writer, "Mul", sources)


def _elementwise(writer: _Writer, operator: str, sources: list[Value]) -> Written:
    layout: Layout = "NCHW" if any(value.layout == "NCHW" for value in sources) else sources[0].layout
    first, *others = (writer.as_layout(value, layout).name for value in sources)
    for other in others:
        first = writer.node(operator, [first, other])
    return first, layout


def _gelu(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    return writer.node("Gelu", [sources[0].name], approximate="none"), sources[0].layout


def _relu(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    value = sources[0]
    if layer.negative_slope or layer.threshold:
        raise ExportError(f"the layer {layer.name} is no plain rectifier, and not known to the ONNX writer")
    if layer.max_value is None:
        return writer.node("Relu", [value.name]), value.layout
    limits = [writer.floats(np.float32(0)), writer.floats(np.float32(layer.max_value))]
    return writer.node("Clip", [value.name, *limits]), value.layout


def _activation(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    operators = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "hard_swish": "HardSwish", "hard_silu": "HardSwish"}
    name = layer.activation.__name__
    if name == "relu6":
        limits = [writer.floats(np.float32(0)), writer.floats(np.float32(6))]
        return writer.node("Clip", [sources[0].name, *limits]), sources[0].layout
    if name not in operators:
        raise ExportError(f"the layer {layer.name} applies {name}, which the ONNX writer does not know")
    return writer.node(operators[name], [sources[0].name]), sources[0].layout


def _global_average(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    value = sources[0]
    if value.layout == "NHWC":
        axes = writer.constant(np.array([1, 2], np.int64))
        return writer.node("ReduceMean", [value.name, axes], keepdims=0), "flat"
    return writer.node("Flatten", [writer.node("GlobalAveragePool", [value.name])]), "flat"


def _dense(writer: _Writer, layer: keras.Layer, sources: list[Value]) -> Written:
    if sources[0].layout != "flat" or layer.activation.__name__ != "linear":
        raise ExportError(f"the dense layer {layer.name} must be linear and follow the mean over the feature map")
    inputs = [sources[0].name, writer.floats(layer.kernel)]
    if layer.use_bias:
        inputs.append(writer.floats(layer.bias))
    return writer.node("Gemm", inputs), "flat"


_LAYERS: dict[str, Callable[[_Writer, Any, list[Value]], Written]] = {
    "Activation": _activation,
    "Add": _add,
    "AveragePooling2D": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Concatenate": _concatenate,
    "Conv2D": _convolution,
    "Dense": _dense,
    "DepthwiseConv2D": _depthwise,
    "Gelu": _gelu,
    "GlobalAveragePooling2D": _global_average,
    "LayerNormalization": _layer_normalization,
    "MaxPooling2D": _max_pool,
    "Multiply": _multiply,
    "ReLU": _relu,
    "Rescaling": _rescaling,
    "ZeroPadding2D": _zero_padding,
}
