"""Write a run's tables and page into its folder."""

from __future__ import annotations

from pathlib import Path

from osteo_edge.storage import write_file
from train.judging.pages.page import as_html
from train.judging.pages.reading import read_run
from train.judging.pages.tables import as_csv, as_xlsx
from train.runs.folder import RunError

CSV_FILE = "results.csv"
XLSX_FILE = "results.xlsx"
PAGE_FILE = "report.html"


def write_reports(folder: Path) -> tuple[Path, ...]:
    """Write ``results.csv``, ``results.xlsx`` and ``report.html``, each in one step.

    Raises:
        RunError: the run cannot be read, or its folder cannot be written.
    """
    material = read_run(folder)
    try:
        contents = {CSV_FILE: as_csv(material).encode(), XLSX_FILE: as_xlsx(material), PAGE_FILE: as_html(material).encode()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        # What read_run has not checked, since only the page shows it.
        raise RunError(f"{folder}: holds something that 'python -m train fit' does not write ({error!r})") from error
    for name, data in contents.items():
        _write(folder / name, data)
    return tuple(folder / name for name in contents)


def _write(path: Path, data: bytes) -> None:
    try:
        write_file(path, data)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror})") from error
