"""Pictures of one knee each, with the grade that readers gave."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from train.data.dataset import DatasetError
from train.grading.knees import GRADES, INDEX_FILE, TRAINING, VALIDATION, read_index
from train.runs.arrays import Doubles, Integers, Words

_FOLDER_COLUMNS = {"file", "kl_folder", "sha256"}


@dataclass(frozen=True)
class GradedFilm:
    """One picture.

    Attributes:
        grade: 0 to 4 (Kellgren and Lawrence).
        patient: films of one patient are drawn together.
        sha256: of the file's bytes.
    """

    path: Path
    grade: int
    patient: str
    sha256: str


@dataclass(frozen=True)
class GradedSet:
    """Pictures that files are judged on.

    Attributes:
        class_shares: (grades,) of the knees that bundles learnt from: what is known of a knee that nobody has seen.
        ungraded: pictures of the index that nobody graded, and that are left out.
    """

    films: tuple[GradedFilm, ...]
    class_shares: Doubles
    ungraded: int = 0

    @property
    def grades(self) -> Integers:
        return np.array([film.grade for film in self.films])

    @property
    def patients(self) -> Words:
        return np.array([film.patient for film in self.films])


def read_validation(folder: Path) -> GradedSet:
    """The validation knees of a folder as ``train.grading.knees`` describes it, with the class shares of its training part.

    Raises:
        DatasetError: the index is damaged.
    """
    knees = read_index(folder)
    films = [GradedFilm(knee.path, knee.grade, knee.patient, knee.sha256) for knee in knees if knee.part == VALIDATION]
    return GradedSet(tuple(films), class_shares([knee.grade for knee in knees if knee.part == TRAINING]))


def read_external(folder: Path, shares: Doubles) -> GradedSet:
    """Knees whose index names, in place of a grade, the folder of it that other readers sorted them into.

    Nothing is said of patients, so each picture counts as one.

    Args:
        shares: of the grades where bundles learnt, (grades,).

    Raises:
        DatasetError: the index cannot be read, lacks a column, or names a folder of another grade.
    """
    place = folder / INDEX_FILE
    try:
        with place.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            if missing := sorted(_FOLDER_COLUMNS - set(table.fieldnames or ())):
                raise DatasetError(f"{place}: lacks the columns {', '.join(missing)}")
            films = [_film(folder, row, f"{place}: line {table.line_num}") for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{place}: cannot be read ({error})") from error
    graded = tuple(film for film in films if film is not None)
    if not graded:
        raise DatasetError(f"{place}: names no picture with a grade")
    return GradedSet(graded, shares, len(films) - len(graded))


def class_shares(grades: Sequence[int]) -> Doubles:
    """Share of each grade, (grades,)."""
    return np.bincount(grades, minlength=GRADES) / len(grades)


def _film(folder: Path, row: dict[str, str], where: str) -> GradedFilm | None:
    """None where the folder names no grade."""
    if any(not row[name] for name in _FOLDER_COLUMNS):
        raise DatasetError(f"{where}: a cell is empty")
    told = re.findall(r"\d+", row["kl_folder"])
    if not told:
        return None
    if len(told) > 1 or told[0] not in map(str, range(GRADES)):
        raise DatasetError(f"{where}: the folder must name one grade of 0 to {GRADES - 1}, not {row['kl_folder'][:40]!r}")
    return GradedFilm(folder / row["file"], int(told[0]), row["sha256"], row["sha256"])
