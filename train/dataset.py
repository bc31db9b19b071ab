"""A folder of labelled radiographs: ``labels.csv`` and the files it names, checked before any time is spent on them."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from osteo_edge.errors import OsteoEdgeError
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import BoneStatus
from train.columns import COLUMNS, T_SCORE, Column

LABELS_FILE = "labels.csv"
LABELS: tuple[str, ...] = tuple(status.value for status in BoneStatus)
UNKNOWN_ACQUISITION = "unknown"

_REQUIRED_COLUMNS = ("file", "label", "patient_group")


class DatasetError(OsteoEdgeError):
    """A folder that cannot be trained on; the message says what is wrong and where."""


@dataclass(frozen=True)
class RadiographRow:
    """One row of ``labels.csv``.

    Attributes:
        path: the picture's file.
        sha256: of the file's bytes, in lower-case hexadecimal.
        label: research code of ``BoneStatus``.
        patient_group: radiographs of one group may be of one person; a group is never split.
        acquisition: name of the way the picture was taken; ``"unknown"`` where the file does not say.
        covariates: name of ``train.columns`` -> number, for what is known of the person.
        t_score: the label's source, an auxiliary target; None where the table does not give it.
    """

    path: Path
    sha256: str
    label: str
    patient_group: str
    acquisition: str
    covariates: Mapping[str, float] = field(default_factory=dict)
    t_score: float | None = None


@dataclass(frozen=True)
class Dataset:
    """The radiographs of a folder, in the order of ``labels.csv``."""

    radiographs: tuple[RadiographRow, ...]

    def subset(self, indices: Iterable[int]) -> Dataset:
        return Dataset(tuple(self.radiographs[index] for index in indices))

    @property
    def label_indices(self) -> list[int]:
        """Place of each radiograph's label in ``LABELS``."""
        return [LABELS.index(row.label) for row in self.radiographs]

    @property
    def groups(self) -> list[str]:
        return [row.patient_group for row in self.radiographs]


def read_dataset(folder: Path) -> Dataset:
    """Read ``labels.csv`` and check every file that it names.

    Only copies that are identical byte for byte are refused. A picture that was saved anew, in another format or
    size, is not recognised; it must carry the patient group of its original, or it may stand on both sides of a split.

    Raises:
        DatasetError: a column, label or file is missing or unknown, a label or group has blanks around it, a digest
            differs, one file's bytes stand twice, or one patient group carries two labels.
    """
    rows = tuple(_read_row(folder, number, values) for number, values in _read_table(folder / LABELS_FILE))
    if not rows:
        raise DatasetError(f"{folder / LABELS_FILE}: lists no radiograph")
    _refuse_copies(rows)
    _refuse_contradictions(rows)
    return Dataset(rows)


def _read_table(path: Path) -> list[tuple[int, Mapping[str, str]]]:
    """Line numbers and cells; the columns that are not used here are left aside."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _require_columns(reader.fieldnames or (), path)
            return [(reader.line_num, _whole_row(values, reader.line_num, path)) for values in reader]
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror})") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: is not a CSV table in UTF-8 ({error})") from error


def _require_columns(columns: Iterable[str], path: Path) -> None:
    missing = [name for name in _REQUIRED_COLUMNS if name not in columns]
    if missing:
        raise DatasetError(f"{path}: the column {missing[0]!r} is missing")


def _whole_row(values: Mapping[str, str], line: int, path: Path) -> Mapping[str, str]:
    if None in values or None in values.values():
        raise DatasetError(f"{path}: line {line} has another number of cells than the header")
    return values


def _read_row(folder: Path, line: int, values: Mapping[str, str]) -> RadiographRow:
    where = f"{folder / LABELS_FILE}: line {line}"
    _refuse_blanks(values, where)
    if values["label"] not in LABELS:
        raise DatasetError(f"{where}: unknown label {values['label'][:40]!r}; known are {', '.join(LABELS)}")
    if not values["patient_group"]:
        raise DatasetError(f"{where}: patient_group is empty; give every radiograph its patient's group")
    path = _path_inside(folder, values["file"], where)
    return RadiographRow(
        path=path,
        sha256=_digest(path, values.get("sha256", ""), where),
        label=values["label"],
        patient_group=values["patient_group"],
        acquisition=values.get("acquisition") or UNKNOWN_ACQUISITION,
        covariates=_covariates(values, where),
        t_score=_number(T_SCORE, values, where),
    )


def _refuse_blanks(values: Mapping[str, str], where: str) -> None:
    """``"7 "`` beside ``"7"`` would be two groups, and one person could stand on both sides of a split."""
    for name in ("label", "patient_group"):
        if values[name] != values[name].strip():
            raise DatasetError(f"{where}: {name} {values[name][:40]!r} has blanks around it")


def _path_inside(folder: Path, name: str, where: str) -> Path:
    path = folder / name
    if not name or not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{where}: {name[:80]!r} is not a file inside the folder")
    return path


def _digest(path: Path, recorded: str, where: str) -> str:
    try:
        digest = sha256_hex(path.read_bytes())
    except OSError as error:
        raise DatasetError(f"{where}: the file {path} cannot be read ({error.strerror})") from error
    if recorded and recorded.lower() != digest:
        raise DatasetError(f"{where}: the file {path} is not the one whose sha256 is recorded")
    return digest


def _covariates(values: Mapping[str, str], where: str) -> dict[str, float]:
    """What the row says of the person; blanks are left out."""
    cells = {name: _number(column, values, where) for name, column in COLUMNS.items()}
    return {name: value for name, value in cells.items() if value is not None}


def _number(column: Column, values: Mapping[str, str], where: str) -> float | None:
    cell = values.get(column.name, "")
    try:
        return column.parse(cell)
    except ValueError as error:
        raise DatasetError(f"{where}: {column.name} is {cell[:20]!r}; {error}") from error


def _refuse_copies(rows: tuple[RadiographRow, ...]) -> None:
    """Byte-identical files would stand on both sides of a split, or count twice."""
    first: dict[str, RadiographRow] = {}
    for row in rows:
        other = first.setdefault(row.sha256, row)
        if other is not row:
            raise DatasetError(f"{row.path} and {other.path} are the same picture; list it once")


def _refuse_contradictions(rows: tuple[RadiographRow, ...]) -> None:
    labels: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        labels[row.patient_group].add(row.label)
    for group, found in labels.items():
        if len(found) > 1:
            raise DatasetError(f"patient group {group!r} carries contradicting labels: {', '.join(sorted(found))}")
