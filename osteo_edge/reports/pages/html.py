"""A page as one HTML file that needs nothing beside it: picture, style and letters are inside; nothing is run or fetched."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

from osteo_edge.reports.pages.captions import PROGRAM_NAME
from osteo_edge.reports.pages.catalogue import ENGLISH, Text
from osteo_edge.reports.pages.page import Item, Line, Page, Section, Texts

FONTS: Final = Path(__file__).parent / "fonts"
_STYLE: Final = Path(__file__).with_name("page.css")
# Scripts for which not every system has letters; those of Latin languages it has.
_EMBEDDED: Final = {"hi": "NotoSansDevanagari", "ar": "NotoNaskhArabic"}
_POLICY: Final = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; font-src data:"


def to_html(page: Page) -> bytes:
    """The file; the same page gives the same bytes."""
    return document(page.language, page.direction, page.title, _body(page)).encode()


def document(language: str, direction: str, title: str, body: Iterable[str]) -> str:
    """A whole document around these lines of a body."""
    head = (
        "<!DOCTYPE html>",
        f'<html lang="{language}" dir="{direction}">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f'<meta name="generator" content="{PROGRAM_NAME}"><title>{escape(title)}</title>',
        f"<style>{_faces(language)}{_style()}</style></head>",
        "<body>",
    )
    return "\n".join([*head, *body, "</body></html>", ""])


def _body(page: Page) -> Iterator[str]:
    yield from heading(page.banner, page.title, page.notices)
    yield f'<div class="top"><figure>{_image(page)}<figcaption>{spoken(page.film_caption, page.language)}</figcaption></figure>'
    yield '<div class="answers">'
    yield from (line for section in page.beside for line in lines_of_section(section, page.language))
    yield "</div></div>"
    yield from (line for section in page.below for line in lines_of_section(section, page.language))
    yield f'<div class="banner">{escape(page.banner)}</div>'


def heading(banner: str, title: str, notices: Iterable[str]) -> Iterator[str]:
    """What every page begins with."""
    yield f'<div class="banner">{escape(banner)}</div>'
    yield f"<h1>{escape(title)}</h1>"
    yield from (f'<p class="notice">{escape(notice)}</p>' for notice in notices)


def _image(page: Page) -> str:
    film = page.film
    if not film.is_shown:
        return ""
    size = f'width="{film.width_px}" height="{film.height_px}"'
    return f'<img src="{data_address(film.data, film.kind)}" {size} alt="{escape(page.film_alt)}">'


def lines_of_section(section: Section, language: str) -> Iterator[str]:
    """One part of a page, for whatever document."""
    mark = f' <span class="mark">{escape(section.mark)}</span>' if section.mark else ""
    yield f'<section class="{section.tone}"><h2>{escape(section.title)}{mark}</h2>'
    if section.lines:
        yield "<table>"
        yield from (_line(line, language) for line in section.lines)
        yield "</table>"
    yield from (_item(item, language) for item in section.items)
    yield "</section>"


def _line(line: Line, language: str) -> str:
    cited = f'<div class="cited" lang="en" dir="ltr">{escape(line.source)}</div>'
    name = f'<th scope="row"><bdi>{escape(line.name)}</bdi></th>'
    value = f'<td class="value"><bdi dir="ltr">{escape(line.value)}</bdi></td>'
    return f"<tr>{name}{value}<td>{spoken(line.meaning, language)}{cited}</td></tr>"


def _item(item: Item, language: str) -> str:
    label = f'<span class="label">{escape(item.label)}:</span> ' if item.label else ""
    return f'<p class="{item.weight}">{label}{spoken(item.texts, language)}</p>'


def spoken(texts: Texts, language: str) -> str:
    """The pieces; English among another language is marked, for the eye and for what reads aloud."""
    return " ".join(_piece(text, language) for text in texts)


def _piece(text: Text, language: str) -> str:
    if not text.is_foreign or language == ENGLISH:
        return escape(text.text)
    return f'<span lang="en" dir="ltr">{escape(text.text)}</span><sup>EN</sup>'


def data_address(data: bytes, kind: str) -> str:
    """A picture or font inside the file."""
    return f"data:{kind};base64,{b64encode(data).decode()}"


@cache
def _style() -> str:
    return _STYLE.read_text(encoding="utf-8")


@cache
def _faces(language: str) -> str:
    family = _EMBEDDED.get(language)
    if family is None:
        return ""
    files = (("Regular", 400), ("Bold", 700))
    return "".join(
        f'@font-face {{ font-family: "osteo"; font-weight: {weight}; '
        f"src: url({data_address((FONTS / f'{family}-{name}.ttf').read_bytes(), 'font/ttf')}) }}\n"
        for name, weight in files
    )
