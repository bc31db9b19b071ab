"""``osteo-edge report``: pages of answers that were given before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Command
from osteo_edge.cli.options import untrusted_option
from osteo_edge.cli.pages import make_folder, open_pages, page_options, tell_fault, tell_written, wanted_pages
from osteo_edge.cli.person import FILE_COLUMN, key_of, read_rows
from osteo_edge.errors import ReportError

if TYPE_CHECKING:
    from osteo_edge.reports.pages.answers import Answered
    from osteo_edge.reports.pages.course import Dated
    from osteo_edge.reports.pages.writing import Wanted

_DAY: str = "date"
_EPILOG = """\b
Examples:
  osteo-edge predict --format jsonl radiographs/ > answers.jsonl
  osteo-edge report --output pages --language en --language hi answers.jsonl
  osteo-edge report --over-time --dates dates.csv --output pages answers.jsonl

Exit codes: 0 written, 2 usage or no answers of this release, 7 a page could not be written."""


@click.command("report", cls=Command, epilog=_EPILOG)
@click.argument(
    "files", nargs=-1, required=True, metavar="ANSWERS...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option(
    "--output",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Folder for the pages [default: .].",
)
@click.option("--over-time", is_flag=True, help="One page of all pictures together, which are of one person, by date.")
@click.option(
    "--dates",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns 'file' and 'date' (2026-03-01), for --over-time; of DICOM files their own date is taken.",
)
@page_options
@untrusted_option
def command(
    files: tuple[Path, ...],
    folder: Path,
    over_time: bool,
    table: Path | None,
    languages: tuple[str, ...],
    html_only: bool,
    with_names: bool,
    is_untrusted: bool,
) -> int:
    """Write a page of each answer: a PDF and an HTML file, in one or several languages.

    ANSWERS are files that 'osteo-edge predict --format json' or 'jsonl' wrote. Nothing is predicted again: a page says what
    was answered then, and by what. The pictures are looked for where they were, and shown where they are still the same.

    'osteo-edge predict --report FOLDER' writes the same pages while it answers.
    """
    from osteo_edge.reports.pages.answers import read_answers

    if table is not None and not over_time:
        raise click.UsageError("--dates is of pictures over time and needs --over-time")
    try:
        answers = [answered for file in files for answered in read_answers(file)]
    except ReportError as error:
        raise click.UsageError(str(error)) from error
    pictures = _dated(answers, {} if table is None else _read_days(table)) if over_time else []
    wanted = wanted_pages(folder, languages, html_only=html_only, with_names=with_names)
    if not make_folder(folder, "page"):
        return exit_codes.OUTPUT
    if over_time:
        return _write_over_time(pictures, wanted)
    return _write_each(answers, wanted, is_untrusted=is_untrusted)


def _write_each(answers: Sequence[Answered], wanted: Wanted, *, is_untrusted: bool) -> int:
    pages, codes, count = open_pages(wanted, len(answers), is_untrusted=is_untrusted), [], 0
    for answered in answers:
        try:
            pages.add(answered, answered.source)
            count += 1
        except ReportError as error:
            codes.append(tell_fault(error))
    try:
        tell_written(count, wanted.folder, pages.finish())
    except ReportError as error:
        codes.append(tell_fault(error))
    return exit_codes.gravest(codes)


def _write_over_time(pictures: Sequence[Dated], wanted: Wanted) -> int:
    from osteo_edge.reports.pages.writing import stated_time, write_over_time

    try:
        tell_written(len(pictures), wanted.folder, write_over_time(pictures, wanted, stated_time())[:1])
    except ReportError as error:
        return tell_fault(error)
    return exit_codes.ANSWERED


def _dated(answers: Sequence[Answered], days: Mapping[str, date]) -> list[Dated]:
    """Each answer with the day of its picture.

    Raises:
        UsageError: a day is not known, or all are one.
    """
    from osteo_edge.reports.pages.course import Dated

    pictures = []
    for answered in answers:
        day = days.get(key_of(answered.source, Path())) or _own_day(answered)
        if day is None:
            raise click.UsageError(f"no date is known of {answered.source}; give it a row in the table of dates (--dates)")
        pictures.append(Dated(day, answered))
    if len({one.day for one in pictures}) < 2:
        raise click.UsageError("--over-time needs pictures of two days at least")
    return pictures


def _own_day(answered: Answered) -> date | None:
    """What the file's tags say."""
    try:
        return date.fromisoformat(answered.tags.taken_on) if answered.tags and answered.tags.taken_on else None
    except ValueError:
        return None


def _read_days(table: Path) -> dict[str, date]:
    """The real path of each picture -> its day.

    Raises:
        UsageError: names the table and the line.
    """
    days: dict[str, date] = {}
    for row in read_rows(table, (FILE_COLUMN,)):
        key, text = key_of(row.name, table.parent), str(row.given.get(_DAY, ""))
        if key in days:
            raise click.UsageError(f"{table}, line {row.line}: this file has a row already")
        try:
            days[key] = date.fromisoformat(text)
        except ValueError as error:
            raise click.UsageError(f"{table}, line {row.line}: a date is written as 2026-03-01, not {text[:40]!r}") from error
    return days
