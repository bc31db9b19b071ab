"""What a hospital's export calls things: TOML to frozen records."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from train.data.columns import COLUMNS
from train.data.dataset import LABELS
from train.runs.config import Rule, read_settings

PATIENT, FILE, LABEL, T_SCORE, ACQUISITION = "patient", "file", "label", "t_score", "acquisition"
BIRTH_DATE, FILM_DATE, DXA_DATE = "birth_date", "film_date", "dxa_date"
_AGE, _SEX = "age_years", "sex"
KNOWN_COLUMNS = (PATIENT, FILE, LABEL, T_SCORE, ACQUISITION, BIRTH_DATE, FILM_DATE, DXA_DATE, *COLUMNS)


@dataclass(frozen=True)
class Format:
    """How the table is written.

    Attributes:
        delimiter: between cells.
        encoding: a name that Python knows; a byte order mark is taken off.
        decimal: what parts a number's fraction from it.
        date: as ``strptime`` reads it.
    """

    delimiter: str = ","
    encoding: str = "utf-8"
    decimal: str = "."
    date: str = "%Y-%m-%d"


@dataclass(frozen=True)
class CutOffs:
    """Classes by T-score: those of the WHO (Technical Report Series 843, 1994) unless said otherwise.

    Attributes:
        normal_from: the lowest that is normal.
        osteoporosis_to: the highest that is osteoporosis.
    """

    normal_from: float = -1.0
    osteoporosis_to: float = -2.5

    def label(self, t_score: float) -> str:
        normal, osteopenia, osteoporosis = LABELS
        return normal if t_score >= self.normal_from else osteoporosis if t_score <= self.osteoporosis_to else osteopenia


@dataclass(frozen=True)
class CollectionConfig:
    """Everything that decides how an export is read.

    Attributes:
        table: the table's file, within the export's folder.
        columns: our name (``KNOWN_COLUMNS``) -> the hospital's.
        films: regular expression with a group ``patient`` that a film's path within the export is searched by.
        films_tag: DICOM keyword of the tag that holds what the table's patient column does, as ``PatientID``. Of ``films``,
            ``films_tag`` and a column with the film's file just one says whose a film is.
        words: our column -> the hospital's word -> ours, for ``label``, ``sex`` and columns of yes and no.
        largest_gap_days: between film and DXA, where the table has both dates.
        youngest_years: younger persons are left out: growing bones are another question.
    """

    table: str
    columns: Mapping[str, str]
    films: str = ""
    films_tag: Literal["", "PatientID", "AccessionNumber", "StudyID"] = ""
    format: Format = field(default_factory=Format)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    t_score: CutOffs = field(default_factory=CutOffs)
    largest_gap_days: int = 365
    youngest_years: int = 18


def read_collection_config(path: Path) -> CollectionConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a key that is missing, unknown or out of range.
    """
    return read_settings(CollectionConfig, path, _rules)


def _rules(config: CollectionConfig) -> Iterator[Rule]:
    columns = config.columns
    for name in columns:
        yield name in KNOWN_COLUMNS, f"columns.{name[:40]}", f"is not known; known are {', '.join(KNOWN_COLUMNS)}"
    yield PATIENT in columns, "columns.patient", "is missing: without it nobody knows which films are of one person"
    yield LABEL in columns or T_SCORE in columns, "columns", "needs label or t_score"
    ways = (FILE in columns, bool(config.films), bool(config.films_tag))
    yield sum(ways) == 1, "films", "or films_tag or columns.file is needed, and just one: it says whose a film is"
    yield _is_pattern(config.films), "films", "must be a regular expression with a group (?P<patient>...)"
    yield _AGE not in columns or BIRTH_DATE not in columns, "columns", "has both age_years and birth_date; give one"
    dated = BIRTH_DATE not in columns or FILM_DATE in columns or DXA_DATE in columns
    yield dated, "columns.birth_date", "needs film_date or dxa_date, to be an age"
    yield len(config.format.delimiter) == 1, "format.delimiter", "must be one character"
    yield len(config.format.decimal) == 1, "format.decimal", "must be one character"
    yield _is_encoding(config.format.encoding), "format.encoding", "is none that Python knows"
    yield config.t_score.osteoporosis_to < config.t_score.normal_from, "t_score", "needs osteoporosis_to below normal_from"
    yield config.largest_gap_days >= 0, "largest_gap_days", "must not be negative"
    yield from _rules_of_words(config)


def _rules_of_words(config: CollectionConfig) -> Iterator[Rule]:
    for name, words in config.words.items():
        takes_words = name == LABEL or (name in COLUMNS and COLUMNS[name].kind != "number")
        yield takes_words, f"words.{name[:40]}", "cannot be: only label, sex and columns of yes and no have words"
        ours = LABELS if name == LABEL else ("female", "male") if name == _SEX else ("yes", "no")
        for word, meaning in words.items():
            yield meaning in ours, f"words.{name}.{word[:40]}", f"must be one of {', '.join(ours)}"


def _is_pattern(films: str) -> bool:
    try:
        return not films or PATIENT in re.compile(films).groupindex
    except re.error:
        return False


def _is_encoding(name: str) -> bool:
    try:
        return bool("".encode(name) is not None)
    except LookupError:
        return False
