"""What a comparison of one bundle on several processors found; ``to_plain`` makes it JSON, ``parse_record`` reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from osteo_edge.manifest import EngineName, Precision

SCHEMA_VERSION = 1

Form = Literal["native", "avx512_hidden", "arm64"]
Status = Literal["compared", "not_available", "not_compared"]


@dataclass(frozen=True)
class Environment:
    """Where the files were run.

    Attributes:
        form: ``native`` is the reference for all others.
        status: ``not_available`` where this machine cannot show it, ``not_compared`` where it was not asked for or went wrong.
        reason: why it was not compared; empty otherwise.
        processor: its model's name; of an emulated one the name that the emulator gives.
        features: those of its instructions that decide which kernels the engines take; empty where not known.
        proof: what shows that the engines really saw another processor; empty for ``native``.
    """

    form: Form
    status: Status
    reason: str
    processor: str
    architecture: str
    features: tuple[str, ...]
    python: str
    engine_versions: Mapping[str, str]
    proof: str


@dataclass(frozen=True)
class Flip:
    """A knee whose likeliest class is another than natively.

    Attributes:
        radiograph_sha256: digest of the picture.
        knee: its number in the picture, from the left, from 0.
        margin: native probability of the likeliest class less that of the second.
        native, here: probabilities in the order of the manifest's labels.
    """

    radiograph_sha256: str
    knee: int
    margin: float
    native: tuple[float, ...]
    here: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One file in one environment, against the same file natively.

    Attributes:
        knees: number compared; those with the smallest native margins where not all were.
        max_difference, mean_difference: of a probability, absolute.
        same_label: share of knees with the same likeliest class.
        agreement: share of knees with the same likeliest class or a native margin under 0.02.
        flips: smallest native margin last.
        passes: fp32 and fp16 by the largest difference, int8 by agreement and mean difference; see ``Tolerances``.
        fault: why the file gave no answers; empty otherwise.
    """

    form: Form
    path: str
    engine: EngineName
    precision: Precision
    knees: int
    max_difference: float
    mean_difference: float
    same_label: float
    agreement: float
    flips: tuple[Flip, ...]
    passes: bool
    fault: str


@dataclass(frozen=True)
class Tolerances:
    """What passes.

    Integer layers round: where the float layers before a value differ in their last digits it may fall on the next step, and
    near a tie the label with it. Products that no longer fit their registers move every answer, so the mean is limited too.

    Attributes:
        max_difference: precision -> of a probability, for fp32 and fp16.
        min_agreement: for int8.
        max_mean_difference: form -> of a probability, for int8.
        clear_margin: native margin from which another label counts as disagreement.
    """

    max_difference: Mapping[str, float]
    min_agreement: float
    max_mean_difference: Mapping[str, float]
    clear_margin: float


@dataclass(frozen=True)
class Portability:
    """The whole comparison.

    Attributes:
        files: path -> SHA-256 of every model file of the bundle.
        knees, radiographs: that were run natively.
        passes: whether every compared file passes; what was not compared does not count.
    """

    schema_version: int
    bundle: str
    files: Mapping[str, str]
    radiographs: int
    knees: int
    tolerances: Tolerances
    environments: tuple[Environment, ...]
    rows: tuple[Row, ...]
    passes: bool
