"""From the inference form to ONNX, with a graph whose bytes depend on the network alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.errors import ExportError
from export.onnx_writer import write_graph
from train.runs.arrays import Integers

if TYPE_CHECKING:
    import keras

    from osteo_edge.manifest import InputSpec

_FORBIDDEN = b"location"  # the runtime refuses it: it is the key of ONNX's external data


def to_onnx(form: keras.Model, spec: InputSpec) -> bytes:
    """Convert, batch 1 fixed, input "image" (1, H, W, 1), outputs "logits" and "features" (NHWC).

    Raises:
        ExportError: the network holds a layer that has no operator here.
    """
    return serialise(keep_zeros_before_pools(write_graph(form, spec)))


def keep_zeros_before_pools(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which zero padding before a maximum is spelled by concatenation.

    ONNX Runtime 1.31 moves a Pad into the MaxPool after it at its basic level of optimisation. A pool's own padding never
    wins, whereas a zero beats negative values: networks that pool before their first activation, as ResNet-v2 does,
    would answer otherwise.
    """
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    shapes = {value.name: _shape(value) for value in (*model.graph.value_info, *model.graph.input)}
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    pooled = {node.input[0] for node in model.graph.node if node.op_type == "MaxPool"}
    nodes = []
    for node in model.graph.node:
        if node.op_type == "Pad" and node.output[0] in pooled and node.input[1] in constants:
            nodes += _concatenations(node, shapes[node.input[0]], constants[node.input[1]], model.graph)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [one.dim_value for one in value.type.tensor_type.shape.dim]


def _concatenations(pad: onnx.NodeProto, shape: list[int], amounts: Integers, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The same zeros around the tensor, axis by axis; they become initialisers of the graph."""
    nodes: list[onnx.NodeProto] = []
    size, current, rank = list(shape), pad.input[0], len(shape)
    padded = [axis for axis in range(rank) if amounts[axis] or amounts[axis + rank]]
    for axis in padded:
        parts = [current]
        for place, amount in ((0, int(amounts[axis])), (1, int(amounts[axis + rank]))):
            if amount:
                name = f"{pad.output[0]}_zeros_{axis}_{place}"
                zeros = np.zeros([amount if other == axis else side for other, side in enumerate(size)], np.float32)
                graph.initializer.append(numpy_helper.from_array(zeros, name))
                parts.insert(0 if place == 0 else len(parts), name)
        size[axis] += int(amounts[axis] + amounts[axis + rank])
        output = pad.output[0] if axis == padded[-1] else f"{pad.output[0]}_axis_{axis}"
        nodes.append(helper.make_node("Concat", parts, [output], axis=axis))
        current = output
    return nodes


def serialise(model: onnx.ModelProto) -> bytes:
    """Check ``model`` and write it in its canonical form.

    Raises:
        ExportError: an operator outside ONNX's own set, data in another file, or an invalid graph.
    """
    model = canonical(model)
    try:
        onnx.checker.check_model(model, full_check=True)
    except Exception as error:  # the checker raises its own and protobuf's errors
        raise ExportError(f"the converter wrote an invalid ONNX graph: {str(error).splitlines()[0][:200]}") from error
    data = bytes(model.SerializeToString(deterministic=True))
    if _FORBIDDEN in data:
        raise ExportError("the ONNX file would hold the word 'location', which the runtime refuses; rename what bears it")
    return data


def canonical(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without producer, documentation and metadata, its nodes and inner tensors named after their place."""
    result = onnx.ModelProto()
    result.ir_version = model.ir_version
    domains = {node.domain for node in model.graph.node}
    result.opset_import.extend(sorted((s for s in model.opset_import if s.domain in domains), key=lambda s: s.domain))
    result.graph.CopyFrom(_canonical_graph(model.graph))
    return result


def _canonical_graph(graph: onnx.GraphProto) -> onnx.GraphProto:
    names = _new_names(graph)
    result = onnx.GraphProto(name="osteo_edge")
    for index, node in enumerate(graph.node):
        result.node.append(_renamed_node(node, f"{index:03d}_{node.op_type}", names))
    for tensor in sorted(graph.initializer, key=lambda tensor: list(names).index(tensor.name) if tensor.name in names else -1):
        if tensor.name in names:
            copy = result.initializer.add()
            copy.CopyFrom(tensor)
            copy.name, copy.doc_string = names[tensor.name], ""
    for source, target in ((graph.input, result.input), (graph.output, result.output)):
        for value in sorted(source, key=lambda value: value.name):
            copy = target.add(name=value.name)
            copy.type.CopyFrom(value.type)
    return result


def _new_names(graph: onnx.GraphProto) -> dict[str, str]:
    """Old name -> new name, in order of first use; what nothing uses has none."""
    outside = {value.name for value in (*graph.input, *graph.output)}
    constants = {tensor.name for tensor in graph.initializer}
    names = {"": ""} | {name: name for name in sorted(outside)}
    for index, node in enumerate(graph.node):
        for place, name in enumerate(node.input):
            if name in constants:
                names.setdefault(name, f"{index:03d}_{node.op_type}.{place}")
        for place, name in enumerate(node.output):
            names.setdefault(name, f"{index:03d}_{node.op_type}:{place}")
    return names


def _renamed_node(node: onnx.NodeProto, name: str, names: dict[str, str]) -> onnx.NodeProto:
    result = onnx.NodeProto(op_type=node.op_type, domain=node.domain, name=name)
    result.input.extend(names[tensor] for tensor in node.input)
    result.output.extend(names[tensor] for tensor in node.output)
    result.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    return result
