"""A made-up hospital's export: drawn films in nested folders under a viewer's names, and a table as spreadsheets write them.

It exercises the way from an export to a bundle and teaches nothing of bone: films and findings are drawn.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from osteo_edge.storage import write_file
from train.synthetic.cases import GROUPS, Group, around, sample_case, scaled
from train.synthetic.render import render

TABLE = "Befunde 2024.csv"
DELIMITER = ";"
WORDS = {"normal": "unauffällig", "osteopenia": "Osteopenie", "osteoporosis": "Osteoporose"}
# The middle of each class by T-score, and how far from it the made-up ones lie.
_T_SCORES = {"normal": -0.2, "osteopenia": -1.7, "osteoporosis": -3.1}
_T_SPREAD = 0.3
_MATCHED = Group("", density=0.0, density_spread=0.0, age_years=64.0, age_spread=8.0)
_FIRST_DAY = date(2024, 1, 8)

Encoding = Literal["latin-1", "utf-8-sig"]
Row = Mapping[str, str]


@dataclass(frozen=True)
class _Patient:
    number: str
    label: str
    age_years: int
    sex: str
    films: int


def write_hospital_export(
    folder: Path,
    *,
    patients: int,
    seed: int,
    scale: float = 0.4,
    encoding: Encoding = "latin-1",
    is_matched: bool = True,
    with_faults: bool = True,
) -> Path:
    """Write the export; return its table.

    Args:
        patients: one in three has two films.
        scale: of the pictures, as of ``write_dataset``.
        is_matched: whether every three patients, one a class, are of one age.
        with_faults: one of each kind that an export may have, in rows of their own behind the good ones.

    Raises:
        ValueError: fewer than six patients, or a scale that is not above 0.
    """
    if patients < 6 or scale <= 0:
        raise ValueError("at least six patients and a scale above 0 are needed")
    rng = np.random.default_rng(seed)
    rows = [row for patient in _patients(rng, patients, is_matched) for row in _examined(folder, patient, rng, scale)]
    if with_faults:
        rows += _faulty(folder, rows, rng, scale)
    path = folder / TABLE
    write_file(path, _as_table(rows).encode(encoding))
    return path


def _patients(rng: np.random.Generator, count: int, is_matched: bool) -> Iterator[_Patient]:
    labels = tuple(GROUPS)
    for place in range(count):
        label = labels[place % len(labels)]
        if not is_matched or place % len(labels) == 0:
            group = _MATCHED if is_matched else GROUPS[label]
            age = round(max(25.0, around(rng, group.age_years, group.age_spread)))
        number = f"{41007 + 13 * place:08}"
        yield _Patient(number, label, age, "W" if place // len(labels) % 2 == 0 else "M", 2 if place % 3 == 1 else 1)


def _examined(folder: Path, patient: _Patient, rng: np.random.Generator, scale: float) -> Iterator[dict[str, str]]:
    """The patient's films, drawn, and a row for each."""
    density = around(rng, GROUPS[patient.label].density, GROUPS[patient.label].density_spread)
    t_score = around(rng, _T_SCORES[patient.label], _T_SPREAD)
    taken = _FIRST_DAY + timedelta(days=int(rng.integers(300)))
    for number in range(1, patient.films + 1):
        # Some with the suffix that a viewer adds, some without, as the standard has them.
        name = f"PA{patient.number}/ST0000{number}/SE000001/IM{number:06}" + (".dcm" if number % 2 == 0 else "")
        _draw(folder / name, density, rng, scale)
        yield {
            "Pat.-Nr.": patient.number,
            "Bilddatei": name.replace("/", "\\"),
            "Aufnahmedatum": f"{taken:%d.%m.%Y}",
            "DXA-Datum": f"{taken + timedelta(days=int(rng.integers(60))):%d.%m.%Y}",
            "T-Score (niedrigster)": f"{t_score:.1f}".replace(".", ","),
            "Befund": WORDS[patient.label],
            "Alter": f"{patient.age_years:03}Y",
            "Geschlecht": patient.sex,
            "Gerät": "Röntgen 2",
            "Größe [m]": "",
        }


def _draw(path: Path, density: float, rng: np.random.Generator, scale: float) -> None:
    knees, acquisition = sample_case(rng, layout="one_knee", bone_density=density)
    pixels = render(knees, scaled(acquisition, scale), seed=int(rng.integers(2**31))).pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded, data = cv2.imencode(".png", pixels)
    if not encoded:
        raise OSError(f"could not encode {path}")
    path.write_bytes(data.tobytes())


def _faulty(folder: Path, rows: Sequence[Row], rng: np.random.Generator, scale: float) -> list[dict[str, str]]:
    """Rows that an export may have and training must not."""
    number = iter(range(90001, 90100))

    def another(film: str, label: str, **changed: str) -> dict[str, str]:
        """A new patient's row; ``film`` says whether the film is drawn, absent or another's."""
        patient = _Patient(f"{next(number):08}", label, 61, "W", 1)
        (row,) = _examined(folder, patient, rng, scale)
        path = folder / row["Bilddatei"].replace("\\", "/")
        if film == "absent":
            path.unlink()
        elif film == "copied":
            path.write_bytes((folder / rows[0]["Bilddatei"].replace("\\", "/")).read_bytes())
        elif film == "cut":
            path.write_bytes(path.read_bytes()[:-2000])
        return row | changed

    contradicting = another("drawn", "normal")
    twin = folder / rows[1]["Bilddatei"].replace("\\", "/")
    again = twin.with_name(twin.name.split(".")[0] + "_2")
    again.write_bytes(twin.read_bytes())
    return [
        another("absent", "normal"),
        another("cut", "normal"),
        another("copied", "osteoporosis"),
        {**rows[1], "Bilddatei": again.relative_to(folder).as_posix().replace("/", "\\")},
        contradicting,
        {**contradicting, "Befund": WORDS["osteoporosis"], "T-Score (niedrigster)": "-3,0"},
        another("drawn", "normal", Alter="67J"),
        another("drawn", "normal", **{"T-Score (niedrigster)": "-2,9"}),
        another("drawn", "osteopenia", **{"DXA-Datum": "03.02.2019"}),
        another("drawn", "osteopenia", Alter="015Y"),
        another("drawn", "osteopenia", Befund="s. Anhang"),
    ]


def _as_table(rows: Sequence[Row]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, rows[0], delimiter=DELIMITER, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
