"""The whole export: a training run in, a proved bundle out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export import bundle_writer, card, parity, quantize
from export.data_card import read_data_card
from export.errors import ExportError
from export.members import ExportedMember, ModelFile, Track, export_member
from export.radiographs import Case, read_case, read_cases
from osteo_edge import __version__
from osteo_edge.bundle import Bundle
from osteo_edge.errors import ManifestError
from osteo_edge.images.region import JointFinder
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import SCHEMA_VERSION, Conformal, Manifest, Member, Metric, QualityLimits
from osteo_edge.records import parse_record
from osteo_edge.selftest import EXPECTED, Expected, ExpectedFile, ExpectedJoint

if TYPE_CHECKING:
    from train.run import Run

FINDER_FILE = "region/finder.npz"
REFERENCE_FILE = "reference/input.png"
QUALITY = QualityLimits(min_side_px=256, min_dynamic_range=0.05)
CHANCE = 0.5  # macro AUC of scores that know nothing
JOINT_TOLERANCE = 0.02  # knee widths
# Over devices: resizing may round a grey level otherwise, and int8 kernels a whole step.
SELF_TEST_TOLERANCES = {"fp32": 0.002, "fp16": 0.002, "int8": 0.02}
_SOFTWARE = ("tensorflow-cpu", "keras", "tf2onnx", "onnx", "onnxruntime", "ai-edge-litert", "numpy", "opencv-python-headless")


@dataclass(frozen=True)
class Material:
    """What goes into a bundle besides the network.

    Attributes:
        finder, reference: bytes of the knee finder's file and of the self-test's picture.
        data: folder of real radiographs.
        data_card: what is said of the radiographs that the run was trained on.
        coverage: of the label sets; None for the first that the run measured.
    """

    run: Run
    finder: bytes
    reference: bytes
    data: Path
    data_card: Path
    coverage: float | None = None


@dataclass(frozen=True)
class Exported:
    """A written bundle, its member's measurements and its size in a wheel."""

    bundle: Bundle
    member: ExportedMember
    zipped_bytes: int


def export_bundle(material: Material, output: Path, *, force: bool, track: Track) -> Exported:
    """Make, measure, pack and prove a bundle.

    Raises:
        ExportError: something is missing, or an exported file differs from the trained network.
        OsteoEdgeError: the runtime does not accept what was written.
    """
    bundle_writer.require_place(output, force=force)
    run, finder = material.run, JointFinder.from_bytes(material.finder)
    data_card = read_data_card(material.data_card)
    conformal = choose_conformal(run.metrics, material.coverage)
    reference = read_case(material.reference, REFERENCE_FILE, finder, run.region, run.input)
    if not reference.tensors:
        raise ExportError("the finder finds no knee on the synthetic reference picture; check --finder")
    cases = read_cases(material.data, finder, run.region, run.input, track=track)
    member = export_member(run.network(), run.input, cases, reference, run.training_digests, track=track)
    files = _contents(material, member, cases, reference)
    manifest = _manifest(material, member, conformal, output.name, files)
    files["MODEL_CARD.md"] = card.model_card(manifest, run.metrics, member, data_card, pictures=len(cases)).encode()
    files["LICENSE"] = card.licence(run.backbone, data_card).encode()
    manifest = _manifest(material, member, conformal, output.name, files)
    bundle = bundle_writer.write_bundle(manifest, files, output, force=force)
    return Exported(bundle, member, bundle_writer.zipped_size(files))


def choose_conformal(metrics: Mapping[str, Any], coverage: float | None) -> Conformal:
    """The threshold that the run fitted for ``coverage``; the first of its configuration by default.

    Raises:
        ExportError: the run measured no such coverage.
    """
    fitted = [
        Conformal(float(one["coverage"]), float(one["min_probability"]), int(one["calibration_size"]))
        for one in metrics.get("conformal", ())
    ]
    wanted = [one for one in fitted if coverage is None or abs(one.coverage - coverage) < 1e-9]
    if not wanted:
        known = ", ".join(f"{one.coverage:g}" for one in fitted) or "none"
        raise ExportError(f"the run has no label sets of the coverage asked for; it has: {known} (--coverage)")
    return wanted[0]


def _contents(material: Material, member: ExportedMember, cases: Sequence[Case], reference: Case) -> dict[str, bytes]:
    backbone = material.run.backbone
    return {
        FINDER_FILE: material.finder,
        REFERENCE_FILE: material.reference,
        EXPECTED: bundle_writer.to_json(_expected(material.run, member, reference)),
        _head_path(backbone): _npy(member.head),
        **{file.path(backbone): file.data for file in member.files},
        "evidence/parity.json": bundle_writer.to_json(_parity(material.run, member, cases)),
        "evidence/quantization.json": bundle_writer.to_json(_quantization(material.run, member)),
        "evidence/evaluation.json": bundle_writer.to_json(material.run.metrics),
    }


