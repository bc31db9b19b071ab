"""A folder of labelled radiographs, ``labels.csv`` or class folders, checked before any time is spent on them."""

from __future__ import annotations

import csv
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import click

from osteo_edge.errors import InputError, OsteoEdgeError
from osteo_edge.images.formats import read_header
from osteo_edge.images.reader import read
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import BoneStatus
from train.data.columns import COLUMNS, T_SCORE, Column

LABELS_FILE = "labels.csv"
LABELS: tuple[str, ...] = tuple(status.value for status in BoneStatus)
UNKNOWN_ACQUISITION = "unknown"

_REQUIRED_COLUMNS = ("file", "label", "patient_group")
_LEFT_BY_FILE_MANAGERS = ("thumbs.db", "desktop.ini")
_NAMED_AT_MOST = 5


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
        covariates: name of ``train.data.columns`` -> number, for what is known of the person.
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
    """The radiographs of a folder, in the order of ``labels.csv``, or by name where there are class folders.

    Attributes:
        patients_known: whether somebody has said which radiographs are of one person. Where not, as in class
            folders, every file is a group of its own, and the two knees of a person may be parted by a split.
    """

    radiographs: tuple[RadiographRow, ...]
    patients_known: bool = True

    def subset(self, indices: Iterable[int]) -> Dataset:
        return Dataset(tuple(self.radiographs[index] for index in indices), self.patients_known)

    @property
    def label_indices(self) -> list[int]:
        """Place of each radiograph's label in ``LABELS``."""
        return [LABELS.index(row.label) for row in self.radiographs]

    @property
    def groups(self) -> list[str]:
        return [row.patient_group for row in self.radiographs]


def read_dataset(folder: Path) -> Dataset:
    """Read ``labels.csv``, or the class folders where there is none, and check every file.

    Class folders are named by label, in any case: ``normal``, ``osteopenia``, ``osteoporosis``. They do not say whose the
    pictures are; every file is then its own patient group (``patients_known`` is false).

    Only copies that are identical byte for byte are refused. A picture that was saved anew, in another format or
    size, is not recognised here: ``python -m train research audit`` finds it. It must carry the patient group of its
    original, or it may stand on both sides of a split.

    Raises:
        DatasetError: a column, label, folder or file is missing or unknown, a class is empty, a label or group has blanks
            around it, a number is none (NaN among them), a digest differs, one file's bytes stand twice, or one patient
            group carries two labels.
    """
    dataset = Dataset(*_sources(folder).whole())
    _refuse_copies(dataset.radiographs)
    _refuse_contradictions(dataset.radiographs)
    _refuse_empty_classes(dataset.radiographs, folder)
    return dataset


def survey_folder(folder: Path) -> tuple[Dataset, tuple[str, ...]]:
    """As ``read_dataset``, but what is wrong with a row is told instead of raised, and the row is left out.

    Copies and contradictions are left in: it is for who wants to find them.

    Returns:
        The rows that can be used, and one sentence for each that cannot.

    Raises:
        DatasetError: there is no table and there are no class folders, or the table cannot be read at all.
    """
    sources = _sources(folder)
    rows, problems = [], []
    for make in sources.makers:
        try:
            rows.append(make())
        except DatasetError as error:
            problems.append(str(error))
    return Dataset(tuple(rows), sources.patients_known), tuple(problems)


def require_readable(dataset: Dataset) -> None:
    """Decode every radiograph once, with progress, so that none fails after hours of training.

    Raises:
        DatasetError: names the files that cannot be read, and why.
    """
    found = unreadable(dataset.radiographs)
    if found:
        named = "; ".join(f"{row.path}: {reason}" for row, reason in found[:_NAMED_AT_MOST])
        more = f"; and {len(found) - _NAMED_AT_MOST} more" if len(found) > _NAMED_AT_MOST else ""
        raise DatasetError(f"{len(found)} of {len(dataset.radiographs)} pictures cannot be read: {named}{more}")


def unreadable(rows: Sequence[RadiographRow]) -> list[tuple[RadiographRow, str]]:
    """The radiographs that the runtime's reader refuses, each with its reason."""
    found = []
    with click.progressbar(rows, label="Reading pictures", file=sys.stderr) as shown:
        for row in shown:
            try:
                read(row.path)
            except InputError as error:
                found.append((row, str(error)))
    return found


@dataclass(frozen=True)
class _Sources:
    """One function a row, which makes or refuses it, and whether the rows tell patients apart."""

    makers: Sequence[Callable[[], RadiographRow]]
    patients_known: bool

    def whole(self) -> tuple[tuple[RadiographRow, ...], bool]:
        return tuple(make() for make in self.makers), self.patients_known


def _sources(folder: Path) -> _Sources:
    table = folder / LABELS_FILE
    if table.exists() or not folder.is_dir():
        rows = _read_table(table)
        makers: list[Callable[[], RadiographRow]] = [partial(_read_row, folder, line, values) for line, values in rows]
        sources = _Sources(makers, patients_known=True)
    else:
        makers = [partial(_class_row, folder, label, path) for label, path in _class_files(folder)]
        sources = _Sources(makers, patients_known=False)
    if not sources.makers:
        raise DatasetError(f"{table if table.exists() else folder}: lists no radiograph")
    return sources


def _class_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Label and file of every picture below the class folders."""
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    if not any(path.name.lower() in LABELS for path in folders):
        raise DatasetError(f"{folder}: holds neither {LABELS_FILE} nor folders named {', '.join(LABELS)}")
    for path in folders:
        if path.name.lower() not in LABELS:
            raise DatasetError(f"{path}: no class has this folder's name; known are {', '.join(LABELS)}")
        for file in sorted(path.iterdir()):
            if file.name.startswith(".") or file.name.lower() in _LEFT_BY_FILE_MANAGERS:
                continue
            yield path.name.lower(), file


def _class_row(folder: Path, label: str, path: Path) -> RadiographRow:
    if path.is_dir():
        raise DatasetError(f"{path}: a folder inside a class folder; put the pictures side by side, or write {LABELS_FILE}")
    if not path.resolve().is_relative_to(folder.resolve()):
        raise DatasetError(f"{path}: leads out of the folder")
    data = _bytes_of(path, str(path))
    try:
        header = read_header(data)
    except InputError as error:
        raise DatasetError(f"{path}: {error}") from error
    name = path.relative_to(folder).as_posix()
    acquisition = size_class(header.width_px, header.height_px)
    return RadiographRow(path, sha256_hex(data), label, patient_group=name, acquisition=acquisition)


def size_class(width_px: int, height_px: int) -> str:
    """Stands for the unknown device: the picture's shape, and its longer side to the nearest half octave."""
    ratio = width_px / height_px
    shape = "square" if 0.95 < ratio < 1.05 else "landscape" if ratio > 1 else "portrait"
    longer_px = 2 ** (round(2 * math.log2(max(width_px, height_px))) / 2)
    return f"{shape}_{longer_px:.0f}px"


def _refuse_empty_classes(rows: Sequence[RadiographRow], folder: Path) -> None:
    for label in LABELS:
        if not any(row.label == label for row in rows):
            raise DatasetError(f"{folder}: the class {label} is empty; every one of {', '.join(LABELS)} needs radiographs")


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


def _bytes_of(path: Path, where: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{where}: the file {path} cannot be read ({error.strerror})") from error


def _digest(path: Path, recorded: str, where: str) -> str:
    digest = sha256_hex(_bytes_of(path, where))
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
