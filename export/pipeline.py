"""The whole export: a training run in, a proved bundle out."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import bundle_writer, card, parity
from export.card_files import Pictures
from export.data_card import read_data_card
from export.errors import ExportError
from export.evaluation import Evaluation, evaluate
from export.evidence import Evidence
from export.graded_knees import read_source_cases
from export.measured import MeasuredMember
from export.members import ExportedMember, ModelFile, export_member
from export.origin import origin_of
from export.plans import MemberPlan, SourcePlan
from export.progress import Track
from export.question_card import QuestionCard, read_question_card
from export.radiographs import Case, View, draw_cases, read_case, read_cases
from export.source import Source
from osteo_edge import __version__
from osteo_edge.bundle import Bundle
from osteo_edge.decision.ensemble import combine
from osteo_edge.decision.scores import softmax
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.integrity import sha256_hex
from osteo_edge.joints import Joint
from osteo_edge.manifest import (
    ENGINE_NAMES,
    PRECISIONS,
    SCHEMA_VERSION,
    EngineName,
    Manifest,
    Member,
    QualityLimits,
)
from osteo_edge.records import to_plain
from osteo_edge.selftest import EXPECTED, MAX_JOINT_TOLERANCE, MAX_TOLERANCES, Expected, ExpectedFile, ExpectedJoint

if TYPE_CHECKING:
    from train.runs.folder import Run

FINDER_FILE = "region/finder.npz"
REFERENCE_FILE = "reference/input.png"
MIN_DYNAMIC_RANGE = 0.05
# Of the self-test, over devices: resizing may round a grey level otherwise.
SELF_TEST_TOLERANCE = 0.001
_SOFTWARE = ("tensorflow-cpu", "keras", "onnx", "onnxruntime", "ai-edge-litert", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Material:
    """What goes into a bundle, and what it is measured on.

    Attributes:
        finder, reference: bytes of the knee finder's file and of the self-test's picture.
        data: folder of real radiographs; None where none are at hand, and files are compared on synthetic pictures.
        data_card: what is said of the radiographs that the runs were trained on.
        coverage: of the label sets; None for the first that the run measured.
        plan: which reduced files the bundle may hold; None for fp32 alone.
        measured: what integer files took from training radiographs before; None to measure it on ``data``.
        unlabelled: folder of the knees that reduced files are judged on; None without a plan, or with ``measured`` where
            none are at hand: then the agreement is the one that the plan measured.
        precisions: which of the plan's files are packed.
        evidence: what was measured of just these files before.
    """

    source: Source
    finder: bytes
    reference: bytes
    data: Path | None
    data_card: Path
    coverage: float | None = None
    plan: SourcePlan | None = None
    measured: Mapping[str, MeasuredMember] | None = None
    unlabelled: Path | None = None
    precisions: frozenset[str] = frozenset(PRECISIONS)
    evidence: Evidence = field(default_factory=Evidence)


@dataclass(frozen=True)
class Exported:
    """A written bundle, what its files were compared on, its members' measurements and its size in a wheel."""

    bundle: Bundle
    pictures: Pictures
    members: tuple[ExportedMember, ...]
    zipped_bytes: int


