"""What was found about reduced files: the records of ``plan.json``, from which bundles are made again in minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from export.bundle_writer import to_json
from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import EngineName, Metric
from osteo_edge.records import parse_json, parse_record
from osteo_edge.storage import write_file
from train.runs.folder import WEIGHTS_FILE

if TYPE_CHECKING:
    from export.source import Source
    from train.runs.folder import Run

SCHEMA_VERSION: Literal[1] = 1
Method = Literal["dynamic", "static"]
Ranges = Literal["minmax", "p99.99", "p99.9", "least_error"]
Preference = Literal["size", "speed"]
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
class FoldFigures:
    """Figures of fp32 and of the reduced form on the same held-back radiographs, with 95 % intervals by patient.

    Attributes:
        difference: reduced less fp32, paired.
    """

    fp32: Mapping[str, Metric]
    reduced: Mapping[str, Metric]
    difference: Mapping[str, Metric]

    @property
    def figure(self) -> Lost:
        """By which what is lost is judged."""
        return next(name for name in LOST if name in self.difference)

    @property
    def drop(self) -> Metric:
        """What is lost of it."""
        lost = self.difference[self.figure]
        return Metric(-lost.value, -lost.high, -lost.low)


@dataclass(frozen=True)
class Bin:
    """Of a reliability diagram: share of the radiographs, mean confidence, share that is right."""

    share: float
    confidence: float
    right: float


@dataclass(frozen=True)
class Reduced:
    """One reduced file of a member, judged.

    Attributes:
        recipe: None for half precision, which needs none.
        agreement: with fp32 on unlabelled knees.
        figures: fold by fold, against fp32.
        reliability: of its out-of-fold scores.
        is_accepted: it meets the budget.
    """

    engine: EngineName
    precision: Literal["fp16", "int8"]
    recipe: Recipe | None
    bytes: int
    agreement: Agreement
    figures: FoldFigures
    reliability: tuple[Bin, ...]
    is_accepted: bool

    @property
    def is_tuned(self) -> bool:
        """Whether the weights are fine-tuned for it, on training radiographs."""
        return self.recipe is not None and self.recipe.tuning_epochs > 0


@dataclass(frozen=True)
class MemberPlan:
    """What was found for one member.

    Attributes:
        weights_sha256: of the run's weights.
        int8: the search.
        reduced: the files that came out of it, and half precision.
        reliability: of the fp32 out-of-fold scores.
    """

    run: str
    weights_sha256: str
    int8: Plan
    reduced: tuple[Reduced, ...]
    reliability: tuple[Bin, ...]

    def accepted(self) -> tuple[Reduced, ...]:
        return tuple(one for one in self.reduced if one.is_accepted)


@dataclass(frozen=True)
class SourcePlan:
    """``plan.json``.

    Attributes:
        radiographs, unlabelled: pictures with a knee that fold by fold judging and agreement stand on.
        members: by name.
        together: engine -> figures of the whole ensemble with all members' int8 files, where every member has one.
    """

    schema_version: Literal[1]
    source: str
    budget: Budget
    preference: Preference
    radiographs: int
    unlabelled: int
    members: Mapping[str, MemberPlan]
    together: Mapping[str, FoldFigures] = field(default_factory=dict)


def write_plan(plan: SourcePlan, path: Path) -> None:
    """Write ``plan.json``.

    Raises:
        ExportError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, to_json(plan))
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); choose another --output") from error


def read_plan(path: Path, source: Source) -> SourcePlan:
    """Read ``plan.json``, which must be of just these runs.

    Raises:
        ExportError: it cannot be read, or is of other weights.
    """
    plan = read_any_plan(path)
    digests = {name: digest_of(run) for name, run in zip(source.names, source.runs, strict=True)}
    if digests != {name: member.weights_sha256 for name, member in plan.members.items()}:
        raise ExportError(f"{path}: was made for other weights than those of {source.folder}; make it again")
    return plan


def read_any_plan(path: Path) -> SourcePlan:
    """Read ``plan.json``, whatever it is of.

    Raises:
        ExportError: it cannot be read.
    """
    try:
        return parse_record(SourcePlan, parse_json(path.read_bytes(), what=path.name), where=path.name)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); make it with 'python -m export plan'") from error
    except ManifestError as error:
        raise ExportError(f"{path}: is not a plan that this version writes ({error}); make it again") from error


def digest_of(run: Run) -> str:
    """SHA-256 of a run's file of weights."""
    return sha256_hex((run.folder / WEIGHTS_FILE).read_bytes())
