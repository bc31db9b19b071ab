"""One file of a page onto the disk."""

from __future__ import annotations

from pathlib import Path

from osteo_edge.errors import ReportError
from osteo_edge.storage import write_file


def write_sheet(path: Path, data: bytes) -> Path:
    """Write it in place of what is there.

    Raises:
        ReportError: it cannot be written.
    """
    try:
        write_file(path, data)
    except OSError as error:
        raise ReportError(f"the page {path} cannot be written: {error.strerror}") from error
    return path
