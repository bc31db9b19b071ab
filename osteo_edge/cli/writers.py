"""Answers on standard output, each as soon as it is there: text for people; JSON, JSON lines and CSV for machines."""

from __future__ import annotations

import json
import sys
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from osteo_edge.cli.terminal import tell, tell_text
from osteo_edge.printable import counted, printable

if TYPE_CHECKING:
    from osteo_edge.prediction import Prediction

MAX_TEXT_WIDTH = 100


@dataclass(frozen=True)
class Answer:
    """A prediction, where its overlay was written, and the exit code that it asks for."""

    prediction: Prediction
    overlay: Path | None
    exit_code: int

    @property
    def overlay_name(self) -> str | None:
        return str(self.overlay) if self.overlay else None


class Writer(ABC):
    """Writes answers in turn; used as a context, so that what was begun is ended also where the run ends early."""

    @abstractmethod
    def write(self, answer: Answer) -> None:
        """The next answer."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None


class TextWriter(Writer):
    """One picture in a few lines; several in a line each, with what they have in common below."""

    def __init__(self, *, are_several: bool, passed_over: int, is_verbose: bool) -> None:
        self._are_several, self._passed_over, self._is_verbose = are_several, passed_over, is_verbose
        self._statuses: Counter[str] = Counter()
        self._common: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._overlays: Counter[Path] = Counter()
        self._uses: dict[str, None] = {}

    def write(self, answer: Answer) -> None:
        from osteo_edge.reports.text import common_parts, notes_of, to_line, to_text

        prediction = answer.prediction
        if self._are_several and not self._is_verbose:
            text = to_line(prediction)
            self._common.update(common_parts(prediction))
            self._notes.update(notes_of(prediction))
            self._overlays.update([answer.overlay.parent] if answer.overlay else [])
        else:
            text = to_text(prediction, overlay=answer.overlay_name, is_verbose=self._is_verbose)
            text += "\n" if self._are_several else ""
        self._echo(text)
        self._statuses[prediction.status.value] += 1
        self._uses |= dict.fromkeys(one.intended_use for one in prediction.answers)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and self._statuses:
            self._finish()

    def _finish(self) -> None:
        from osteo_edge.reports.text import closing_line

        if not (self._are_several and self._is_verbose):  # then every answer ends with an empty line
            tell("")
        for told, count in [*self._common.items(), *((f"Note: {note}", count) for note, count in self._notes.items())]:
            self._echo(f"{counted(count, 'picture')}: {told}")
        for folder, count in self._overlays.items():
            self._echo(printable(f"{counted(count, 'overlay')} in {folder}"))
        for use in self._uses:
            self._echo(printable(use))
        if self._are_several or self._passed_over:
            self._echo(closing_line(self._statuses, passed_over=self._passed_over))

    def _echo(self, text: str) -> None:
        tell_text("\n".join(_wrapped(line) for line in text.split("\n")) if sys.stdout.isatty() else text)


class JsonWriter(Writer):
    """One JSON value: an object for one path, an array for several or a folder.

    The array is closed also where the run is interrupted or an engine fails. A run that fails before its first answer writes
    nothing.
    """

    def __init__(self, *, is_array: bool) -> None:
        self._is_array = is_array
        self._count = 0

    def write(self, answer: Answer) -> None:
        record = json.dumps(_record(answer))
        if not self._is_array:
            tell(record)
            return
        self._echo(f"{',' if self._count else '['}\n{record}")

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._count:
            self._echo("\n]\n")

    def _echo(self, text: str) -> None:
        from osteo_edge.interruption import held_back

        with held_back():  # an interruption between bracket and record would leave no JSON
            self._count += 1
            tell_text(text, nl=False)


class JsonLinesWriter(Writer):
    """One object a line."""

    def write(self, answer: Answer) -> None:
        tell(json.dumps(_record(answer)))


class FhirWriter(Writer):
    """One FHIR bundle a line."""

    def write(self, answer: Answer) -> None:
        from datetime import UTC, datetime

        from osteo_edge.exchange.fhir import to_bundle

        tell(json.dumps(to_bundle(answer.prediction, issued=datetime.now(UTC))))


class CsvWriter(Writer):
    """One row a picture and question below a header."""

    def __init__(self) -> None:
        self._is_first = True

    def write(self, answer: Answer) -> None:
        import csv
        import io

        from osteo_edge.reports.structured import CSV_COLUMNS, to_rows

        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        if self._is_first:
            writer.writerow(CSV_COLUMNS)
        writer.writerows(to_rows(answer.prediction, overlay=answer.overlay_name))
        self._is_first = False
        tell_text(buffer.getvalue(), nl=False)


def _record(answer: Answer) -> dict[str, object]:
    record = answer.prediction.to_dict()
    if answer.overlay_name:
        record["overlay"] = answer.overlay_name
    return record


def _wrapped(line: str) -> str:
    """A line for a terminal, continued below its first word."""
    import shutil
    import textwrap

    width = min(shutil.get_terminal_size().columns, MAX_TEXT_WIDTH)
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line, width, subsequent_indent=indent + "  ", break_long_words=False, break_on_hyphens=False)
