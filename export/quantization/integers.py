"""From an fp32 ONNX graph to integers: chosen nodes alone, weights of 7 bits.

Products of 8-bit activations and 8-bit weights overflow 16 bits on processors without VNNI, whether activations are
signed or not. Weights within +-64 cannot, so that every processor gives the same answer at the same speed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from export.errors import ExportError
from export.quantization.ranges import LEVELS
from export.quantization.records import Limits
from export.quantization.wiring import Wiring, attribute
from train.runs.arrays import Floats

Step = tuple[np.float32, np.uint8]  # scale and zero point

MAX_WEIGHT = 64
STATIC_KINDS = frozenset(("Add", "Conv"))
PRODUCTS = frozenset(("Gemm", "MatMul"))
_MAX_BIAS = 2**30
# They only move values about, so what they give has the range of what they are given.
_MOVING = frozenset(("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose"))


@dataclass(frozen=True)
class Sites:
    """Tensors that become 8-bit activations.

    Attributes:
        given: what a chosen node gives, after its Relu or Clip; everybody reads the rounded values.
        taken: what chosen nodes alone read rounded; others, such as the sum around a block, go on reading floats.
        dropped: Relu and Clip nodes that the range of ``given`` implies.
    """

    given: Mapping[str, str]
    taken: frozenset[str]
    dropped: frozenset[str]


@dataclass(frozen=True)
class Activations:
    """What integers make of activations, for those who imitate an integer file in floats.

    Attributes:
        given, taken: see ``Sites``; scale and zero point of each tensor.
        readers: names of the nodes that read ``taken`` tensors rounded.
    """

    given: Mapping[str, Step]
    taken: Mapping[str, Step]
    readers: frozenset[str]

    def after(self, tensor: str, values: Floats) -> Floats:
        """What everybody reads of a tensor."""
        return _imitate(values, self.given[tensor]) if tensor in self.given else values

    def before(self, node: onnx.NodeProto, tensor: str, values: Floats) -> Floats:
        """What ``node`` reads of a tensor."""
        return _imitate(values, self.taken[tensor]) if node.name in self.readers and tensor in self.taken else values


NO_ACTIVATIONS = Activations({}, {}, frozenset())


@dataclass
class _Draft:
    """The graph in the making."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)

    def constant(self, name: str, value: NDArray[np.generic]) -> str:
        self.constants[name] = numpy_helper.from_array(np.array(value, order="C"), name)
        return name

    def add(self, kind: str, inputs: list[str], output: str, **attributes: int) -> str:
        node = helper.make_node(kind, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
        self.nodes.append(node)
        return output

    def finish(self, model: onnx.ModelProto) -> onnx.ModelProto:
        result = onnx.ModelProto()
        result.CopyFrom(model)
        del result.graph.node[:], result.graph.value_info[:]
        result.graph.node.extend(self.nodes)
        result.graph.initializer.extend(self.constants.values())
        return result


def sites_of(wiring: Wiring, names: Collection[str]) -> tuple[str, ...]:
    """The tensors whose ranges ``to_static`` asks for when it quantizes the nodes ``names``."""
    given, taken = _given(wiring, names), _taken(wiring, names)
    return tuple(dict.fromkeys((*given, *taken)))


def activations_of(wiring: Wiring, names: Collection[str], limits: Callable[[str], Limits]) -> Activations:
    """What ``to_static`` makes of activations when it quantizes the nodes ``names``."""
    sites = _sites(wiring, names, limits)
    steps = {name: _step(name, wiring, sites, limits) for name in (*sites.given, *sites.taken)}
    readers = {node.name for node in wiring.nodes if node.name in names and node.op_type in STATIC_KINDS}
    given = {name: steps[name] for name in sites.given}
    return Activations(given, {name: steps[name] for name in sites.taken}, frozenset(readers))


def to_static(model: onnx.ModelProto, names: Collection[str], limits: Callable[[str], Limits]) -> onnx.ModelProto:
    """A copy in which the nodes ``names`` run on integers, with QuantizeLinear and DequantizeLinear around them.

    Only convolutions and sums are changed. They give 8 bits, taken after the Relu or Clip that follows.

    Args:
        limits: tensor -> its lowest and highest value.

    Raises:
        ExportError: one of the nodes reads the picture itself.
    """
    wiring = Wiring.of(model)
    sites = _sites(wiring, names, limits)
    if sites.taken & set(wiring.inputs):
        raise ExportError("a layer that reads the picture itself cannot be quantized; keep the group 'stem' in float")
    draft = _Draft()
    steps = {name: _step(name, wiring, sites, limits) for name in (*sites.given, *sites.taken)}
    for node in wiring.nodes:
        if node.name in sites.dropped:
            continue
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.name in names and node.op_type in STATIC_KINDS:
            _take_integers(copy, wiring, sites, steps, draft)
        elif wiring.is_weighted(node) and node.input[0] in sites.given:
            copy.input[0] = _unmistakably_float(node.input[0], steps[node.input[0]], draft)
        renamed = next((site for site, maker in sites.given.items() if maker == node.name), None)
        if renamed is not None:
            copy.output[0] = f"{renamed}/float"
        draft.nodes.append(copy)
        if renamed is not None:
            _round(f"{renamed}/float", renamed, steps[renamed], draft)
        for output in node.output:
            if output in sites.taken:
                _round(output, f"{output}/rounded", steps[output], draft)
    return draft.finish(model)


def to_dynamic(model: onnx.ModelProto, names: Collection[str]) -> onnx.ModelProto:
    """A copy in which the matrix products among ``names`` measure the range of what they read and run on integers.

    The nodes stand as ONNX Runtime's DynamicQuantizeMatMul expects them. With ranges known beforehand they would be no
    faster: between DequantizeLinear nodes ONNX Runtime 1.31 makes of product and bias a float Gemm.
    """
    wiring, draft = Wiring.of(model), _Draft()
    for node in wiring.nodes:
        if node.name in names and node.op_type in PRODUCTS:
            _measure_and_multiply(node, wiring, draft)
        else:
            draft.nodes.append(node)
    return draft.finish(model)


def with_tanh_gelu(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that computes GELU by its tanh form.

    It is off by 5e-4 at most, far below a step of 8 bits, and on processors without AVX-512 nearly twice as fast in ONNX
    Runtime 1.31 as with erf, which took a seventh of ConvNeXt-Tiny's time there.
    """
    result = onnx.ModelProto()
    result.CopyFrom(model)
    for node in result.graph.node:
        if node.op_type == "Gelu":
            del node.attribute[:]
            node.attribute.append(helper.make_attribute("approximate", "tanh"))
    return result


def seven_bits(kernel: Floats, axis: int) -> tuple[NDArray[np.int8], Floats]:
    """Integers of -64 to 64 and their scale for each index of ``axis``."""
    others = tuple(other for other in range(kernel.ndim) if other != axis)
    scale = (np.abs(kernel).max(axis=others) / MAX_WEIGHT).astype(np.float32)
    scale[scale == 0] = 1
    spread = scale.reshape([-1 if place == axis else 1 for place in range(kernel.ndim)])
    return np.clip(np.rint(kernel / spread), -MAX_WEIGHT, MAX_WEIGHT).astype(np.int8), scale


def require_seven_bits(model: onnx.ModelProto) -> None:
    """Check that no int8 weight exceeds 64 in magnitude.

    Raises:
        ExportError: one does, or the file holds no int8 weight at all.
    """
    weights = [numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    sizes = [int(np.abs(weight.astype(np.int16)).max()) for weight in weights if weight.ndim > 1]
    if not sizes or max(sizes) > MAX_WEIGHT:
        raise ExportError(f"int8 weights must lie within +-{MAX_WEIGHT}; the quantizer wrote {max(sizes, default=0)}")


def output_axis(node: onnx.NodeProto) -> int:
    """The axis of a kernel that counts output channels."""
    return 0 if node.op_type == "Conv" or (node.op_type == "Gemm" and attribute(node, "transB", 0)) else 1


def _given(wiring: Wiring, names: Collection[str]) -> dict[str, onnx.NodeProto]:
    """Tensor -> the convolution or sum that gives it, directly or through a Relu or Clip."""
    found = {}
    for node in wiring.nodes:
        if node.name in names and node.op_type in STATIC_KINDS:
            activation = wiring.activation(node)
            found[(activation or node).output[0]] = node
    return found


def _taken(wiring: Wiring, names: Collection[str]) -> list[str]:
    found = []
    for node in wiring.nodes:
        if node.name in names and node.op_type in STATIC_KINDS:
            found += list(node.input) if node.op_type == "Add" else [node.input[0]]
    return found


def _sites(wiring: Wiring, names: Collection[str], limits: Callable[[str], Limits]) -> Sites:
    given, dropped, makers = _given(wiring, names), set(), {}
    for tensor, node in given.items():
        activation = wiring.activation(node)
        if activation is not None and _is_implied(activation, wiring, limits(tensor)):
            dropped.add(activation.name)
            activation = None
        makers[tensor] = (activation or node).name
    return Sites(makers, frozenset(_taken(wiring, names)) - set(given), frozenset(dropped))


def _is_implied(activation: onnx.NodeProto, wiring: Wiring, limits: Limits) -> bool:
    """Whether cutting off at ``limits`` does what the activation does."""
    if activation.op_type == "Relu":
        return limits[0] == 0
    bounds = [wiring.constants.get(name) for name in activation.input[1:3]]
    if len(bounds) < 2 or bounds[0] is None or bounds[1] is None:
        return False
    return bool(limits[0] >= float(bounds[0]) and limits[1] <= float(bounds[1]))


def _step(name: str, wiring: Wiring, sites: Sites, limits: Callable[[str], Limits]) -> Step:
    """Scale and zero point of a tensor."""
    origin = name
    while origin not in sites.given and (producer := wiring.producers.get(origin)) and producer.op_type in _MOVING:
        origin = producer.input[0]
    name = origin if origin in sites.given else name
    low, high = limits(name)
    scale = np.float32((high - low) / LEVELS or 1.0)
    return scale, np.uint8(np.clip(np.rint(-low / scale), 0, LEVELS))


def _imitate(values: Floats, step: Step) -> Floats:
    scale, zero = step
    levels = np.rint(values / scale)
    return np.asarray(np.clip(levels, -float(zero), LEVELS - float(zero)) * scale, np.float32)


def _round(source: str, target: str, step: Step, draft: _Draft) -> None:
    parameters = [draft.constant(f"{target}/scale", np.asarray(step[0])), draft.constant(f"{target}/zero", np.asarray(step[1]))]
    draft.add("QuantizeLinear", [source, *parameters], f"{target}/integers")
    draft.add("DequantizeLinear", [f"{target}/integers", *parameters], target)


def _unmistakably_float(tensor: str, step: Step, draft: _Draft) -> str:
    """The rounded values of ``tensor`` once more, for a kernel that stays float.

    ONNX Runtime 1.31 quantizes by itself, with one scale for all its channels, a float kernel between DequantizeLinear and
    QuantizeLinear (its WeightBiasQuantization). A Clip to the range that the values have anyway keeps it from that.
    """
    name, (scale, zero) = f"{tensor}/kept", step
    if f"{name}/low" not in draft.constants:
        low, high = np.float32(-float(zero) * scale), np.float32((LEVELS - float(zero)) * scale)
        bounds = [draft.constant(f"{name}/low", np.asarray(low)), draft.constant(f"{name}/high", np.asarray(high))]
        draft.add("Clip", [tensor, *bounds], name)
    return name


def _take_integers(
    node: onnx.NodeProto,
    wiring: Wiring,
    sites: Sites,
    steps: Mapping[str, Step],
    draft: _Draft,
) -> None:
    """Let ``node`` read rounded activations, kernel and bias."""
    if node.op_type == "Conv":
        kernel, step = wiring.kernel(node), steps[node.input[0]][0]
        bias = wiring.constants.get(node.input[2]) if len(node.input) > 2 else None
        integers, scale = seven_bits(kernel, axis=0)
        if bias is not None:
            scale = _enough_for_bias(scale, bias, step)
            integers = np.clip(np.rint(kernel / scale.reshape(-1, 1, 1, 1)), -MAX_WEIGHT, MAX_WEIGHT).astype(np.int8)
            node.input[2] = _bias(node.name, bias, step * scale, draft)
        node.input[1] = _weights(node.name, integers, scale, draft)
    for place, name in enumerate(node.input):
        if name in sites.taken:
            node.input[place] = f"{name}/rounded"


def _enough_for_bias(scale: Floats, bias: NDArray[np.generic], step: np.float32) -> Floats:
    """Scales of a kernel, coarser where the bias would not fit 32 bits."""
    return np.maximum(scale, np.abs(np.asarray(bias, np.float32)) / (step * np.float32(_MAX_BIAS)))


def _weights(name: str, integers: NDArray[np.int8], scale: Floats, draft: _Draft) -> str:
    inputs = [
        draft.constant(f"{name}/weights/integers", integers),
        draft.constant(f"{name}/weights/scale", scale),
        draft.constant(f"{name}/weights/zero", np.zeros(len(scale), np.int8)),
    ]
    return draft.add("DequantizeLinear", inputs, f"{name}/weights", axis=0)


def _bias(name: str, bias: NDArray[np.generic], scale: Floats, draft: _Draft) -> str:
    inputs = [
        draft.constant(f"{name}/bias/integers", np.rint(np.asarray(bias, np.float64) / scale).astype(np.int32)),
        draft.constant(f"{name}/bias/scale", scale.astype(np.float32)),
        draft.constant(f"{name}/bias/zero", np.zeros(len(scale), np.int32)),
    ]
    return draft.add("DequantizeLinear", inputs, f"{name}/bias", axis=0)


def _measure_and_multiply(node: onnx.NodeProto, wiring: Wiring, draft: _Draft) -> None:
    kernel = wiring.kernel(node)
    kernel = kernel.T if output_axis(node) == 0 else kernel
    integers, scale = seven_bits(kernel, axis=1)
    name, bias = node.name, node.input[2] if len(node.input) > 2 else ""
    weights = draft.constant(f"{name}/weights", integers)
    zero = draft.constant(f"{name}/weights/zero", np.zeros(len(scale), np.int8))
    step = draft.constant(f"{name}/weights/scale", scale)
    rounded = [f"{name}/rounded", f"{name}/step", f"{name}/zero"]
    draft.nodes.append(helper.make_node("DynamicQuantizeLinear", [node.input[0]], rounded, name=rounded[0]))
    product = draft.add("MatMulInteger", [rounded[0], weights, rounded[2], zero], f"{name}/integers")
    scales = draft.add("Mul", [rounded[1], step], f"{name}/scales")
    floats = draft.add("Cast", [product], f"{name}/floats", to=onnx.TensorProto.FLOAT)
    if not bias:
        draft.add("Mul", [floats, scales], node.output[0])
        return
    draft.add("Add", [draft.add("Mul", [floats, scales], f"{name}/scaled"), bias], node.output[0])
