"""The hospital's table: its rows in our words, and a sentence for each that cannot be used."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from osteo_edge.printable import counted, enumerate_words
from train.data.collection.config import (
    ACQUISITION,
    BIRTH_DATE,
    DXA_DATE,
    FILE,
    FILM_DATE,
    LABEL,
    PATIENT,
    T_SCORE,
    CollectionConfig,
    Format,
)
from train.data.columns import COLUMNS, Column
from train.data.columns import T_SCORE as T_SCORE_COLUMN
from train.data.dataset import LABELS, DatasetError

AGE = "age_years"
_DAYS_A_YEAR = 365.25
# An age as DICOM writes it (PS3.5, 6.2: AS): three digits and days, weeks, months or years.
_DICOM_AGE = re.compile(r"(\d{3})([DWMY])")
_YEARS = {"D": 1 / _DAYS_A_YEAR, "W": 7 / _DAYS_A_YEAR, "M": 1 / 12, "Y": 1.0}
_SHORT_WORDS = {"f": "female", "m": "male"}
_DELIMITERS = ";,\t|"
_SHOWN = 40


@dataclass(frozen=True)
class Entry:
    """One row of the table that can be used.

    Attributes:
        line: of the file, counted from 1.
        patient: the hospital's number, without blanks around it.
        file: as the table names it; empty where films are found by patient.
        label: research code of ``BoneStatus``.
        covariates: name of ``train.data.columns`` -> number, for what is known.
    """

    line: int
    patient: str
    file: str
    label: str
    t_score: float | None
    acquisition: str
    covariates: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """The rows that can be used, in the file's order, and what is wrong with the others."""

    entries: tuple[Entry, ...]
    faults: tuple[str, ...]


def read_table(path: Path, config: CollectionConfig) -> Table:
    """Read every row; one that cannot be used is told of and left out.

    Raises:
        DatasetError: the table cannot be read at all: not there, in another encoding, or without a configured column.
    """
    entries, faults = [], []
    for line, cells in _rows(path, config):
        try:
            entries.append(_entry(line, cells, config))
        except ValueError as error:
            faults.append(f"line {line}: {error}")
    if not entries and not faults:
        raise DatasetError(f"{path}: holds no row below its header")
    return Table(tuple(entries), tuple(faults))


def same_patient(number: str) -> str:
    """What two spellings of a patient's number have in common: spreadsheets take leading zeros off."""
    plain = number.strip().casefold()
    return plain.lstrip("0") or "0" if plain.isdigit() else plain


def _rows(path: Path, config: CollectionConfig) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by our names."""
    reader = csv.reader(io.StringIO(_text(path, config.format), newline=""), delimiter=config.format.delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        places = _places(path, header, config)
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise DatasetError(
                    f"{path}: line {reader.line_num} has {counted(len(cells), 'cell')}, the header {len(header)}; a cell that "
                    f"holds {config.format.delimiter!r} must stand in quotation marks"
                )
            rows.append((reader.line_num, {name: cells[place].strip() for name, place in places.items()}))
    except csv.Error as error:
        raise DatasetError(f"{path}: line {reader.line_num}: is not well-formed CSV ({error})") from error
    return rows


def _text(path: Path, written: Format) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: the table cannot be read ({error.strerror}); 'table' names it") from error
    try:
        return data.decode(written.encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DatasetError(
            f'{path}: line {line} is not {written.encoding}; say how the table is written, as encoding = "latin-1" or '
            '"cp1252" in [format]'
        ) from error


def _places(path: Path, header: Sequence[str], config: CollectionConfig) -> dict[str, int]:
    delimiter = config.format.delimiter
    if len(header) == 1:
        other = next((one for one in _DELIMITERS if one != delimiter and one in header[0]), "")
        if other:
            raise DatasetError(
                f"{path}: its header has no {delimiter!r} and some {other!r}; say delimiter = {other!r} in [format]"
            )
    for ours, theirs in config.columns.items():
        if header.count(theirs) != 1:
            there = enumerate_words(header or ["none"])
            times = "twice or more" if theirs in header else "not at all"
            raise DatasetError(f"{path}: the column {theirs!r} (columns.{ours}) stands in it {times}; there are {there}")
    return {ours: header.index(theirs) for ours, theirs in config.columns.items()}


def _entry(line: int, cells: Mapping[str, str], config: CollectionConfig) -> Entry:
    """One row; a ValueError says what is wrong with it."""
    if not cells[PATIENT]:
        raise ValueError(f"the patient ({config.columns[PATIENT]!r}) is empty")
    if FILE in cells and not cells[FILE]:
        raise ValueError(f"the film's file ({config.columns[FILE]!r}) is empty")
    _require_near(cells, config)
    t_score = _number(T_SCORE_COLUMN, cells.get(T_SCORE, ""), config)
    covariates = _covariates(cells, config)
    age = covariates.get(AGE)
    if age is not None and age < config.youngest_years:
        raise ValueError(f"the person is {age:.0f}; younger than {config.youngest_years} is left out (youngest_years)")
    return Entry(
        line=line,
        patient=cells[PATIENT],
        file=cells.get(FILE, ""),
        label=_label(cells, t_score, config),
        t_score=t_score,
        acquisition=cells.get(ACQUISITION, ""),
        covariates=covariates,
    )


def _require_near(cells: Mapping[str, str], config: CollectionConfig) -> None:
    film, dxa = _date(FILM_DATE, cells, config), _date(DXA_DATE, cells, config)
    if film and dxa and abs((film - dxa).days) > config.largest_gap_days:
        raise ValueError(
            f"film ({film}) and DXA ({dxa}) lie {abs((film - dxa).days)} days apart; at most {config.largest_gap_days} "
            "are allowed (largest_gap_days)"
        )


def _label(cells: Mapping[str, str], t_score: float | None, config: CollectionConfig) -> str:
    """By the table's word, or by the T-score; where there are both they must agree."""
    by_t_score = None if t_score is None else config.t_score.label(t_score)
    cell = cells.get(LABEL, "")
    if not cell:
        if by_t_score is None:
            raise ValueError("there is neither a label nor a T-score")
        return by_t_score
    by_word = _word(LABEL, cell, LABELS, config)
    if by_t_score not in (None, by_word):
        raise ValueError(f"the label {cell[:_SHOWN]!r} ({by_word}) contradicts the T-score {t_score:g}, which is {by_t_score}")
    return by_word


