"""What a run's folder says, read once and checked, for tables and pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Metric
from osteo_edge.records import parse_record
from train.data.dataset import LABELS
from train.runs.folder import CONFIG_FILE, CURVES_FILE, METRICS_FILE, REGIONS_FILE, RUN_FILE, SCORES_FILE, RunError, read_json
from train.runs.scores import MODEL, Scores, read_scores

TABLES_FILE = "tables.json"
LEARNING_FILE = "learning.json"
OTHER_FILES = ("fusion.json", "ensemble.json")

Figures = Mapping[str, Metric]


@dataclass(frozen=True)
class EpochRow:
    """A line of ``curves.json``, as ``train.fitting.finetune.Epoch``."""

    epoch: int
    loss: float
    validation_loss: float | None
    validation_macro_auc: float | None


@dataclass(frozen=True)
class Point:
    """A line of ``learning.json``, as ``train.research.study.learning.LearningStep``."""

    radiographs: float
    figures: Figures


@dataclass(frozen=True)
class Table:
    """Any table that a study leaves: ``tables.json`` is ``{"tables": [...]}``."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""


@dataclass(frozen=True)
class RunMaterial:
    """A run as its report needs it.

    Attributes:
        run, metrics: ``run.json`` and ``metrics.json``, decoded.
        systems: name -> figure -> value and interval; the model first.
        differences: baseline -> figure -> model less baseline, paired.
        scores: name -> out-of-fold scores; empty where the folder has no ``oof.json``.
        others: name of an extra file -> what it holds, decoded.
    """

    name: str
    config_text: str
    run: Mapping[str, Any]
    metrics: Mapping[str, Any]
    systems: Mapping[str, Figures]
    differences: Mapping[str, Figures]
    confusions: Mapping[str, Sequence[Sequence[int]]]
    scores: Mapping[str, Scores]
    histories: Sequence[Sequence[Sequence[EpochRow]]] = ()
    regions: Mapping[str, Any] = field(default_factory=dict)
    learning: Sequence[Point] = ()
    tables: Sequence[Table] = ()
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        return int(self.run.get("seed", 0))


def read_run(folder: Path) -> RunMaterial:
    """Read a run's folder; only ``run.json``, ``metrics.json`` and the configuration must be there.

    Raises:
        RunError: a file is missing or is not what a run writes; the message names it.
    """
    run, metrics = _object(folder / RUN_FILE), _object(folder / METRICS_FILE)
    if metrics.get("labels") != list(LABELS):
        raise RunError(f"{folder / METRICS_FILE}: its labels are not {', '.join(LABELS)}")
    systems = {MODEL: metrics.get("model"), **_mapping(metrics.get("baselines", {}), folder / METRICS_FILE)}
    return RunMaterial(
        name=str(run.get("name", folder.resolve().name)),
        config_text=_text(folder / CONFIG_FILE),
        run=run,
        metrics=metrics,
        systems={name: _figures(one, folder / METRICS_FILE, name) for name, one in systems.items()},
        differences={
            name: _figures(one, folder / METRICS_FILE, f"model_less_baseline.{name}")
            for name, one in _mapping(metrics.get("model_less_baseline", {}), folder / METRICS_FILE).items()
        },
        confusions=_confusions(metrics.get("confusion_matrix", {}), folder / METRICS_FILE),
        scores=read_scores(folder) if (folder / SCORES_FILE).exists() else {},
        histories=_histories(folder / CURVES_FILE),
        regions=_object(folder / REGIONS_FILE) if (folder / REGIONS_FILE).exists() else {},
        learning=_learning(folder / LEARNING_FILE),
        tables=_tables(folder / TABLES_FILE),
        others={name: read_json(folder / name) for name in OTHER_FILES if (folder / name).exists()},
    )


def _object(path: Path) -> Mapping[str, Any]:
    return _mapping(read_json(path), path)


def _mapping(plain: Any, path: Path) -> Mapping[str, Any]:
    if not isinstance(plain, dict):
        raise RunError(f"{path}: holds something else than an object where one is needed; run it again")
    return plain


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror}); let 'python -m train fit' finish") from error
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: is not text in UTF-8") from error


def _record(cls: Any, plain: Any, path: Path, where: str) -> Any:
    try:
        return parse_record(cls, plain, where=where)
    except ManifestError as error:
        raise RunError(f"{path}: {error}; run it again") from error


def _figures(plain: Any, path: Path, where: str) -> Figures:
    return {figure: _record(Metric, one, path, f"{where}.{figure}") for figure, one in _mapping(plain, path).items()}


def _confusions(plain: Any, path: Path) -> Mapping[str, Sequence[Sequence[int]]]:
    matrices = _mapping(plain, path)
    for name, matrix in matrices.items():
        rows = matrix if isinstance(matrix, list) else []
        cells = [cell for row in rows if isinstance(row, list) and len(row) == len(LABELS) for cell in row]
        if len(cells) != len(LABELS) ** 2 or not all(type(cell) is int and cell >= 0 for cell in cells):
            raise RunError(f"{path}: confusion_matrix.{name} is not a square of counts; run it again")
    return matrices


def _histories(path: Path) -> Sequence[Sequence[Sequence[EpochRow]]]:
    if not path.exists():
        return ()
    try:
        return [[[_record(EpochRow, line, path, "epoch") for line in one] for one in fold] for fold in read_json(path)]
    except TypeError as error:
        raise RunError(f"{path}: is not a list of folds of trainings; run it again") from error


def _learning(path: Path) -> Sequence[Point]:
    if not path.exists():
        return ()
    try:
        return [
            Point(float(step["radiographs"]), _figures(step["figures"], path, "figures")) for step in _object(path)["steps"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path}: is not a learning curve ({error!r}); make it again") from error


def _tables(path: Path) -> Sequence[Table]:
    if not path.exists():
        return ()
    tables = _object(path).get("tables")
    if not isinstance(tables, list):
        raise RunError(f"{path}: has no list of tables")
    return [_table(one, f"{path}: tables[{place}]") for place, one in enumerate(tables)]


def _table(plain: Any, where: str) -> Table:
    if not isinstance(plain, dict) or not isinstance(plain.get("columns"), list) or not isinstance(plain.get("rows"), list):
        raise RunError(f"{where} needs a title, columns and rows")
    rows = plain["rows"]
    if not all(isinstance(row, list) and len(row) == len(plain["columns"]) for row in rows):
        raise RunError(f"{where} has a row of another length than its columns")
    return Table(str(plain.get("title", "")), [str(name) for name in plain["columns"]], rows, str(plain.get("note") or ""))
