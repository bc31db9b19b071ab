"""A folder of graded knees: ``index.csv`` with file, split, grade, patient, side and digest, checked before it is used."""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.integrity import sha256_hex
from train.data.dataset import DatasetError

INDEX_FILE = "index.csv"
GRADES = 5
TRAINING: Final = "train"
VALIDATION: Final = "val"

_COLUMNS = ("file", "split", "kl_grade", "patient", "side", "sha256")

Part = Literal["train", "val"]


@dataclass(frozen=True)
class GradedKnee:
    """One row of the index.

    Attributes:
        grade: of osteoarthritis, 0 to 4 (Kellgren and Lawrence, Annals of the Rheumatic Diseases 1957).
        side: of the patient, ``left`` or ``right``.
        sha256: of the file's bytes.
    """

    path: Path
    part: Part
    grade: int
    patient: str
    side: str
    sha256: str


@dataclass(frozen=True)
class GradedPart:
    """The knees of one part of the split.

    Attributes:
        pictures: (knees, height, width) uint8, bone bright.
    """

    knees: tuple[GradedKnee, ...]
    pictures: NDArray[np.uint8]

    @property
    def grades(self) -> NDArray[np.int64]:
        return np.array([knee.grade for knee in self.knees])

    @property
    def patients(self) -> NDArray[np.str_]:
        return np.array([knee.patient for knee in self.knees])


def read_index(folder: Path) -> tuple[GradedKnee, ...]:
    """The rows of ``index.csv``, in its order.

    Raises:
        DatasetError: the table cannot be read, a column is missing, a grade, part or side is unknown, a file stands twice, or a
            patient stands on both sides of the split.
    """
    place = folder / INDEX_FILE
    try:
        with place.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            missing = sorted(set(_COLUMNS) - set(table.fieldnames or ()))
            if missing:
                raise DatasetError(f"{place}: lacks the columns {', '.join(missing)}")
            knees = tuple(_knee(folder, row, f"{place}: line {table.line_num}") for row in table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{place}: cannot be read ({error})") from error
    _refuse_faults(knees, place)
    return knees


def _knee(folder: Path, row: dict[str, str], where: str) -> GradedKnee:
    if any(not row[name] for name in _COLUMNS):
        raise DatasetError(f"{where}: a cell is empty")
    if row["kl_grade"] not in map(str, range(GRADES)):
        raise DatasetError(f"{where}: the grade must be 0 to {GRADES - 1}, not {row['kl_grade'][:20]!r}")
    if row["split"] not in (TRAINING, VALIDATION):
        raise DatasetError(f"{where}: the split must be {TRAINING} or {VALIDATION}, not {row['split'][:20]!r}")
    if row["side"] not in ("left", "right"):
        raise DatasetError(f"{where}: the side must be left or right, not {row['side'][:20]!r}")
    return GradedKnee(folder / row["file"], row["split"], int(row["kl_grade"]), row["patient"], row["side"], row["sha256"])  # type: ignore[arg-type]


def _refuse_faults(knees: Sequence[GradedKnee], place: Path) -> None:
    for digest, count in Counter(knee.sha256 for knee in knees).items():
        if count > 1:
            raise DatasetError(f"{place}: the file with SHA-256 {digest[:12]} stands {count} times")
    parts = {part: {knee.patient for knee in knees if knee.part == part} for part in (TRAINING, VALIDATION)}
    for patient in sorted(parts[TRAINING] & parts[VALIDATION]):
        raise DatasetError(f"{place}: patient {patient!r} stands on both sides of the split")
    if not all(parts.values()):
        raise DatasetError(f"{place}: a part of the split is empty")


def read_part(knees: Sequence[GradedKnee], part: Part) -> GradedPart:
    """The pictures of one part, all of one size.

    Raises:
        DatasetError: a file is missing, changed, no whole picture, or of another size than the first.
    """
    chosen = tuple(knee for knee in knees if knee.part == part)
    with click.progressbar(chosen, label=f"Reading {part}", file=sys.stderr) as rows:
        return GradedPart(chosen, np.stack(list(_pictures(rows))))


def _pictures(knees: Iterator[GradedKnee]) -> Iterator[NDArray[np.uint8]]:
    shape: tuple[int, ...] | None = None
    for knee in knees:
        try:
            data = knee.path.read_bytes()
        except OSError as error:
            raise DatasetError(f"{knee.path}: cannot be read ({error.strerror})") from error
        if sha256_hex(data) != knee.sha256:
            raise DatasetError(f"{knee.path}: is not the file of the index (another SHA-256)")
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
        if picture is None:
            raise DatasetError(f"{knee.path}: is no picture, or not a whole one")
        shape = shape or picture.shape
        if picture.shape != shape:
            raise DatasetError(f"{knee.path}: is {picture.shape[1]} x {picture.shape[0]} px, the first {shape[1]} x {shape[0]}")
        yield picture  # type: ignore[misc]