def export_bundle(material: Material, output: Path, *, force: bool, track: Track) -> Exported:
    """Make, measure, pack and prove a bundle.

    Raises:
        ExportError: something is missing, or an exported file differs from the trained network.
        OsteoEdgeError: the runtime does not accept what was written.
    """
    bundle_writer.require_place(output, force=force)
    source, finder = material.source, JointFinder.from_bytes(material.finder)
    data_card = read_data_card(material.data_card)
    evaluation = evaluate(source, material.coverage)
    question_card = read_question_card(source.question)
    origins = [origin_of(run, data_card) for run in source.runs]
    views = list(dict.fromkeys(View(run.region, run.input) for run in source.runs))
    reference = read_case(material.reference, REFERENCE_FILE, finder, views)
    if not reference[views[0]].tensors:
        raise ExportError("the finder finds no knee on the synthetic reference picture; check --finder")
    cases = _cases(material, finder, views, track)
    unlabelled = _unlabelled(material, finder, views, track)
    members = tuple(_export_members(material, cases, unlabelled, reference, track))
    files = _contents(material, members, cases[views[0]], reference[views[0]])
    manifest = _manifest(material, members, evaluation, question_card, output.name, files)
    pictures = _pictures(material, cases[views[0]])
    together = material.plan.together if material.plan else {}
    files["MODEL_CARD.md"] = card.model_card(
        manifest,
        source,
        members,
        question_card,
        data_card,
        origins,
        together=together,
        pictures=pictures,
        stability=material.evidence.stability,
    ).encode()
    files["LICENSE"] = card.licence(origins, data_card).encode()
    manifest = _manifest(material, members, evaluation, question_card, output.name, files)
    bundle = bundle_writer.write_bundle(manifest, files, output, force=force)
    return Exported(bundle, pictures, members, bundle_writer.zipped_size(files))


def _cases(material: Material, finder: JointFinder, views: Sequence[View], track: Track) -> Mapping[View, Sequence[Case]]:
    if material.data is None:
        return draw_cases(finder, views, track=track)
    return read_source_cases(material.source, material.data, finder, views, track=track)


def _pictures(material: Material, cases: Sequence[Case]) -> Pictures:
    trained_on = sum(case.digest in material.source.training_digests for case in cases)
    return Pictures(len(cases), is_real=material.data is not None, trained_on=trained_on)


def _unlabelled(material: Material, finder: JointFinder, views: Sequence[View], track: Track) -> Mapping[View, Sequence[Case]]:
    if material.plan is None or (material.unlabelled is None and material.measured is not None):
        return dict.fromkeys(views, ())
    if material.unlabelled is None:
        raise ExportError(
            "reduced files are judged on knees without a label, or made of what was measured before; name the folder of those "
            "(--unlabelled) or the file of that (--measured)"
        )
    return read_cases(material.unlabelled, finder, views, track=track)


def _export_members(
    material: Material,
    cases: Mapping[View, Sequence[Case]],
    unlabelled: Mapping[View, Sequence[Case]],
    reference: Mapping[View, Case],
    track: Track,
) -> Iterator[ExportedMember]:
    plan = material.plan
    for name, run in zip(material.source.names, material.source.runs, strict=True):
        view = View(run.region, run.input)
        yield export_member(
            name,
            run,
            cases[view],
            reference[view],
            plan=plan.members[name] if plan else None,
            measured=material.measured[name] if material.measured else None,
            unlabelled=unlabelled[view],
            min_agreement=plan.budget.min_agreement if plan else 1.0,
            precisions=material.precisions,
            track=track,
        )


def _contents(
    material: Material, members: Sequence[ExportedMember], cases: Sequence[Case], reference: Case
) -> dict[str, bytes]:
    source = material.source
    files = {
        FINDER_FILE: material.finder,
        REFERENCE_FILE: material.reference,
        EXPECTED: bundle_writer.to_json(_expected(source, members, reference, material.evidence)),
        "evidence/evaluation.json": bundle_writer.to_json(source.metrics),
    }
    for member, run in zip(members, source.runs, strict=True):
        evidence = "evidence/" if len(members) == 1 else f"evidence/{member.name}."
        files |= {path: file.data for path, file in member.paths.items()}
        files[_head_path(member.name)] = _npy(member.head)
        files[f"{evidence}parity.json"] = bundle_writer.to_json(_parity(run, member, cases, _pictures(material, cases)))
        if member.plan:
            files[f"{evidence}quantization.json"] = bundle_writer.to_json(
                _quantization(member, member.plan, is_judged_here=material.unlabelled is not None)
            )
    if material.plan and material.plan.together:
        files["evidence/ensemble_int8.json"] = bundle_writer.to_json(material.plan.together)
    return files | material.evidence.files_of({path: files[path] for member in members for path in member.paths})


