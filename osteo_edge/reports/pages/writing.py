"""Pages into a folder: of each picture a PDF and an HTML file in each language, and a summary where there are several."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from osteo_edge.errors import ReportError
from osteo_edge.images import reader
from osteo_edge.integrity import sha256_hex
from osteo_edge.reports.naming import digits_of, name_of
from osteo_edge.reports.pages.answers import Answered
from osteo_edge.reports.pages.catalogue import catalogue_of
from osteo_edge.reports.pages.course import Dated
from osteo_edge.reports.pages.html import to_html
from osteo_edge.reports.pages.over_time import page_over_time
from osteo_edge.reports.pages.page import page_of
from osteo_edge.reports.pages.pdf import to_pdf
from osteo_edge.reports.pages.picture import Read, film_of, thumbnail_of
from osteo_edge.reports.pages.sheets import write_sheet
from osteo_edge.reports.pages.summary import Row, Summary

if TYPE_CHECKING:
    from osteo_edge.images.reader import ImageSource

# The way in which programs are told a time that they are to state, so that they make the same bytes again.
_EPOCH: Final = "SOURCE_DATE_EPOCH"


@dataclass(frozen=True)
class Wanted:
    """What is to be written.

    Attributes:
        languages: codes, of ``catalogue.LANGUAGES``.
        with_pdf: also PDFs, not HTML alone.
        with_names: the pictures' file names on the pages and in the pages' names; they may be persons' names.
    """

    folder: Path
    languages: Sequence[str]
    with_pdf: bool
    with_names: bool


class Pages:
    """Writes the pages of one run, one picture at a time; ``finish`` writes the summary."""

    def __init__(self, wanted: Wanted, count: int, made: datetime, read: Read = reader.read) -> None:
        """Open the catalogues.

        Args:
            count: pictures that are to come; with one there is no summary.
            made: the time that the pages state.
            read: reads the pictures, as ``reader.read`` does.

        Raises:
            ReportError: a catalogue is damaged.
        """
        self._wanted, self._made, self._read = wanted, made, read
        self._catalogues = [catalogue_of(language) for language in wanted.languages]
        several = self._catalogues if count > 1 else []
        self._summaries = [Summary(wanted.folder, catalogue, with_names=wanted.with_names, made=made) for catalogue in several]

    def add(self, answered: Answered, image: ImageSource, *, stem: str | None = None) -> list[Path]:
        """Write the pages of one picture.

        Args:
            image: where the picture is now, or its bytes.
            stem: what the pages' names begin with; by default that of ``stem_of``.

        Returns:
            What was written.

        Raises:
            ReportError: a page could not be made or written.
        """
        film = film_of(answered, image, self._read)
        stem = stem or self.stem_of(answered)
        written = []
        for catalogue in self._catalogues:
            page = page_of(answered, film, catalogue, made=self._made, with_name=self._wanted.with_names)
            name = f"{stem}.report.{catalogue.language}"
            written.append(write_sheet(self._wanted.folder / f"{name}.html", to_html(page)))
            if self._wanted.with_pdf:
                written.append(write_sheet(self._wanted.folder / f"{name}.pdf", to_pdf(page)))
        thumbnail = thumbnail_of(film) if self._summaries else b""
        for summary in self._summaries:
            summary.add(Row(answered, thumbnail, stem))
        return written

    def finish(self) -> list[Path]:
        """Write the summaries; none where there is one picture.

        Raises:
            ReportError: it could not be written.
        """
        return [summary.finish() for summary in self._summaries]

    def stem_of(self, answered: Answered) -> str:
        """What the pages' names begin with: nobody's name, unless names are wanted."""
        if self._wanted.with_names:
            return name_of(answered.source, answered.sha256)
        return f"knee-{digits_of(answered.source, answered.sha256)}"


def write_over_time(pictures: Sequence[Dated], wanted: Wanted, made: datetime) -> list[Path]:
    """The page of one person's pictures by date, in each language.

    Raises:
        ReportError: it could not be made or written.
    """
    digits = sha256_hex("".join(sorted(one.answered.sha256 or "" for one in pictures)).encode())[:12]
    written = []
    for language in wanted.languages:
        page = page_over_time(pictures, catalogue_of(language), made=made)
        name = f"over-time-{digits}.report.{language}"
        written.append(write_sheet(wanted.folder / f"{name}.html", to_html(page)))
        if wanted.with_pdf:
            written.append(write_sheet(wanted.folder / f"{name}.pdf", to_pdf(page)))
    return written


def stated_time() -> datetime:
    """The time that pages state, to the minute: now, or what ``SOURCE_DATE_EPOCH`` says.

    Raises:
        ReportError: that is no time.
    """
    told = os.environ.get(_EPOCH)
    if told is None:
        return datetime.now(UTC).replace(second=0, microsecond=0)
    try:
        return datetime.fromtimestamp(int(told), UTC).replace(second=0)
    except (ValueError, OverflowError, OSError) as error:
        raise ReportError(f"{_EPOCH} must be whole seconds since 1970, not {told[:40]!r}") from error