def _word(name: str, cell: str, ours: Sequence[str], config: CollectionConfig) -> str:
    """What the hospital's word stands for, in any case of its letters."""
    theirs = config.words.get(name, {})
    meanings = {word: word for word in ours} | {word.casefold(): meaning for word, meaning in theirs.items()}
    try:
        return meanings[cell.casefold()]
    except KeyError as error:
        raise ValueError(
            f"{name} ({config.columns[name]!r}) is {cell[:_SHOWN]!r}; known are {', '.join([*ours, *theirs])}. "
            f"Say what it stands for in [words.{name}]"
        ) from error


def _covariates(cells: Mapping[str, str], config: CollectionConfig) -> dict[str, float]:
    values = {name: _covariate(column, cells[name], config) for name, column in COLUMNS.items() if name in cells}
    if BIRTH_DATE in cells:
        values[AGE] = _age_by_dates(cells, config)
    return {name: value for name, value in values.items() if value is not None}


def _covariate(column: Column, cell: str, config: CollectionConfig) -> float | None:
    if not cell:
        return None
    if column.name == AGE and _DICOM_AGE.fullmatch(cell):
        number, unit = _DICOM_AGE.fullmatch(cell).groups()  # type: ignore[union-attr]
        return int(number) * _YEARS[unit]
    if column.kind == "number":
        return _number(column, cell, config)
    if column.kind == "sex":
        return column.parse(_word(column.name, _SHORT_WORDS.get(cell.casefold(), cell), ("female", "male"), config))
    return column.parse(_word(column.name, {"1": "yes", "0": "no"}.get(cell, cell), ("yes", "no"), config))


def _number(column: Column, cell: str, config: CollectionConfig) -> float | None:
    try:
        return column.parse(cell.replace(config.format.decimal, "."))
    except ValueError as error:
        age = ", or as in 067Y" if column.name == AGE else ""
        name = config.columns[column.name]
        raise ValueError(f"{column.name} ({name!r}) is {cell[:_SHOWN]!r}; {error}{age}") from error


def _age_by_dates(cells: Mapping[str, str], config: CollectionConfig) -> float | None:
    """At the film; where its date is not known, at the DXA."""
    born = _date(BIRTH_DATE, cells, config)
    seen = _date(FILM_DATE, cells, config) or _date(DXA_DATE, cells, config)
    if born is None or seen is None:
        return None
    age = (seen - born).days / _DAYS_A_YEAR
    column = COLUMNS[AGE]
    if not column.low <= age <= column.high:
        raise ValueError(f"born {born} and seen {seen} gives an age of {age:.0f}")
    return age


def _date(name: str, cells: Mapping[str, str], config: CollectionConfig) -> date | None:
    cell = cells.get(name, "")
    if not cell:
        return None
    try:
        return datetime.strptime(cell, config.format.date).date()
    except ValueError as error:
        example = date(2024, 12, 31).strftime(config.format.date)
        raise ValueError(
            f"{name} ({config.columns[name]!r}) is {cell[:_SHOWN]!r}; a date as {example} is needed (date in [format])"
        ) from error