def _manifest(
    material: Material,
    members: Sequence[ExportedMember],
    evaluation: Evaluation,
    question_card: QuestionCard,
    name: str,
    files: Mapping[str, bytes],
) -> Manifest:
    source = material.source
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=__version__,
        labels=source.labels,
        question=source.question,
        body_part="knee",
        view_position="AP",
        intended_use=question_card.intended_use,
        licence=card.LICENCE_ID,
        finder=FINDER_FILE,
        members=tuple(_member(run, member) for run, member in zip(source.runs, members, strict=True)),
        ensemble=source.ensemble,
        quality=QualityLimits(max(run.min_side_px for run in source.runs), MIN_DYNAMIC_RANGE),
        conformal=evaluation.conformal,
        is_proven=evaluation.is_proven,
        metrics=evaluation.metrics,
        baselines=evaluation.baselines,
        provenance=_provenance(material),
        files=bundle_writer.list_files(files),
        fusion=source.fusion,
        choices=material.evidence.choices(_accepted_by_all(members), _errors_of(members)),
    )


def _accepted_by_all(members: Sequence[ExportedMember]) -> dict[EngineName, list[str]]:
    """Engine -> precisions that every member has a file of; what is outside the budget is not packed."""
    return {
        engine: [
            precision
            for precision in PRECISIONS
            if all(any((one.engine, one.precision) == (engine, precision) for one in member.files) for member in members)
        ]
        for engine in ENGINE_NAMES
    }


def _errors_of(members: Sequence[ExportedMember]) -> dict[tuple[str, str], float]:
    """Engine and precision -> the largest relative error of any member's reduced file."""
    found: dict[tuple[str, str], float] = {}
    for one in (reduced for member in members if member.plan for reduced in member.plan.reduced):
        key = (one.engine, one.precision)
        found[key] = max(found.get(key, 0.0), one.agreement.relative_error)
    return found


def _member(run: Run, member: ExportedMember) -> Member:
    files: dict[str, dict[str, str]] = {}
    for path, file in member.paths.items():
        files.setdefault(file.engine, {})[file.precision] = path
    return Member(
        name=member.name,
        backbone=run.backbone,
        region=run.region,
        input=run.input,
        files=files,
        accepted={
            engine: tuple(precision for precision in PRECISIONS if precision in of_one) for engine, of_one in files.items()
        },
        default_precision=dict.fromkeys(files, "fp32"),
        head_weights=_head_path(member.name),
    )


def _provenance(material: Material) -> dict[str, str]:
    source, data_card = material.source, read_data_card(material.data_card)
    several = {"member_runs": ", ".join(source.names)} if len(source.runs) > 1 else {}
    return {
        "training_run": source.folder.name,
        **several,
        "training_radiographs": str(len(source.training_digests)),
        "training_digests_sha256": _digest_of(source.training_digests),
        **_calibrated_on(source),
        "training_set": data_card.source,
        "label_source": data_card.label_source,
        "data_card": material.data_card.name,
        "made_by": "python -m export bundle",
        **{f"software_{name}": version(name) for name in _SOFTWARE},
    }


def _calibrated_on(source: Source) -> dict[str, str]:
    digests = source.calibration_digests
    return {"calibration_radiographs": str(len(digests)), "calibration_digests_sha256": _digest_of(digests)} if digests else {}


def _digest_of(digests: frozenset[str]) -> str:
    return sha256_hex("".join(f"{digest}\n" for digest in sorted(digests)).encode())


def _expected(source: Source, members: Sequence[ExportedMember], reference: Case, evidence: Evidence) -> dict[str, Any]:
    expected = Expected(
        picture=REFERENCE_FILE,
        joints=tuple(_expected_joint(joint) for joint in reference.joints),
        joint_tolerance=MAX_JOINT_TOLERANCE,
        files={
            path: _expected_file(file.reference, self_test_tolerance(path, file.precision, evidence), source.labels)
            for member in members
            for path, file in member.paths.items()
        },
        together=_together(source, members) if len(members) > 1 else {},
    )
    plain: dict[str, Any] = to_plain(expected)
    return plain if expected.together else {key: value for key, value in plain.items() if key != "together"}


