"""What the room's functions hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from export.errors import ExportError
from export.plans import Plan, Recipe
from export.to_onnx import to_onnx
from osteo_edge.manifest import EngineName, InputSpec
from train.runs.arrays import Floats

if TYPE_CHECKING:
    import keras

Limits = tuple[float, float]


@dataclass(frozen=True)
class Exact:
    """The fp32 forms that every int8 file is made of: the Keras inference form and its ONNX file."""

    form: keras.Model
    spec: InputSpec
    onnx: bytes = field(repr=False)

    @classmethod
    def of(cls, form: keras.Model, spec: InputSpec) -> Exact:
        return cls(form, spec, to_onnx(form, spec))


@dataclass(frozen=True)
class RepresentativeSet:
    """The training radiographs that the ranges of activations come from.

    Attributes:
        digests_sha256: SHA-256 of the sorted digests of the pictures, one a line.
        tensors: one (1, H, W, 1) float32 a knee; none where the radiographs are not at hand.
    """

    pictures: int
    knees: int
    digests_sha256: str
    tensors: tuple[Floats, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Measured:
    """What an ONNX file in integers takes from radiographs, so that it is made again, to the byte, without any.

    Attributes:
        limits: tensor -> lowest and highest value of its range.
        constants: kernels and biases after compensated rounding (``rounding.constant_name``); empty without it.
    """

    limits: Mapping[str, Limits]
    constants: Mapping[str, Floats] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Found:
    """A plan and, by engine, the chosen files; an engine without one is left out."""

    plan: Plan
    files: Mapping[EngineName, bytes] = field(repr=False)


def require_known(recipe: Recipe, groups: Mapping[str, object]) -> None:
    """Check that the groups a recipe names exist.

    Raises:
        ExportError: names those that do not.
    """
    unknown = [group for group in recipe.float_groups if group not in groups]
    if unknown:
        raise ExportError(f"the network has no layer group {', '.join(unknown)}; it has: {', '.join(groups)}")
