"""What the command line is told of the person on a picture: options for one, a table for many."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from osteo_edge.errors import CovariateError
from osteo_edge.integrity import read_up_to

if TYPE_CHECKING:
    from osteo_edge.covariates import Given
    from osteo_edge.predictor import OsteoPredictor

FILE_COLUMN = "file"
PERSON_COLUMN = "person"
_SEXES = ("F", "female", "M", "male")
_DELIMITERS = (",", ";", "\t")
# These are known whatever their case: spreadsheets like to begin a column's name with a capital.
_ANY_CASE = (FILE_COLUMN, PERSON_COLUMN, "date", "age", "age_years", "sex", "weight", "weight_kg")
MAX_TABLE_BYTES = 16 << 20


def person_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --age, --sex, --weight, --covariate and --covariates-table."""
    for option in (
        click.option(
            "--covariates-table",
            "table",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="CSV for several pictures: a column 'file', seen from the table's folder, and one a covariate. "
            "Commas, semicolons or tabs stand between the cells.",
        ),
        click.option(
            "--covariate",
            "covariates",
            multiple=True,
            metavar="NAME=VALUE",
            help="What else is known, for example bmi=24.5 or prior_fracture=yes; may be repeated.",
        ),
        click.option(
            "--weight", "weight_kg", metavar="KG", help="Weight of the person in kilograms, for published risk scores."
        ),
        click.option("--sex", type=click.Choice(_SEXES, case_sensitive=False), help="Sex of the person."),
        click.option("--age", "age_years", type=float, metavar="YEARS", help="Age of the person."),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class People:
    """What is known of the person on each picture.

    Attributes:
        one: of the only picture.
        rows: real path -> what the table says; None where there is no table.
    """

    one: Given
    rows: Mapping[str, Given] | None = None

    def of(self, picture: str) -> Given:
        return self.one if self.rows is None else self.rows[key_of(picture, Path())]


def read_people(
    age_years: float | None,
    sex: str | None,
    weight_kg: str | None,
    covariates: Sequence[str],
    table: Path | None,
    pictures: Sequence[str],
) -> People:
    """What the options say, for these pictures.

    Raises:
        UsageError: options of one person for several pictures, or a table that cannot be read or lacks a picture.
    """
    from osteo_edge.covariates import gather

    if table is None:
        one = gather(age_years, sex, split_covariates(covariates), weight_kg=weight_kg)
        if one and len(pictures) > 1:
            raise click.UsageError(
                "--age, --sex, --weight and --covariate are of one person: give one picture, or --covariates-table for several"
            )
        return People(one)
    require_only_table(age_years, sex, weight_kg, covariates)
    rows = _read_table(table)
    for picture in pictures:
        if key_of(picture, Path()) not in rows:
            raise click.UsageError(f"{table} has no row for {picture}; add one, with empty cells for what is not known")
    return People({}, rows)


def require_only_table(age_years: float | None, sex: str | None, weight_kg: str | None, covariates: Sequence[str]) -> None:
    """Beside a table.

    Raises:
        UsageError: options say something of one person.
    """
    if not (age_years is None and sex is None and weight_kg is None and not covariates):
        raise click.UsageError("--covariates-table stands in place of --age, --sex, --weight and --covariate")


def check_people(people: People, predictor: OsteoPredictor, pictures: Sequence[str]) -> None:
    """Check all values before the first answer.

    Raises:
        CovariateError: names the picture where there are several.
    """
    for picture in pictures:
        try:
            predictor.describe(people.of(picture))
        except CovariateError as error:
            if people.rows is None:
                raise
            raise CovariateError(f"{picture} in the table of covariates: {error}") from error


def split_covariates(covariates: Sequence[str]) -> dict[str, str]:
    """Names and values of ``NAME=VALUE``.

    Raises:
        UsageError: something else, or a name twice.
    """
    named: dict[str, str] = {}
    for text in covariates:
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise click.UsageError(f"--covariate takes NAME=VALUE, for example bmi=24.5, not {text[:60]!r}")
        if name in named:
            raise click.UsageError(f"--covariate {name} was given twice")
        named[name] = value
    return named


def _read_table(table: Path) -> dict[str, Given]:
    rows: dict[str, Given] = {}
    for row in read_rows(table, (FILE_COLUMN,)):
        key = key_of(row.name, table.parent)
        if key in rows:
            raise click.UsageError(f"{table}, line {row.line}: this file has a row already")
        rows[key] = row.given
    return rows


@dataclass(frozen=True)
class Row:
    """A row of a table: the number of its line, what it is of, and what it says."""

    line: int
    name: str
    given: Given


def read_rows(table: Path, name_columns: Sequence[str]) -> list[Row]:
    """The rows of a CSV table of persons.

    Args:
        name_columns: one of these must be there, and says what a row is of.

    Raises:
        UsageError: names the table, and the line where there is one.
    """
    from osteo_edge.covariates import gather

    delimiter, columns, records = _read_cells(table, name_columns)
    name_column = next((name for name in name_columns if name in columns), None)
    if name_column is None or len(set(columns)) != len(columns):
        wanted = " or ".join(f"'{name}'" for name in name_columns)
        raise click.UsageError(f"{table} must have a column {wanted} and no column twice; it has: {', '.join(columns)[:200]}")
    rows = []
    for number, cells in records:
        if len(cells) != len(columns):
            raise click.UsageError(f"{table}, line {number}: has more or fewer cells than the first line")
        record = dict(zip(columns, cells, strict=True))
        name = record.pop(name_column)
        try:
            rows.append(Row(number, name, gather(None, None, {one: _value(text, delimiter) for one, text in record.items()})))
        except CovariateError as error:
            raise click.UsageError(f"{table}, line {number}: {error}") from error
    return rows


def _read_cells(table: Path, name_columns: Sequence[str]) -> tuple[str, list[str], list[tuple[int, list[str]]]]:
    """The delimiter, the columns' names, and each row that is not empty with its line's number."""
    import csv
    import io

    try:
        data = read_up_to(table, MAX_TABLE_BYTES)
        if len(data) > MAX_TABLE_BYTES:
            raise click.UsageError(f"{table} is larger than {MAX_TABLE_BYTES >> 20} MiB")
        lines = io.StringIO(data.decode("utf-8-sig"), newline="").readlines()
        delimiter = _delimiter(lines[0] if lines else "", name_columns)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        columns = [_column(name) for name in next(reader, [])]
        return delimiter, columns, [(reader.line_num, cells) for cells in reader if cells]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"{table} cannot be read as CSV in UTF-8: {error}") from error


def _delimiter(header: str, name_columns: Collection[str]) -> str:
    """What stands between the names of the columns when one of them is to be one of these."""
    import csv

    by_delimiter = {delimiter: next(csv.reader([header], delimiter=delimiter), []) for delimiter in _DELIMITERS}
    return next((one for one, names in by_delimiter.items() if set(name_columns) & {*map(_column, names)}), _DELIMITERS[0])


def _column(name: str) -> str:
    name = name.strip()
    return name.lower() if name.lower() in _ANY_CASE else name


def _value(text: str, delimiter: str) -> str:
    """Where no comma stands between the cells, one inside a number is its decimal point."""
    text = text.strip()
    whole, comma, decimals = text.partition(",")
    is_number = comma and delimiter != "," and whole.lstrip("+-").isdecimal() and decimals.isdecimal()
    return f"{whole}.{decimals}" if is_number else text


def key_of(picture: str, folder: Path) -> str:
    """The same picture under the same name; - is standard input. A name that no file can have stands for itself."""
    try:
        return picture if picture == "-" else os.path.realpath(folder / picture)
    except ValueError:
        return picture
