"""Several pictures at a glance: how many got which answer, and a table with small pictures that leads to their pages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Final
from urllib.parse import quote

from osteo_edge.printable import printable
from osteo_edge.reports.pages import captions
from osteo_edge.reports.pages.answers import Answer, Answered
from osteo_edge.reports.pages.catalogue import Catalogue, Text
from osteo_edge.reports.pages.html import data_address, document, heading, spoken
from osteo_edge.reports.pages.page import Texts, capitalised, notices, told_apart, told_time
from osteo_edge.reports.pages.sheets import write_sheet
from osteo_edge.wording import BURNED_IN

# A table of more rows goes on in a further file: each holds its small pictures, and a browser must open it.
ROWS_A_PART: Final = 100
_DIGITS_SHOWN: Final = 12


@dataclass(frozen=True)
class Row:
    """One picture.

    Attributes:
        thumbnail: a small JPEG; empty where there is no picture to show.
        stem: what the names of its pages begin with.
    """

    answered: Answered
    thumbnail: bytes
    stem: str


class Summary:
    """The summary of one run, in one language; holds the rows of one part of the table at a time."""

    def __init__(self, folder: Path, catalogue: Catalogue, *, with_names: bool, made: datetime) -> None:
        self._folder, self._catalogue, self._with_names, self._made = folder, catalogue, with_names, made
        self._counts: Counter[str] = Counter()
        self._uses: dict[str, None] = {}
        self._rows: list[str] = []
        self._parts: list[Path] = []
        self._is_foreign = False

    def add(self, row: Row) -> None:
        """The next picture.

        Raises:
            ReportError: a part of the table could not be written.
        """
        if len(self._rows) == ROWS_A_PART:
            self._end_part()
        self._counts[row.answered.status] += 1
        self._uses |= dict.fromkeys(answer.intended_use for answer in row.answered.answers)
        self._rows.append(self._row(row))

    def finish(self) -> Path:
        """Write the summary itself.

        Raises:
            ReportError: it could not be written.
        """
        if self._parts:
            self._end_part()
        return write_sheet(self._folder / f"summary.{self._catalogue.language}.html", self._document(self._body()))

    def _end_part(self) -> None:
        path = self._folder / f"summary.{self._catalogue.language}.part-{len(self._parts) + 1}.html"
        write_sheet(path, self._document(self._table()))
        self._parts.append(path)
        self._rows = []

    def _document(self, body: Iterator[str]) -> bytes:
        catalogue, title = self._catalogue, self._word(captions.SUMMARY)
        lines = [*heading(self._word(BURNED_IN), title, notices(catalogue, is_foreign=self._is_foreign)), *body]
        return document(catalogue.language, catalogue.direction, title, lines).encode()

    def _body(self) -> Iterator[str]:
        yield '<ul class="counts">'
        yield f"<li>{escape(self._word(captions.PICTURES))}: <b>{sum(self._counts.values())}</b></li>"
        for status, caption in captions.STATUS.items():
            yield f"<li>{escape(self._word(caption))}: <b>{self._counts[status]}</b></li>"
        yield "</ul>"
        for number, part in enumerate(self._parts, start=1):
            told = self._word(captions.FURTHER.replace("{n}", str(number), 1).replace("{n}", str(len(self._parts))))
            yield f'<p><a href="{quote(part.name)}">{escape(told)}</a></p>'
        yield from self._table() if self._rows else ()
        for use in self._uses:
            yield f'<p class="small">{spoken(self._say(use), self._catalogue.language)}</p>'
        yield f'<p class="small">{escape(self._word(captions.MADE))}: <bdi>{told_time(self._made)}</bdi></p>'

    def _table(self) -> Iterator[str]:
        heads = ("", captions.PICTURE_NAME, captions.ANSWER, captions.SAYS)
        yield "<table><thead><tr>"
        yield from (f'<th scope="col">{escape(self._word(head)) if head else ""}</th>' for head in heads)
        yield "</tr></thead><tbody>"
        yield from self._rows
        yield "</tbody></table>"

    def _row(self, row: Row) -> str:
        answered = row.answered
        name = printable(answered.source) if self._with_names else (answered.sha256 or "")[:_DIGITS_SHOWN] or row.stem
        image = f'<img src="{data_address(row.thumbnail, "image/jpeg")}" alt="">' if row.thumbnail else ""
        page = f"{quote(row.stem)}.report.{self._catalogue.language}.html"
        says = "".join(f"<p>{self._said(answer)}</p>" for answer in told_apart(answered))
        return (
            f'<tr class="{answered.status}"><td>{image}</td><td><a href="{page}"><bdi>{escape(name)}</bdi></a></td>'
            f"<td>{escape(self._word(captions.STATUS[answered.status]))}</td><td>{says}</td></tr>"
        )

    def _said(self, answer: Answer) -> str:
        """What is said first of one question, after its title."""
        told: list[Texts] = []
        for said in answer.told.knees:
            place = f"{self._word(capitalised(said.place))}: " if said.place else ""
            sentence = self._say(said.sentence)
            told.append((Text(f"{place}{sentence[0].text}", sentence[0].is_foreign), *sentence[1:]))
        self._is_foreign |= any(piece.is_foreign for pieces in told for piece in pieces)
        title = escape(self._word(capitalised(answer.title)))
        return f"<b>{title}</b>: " + " ".join(spoken(pieces, self._catalogue.language) for pieces in told)

    def _word(self, english: str) -> str:
        return self._catalogue.word(english)

    def _say(self, english: str) -> Texts:
        return self._catalogue.say(printable(english))
