"""What a bundle says of itself: the records behind ``manifest.json``; ``osteo_edge.manifest_rules`` reads and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from osteo_edge.questions import Question

SCHEMA_VERSION = 5

EngineName = Literal["onnxruntime", "litert"]
Precision = Literal["fp32", "fp16", "int8"]
ENGINE_NAMES: tuple[EngineName, ...] = ("onnxruntime", "litert")
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")


@dataclass(frozen=True)
class FileEntry:
    """One file of the bundle: SHA-256 in lower-case hexadecimal and size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class RegionProfile:
    """The upright box around a knee that a member is shown, in knee widths from the joint's centre.

    Attributes:
        mirrored: the side of the patient whose knees are shown as their mirror images, so that the inner half of every knee
            lies on the same side; empty for neither. A knee whose side the finder does not tell is shown as it is.
    """

    name: str
    half_width: float
    above: float
    below: float
    mirrored: Literal["", "left", "right"] = ""


@dataclass(frozen=True)
class InputSpec:
    """The tensor that a member takes: (1, height, width, 1), the input scaling being inside the graph.

    Attributes:
        dtype: ``uint8`` takes the grey levels rounded to whole numbers.
        value_range: lowest and highest value of the tensor.
        low_percentile, high_percentile: grey levels of the box that are stretched to ``value_range``.
    """

    height_px: int
    width_px: int
    dtype: Literal["float32", "uint8"]
    layout: Literal["NHWC"]
    value_range: tuple[float, float]
    low_percentile: float
    high_percentile: float


@dataclass(frozen=True)
class Member:
    """One network of the bundle.

    Attributes:
        region: what it is shown.
        files: engine name -> precision -> path.
        accepted: engine name -> precisions close enough to the trained network to stand for it, fp32 among them.
        default_precision: engine name -> the accepted precision that ``auto`` means where no choice fits the device.
        head_weights: ``.npy`` file, (features, labels) float32: logits = mean over the map of features @ weights + bias.
    """

    name: str
    backbone: str
    region: RegionProfile
    input: InputSpec
    files: Mapping[str, Mapping[str, str]]
    accepted: Mapping[str, tuple[str, ...]]
    default_precision: Mapping[str, str]
    head_weights: str


@dataclass(frozen=True)
class QualityLimits:
    """What a picture must have to be answered; see ``osteo_edge.images.quality``."""

    min_side_px: int
    min_dynamic_range: float


@dataclass(frozen=True)
class Conformal:
    """Split-conformal label sets (Sadinle, Lei and Wasserman 2019).

    Attributes:
        coverage: the share of what is answered for whose set holds the true class, for exchangeable pictures: of all together
            where the thresholds are equal (LAC), of each class where each was fitted on those of its class.
        min_probabilities: one a label, in the labels' order: a class with at least this probability is in the set.
        calibration_size: number of held-back radiographs or knees that the thresholds were fitted on.
        by_answer: whether what is compared with these is the geometric mean of the class's probability and that of the answer
            in which it lies, so that sets part between two answers rather than within one.
    """

    coverage: float
    min_probabilities: tuple[float, ...]
    calibration_size: int
    by_answer: bool = False


@dataclass(frozen=True)
class Metric:
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class DenseLayer:
    """``activation(x @ kernel + bias)``: kernel (inputs, outputs), bias (outputs,)."""

    kernel: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    activation: Literal["linear", "relu", "tanh"]


@dataclass(frozen=True)
class DeviceChoice:
    """What ``auto`` means on devices of one kind; the bundle's evidence holds the measurement behind it.

    Attributes:
        architecture: as ``platform.machine()`` gives it; empty for any.
        features: instructions that the processor must have, as ``osteo_edge.device`` names them.
        engine, precision: of which every member has an accepted file.
    """

    architecture: str
    features: tuple[str, ...]
    engine: EngineName
    precision: Precision


@dataclass(frozen=True)
class Tree:
    """One decision tree as plain numbers, one a node, the root first; children come after their parent.

    Attributes:
        feature: the input that the node asks for; -1 for a leaf.
        threshold: an input up to it goes left, a larger one right; 0 for a leaf.
        left, right: the node's children; -1 for a leaf.
        values: a leaf's probabilities (labels,); empty for the other nodes.
    """

    feature: tuple[int, ...]
    threshold: tuple[float, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]
    values: tuple[tuple[float, ...], ...]


