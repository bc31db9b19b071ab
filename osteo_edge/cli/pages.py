"""Options of the pages that ``predict --report`` and ``report`` write, and what is told of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from osteo_edge.cli import exit_codes
from osteo_edge.cli.terminal import tell
from osteo_edge.errors import ReportError
from osteo_edge.printable import counted

if TYPE_CHECKING:
    from osteo_edge.reports.pages.picture import Read
    from osteo_edge.reports.pages.writing import Pages, Wanted

# As ``reports.pages.catalogue`` has them; they stand here so that help needs to load nothing.
LANGUAGES = ("en", "es", "pt", "fr", "hi", "ar")


def page_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --language, --html-only and --names."""
    for option in (
        click.option(
            "--names",
            "with_names",
            is_flag=True,
            help="Show the pictures' file names, on the pages and in their names; they may be persons' names.",
        ),
        click.option("--html-only", is_flag=True, help="Write no PDFs, which need the extra 'report'."),
        click.option(
            "--language",
            "languages",
            type=click.Choice(LANGUAGES),
            multiple=True,
            help="Of the pages; may be repeated [default: en]. Others than en are drafts of a machine.",
        ),
    ):
        command = option(command)
    return command


def wanted_pages(folder: Path, languages: Sequence[str], *, html_only: bool, with_names: bool) -> Wanted:
    """What is to be written.

    Raises:
        UsageError: PDFs are wanted and cannot be made here.
    """
    from osteo_edge.reports.pages.pdf import INSTALL, is_available
    from osteo_edge.reports.pages.writing import Wanted

    if not html_only and not is_available():
        raise click.UsageError(f"PDFs need typst, which is not installed: {INSTALL}; --html-only does without")
    return Wanted(folder, tuple(dict.fromkeys(languages)) or LANGUAGES[:1], not html_only, with_names)


def open_pages(wanted: Wanted, count: int, *, is_untrusted: bool) -> Pages:
    """What writes the pages of so many pictures.

    Args:
        is_untrusted: the pictures are decoded in a process of its own.

    Raises:
        ReportError: a catalogue is damaged.
    """
    from osteo_edge.reports.pages.writing import Pages, stated_time

    return Pages(wanted, count, stated_time(), reader_for(is_untrusted=is_untrusted))


def reader_for(*, is_untrusted: bool) -> Read:
    """What reads the pictures that pages show."""
    if is_untrusted:
        from osteo_edge.images.untrusted import UntrustedReader  # most pictures are one's own

        return UntrustedReader().read
    from osteo_edge.images.reader import read

    return read


def tell_written(count: int, folder: Path, summaries: Sequence[Path]) -> None:
    """On standard error: where the pages of so many pictures are."""
    if count:
        also = f"; begin with {summaries[0].name}" if summaries else ""
        tell(f"osteo-edge: pages of {counted(count, 'picture')} in {folder}{also}", err=True)


def make_folder(folder: Path, what: str) -> bool:
    """Whether it is there or could be made; else it is told: the answers are worth having without it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: characters that no folder's name can have
        reason = error.strerror if isinstance(error, OSError) else error
        tell(f"osteo-edge: the folder {folder} cannot be made: {reason}; no {what} is written", err=True)
        return False
    return True


def tell_fault(error: ReportError) -> int:
    """Tell what went wrong; returns the exit code."""
    tell(f"osteo-edge: {error}", err=True)
    return exit_codes.OUTPUT
