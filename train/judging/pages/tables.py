"""The results of a run as rows, CSV and XLSX: every system, every figure, with interval and paired difference."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.worksheet.worksheet import Worksheet

from train.data.dataset import LABELS
from train.judging.pages.reading import RunMaterial
from train.judging.pages.wording import RESEARCH_USE

COLUMNS = (
    "run", "system", "figure", "value", "low", "high", "model_less_system", "model_less_system_low", "model_less_system_high",
)  # fmt: skip
_WIDTH = 18

Cell = str | float | int | None
Row = tuple[Cell, ...]


def result_rows(material: RunMaterial) -> Iterator[Row]:
    """One row a system and figure, in the order of ``COLUMNS``; None where no difference was measured."""
    for system, figures in material.systems.items():
        for figure, metric in figures.items():
            paired = material.differences.get(system, {}).get(figure)
            difference = (paired.value, paired.low, paired.high) if paired else (None, None, None)
            yield (material.name, system, figure, metric.value, metric.low, metric.high, *difference)


def as_csv(material: RunMaterial) -> str:
    """The rows as CSV with a header; numbers in full precision, empty where there is none."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows([_for_spreadsheet(cell) for cell in row] for row in result_rows(material))
    return text.getvalue()


def _for_spreadsheet(cell: Cell) -> Cell:
    """A name that no spreadsheet takes for a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(("=", "+", "-", "@")) else cell


def as_xlsx(material: RunMaterial) -> bytes:
    """A workbook: results, confusion matrices, the study's own tables, and what the numbers are."""
    book = Workbook()
    _fill(book.active, "results", COLUMNS, list(result_rows(material)))
    _fill(book.create_sheet(), "confusion", ("system", "true", *LABELS), list(_confusion_rows(material)))
    for place, table in enumerate(material.tables, 1):
        _fill(book.create_sheet(), f"table {place}", table.columns, [tuple(map(_cell, row)) for row in table.rows])
    _fill(book.create_sheet(), "about", ("about", ""), list(_about(material)))
    data = io.BytesIO()
    book.save(data)
    return data.getvalue()


def _confusion_rows(material: RunMaterial) -> Iterator[Row]:
    for system, matrix in material.confusions.items():
        for label, counts in zip(LABELS, matrix, strict=True):
            yield (system, label, *counts)


def _about(material: RunMaterial) -> Iterator[Row]:
    yield ("run", material.name)
    yield ("method", str(material.metrics.get("method", "")))
    for place, table in enumerate(material.tables, 1):
        yield (f"table {place}", f"{table.title}. {table.note}" if table.note else table.title)
    yield ("use", RESEARCH_USE)


def _cell(value: object) -> Cell:
    return value if isinstance(value, (str, int, float)) or value is None else str(value)


def _fill(sheet: Worksheet, title: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
    sheet.title = title
    for number, row in enumerate([tuple(columns), *rows], 1):
        for place, value in enumerate(row, 1):
            cell = sheet.cell(number, place, ILLEGAL_CHARACTERS_RE.sub("", value) if isinstance(value, str) else value)
            if isinstance(value, str):
                cell.data_type = "s"  # never a formula
    for place in range(1, len(columns) + 1):
        sheet.cell(1, place).font = Font(bold=True)
        sheet.column_dimensions[get_column_letter(place)].width = _WIDTH
    sheet.freeze_panes = "A2"
