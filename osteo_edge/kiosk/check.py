"""What a kiosk has, and what it lacks to be more than a demonstration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from osteo_edge.kiosk.site import ACKNOWLEDGEMENT, Site
from osteo_edge.reports.pages import pdf

_LIBRARIES: Final = ("starlette", "uvicorn", "python_multipart")
INSTALL: Final = "pip install 'osteo-edge[kiosk]'"
MISSING: Final = f"the kiosk needs starlette, uvicorn and python-multipart, which are not installed: {INSTALL}"


@dataclass(frozen=True)
class Point:
    """One thing that was looked at.

    Attributes:
        is_needed: without it there is no kiosk, or a demonstration alone.
        told: what is there, or what to do.
    """

    is_there: bool
    told: str
    is_needed: bool = True


def is_available() -> bool:
    """Whether the extra is installed; loads nothing."""
    return all(find_spec(name) is not None for name in _LIBRARIES)


def points(site: Site, folder: Path | None) -> Iterator[Point]:
    """All of them, but for the bundles, which have their own check ('osteo-edge doctor').

    Args:
        folder: with the site's pictures; None where it names none.
    """
    yield Point(is_available(), "the extra 'kiosk' is installed" if is_available() else MISSING)
    if site.is_acknowledged:
        yield Point(True, f"the intended use is acknowledged by {site.by.strip()}")
    else:
        yield Point(
            False,
            "the intended use is not acknowledged, so only the example picture is answered: give a site file (--site) whose "
            f"'by' says who answers for it and whose 'acknowledged' reads {ACKNOWLEDGEMENT!r}",
        )
    if folder is None:
        yield Point(False, "no folder of pictures is named; pictures are chosen as files alone", is_needed=False)
    else:
        is_readable = folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)
        yield Point(is_readable, f"the folder of pictures {folder} {'can' if is_readable else 'cannot'} be read")
    has_pdf = pdf.is_available()
    yield Point(has_pdf, "answers are shown as PDFs too" if has_pdf else f"there are no PDFs: {pdf.INSTALL}", is_needed=False)
