"""``osteo-edge report``: pages of answers that were given before."""

from __future__ import annotations

from pathlib import Path

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.help import Command
from osteo_edge.cli.options import untrusted_option
from osteo_edge.cli.pages import make_folder, open_pages, page_options, tell_fault, tell_written
from osteo_edge.errors import ReportError

_EPILOG = """\b
Examples:
  osteo-edge predict --format jsonl radiographs/ > answers.jsonl
  osteo-edge report --output pages --language en --language hi answers.jsonl
  osteo-edge predict --report pages radiographs/

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
@page_options
@untrusted_option
def command(
    files: tuple[Path, ...], folder: Path, languages: tuple[str, ...], html_only: bool, with_names: bool, is_untrusted: bool
) -> int:
    """Write a page of each answer: a PDF and an HTML file, in one or several languages.

    ANSWERS are files that 'osteo-edge predict --format json' or 'jsonl' wrote. Nothing is predicted again: a page says what
    was answered then, and by what. The pictures are looked for where they were, and shown where they are still the same.

    'osteo-edge predict --report FOLDER' writes the same pages while it answers.
    """
    from osteo_edge.reports.pages.answers import read_answers

    try:
        answers = [answered for file in files for answered in read_answers(file)]
    except ReportError as error:
        raise click.UsageError(str(error)) from error
    pages = open_pages(folder, len(answers), languages, html_only=html_only, with_names=with_names, is_untrusted=is_untrusted)
    if not make_folder(folder, "page"):
        return exit_codes.OUTPUT
    codes, count = [], 0
    for answered in answers:
        try:
            pages.add(answered, answered.source)
            count += 1
        except ReportError as error:
            codes.append(tell_fault(error))
    try:
        tell_written(count, folder, pages.finish())
    except ReportError as error:
        codes.append(tell_fault(error))
    return exit_codes.gravest(codes)
