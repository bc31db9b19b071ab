"""How the nodes of an ONNX graph hang together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from train.runs.arrays import Floats

WEIGHTED = frozenset(("Conv", "Gemm", "MatMul"))
_ACTIVATIONS = frozenset(("Clip", "Relu"))


@dataclass(frozen=True)
class Wiring:
    """A graph's nodes, in order, with what makes and what reads every tensor.

    Attributes:
        shapes: tensor -> sides; 0 where unknown.
    """

    nodes: tuple[onnx.NodeProto, ...]
    constants: dict[str, NDArray[np.generic]] = field(repr=False)
    producers: dict[str, onnx.NodeProto] = field(repr=False)
    readers: dict[str, list[onnx.NodeProto]] = field(repr=False)
    shapes: dict[str, tuple[int, ...]] = field(repr=False)
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    opsets: tuple[onnx.OperatorSetIdProto, ...]
    ir_version: int

    @classmethod
    def of(cls, model: onnx.ModelProto) -> Wiring:
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(node)
        return cls(
            nodes=tuple(model.graph.node),
            constants={tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer},
            producers={output: node for node in model.graph.node for output in node.output},
            readers=readers,
            shapes={value.name: _shape(value) for value in (*inferred.value_info, *inferred.input, *inferred.output)},
            inputs=tuple(value.name for value in model.graph.input),
            outputs=tuple(value.name for value in model.graph.output),
            opsets=tuple(model.opset_import),
            ir_version=model.ir_version,
        )

    def is_weighted(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` multiplies an activation by a constant kernel."""
        return node.op_type in WEIGHTED and node.input[1] in self.constants and node.input[0] not in self.constants

    def is_residual(self, node: onnx.NodeProto) -> bool:
        """Whether ``node`` adds two activations of one shape."""
        both = [name for name in node.input if name not in self.constants]
        return node.op_type == "Add" and len(both) == 2 and self.shapes.get(both[0]) == self.shapes.get(both[1])

    def kernel(self, node: onnx.NodeProto) -> Floats:
        return np.asarray(self.constants[node.input[1]], np.float32)

    def activation(self, node: onnx.NodeProto) -> onnx.NodeProto | None:
        """The Relu or Clip that alone reads what ``node`` gives."""
        readers = self.readers.get(node.output[0], [])
        alone = len(readers) == 1 and node.output[0] not in self.outputs
        return readers[0] if alone and readers[0].op_type in _ACTIVATIONS else None

    def bias_reader(self, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
        """The node and input place of the bias that is added to what ``node`` gives: its own, or of an Add after it."""
        if len(node.input) > 2 and node.input[2] in self.constants:
            return node, 2
        readers = self.readers.get(node.output[0], [])
        if len(readers) != 1 or readers[0].op_type != "Add":
            return None
        places = [place for place, name in enumerate(readers[0].input) if self._is_vector(name)]
        return (readers[0], places[0]) if places else None

    def before(self, tensor: str) -> frozenset[str]:
        """Names of all nodes that ``tensor`` depends on."""
        found: dict[str, None] = {}
        waiting = [tensor]
        while waiting:
            node = self.producers.get(waiting.pop())
            if node is not None and node.name not in found:
                found[node.name] = None
                waiting += node.input
        return frozenset(found)

    def weighted(self) -> Iterator[onnx.NodeProto]:
        return (node for node in self.nodes if self.is_weighted(node))

    def _is_vector(self, name: str) -> bool:
        return name in self.constants and self.constants[name].ndim == 1 and self.constants[name].size > 1


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """A whole-number attribute of ``node``."""
    return next((int(one.i) for one in node.attribute if one.name == name), default)


def sides(node: onnx.NodeProto, name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """An attribute of several whole numbers."""
    return next((tuple(one.ints) for one in node.attribute if one.name == name), default)


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(one.dim_value for one in value.type.tensor_type.shape.dim)