def _manifest(
    material: Material, member: ExportedMember, conformal: Conformal, name: str, files: Mapping[str, bytes]
) -> Manifest:
    run = material.run
    figures = _metrics(run.metrics["model"], "model")
    return Manifest(
        schema_version=SCHEMA_VERSION,
        name=name,
        version=__version__,
        labels=run.labels,
        body_part="knee",
        view_position="AP",
        intended_use=card.INTENDED_USE,
        licence=card.LICENCE_ID,
        finder=FINDER_FILE,
        members=(_member(run, member),),
        quality=QUALITY,
        conformal=conformal,
        is_proven=figures["macro_auc"].low > CHANCE,
        metrics=figures,
        baselines={system: _metrics(figures, system) for system, figures in run.metrics["baselines"].items()},
        provenance=_provenance(material),
        files=bundle_writer.list_files(files),
    )


def _member(run: Run, member: ExportedMember) -> Member:
    files: dict[str, dict[str, str]] = {}
    for file in member.files:
        files.setdefault(file.engine, {})[file.precision] = file.path(run.backbone)
    return Member(
        name=run.backbone,
        backbone=run.backbone,
        region=run.region,
        input=run.input,
        files=files,
        default_precision=dict.fromkeys(files, "fp32"),
        head_weights=_head_path(run.backbone),
    )


def _metrics(plain: Mapping[str, Any], system: str) -> dict[str, Metric]:
    try:
        found = {name: parse_record(Metric, value, where=f"metrics.json: {system}.{name}") for name, value in plain.items()}
    except ManifestError as error:
        raise ExportError(f"the run's figures cannot be read: {error}") from error
    return {name: Metric(*(round(number, 4) for number in (m.value, m.low, m.high))) for name, m in found.items()}


def _provenance(material: Material) -> dict[str, str]:
    run, data_card = material.run, read_data_card(material.data_card)
    return {
        "training_run": run.folder.name,
        "training_radiographs": str(len(run.training_digests)),
        "training_digests_sha256": _digest_of(run.training_digests),
        "training_set": data_card.source,
        "label_source": data_card.label_source,
        "data_card": material.data_card.name,
        "made_by": "python -m export bundle",
        **{f"software_{name}": version(name) for name in _SOFTWARE},
    }


def _digest_of(digests: frozenset[str]) -> str:
    return sha256_hex("".join(f"{digest}\n" for digest in sorted(digests)).encode())


def _expected(run: Run, member: ExportedMember, reference: Case) -> Expected:
    return Expected(
        picture=REFERENCE_FILE,
        joints=tuple(ExpectedJoint(joint.x_px, joint.y_px, joint.width_px) for joint in reference.joints),
        joint_tolerance=JOINT_TOLERANCE,
        files={file.path(run.backbone): _expected_file(file, run.labels) for file in member.files},
    )


def _expected_file(file: ModelFile, labels: Sequence[str]) -> ExpectedFile:
    probabilities = dict(zip(labels, (round(value, 6) for value in file.reference.tolist()), strict=True))
    return ExpectedFile(probabilities, SELF_TEST_TOLERANCES[file.precision])


def _parity(run: Run, member: ExportedMember, cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "what": "probabilities of every file against the trained network in Keras, per knee, on real radiographs",
        "radiographs": len(cases),
        "radiographs_without_a_knee": sum(not case.tensors for case in cases),
        "radiographs_trained_on": sum(case.digest in run.training_digests for case in cases),
        "fp32_tolerance": parity.EXACT_TOLERANCE,
        "clear_margin": parity.MIN_MARGIN,
        "inference_form_against_trained_network": member.inference_form,
        "inference_form_tolerance": parity.INFERENCE_FORM_TOLERANCE,
        "files_against_trained_network": {file.path(run.backbone): file.comparison for file in member.files},
    }


def _quantization(run: Run, member: ExportedMember) -> dict[str, Any]:
    reduced = [file for file in member.files if file.precision != "fp32"]
    return {
        "rule": {
            "min_clear_label_agreement": quantize.MIN_LABEL_AGREEMENT,
            "max_mean_difference": quantize.MAX_MEAN_DIFFERENCE,
            "choice": "the smallest accepted ONNX file; when none is accepted, the one that keeps most labels",
            "default_precision": "fp32",
        },
        "representative_set": {
            "source": "radiographs that the network was trained on, in the order of their SHA-256",
            "radiographs": member.representative.pictures,
            "knees": member.representative.knees,
            "digests_sha256": member.representative.digests_sha256,
        },
        "onnx_recipes": [
            {"recipe": one.recipe, "bytes": len(one.model), "against_fp32": one.comparison, "accepted": one.is_accepted}
            for one in member.candidates
        ],
        "onnx_chosen": member.chosen.recipe.name,
        "litert_without_compensation": member.litert_nearest,
        "files": {
            file.path(run.backbone): {
                "bytes": len(file.data),
                "against_fp32": file.comparison,
                "accepted": quantize.is_accepted(file.comparison),
            }
            for file in reduced
        },
    }


def _head_path(backbone: str) -> str:
    return f"members/{backbone}.head.npy"


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
