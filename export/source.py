"""What is exported: a finished run, or an ensemble of finished runs beside each other; either with covariates or without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Ensemble, Fusion
from osteo_edge.manifest_rules import check_ensemble, check_fusion, is_safe_path
from osteo_edge.questions import BONE_DENSITY, Question, check_question
from osteo_edge.records import parse_json, parse_record
from train.runs.folder import (
    ENSEMBLE_FILE,
    METRICS_FILE,
    QUESTION_FILE,
    SCORES_FILE,
    load_run,
    read_calibration,
    read_judged_digests,
)

if TYPE_CHECKING:
    from train.runs.folder import Calibration, Kind, Run

FUSION_FILE = "fusion.json"

Record = TypeVar("Record")


@dataclass(frozen=True)
class EnsembleFile:
    """``ensemble.json``: names of the members' run folders, which lie beside its own, and how their scores become one."""

    schema_version: Literal[1]
    members: tuple[str, ...]
    ensemble: Ensemble


@dataclass(frozen=True)
class FusionFile:
    """``fusion.json`` of any run's folder, as it goes into the manifest."""

    schema_version: Literal[2]
    fusion: Fusion


@dataclass(frozen=True)
class QuestionFile:
    """``question.json`` of any run's folder, as it goes into the manifest."""

    schema_version: Literal[1]
    question: Question


@dataclass(frozen=True)
class Source:
    """Finished runs on their way into one bundle.

    Attributes:
        names: of the members, from which their files are named: the backbone for one run, the folders for several.
        question: that of bone density where the folder has no ``question.json``.
        metrics: ``metrics.json`` of the folder, decoded: of the ensemble's own out-of-fold scores where there are several.
        training_digests: SHA-256 of every radiograph that any member was trained on, or the ensemble was fitted on.
        calibration_digests: of those that runs of grades were calibrated and judged on; none for runs of classes, which are
            judged out of fold.
        calibration: of runs of grades, what was fitted for all of them together.
    """

    folder: Path
    names: tuple[str, ...]
    runs: tuple[Run, ...]
    ensemble: Ensemble
    fusion: Fusion | None
    question: Question
    metrics: Mapping[str, Any]
    training_digests: frozenset[str]
    calibration_digests: frozenset[str] = frozenset()
    calibration: Calibration | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        return self.runs[0].labels

    @property
    def kind(self) -> Kind:
        return self.runs[0].kind


def load_source(folder: Path) -> Source:
    """Open a run's folder, or the folder of an ensemble of runs.

    Raises:
        ExportError: ``ensemble.json`` or ``fusion.json`` is not what it should be, or does not fit the runs.
        RunError: a run is not finished.
    """
    source = _load_ensemble(folder) if (folder / ENSEMBLE_FILE).is_file() else _load_single(folder)
    for run in source.runs:
        _require_exportable(run)
    try:
        check_ensemble(source.ensemble, members=len(source.runs), labels=len(source.labels))
        if source.fusion:
            check_fusion(source.fusion, labels=source.labels)
        check_question(source.question, source.labels)
    except ManifestError as error:
        raise ExportError(f"{folder}: {str(error).removeprefix('manifest.json: ')}") from error
    return source


def _require_exportable(run: Run) -> None:
    if run.body_part != "knee":
        raise ExportError(f"{run.folder}: was trained on {run.body_part}; bundles are of knees, and no other is ready for use")
    if run.target != "classes":
        raise ExportError(f"{run.folder}: its {run.target} head is no linear layer, which a bundle's map of the score needs")


def _load_single(folder: Path) -> Source:
    run = load_run(folder)
    fusion, question = _read_fusion(folder), _read_question(folder)
    # "@", which marks a network that ends early, has no place in a bundle's paths.
    name = run.backbone.replace("@", "-")
    mean, judged = Ensemble("mean"), read_judged_digests(folder) if run.kind == "grades" else frozenset[str]()
    return Source(folder, (name,), (run,), mean, fusion, question, run.metrics, run.training_digests, judged, run.calibration)


def _load_ensemble(folder: Path) -> Source:
    record = _read(EnsembleFile, folder / ENSEMBLE_FILE)
    for name in record.members:
        if not is_safe_path(name) or "/" in name:
            raise ExportError(f"{folder / ENSEMBLE_FILE}: members must be names of folders beside {folder.name}, not {name!r}")
    if not record.members or len(set(record.members)) != len(record.members):
        raise ExportError(f"{folder / ENSEMBLE_FILE}: members must name at least one run, and none twice")
    runs = tuple(load_run(folder.parent / name) for name in record.members)
    if len({run.labels for run in runs}) != 1:
        raise ExportError(f"{folder}: the members were trained on different labels")
    if len({run.kind for run in runs}) != 1:
        raise ExportError(f"{folder}: runs of grades and runs of classes answer no question together")
    return _of_grades(folder, record, runs) if runs[0].kind == "grades" else _of_classes(folder, record, runs)


def _of_grades(folder: Path, record: EnsembleFile, runs: tuple[Run, ...]) -> Source:
    metrics, question = _read_json(folder / METRICS_FILE), _read_question(folder)
    trained = frozenset[str]().union(*(run.training_digests for run in runs))
    judged, calibration = read_judged_digests(folder), read_calibration(folder, [run.folder for run in runs])
    return Source(folder, record.members, runs, record.ensemble, None, question, metrics, trained, judged, calibration)


def _of_classes(folder: Path, record: EnsembleFile, runs: tuple[Run, ...]) -> Source:
    metrics, scores = _read_json(folder / METRICS_FILE), _read_json(folder / SCORES_FILE)
    try:
        digests = frozenset(scores["radiographs"]).union(*(run.training_digests for run in runs))
        fusion, question = _read_fusion(folder), _read_question(folder)
        return Source(folder, record.members, runs, record.ensemble, fusion, question, metrics, digests)
    except (KeyError, TypeError) as error:
        raise ExportError(f"{folder / SCORES_FILE}: is not a file of out-of-fold scores ({error!r})") from error


def _read_fusion(folder: Path) -> Fusion | None:
    path = folder / FUSION_FILE
    return _read(FusionFile, path).fusion if path.is_file() else None


def _read_question(folder: Path) -> Question:
    path = folder / QUESTION_FILE
    return _read(QuestionFile, path).question if path.is_file() else BONE_DENSITY


def _read(kind: type[Record], path: Path) -> Record:
    try:
        return parse_record(kind, _read_json(path), where=path.name)
    except ManifestError as error:
        raise ExportError(f"{path.parent}: {error}") from error


def _read_json(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes(), what=path.name)
    except OSError as error:
        raise ExportError(f"{path}: cannot be read ({error.strerror}); let the training finish") from error
    except ManifestError as error:
        raise ExportError(f"{path.parent}: {error}") from error
