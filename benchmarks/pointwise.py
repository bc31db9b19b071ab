"""An ONNX graph's matrix products at every pixel written as convolutions of one pixel, which OpenVINO computes faster.

Only a peer is given this form: ONNX Runtime is slower with it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.quantization.wiring import Wiring

_TO_CHANNELS, _TO_PIXELS = [0, 3, 1, 2], [0, 2, 3, 1]


def with_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that answers alike, in NCHW wherever a product was."""
    writer = _Writer(model)
    for node in writer.wiring.nodes:
        writer.copy(node)
    return writer.finish(model)


class _Writer:
    """The new nodes, and which tensor is whose form in NCHW."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.wiring = Wiring.of(model)
        self._nodes: list[onnx.NodeProto] = []
        self._constants = {tensor.name: tensor for tensor in model.graph.initializer}
        self._in_channels: dict[str, str] = {}
        self._done: set[str] = set()

    def copy(self, node: onnx.NodeProto) -> None:
        if node.name in self._done:
            return
        if self._is_product_of_pixels(node):
            self._convolve(node)
        elif node.op_type == "Transpose" and node.input[0] in self._in_channels:
            # Back to NCHW, where the values already are; what reads it reads them under its name.
            self._nodes.append(helper.make_node("Identity", [self._in_channels[node.input[0]]], [node.output[0]]))
        else:
            self._nodes.append(node)

    def finish(self, model: onnx.ModelProto) -> onnx.ModelProto:
        result = onnx.ModelProto()
        result.CopyFrom(model)
        del result.graph.node[:], result.graph.initializer[:], result.graph.value_info[:]
        result.graph.node.extend(self._read(model))
        read = {name for node in result.graph.node for name in node.input}
        result.graph.initializer.extend(tensor for name, tensor in self._constants.items() if name in read)
        onnx.checker.check_model(result, full_check=True)
        return result

    def _is_product_of_pixels(self, node: onnx.NodeProto) -> bool:
        return node.op_type == "MatMul" and self.wiring.is_weighted(node) and len(self.wiring.shapes[node.output[0]]) == 4

    def _convolve(self, node: onnx.NodeProto) -> None:
        kernel = np.ascontiguousarray(self.wiring.kernel(node).T[:, :, None, None])
        weights = f"{node.name}/kernel"
        self._constants[weights] = numpy_helper.from_array(kernel, weights)
        inputs, given = [self._channels_of(node.input[0]), weights], node.output[0]
        bias = self.wiring.bias_reader(node)
        if bias is not None:
            reader, place = bias
            inputs.append(reader.input[place])
            given = reader.output[0]
            self._done.add(reader.name)
        made = f"{given}/channels"
        self._nodes.append(helper.make_node("Conv", inputs, [made], name=f"{node.name}/convolution", kernel_shape=[1, 1]))
        self._in_channels[given] = made
        self._nodes.append(helper.make_node("Transpose", [made], [given], perm=_TO_PIXELS))

    def _channels_of(self, tensor: str) -> str:
        if tensor not in self._in_channels:
            maker, made = self.wiring.producers[tensor], f"{tensor}/channels"
            if maker.op_type == "Gelu" and maker.input[0] in self._in_channels:
                node = helper.make_node("Gelu", [self._in_channels[maker.input[0]]], [made], name=f"{maker.name}/channels")
                node.attribute.extend(maker.attribute)
            else:
                node = helper.make_node("Transpose", [tensor], [made], perm=_TO_CHANNELS)
            self._nodes.append(node)
            self._in_channels[tensor] = made
        return self._in_channels[tensor]

    def _read(self, model: onnx.ModelProto) -> list[onnx.NodeProto]:
        """Nodes that an output depends on, in order."""
        wanted = {output.name for output in model.graph.output}
        kept = []
        for node in reversed(self._nodes):
            if wanted & set(node.output):
                kept.append(node)
                wanted |= set(node.input)
        return kept[::-1]
