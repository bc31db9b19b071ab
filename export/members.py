"""The model files of one member: made from the inference form, and each compared with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from export.errors import ExportError
from export.graph import head_weights, inference_form
from export.measured import MeasuredMember
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
from export.planning import knees_of_training
from export.plans import Agreement, MemberPlan, Reduced
from export.progress import Track
from export.quantization import AgreementBench, Exact, Maker, RepresentativeSet, representative_set
from export.radiographs import Case, knees
from export.to_litert import to_litert
from osteo_edge.decision.scores import mean_logits, softmax
from osteo_edge.manifest import EngineName, InputSpec
from train.runs.arrays import Doubles, Floats

if TYPE_CHECKING:
    from train.runs.folder import Run


EXTENSIONS: Mapping[EngineName, str] = {"onnxruntime": "onnx", "litert": "tflite"}


@dataclass(frozen=True)
class ModelFile:
    """One exported file.

    Attributes:
        comparison: with the trained network, over all knees of the pictures at hand.
        reference: its probabilities (labels,) on the reference picture.
        agreement: of a reduced file with fp32, on unlabelled knees; as its plan measured it where none are at hand.
    """

    engine: EngineName
    precision: str
    data: bytes = field(repr=False)
    comparison: Comparison
    reference: Doubles
    agreement: Agreement | None = None

    def path(self, member: str) -> str:
        return f"members/{member}.{self.precision}.{EXTENSIONS[self.engine]}"


@dataclass(frozen=True)
class ExportedMember:
    """A network in every form, with the measurements.

    Attributes:
        name: what its files are named after.
        head: (C, labels) float32.
        inference_form: the inference form compared with the trained network.
        plan: what was found out about reduced precisions; None where nothing but fp32 was asked for.
        representative: what int8 ranges come from; None without an int8 file.
    """

    name: str
    backbone: str
    files: tuple[ModelFile, ...]
    head: Floats = field(repr=False)
    inference_form: Comparison
    plan: MemberPlan | None = None
    representative: RepresentativeSet | None = None

    @property
    def paths(self) -> dict[str, ModelFile]:
        """Path in the bundle -> file."""
        return {file.path(self.name): file for file in self.files}


@dataclass(frozen=True)
class Bench:
    """What every file is judged on: all knees of the pictures at hand, the reference's answers, and the reference picture."""

    spec: InputSpec
    knees: Floats
    expected: Answers
    head: Floats
    reference: Case

    def judge(self, engine: EngineName, precision: str, data: bytes, agreement: Agreement | None = None) -> ModelFile:
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
        return ModelFile(engine, precision, data, comparison, softmax(mean_logits(list(picture.logits))), agreement)


def export_member(
    name: str,
    run: Run,
    cases: Sequence[Case],
    reference: Case,
    *,
    plan: MemberPlan | None,
    measured: MeasuredMember | None,
    unlabelled: Sequence[Case],
    min_agreement: float,
    precisions: frozenset[str],
    track: Track,
) -> ExportedMember:
    """Make and judge fp32 files, and the reduced ones that the plan accepts.

    Args:
        cases, reference, unlabelled: in the view of this member; without the last, agreement is the plan's.
        measured: what integer files took from training radiographs before; None to measure it on those among ``cases``.
        precisions: which reduced files are wanted.

    Raises:
        ExportError: a file differs from the trained network, a reduced one agrees less than its plan says, or it cannot be
            made of what is at hand.
    """
    network = run.network()
    exact = Exact.of(inference_form(network), run.input)
    pixels = knees([*cases, reference])
    trained = run_network(network, pixels)
    same = compare(trained.probabilities, run_network(exact.form, pixels).probabilities)
    require_parity(same, tolerance=INFERENCE_FORM_TOLERANCE, what="the inference form of the network")
    bench = Bench(run.input, pixels, trained, head_weights(exact.form), reference)
    litert = to_litert(exact.form, run.input, ("fp32",))["fp32"]
    pairs: list[tuple[EngineName, bytes]] = [("onnxruntime", exact.onnx), ("litert", litert)]
    files = [bench.judge(engine, "fp32", data) for engine, data in track(pairs, "comparing files")]
    wanted = [one for one in (plan.accepted() if plan else ()) if one.precision in precisions]
    if not wanted:
        return ExportedMember(name, run.backbone, tuple(files), bench.head, same, plan)
    representative = _representative(cases, run.training_digests, measured)
    tuning = knees_of_training(cases, run.training_digests) if any(one.is_tuned for one in wanted) else None
    maker = Maker(exact, representative, tuning=tuning, measured=measured.recipes if measured else None)
    agreement = AgreementBench(exact, unlabelled, run.labels) if unlabelled else None
    for one in track(wanted, "reduced files"):
        files.append(_reduced(one, exact, maker, agreement, bench, min_agreement))
    is_integer = any(one.recipe for one in wanted)
    return ExportedMember(name, run.backbone, tuple(files), bench.head, same, plan, representative if is_integer else None)


def _representative(
    cases: Sequence[Case], training_digests: frozenset[str], measured: MeasuredMember | None
) -> RepresentativeSet:
    """Training radiographs, with their pixels where those that were measured before are at hand."""
    if measured is None:
        return representative_set(cases, training_digests)
    if not any(case.digest in training_digests and case.tensors for case in cases):
        return measured.representative
    at_hand = representative_set(cases, training_digests)
    return at_hand if at_hand.digests_sha256 == measured.representative.digests_sha256 else measured.representative


def _reduced(
    one: Reduced, exact: Exact, maker: Maker, agreement: AgreementBench | None, bench: Bench, min_agreement: float
) -> ModelFile:
    """Made anew by its recipe, and judged anew: int8 ranges depend on the last digits of the machine that measures them."""
    data = maker.make(one.recipe) if one.recipe else to_litert(exact.form, exact.spec, (one.precision,))[one.precision]
    if agreement is None:
        return bench.judge(one.engine, one.precision, data, one.agreement)
    judged = agreement.judge(one.engine, data)
    if judged.agreement < min_agreement:
        raise ExportError(
            f"the {one.precision} file for {one.engine} agrees with fp32 on {judged.agreement:.2%} of the unlabelled knees "
            f"here, {min_agreement:.0%} are asked for, and its plan measured {one.agreement.agreement:.2%}; make the plan anew"
        )
    return bench.judge(one.engine, one.precision, data, judged)
