"""The model files of one member: made from the inference form, and each compared with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export import quantize
from export.graph import head_weights, inference_form
from export.parity import (
    EXACT_TOLERANCE,
    INFERENCE_FORM_TOLERANCE,
    Answers,
    Comparison,
    compare,
    require_linear_head,
    require_parity,
    run_file,
    run_network,
)
from export.radiographs import Case, knees
from export.rounding import round_to_grid
from export.to_litert import to_litert
from export.to_onnx import to_onnx
from osteo_edge.decision.scores import mean_logits, softmax
from osteo_edge.manifest import PRECISIONS, EngineName, InputSpec

if TYPE_CHECKING:
    import keras

    from train.run import Run

Track = Callable[[Sequence[Any], str], Iterable[Any]]

File = tuple[EngineName, str, bytes]

LITERT_MAX_WEIGHT = 127
ROUNDING_KNEES = 64
EXTENSIONS: Mapping[EngineName, str] = {"onnxruntime": "onnx", "litert": "tflite"}


@dataclass(frozen=True)
class ModelFile:
    """One exported file.

    Attributes:
        comparison: with the inference form, over all knees of the real radiographs.
        reference: its probabilities (labels,) on the reference picture.
    """

    engine: EngineName
    precision: str
    data: bytes = field(repr=False)
    comparison: Comparison
    reference: NDArray[np.float64]

    def path(self, member: str) -> str:
        return f"members/{member}.{self.precision}.{EXTENSIONS[self.engine]}"


@dataclass(frozen=True)
class ExportedMember:
    """A network in every form, with the measurements.

    Attributes:
        name: what its files are named after.
        head: (C, labels) float32.
        inference_form: the inference form compared with the trained network.
        integer: how int8 came about; None where it was not asked for.
    """

    name: str
    backbone: str
    files: tuple[ModelFile, ...]
    head: NDArray[np.float32] = field(repr=False)
    inference_form: Comparison
    integer: IntegerFiles | None

    @property
    def paths(self) -> dict[str, ModelFile]:
        """Path in the bundle -> file."""
        return {file.path(self.name): file for file in self.files}


@dataclass(frozen=True)
class IntegerFiles:
    """How the int8 files came about.

    Attributes:
        candidates: every recipe that was tried for ONNX, ``chosen`` among them.
        litert_nearest: LiteRT's dynamic range without compensated rounding, for comparison.
    """

    representative: quantize.RepresentativeSet
    candidates: tuple[quantize.Candidate, ...]
    chosen: quantize.Candidate
    litert_nearest: Comparison


@dataclass(frozen=True)
class Wish:
    """Which files a bundle shall hold; fp32 is always among them.

    Attributes:
        accepted_only: leave out reduced files that are not close enough to fp32 to be called the same model.
    """

    precisions: frozenset[str] = frozenset(PRECISIONS)
    accepted_only: bool = False


@dataclass(frozen=True)
class Bench:
    """What every file is judged on: all knees of the real radiographs, the reference's answers, and the reference picture."""

    spec: InputSpec
    knees: NDArray[np.float32]
    expected: Answers
    head: NDArray[np.float32]
    reference: Case

    def judge(self, engine: EngineName, precision: str, data: bytes) -> ModelFile:
        """Run a file on everything; fp32 files must equal the reference.

        Raises:
            ExportError: the file cannot be run or, when fp32, answers otherwise.
        """
        what = f"the {precision} file for {engine}"
        answers = run_file(engine, data, self.knees, spec=self.spec, what=what)
        comparison = compare(self.expected.probabilities, answers.probabilities)
        picture = run_file(engine, data, knees([self.reference]), spec=self.spec, what=what)
        if precision == "fp32":
            require_parity(comparison, tolerance=EXACT_TOLERANCE, what=what)
            require_linear_head(answers, self.head, what=what)
        return ModelFile(engine, precision, data, comparison, softmax(mean_logits(list(picture.logits))))