def _expected_joint(joint: Joint) -> ExpectedJoint:
    return ExpectedJoint(joint.x_px, joint.y_px, joint.width_px, joint.laterality.value if joint.laterality else "")


def _together(source: Source, members: Sequence[ExportedMember]) -> dict[str, ExpectedFile]:
    """Engine -> what the fp32 files of all members, which are their defaults, answer together."""
    combined: dict[str, ExpectedFile] = {}
    for engine in ENGINE_NAMES:
        logits = [np.log(file.reference) for member in members for file in member.files if _is_default(file, engine)]
        combined[engine] = _expected_file(
            softmax(combine(source.ensemble, np.stack(logits))), SELF_TEST_TOLERANCE, source.labels
        )
    return combined


def _is_default(file: ModelFile, engine: str) -> bool:
    return (file.engine, file.precision) == (engine, "fp32")


def self_test_tolerance(path: str, precision: str, evidence: Evidence) -> float:
    """By how much this file's probabilities may be off on another device: what was measured of it, and what resizing does.

    Raises:
        ExportError: it was measured to differ by more than the self-test of any file may allow.
    """
    tolerance = SELF_TEST_TOLERANCE + (evidence.largest_difference(path) if precision == "int8" else 0.0)
    if tolerance > MAX_TOLERANCES[precision]:
        raise ExportError(
            f"{path} differs by {tolerance:.2g} between processors, and a self-test may allow {MAX_TOLERANCES[precision]:g}; "
            "leave this precision out of the bundle"
        )
    return round(tolerance, 6)


def _expected_file(answer: np.ndarray[Any, Any], tolerance: float, labels: Sequence[str]) -> ExpectedFile:
    probabilities = dict(zip(labels, (round(value, 6) for value in answer.tolist()), strict=True))
    return ExpectedFile(probabilities, tolerance)


def _parity(run: Run, member: ExportedMember, cases: Sequence[Case], pictures: Pictures) -> dict[str, Any]:
    without = sum(not case.tensors for case in cases)
    if pictures.is_real:
        on = "real radiographs"
        counts = {
            "radiographs": len(cases),
            "radiographs_without_a_knee": without,
            "radiographs_trained_on": sum(case.digest in run.training_digests for case in cases),
        }
    else:
        on = "synthetic pictures (train/synthetic), since no radiograph was at hand where this bundle was packed"
        counts = {"radiographs": 0, "synthetic_pictures": len(cases), "synthetic_pictures_without_a_knee": without}
    return {
        "what": f"probabilities of every file against the trained network in Keras, per knee, on {on}",
        **counts,
        "fp32_tolerance": parity.EXACT_TOLERANCE,
        "clear_margin": parity.MIN_MARGIN,
        "inference_form_against_trained_network": member.inference_form,
        "inference_form_tolerance": parity.INFERENCE_FORM_TOLERANCE,
        "files_against_trained_network": {path: file.comparison for path, file in member.paths.items()},
    }


def _quantization(member: ExportedMember, plan: MemberPlan, *, is_judged_here: bool) -> dict[str, Any]:
    representative = member.representative
    return {
        "plan": plan,
        "representative_set": representative
        and {
            "source": "radiographs that the network was trained on, in the order of their SHA-256",
            "radiographs": representative.pictures,
            "knees": representative.knees,
            "digests_sha256": representative.digests_sha256,
        },
        "agreement_measured": "when this bundle was packed" if is_judged_here else "when the plan was made",
        "files": {
            path: {"bytes": len(file.data), "agreement": file.agreement}
            for path, file in member.paths.items()
            if file.agreement
        },
    }


def _head_path(member: str) -> str:
    return f"members/{member}.head.npy"


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
