"""Which layers are quantized or kept in float together: groups read from the graph of any backbone."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from export.graph import FEATURES
from export.plans import Method
from export.quantization.wiring import Wiring, attribute, sides

STEM, HEAD, RESIDUAL = "stem", "head", "residual"
# They stay float unless a recipe of the caller's own says otherwise; so does whatever is in no group: normalisation, softmax.
ALWAYS_FLOAT = (STEM, HEAD)


def groups_of(model: onnx.ModelProto) -> Mapping[str, tuple[str, ...]]:
    """Layer group -> names of its nodes, in the order of the graph.

    ``stem`` is the first convolution, ``head`` what follows the last features. Between them a stage is what has one
    resolution, and in it ``pointwise`` are 1 x 1 convolutions and matrix products, ``depthwise`` convolutions with one
    channel a group, ``downsampling`` others with a stride, ``spatial`` the rest, ``residual`` sums of two activations.
    Normalisation, activations that no convolution takes in, pooling and softmax belong to no group.
    """
    wiring = Wiring.of(model)
    up_to_features = wiring.before(FEATURES)
    found: dict[str, list[str]] = {}
    stages: list[int] = []
    for node in wiring.nodes:
        if not (wiring.is_weighted(node) or wiring.is_residual(node)):
            continue
        if node.name not in up_to_features:
            group = HEAD
        elif not stages:
            stages.append(_places(node, wiring))
            group = STEM
        else:
            places = _places(node, wiring)
            stages += [places] if places not in stages else []
            group = f"stage_{stages.index(places) + 1}.{_kind(node, wiring)}"
        found.setdefault(group, []).append(node.name)
    return {group: tuple(names) for group, names in found.items()}


def quantizable(model: onnx.ModelProto, method: Method) -> Mapping[str, tuple[str, ...]]:
    """The groups that ``method`` can quantize, and in them the nodes that it would.

    Ranges measured while running serve matrix products alone: an integer convolution that measures them is slower than float.
    """
    groups = groups_of(model)
    if method == "static":
        return groups
    products = {node.name for node in Wiring.of(model).weighted() if node.op_type in ("Gemm", "MatMul")}
    kept = {group: tuple(name for name in names if name in products) for group, names in groups.items()}
    return {group: names for group, names in kept.items() if names}


def _places(node: onnx.NodeProto, wiring: Wiring) -> int:
    """Height times width of what ``node`` gives; a sum has the shape of the weighted node before it."""
    shape = wiring.shapes[node.output[0]]
    channels = wiring.kernel(node).shape[0 if node.op_type == "Conv" else 1] if wiring.is_weighted(node) else 0
    if not channels:
        return _places_of_sum(node, wiring)
    total = 1
    for side in shape:
        total *= side
    return total // channels


def _places_of_sum(node: onnx.NodeProto, wiring: Wiring) -> int:
    waiting = list(node.input)
    while waiting:
        producer = wiring.producers.get(waiting.pop())
        if producer is not None and wiring.is_weighted(producer):
            return _places(producer, wiring)
        waiting += [] if producer is None else [name for name in producer.input if name not in wiring.constants]
    return 0


def _kind(node: onnx.NodeProto, wiring: Wiring) -> str:
    if not wiring.is_weighted(node):
        return RESIDUAL
    if node.op_type != "Conv":
        return "pointwise"
    if attribute(node, "group", 1) > 1 and wiring.kernel(node).shape[1] == 1:
        return "depthwise"
    if max(sides(node, "strides", (1, 1))) > 1:
        return "downsampling"
    return "pointwise" if max(wiring.kernel(node).shape[2:]) == 1 else "spatial"