def export_member(
    name: str,
    run: Run,
    cases: Sequence[Case],
    reference: Case,
    *,
    wish: Wish,
    track: Track,
) -> ExportedMember:
    """Make and judge every wished file of one member.

    Args:
        cases, reference: in the view of this member.

    Raises:
        ExportError: a file differs from the trained network, or int8 cannot be made.
    """
    network = run.network()
    representative = quantize.representative_set(cases, run.training_digests) if "int8" in wish.precisions else None
    form = inference_form(network)
    pixels = knees([*cases, reference])
    trained = run_network(network, pixels)
    same = compare(trained.probabilities, run_network(form, pixels).probabilities)
    require_parity(same, tolerance=INFERENCE_FORM_TOLERANCE, what="the network with folded BatchNorm")
    bench = Bench(run.input, pixels, trained, head_weights(form), reference)
    exact = [("onnxruntime", "fp32", to_onnx(form, run.input)), *_litert(form, run.input, _ordered(wish.precisions))]
    judged = [bench.judge(*file) for file in track(exact, "comparing files")]
    if representative is None:
        return ExportedMember(name, run.backbone, _kept(judged, wish), bench.head, same, None)
    *judged, nearest = judged
    files, integer = _integer(form, bench, representative, nearest.comparison, track)
    return ExportedMember(name, run.backbone, _kept([*judged, *files], wish), bench.head, same, integer)


def _integer(
    form: keras.Model, bench: Bench, representative: quantize.RepresentativeSet, nearest: Comparison, track: Track
) -> tuple[list[ModelFile], IntegerFiles]:
    forms = _forms(form, representative, track)
    recipes = quantize.recipes_for(to_onnx(form, bench.spec))
    candidates = tuple(_try(bench, forms, recipe, representative) for recipe in track(recipes, "trying int8"))
    chosen = quantize.choose(candidates)
    (litert_int8,) = _litert(forms["litert"], bench.spec, ("int8",))
    reduced = [("onnxruntime", "int8", chosen.model), litert_int8]
    files = [bench.judge(*file) for file in track(reduced, "comparing int8")]
    return files, IntegerFiles(representative, candidates, chosen, nearest)


def _kept(files: Sequence[ModelFile], wish: Wish) -> tuple[ModelFile, ...]:
    is_kept = [file.precision == "fp32" or not wish.accepted_only or quantize.is_accepted(file.comparison) for file in files]
    return tuple(file for file, kept in zip(files, is_kept, strict=True) if kept)


def _ordered(precisions: frozenset[str]) -> tuple[str, ...]:
    return tuple(precision for precision in PRECISIONS if precision in precisions or precision == "fp32")


def _litert(form: keras.Model, spec: InputSpec, precisions: Sequence[str]) -> list[File]:
    return [("litert", precision, data) for precision, data in to_litert(form, spec, precisions).items()]


def _forms(form: keras.Model, representative: quantize.RepresentativeSet, track: Track) -> dict[str, keras.Model]:
    """The inference form as it is ("nearest"), and with compensated rounding for either engine's integers."""
    sample = np.concatenate(representative.tensors)[:ROUNDING_KNEES]
    limits = track((("onnxruntime", quantize.MAX_WEIGHT), ("litert", LITERT_MAX_WEIGHT)), "rounding weights")
    return {"nearest": form} | {engine: round_to_grid(form, sample, limit=limit) for engine, limit in limits}


def _try(
    bench: Bench, forms: Mapping[str, keras.Model], recipe: quantize.Recipe, representative: quantize.RepresentativeSet
) -> quantize.Candidate:
    source = forms["onnxruntime" if recipe.is_compensated else "nearest"]
    data = quantize.quantize(to_onnx(source, bench.spec), recipe, representative)
    return quantize.Candidate(recipe, data, bench.judge("onnxruntime", "int8", data).comparison)
