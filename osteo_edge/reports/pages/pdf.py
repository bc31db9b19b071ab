"""A page as a PDF of one A4 sheet, tagged for what reads aloud, by typst (the extra ``report``)."""

from __future__ import annotations

import json
from base64 import b64encode
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from osteo_edge.errors import ReportError, first_line
from osteo_edge.records import to_plain
from osteo_edge.reports.pages.html import FONTS
from osteo_edge.reports.pages.page import Film, Page

_TEMPLATE: Final = Path(__file__).with_name("page.typ")
INSTALL: Final = "pip install 'osteo-edge[report]'"


def is_available() -> bool:
    """Whether PDFs can be made here; loads nothing."""
    return find_spec("typst") is not None


def to_pdf(page: Page) -> bytes:
    """The file; the same page gives the same bytes.

    Raises:
        ReportError: typst is not installed, or failed.
    """
    try:
        import typst
    except ImportError as error:
        raise ReportError(f"a PDF needs typst, which is not installed: {INSTALL}") from error
    try:
        return bytes(
            typst.compile(
                str(_TEMPLATE),
                font_paths=[str(FONTS)],
                ignore_system_fonts=True,
                sys_inputs={"page": json.dumps(_plain(page), ensure_ascii=False)},
                pdf_standards=["a-2a", "ua-1"],  # what archives keep, and what those who do not see need
                timestamp=int(page.made.timestamp()),
            )
        )
    except (RuntimeError, ValueError) as error:  # typst's own error is a RuntimeError
        raise ReportError(f"the page could not be made into a PDF: {first_line(error)}") from error


def _plain(page: Page) -> dict[str, Any]:
    plain: dict[str, Any] = to_plain(page)
    made = page.made
    plain["made"] = [made.year, made.month, made.day, made.hour, made.minute]
    plain["film"] = _as_svg(page.film)
    return plain


def _as_svg(film: Film) -> str:
    """A JPEG inside of text, as which alone it can be handed over without a file; it is taken over as it is."""
    if film.kind == "image/svg+xml" or not film.is_shown:
        return film.data.decode()
    size = f'width="{film.width_px}" height="{film.height_px}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {film.width_px} {film.height_px}" {size}>'
        f'<image {size} href="data:image/jpeg;base64,{b64encode(film.data).decode()}"/></svg>'
    )
