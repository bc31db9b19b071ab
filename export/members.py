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
from osteo_edge.manifest import EngineName, InputSpec

if TYPE_CHECKING:
    import keras

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

    def path(self, backbone: str) -> str:
        return f"members/{backbone}.{self.precision}.{EXTENSIONS[self.engine]}"


@dataclass(frozen=True)
class ExportedMember:
    """A network in every form, with the measurements.

    Attributes:
        head: (C, labels) float32.
        inference_form: the inference form compared with the trained network.
        candidates: every int8 recipe that was tried for ONNX, ``chosen`` among them.
        litert_nearest: LiteRT's dynamic range without compensated rounding, for comparison.
    """

    files: tuple[ModelFile, ...]
    head: NDArray[np.float32] = field(repr=False)
    inference_form: Comparison
    representative: quantize.RepresentativeSet
    candidates: tuple[quantize.Candidate, ...]
    chosen: quantize.Candidate
    litert_nearest: Comparison


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
    network: keras.Model,
    spec: InputSpec,
    cases: Sequence[Case],
    reference: Case,
    training_digests: frozenset[str],
    *,
    track: Track,
) -> ExportedMember:
    """Make and judge every file of one member.

    Raises:
        ExportError: a file differs from the trained network, or int8 cannot be made.
    """
    representative = quantize.representative_set(cases, training_digests)
    form = inference_form(network)
    pixels = knees([*cases, reference])
    trained = run_network(network, pixels)
    same = compare(trained.probabilities, run_network(form, pixels).probabilities)
    require_parity(same, tolerance=INFERENCE_FORM_TOLERANCE, what="the network with folded BatchNorm")
    bench = Bench(spec, pixels, trained, head_weights(form), reference)
    exact = [("onnxruntime", "fp32", to_onnx(form, spec)), *_litert(form, spec, ("fp32", "fp16", "int8"))]
    judged = [bench.judge(*file) for file in track(exact, "comparing files")]
    forms = _forms(form, representative, track)
    candidates = tuple(_try(bench, forms, recipe, representative) for recipe in track(quantize.RECIPES, "trying int8"))
    chosen = quantize.choose(candidates)
    (litert_int8,) = _litert(forms["litert"], spec, ("int8",))
    reduced = [("onnxruntime", "int8", chosen.model), litert_int8]
    files = (*judged[:-1], *(bench.judge(*file) for file in track(reduced, "comparing int8")))
    return ExportedMember(files, bench.head, same, representative, candidates, chosen, judged[-1].comparison)


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
