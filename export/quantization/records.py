"""What the room's functions hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.to_onnx import to_onnx
from osteo_edge.manifest import EngineName, InputSpec, Metric

if TYPE_CHECKING:
    import keras

Floats = NDArray[np.float32]
Method = Literal["dynamic", "static"]
Ranges = Literal["minmax", "p99.99", "p99.9", "least_error"]
Preference = Literal["size", "speed"]
Limits = tuple[float, float]
# What a reduced file is judged by on held-back pictures, and how it is called: of runs of classes, and of runs of grades.
Lost = Literal["macro_auc", "quadratic_kappa"]
LOST: Mapping[Lost, str] = {"macro_auc": "macro AUC", "quadratic_kappa": "quadratic kappa"}


@dataclass(frozen=True)
class Recipe:
    """How an int8 file is made of an fp32 one. Weights are always int8 with a scale for each output channel.

    Attributes:
        method: "dynamic" measures the ranges of activations while running, "static" on the representative set. For ONNX
            Runtime "dynamic" takes matrix products alone, and "static" measures theirs while running all the same.
        ranges: of static activations: all of what was seen, the share of it that the number says, or where the squared
            error of rounding and cutting off together is least.
        is_compensated: weights are rounded so that their errors cancel (``export.quantization.rounding``).
        float_groups: groups of ``groups_of`` that stay fp32.
        tuning_epochs: passes of quantization-aware fine-tuning before (``export.quantization.aware``); 0 for none.
    """

    engine: EngineName
    method: Method
    ranges: Ranges = "minmax"
    is_compensated: bool = False
    float_groups: tuple[str, ...] = ()
    tuning_epochs: int = 0

    @property
    def name(self) -> str:
        """A few words for tables."""
        words: list[str] = [self.method]
        words += [self.ranges] if self.method == "static" else []
        words += ["compensated"] if self.is_compensated else []
        words += [f"tuned for {self.tuning_epochs} epochs"] if self.tuning_epochs else []
        return ", ".join(words)


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
class Flip:
    """One knee to which the int8 file gives another label than fp32.

    Attributes:
        knee: its place in the picture, from the left.
        margin, reduced_margin: the likeliest class's lead over the next, in fp32 and in int8.
        fp32, reduced: label -> probability.
        is_clear: the margin in fp32 is 0.02 or more, so the flip counts.
    """

    picture: str
    knee: int
    margin: float
    reduced_margin: float
    fp32: Mapping[str, float]
    reduced: Mapping[str, float]
    is_clear: bool


@dataclass(frozen=True)
class Agreement:
    """How a file agrees with its fp32 form on knees without labels.

    Attributes:
        agreement: share of knees with the same label, or with an fp32 margin under 0.02.
        same_label: share of knees with the same label.
        max_difference, mean_difference: of a probability, absolute.
        relative_error: L2 norm of the error of centred log-probabilities, by that of fp32's own.
        flips: every knee with another label, the clearest in fp32 first.
    """

    knees: int
    agreement: float
    same_label: float
    max_difference: float
    mean_difference: float
    relative_error: float
    flips: tuple[Flip, ...] = ()


@dataclass(frozen=True)
class GroupDamage:
    """What it costs to quantize one layer group and nothing else; the figures are those of ``Agreement``."""

    engine: EngineName
    method: Method
    group: str
    nodes: int
    weight_bytes: int
    agreement: float
    same_label: float
    max_difference: float
    mean_difference: float
    relative_error: float


@dataclass(frozen=True)
class Budget:
    """What a file may cost: agreement with fp32 on unlabelled knees, and what is lost on held-back radiographs.

    Attributes:
        max_drop: of ``figure``.
    """

    min_agreement: float = 0.99
    max_drop: float = 0.005
    figure: Lost = "macro_auc"


@dataclass(frozen=True)
class Tried:
    """One recipe, as far as it was judged: a measure that came too late to matter is None.

    Attributes:
        bytes: size of the file.
        quick: on a fixed part of the knees, without the list of flips.
        speed_ratio: times as fast as fp32, one thread, on the machine that exported.
        drop: what is lost of the budget's figure on held-back radiographs.
        verdict: what decided.
    """

    recipe: Recipe
    bytes: int
    quick: Agreement | None
    agreement: Agreement | None
    speed_ratio: float | None
    drop: Metric | None
    verdict: str


@dataclass(frozen=True)
class EnginePlan:
    """What was found for one engine; ``chosen`` is None where fp32 must serve, and ``reason`` says why."""

    engine: EngineName
    chosen: Recipe | None
    reason: str
    tried: tuple[Tried, ...]
    damages: tuple[GroupDamage, ...]


@dataclass(frozen=True)
class Plan:
    """The outcome of a search, for the evidence.

    Attributes:
        fp32_bytes: engine -> size of its fp32 file.
    """

    preference: Preference
    budget: Budget
    fp32_bytes: Mapping[str, int]
    engines: tuple[EnginePlan, ...]


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
