"""From an fp32 ONNX file to int8: static ranges, 7-bit weights, and recipes judged on real radiographs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from export.errors import ExportError
from export.graph import INPUT_NAME
from export.parity import Comparison
from export.radiographs import Case
from export.to_onnx import serialise
from osteo_edge.integrity import sha256_hex

MAX_REPRESENTATIVE_PICTURES = 64
MIN_LABEL_AGREEMENT = 0.99
MAX_MEAN_DIFFERENCE = 0.02
# Clip and Relu must be named: else a convolution's range is taken before its ReLU6, and most of the 8 bits go to
# values that are cut off right after.
OPERATORS = ["Add", "Clip", "Conv", "Gemm", "MatMul", "Relu"]
MAX_WEIGHT = 64  # products of 8-bit activations and larger weights overflow 16 bits on processors without VNNI


@dataclass(frozen=True)
class Recipe:
    """What is quantized, and how weights are rounded.

    Attributes:
        is_compensated: rounded so that errors cancel (``export.rounding``), not each weight to its nearest.
        float_first: so many of the first convolutions, and all before and between them, stay fp32.
        float_head, float_depthwise: these stay fp32.
    """

    name: str
    is_compensated: bool
    float_first: int = 1
    float_head: bool = True
    float_depthwise: bool = False


RECIPES = (
    Recipe("nearest_everything", is_compensated=False, float_first=0, float_head=False),
    Recipe("nearest", is_compensated=False),
    Recipe("nearest_float_depthwise", is_compensated=False, float_depthwise=True),
    Recipe("compensated", is_compensated=True),
    Recipe("compensated_float_first_12", is_compensated=True, float_first=12),
)


@dataclass(frozen=True)
class RepresentativeSet:
    """The training radiographs that the ranges of activations come from.

    Attributes:
        digests_sha256: SHA-256 of the sorted digests of the pictures, one a line.
    """

    pictures: int
    knees: int
    digests_sha256: str
    tensors: tuple[NDArray[np.float32], ...] = field(repr=False)


@dataclass(frozen=True)
class Candidate:
    """One recipe's file, and how it compares with the fp32 reference."""

    recipe: Recipe
    model: bytes = field(repr=False)
    comparison: Comparison

    @property
    def is_accepted(self) -> bool:
        return is_accepted(self.comparison)


def is_accepted(comparison: Comparison) -> bool:
    """Whether a reduced precision is close enough to fp32 to be called the same model."""
    agrees = comparison.clear_label_agreement >= MIN_LABEL_AGREEMENT
    return agrees and comparison.mean_difference <= MAX_MEAN_DIFFERENCE


def recipes_for(model: bytes) -> tuple[Recipe, ...]:
    """The recipes that leave something to quantize: those that keep fewer convolutions in fp32 than the network has."""
    convolutions = sum(node.op_type == "Conv" for node in onnx.load_from_string(model).graph.node)
    return tuple(recipe for recipe in RECIPES if recipe.float_first < convolutions)


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """The smallest accepted file; when none is accepted, the one that keeps most labels, then the nearest on average."""
    accepted = [candidate for candidate in candidates if candidate.is_accepted]
    if accepted:
        return min(accepted, key=lambda candidate: len(candidate.model))
    return max(candidates, key=_closeness)


def _closeness(candidate: Candidate) -> tuple[float, float]:
    return candidate.comparison.clear_label_agreement, -candidate.comparison.mean_difference


def representative_set(cases: Sequence[Case], training_digests: frozenset[str]) -> RepresentativeSet:
    """Training radiographs in the order of their digests, which is as good as chance and the same each time.

    Raises:
        ExportError: none of the cases was trained on.
    """
    known = sorted((case for case in cases if case.digest in training_digests and case.tensors), key=lambda case: case.digest)
    if not known:
        raise ExportError(
            "none of the radiographs under --data was trained on, so int8 ranges cannot be measured; check --data"
        )
    chosen = known[:MAX_REPRESENTATIVE_PICTURES]
    tensors = tuple(tensor for case in chosen for tensor in case.tensors)
    digests = "".join(f"{case.digest}\n" for case in chosen)
    return RepresentativeSet(len(chosen), len(tensors), sha256_hex(digests.encode()), tensors)


def quantize(model: bytes, recipe: Recipe, representative: RepresentativeSet) -> bytes:
    """An int8 QDQ file: activations uint8, weights int8 a channel within 7 bits.

    Raises:
        ExportError: the quantizer left a weight beyond 7 bits.
    """
    source = onnx.load_from_string(model)
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            source,
            str(target),
            _Feeds(representative),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=OPERATORS,
            nodes_to_exclude=float_nodes(source, recipe),
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        quantized = onnx.load(str(target))
    require_seven_bits(quantized)
    return serialise(quantized)


def float_nodes(model: onnx.ModelProto, recipe: Recipe) -> list[str]:
    """Names of the nodes that stay fp32 under ``recipe``; the input's scaling is always among them."""
    nodes = list(model.graph.node)
    convolutions = [index for index, node in enumerate(nodes) if node.op_type == "Conv"]
    names = [node.name for node in nodes[: convolutions[recipe.float_first]]]
    if recipe.float_head:
        names += [node.name for node in nodes if node.op_type in ("Gemm", "MatMul")]
    if recipe.float_depthwise:
        names += [node.name for node in nodes if _groups(node) > 1]
    return names


def require_seven_bits(model: onnx.ModelProto) -> None:
    """Check that no int8 weight exceeds 64 in magnitude.

    Raises:
        ExportError: one does, or the file holds no int8 weight at all.
    """
    weights = [onnx.numpy_helper.to_array(t) for t in model.graph.initializer if t.data_type == onnx.TensorProto.INT8]
    sizes = [int(np.abs(weight.astype(np.int16)).max()) for weight in weights if weight.ndim > 1]
    if not sizes or max(sizes) > MAX_WEIGHT:
        raise ExportError(f"int8 weights must lie within +-{MAX_WEIGHT}; the quantizer wrote {max(sizes, default=0)}")


class _Feeds(CalibrationDataReader):
    """What ONNX Runtime's calibrater pulls one feed at a time from."""

    def __init__(self, representative: RepresentativeSet) -> None:
        self._feeds: Iterator[NDArray[np.float32]] = iter(representative.tensors)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        tensor = next(self._feeds, None)
        return None if tensor is None else {INPUT_NAME: tensor}


def _groups(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