EnsembleKind = Literal["mean", "weighted", "vote", "gompertz", "stacking", "forest", "cascade"]


@dataclass(frozen=True)
class Ensemble:
    """How the members' scores become one; see ``osteo_edge.decision.ensemble``.

    Attributes:
        weights: one a member, summing to one, for ``weighted``; empty otherwise.
        layers: for ``stacking``: from the members' logits, each less its mean over the labels, side by side in the
            members' order (members * labels,), to logits (labels,); empty otherwise.
        exits: for ``cascade``: after member i, the highest probability of the mean so far at which it stops; one a
            member but the last; empty otherwise.
        trees: for ``forest``: on the inputs of ``layers``; empty otherwise.
    """

    kind: EnsembleKind
    weights: tuple[float, ...] = ()
    layers: tuple[DenseLayer, ...] = ()
    exits: tuple[float, ...] = ()
    trees: tuple[Tree, ...] = ()


@dataclass(frozen=True)
class Covariate:
    """One thing that may be known of the person.

    Attributes:
        name: column of the table, for example ``age_years``; ``sex`` is 1 for female.
        kind: ``yes_no`` is 1 or 0.
        unit: for people, for example ``years``.
        low, high: values outside are refused.
        mean, deviation: what standardises the value; a missing one becomes 0.
        support: label -> lowest and highest value seen in training; empty where it is not judged.
    """

    name: str
    kind: Literal["number", "yes_no", "sex"]
    unit: str
    low: float
    high: float
    mean: float
    deviation: float
    support: Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Fusion:
    """The image score and covariates together: one multinomial logistic model.

    Its inputs, in order: the image's logits less their mean over the labels (labels,), the standardised covariates
    (covariates,), and for each covariate 1 where it is missing and 0 where it is known (covariates,).

    Attributes:
        required: covariates without which the fused answer is not given.
        kernel: (labels + 2 * covariates, labels).
        conformal: label sets in this mode.
        is_proven: whether the interval of the fused macro AUC lies above 0.5.
        image_adds: whether the paired interval of the macro AUC, fused less covariates alone, lies above 0.
        metrics: of the fused scores.
        without_image: the same covariates alone, on the same folds.
        gain: fused less covariates alone, paired.
    """

    covariates: tuple[Covariate, ...]
    required: tuple[str, ...]
    kernel: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    conformal: Conformal
    is_proven: bool
    image_adds: bool
    metrics: Mapping[str, Metric]
    without_image: Mapping[str, Metric]
    gain: Mapping[str, Metric]


@dataclass(frozen=True)
class Manifest:
    """The whole manifest; see the class of each field.

    Attributes:
        labels: degrees of one thing, in order, for example of falling bone density; label sets rely on it.
        question: what is asked of a picture, and the answers that the labels make.
        members: run in this order; each has a name of its own, and one engine at least has files of all of them.
        choices: what ``auto`` means on this device: the first that fits it and whose engine is installed.
        ensemble: how the members' scores become one; ``mean`` where there is one member.
        conformal: label sets of the answers from the picture alone.
        metrics: of the scores from the picture alone.
        fusion: None where the bundle answers from the picture alone.
        is_proven: whether cross-validation showed the scores to tell more than chance and more than the file's metadata and
            the picture's border do (the intervals of the macro AUC and of its paired differences lie above 0.5 and 0).
            Where it did not, the runtime gives scores and refers every picture.
    """

    schema_version: int
    name: str
    version: str
    labels: tuple[str, ...]
    question: Question
    body_part: str
    view_position: str
    intended_use: str
    licence: str
    finder: str
    members: tuple[Member, ...]
    ensemble: Ensemble
    quality: QualityLimits
    conformal: Conformal
    is_proven: bool
    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]]
    provenance: Mapping[str, str]
    files: Mapping[str, FileEntry]
    choices: tuple[DeviceChoice, ...] = ()
    fusion: Fusion | None = None
