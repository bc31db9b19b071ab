"""The kiosk's pages as HTML that needs no script; what an answer says is the report's own page."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from osteo_edge.clinical.formulas import MAX_WEIGHT_KG, MIN_WEIGHT_KG
from osteo_edge.clinical.known import MEANINGS
from osteo_edge.covariates import AGE, SEX, WEIGHT
from osteo_edge.kiosk import captions
from osteo_edge.reports.pages import captions as reported
from osteo_edge.reports.pages.catalogue import LANGUAGES, Catalogue, catalogue_of
from osteo_edge.reports.pages.html import lines_of_section, spoken
from osteo_edge.reports.pages.page import Page, capitalised

MAX_AGE_YEARS: Final = 120
_FIELDS: Final = ((AGE, 1, MAX_AGE_YEARS), (WEIGHT, round(MIN_WEIGHT_KG), round(MAX_WEIGHT_KG)))
_RANGES: Final = {AGE: captions.AGE_RANGE, WEIGHT: captions.WEIGHT_RANGE}


@dataclass(frozen=True)
class Frame:
    """What stands around every page.

    Attributes:
        token: what its forms must hold; empty where it has none.
        is_of_visit: somebody is on the way through the pages.
        is_demonstration: pictures of people are not answered.
        refresh: seconds, and the page that then comes by itself; none by default.
    """

    language: str
    is_large: bool = False
    token: str = ""
    is_of_visit: bool = False
    is_demonstration: bool = False
    refresh: tuple[int, str] | None = None

    @property
    def catalogue(self) -> Catalogue:
        return catalogue_of(self.language)

    def say(self, english: str) -> str:
        """As HTML; what has no translation is marked."""
        return spoken(self.catalogue.say(english), self.language)


def document(frame: Frame, title: str, body: Iterator[str]) -> str:
    """A whole page.

    Args:
        title: in the page's language.
    """
    refresh = f'<meta http-equiv="refresh" content="{frame.refresh[0]};url={frame.refresh[1]}">' if frame.refresh else ""
    size = ' class="large"' if frame.is_large else ""
    head = (
        "<!DOCTYPE html>",
        f'<html lang="{frame.language}" dir="{frame.catalogue.direction}"{size}>',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<meta name="color-scheme" content="light dark">{refresh}<title>{escape(title)}</title>',
        '<link rel="stylesheet" href="/kiosk.css"><script src="/kiosk.js" defer></script></head>',
        "<body>",
        *_top(frame),
        f"<main><h1>{escape(title)}</h1>",
    )
    return "\n".join([*head, *body, "</main></body></html>", ""])


def _top(frame: Frame) -> Iterator[str]:
    if frame.is_demonstration:
        yield f'<p class="banner">{frame.say(captions.DEMONSTRATION)}</p>'
    size, label = ("normal", captions.SMALLER) if frame.is_large else ("large", captions.LARGER)
    address = f"/text/{size}" if frame.is_of_visit else f"/?text={size}"
    yield f'<nav><a class="button" href="{address}">{frame.say(label)}</a>'
    if frame.is_of_visit:
        yield f'<a class="button" href="/language">{frame.say(captions.LANGUAGE)}</a>'
        yield _form(frame, "/end", f'<button class="end">{frame.say(captions.END)}</button>')
    yield "</nav>"


def _form(frame: Frame, action: str, inside: str, *, attributes: str = "") -> str:
    """Back must not bring back what was filled in, hence no completion."""
    hidden = f'<input type="hidden" name="token" value="{escape(frame.token)}">'
    if frame.is_large and not frame.is_of_visit:
        hidden += '<input type="hidden" name="text" value="large">'
    return f'<form method="post" action="{action}" autocomplete="off"{attributes}>{hidden}{inside}</form>'


def choose_language(frame: Frame, action: str) -> Iterator[str]:
    """One button a language, in its own words."""
    buttons = (
        f'<button name="language" value="{code}" lang="{code}" dir="{direction}">'
        f"<strong>{escape(name)}</strong> <span>{escape(catalogue_of(code).word(captions.BEGIN))}</span></button>"
        for code, (name, direction) in LANGUAGES.items()
    )
    yield _form(frame, action, f'<div class="languages">{"".join(buttons)}</div>')


def what(frame: Frame, idle_seconds: int) -> Iterator[str]:
    erased = captions.ERASED_AFTER.replace("{n}", str(idle_seconds))
    for told in (captions.WHAT_IT_IS, captions.WHAT_IT_IS_NOT, captions.WHO_DECIDES, erased):
        yield f"<p>{frame.say(told)}</p>"
    if frame.catalogue.is_draft:
        yield f'<p class="notice">{frame.say(reported.DRAFT)}</p>'
    yield _form(frame, "/what", f'<p class="way"><button class="main">{frame.say(captions.GO_ON)}</button></p>')


def person(frame: Frame, given: dict[str, str], faults: Collection[str]) -> Iterator[str]:
    """Age, weight and sex.

    Args:
        faults: names of what was not understood.
    """
    parts = [f"<p>{frame.say(captions.OPTIONAL)}</p>"]
    parts += [_fault(frame, name, told_range(name, low, high)) for name, low, high in _FIELDS if name in faults]
    fields = (_number(frame, name, given.get(name, ""), is_fault=name in faults) for name, _, _ in _FIELDS)
    parts.append(f'<div class="numbers">{"".join(fields)}</div>')
    choices = (("", captions.NOT_SAID), ("female", reported.FEMALE), ("male", reported.MALE))
    chosen = given.get(SEX, "")
    radios = (
        f'<label class="choice"><input type="radio" name="{SEX}" value="{value}"{" checked" if value == chosen else ""}> '
        f"{frame.say(capitalised(label))}</label>"
        for value, label in choices
    )
    parts.append(f"<fieldset><legend>{frame.say(captions.SEX)}</legend>{''.join(radios)}</fieldset>")
    parts.append(_way(frame, "/what", captions.GO_ON))
    yield _form(frame, "/person", "".join(parts))


def told_range(name: str, low: int, high: int) -> str:
    """What may be given, in English."""
    return _RANGES[name].replace("{n}", str(low), 1).replace("{n}", str(high), 1)


def _fault(frame: Frame, name: str, told: str) -> str:
    """What is wrong with a field; to who does not see it, it is told together with the field too."""
    return f'<p class="fault" id="{name}-fault" role="alert">{frame.say(told)}</p>'


def _number(frame: Frame, name: str, value: str, *, is_fault: bool) -> str:
    marked = f' aria-invalid="true" aria-describedby="{name}-fault"' if is_fault else ""
    field = f'<input id="{name}" name="{name}" inputmode="decimal" maxlength="8" value="{escape(value)}"{marked}>'
    return f'<div><label for="{name}">{frame.say(capitalised(MEANINGS[name]))}</label>{field}</div>'


def _way(frame: Frame, back: str, on: str) -> str:
    """Back, and on."""
    link = f'<a class="button" href="{back}">{frame.say(captions.BACK)}</a>'
    return f'<p class="way">{link}<button class="main">{frame.say(on)}</button></p>'


def picture(frame: Frame, names: Sequence[str], *, with_folder: bool) -> Iterator[str]:
    """A file of one's own, or one of these; in a demonstration the example alone."""
    if not frame.is_demonstration:
        file = (
            f'<p><label for="file">{frame.say(captions.CHOOSE_FILE)}</label><input id="file" name="file" type="file"></p>'
            f"{_way(frame, '/person', captions.SHOW_ANSWER)}"
        )
        yield _form(frame, "/picture", file, attributes=' enctype="multipart/form-data"')
    if names:
        yield f"<h2>{frame.say(captions.CHOOSE_EXAMPLE if frame.is_demonstration else captions.CHOOSE_ONE)}</h2>"
        buttons = (_thumbnail(frame, name, number) for number, name in enumerate(names, start=1))
        yield _form(frame, "/picture", f'<div class="pictures">{"".join(buttons)}</div>')
    elif with_folder:
        yield f"<p>{frame.say(reported.UNREAD['no_pictures'])}</p>"
    if frame.is_demonstration:
        yield f'<p class="way"><a class="button" href="/person">{frame.say(captions.BACK)}</a></p>'


def _thumbnail(frame: Frame, name: str, number: int) -> str:
    told = frame.say(captions.NUMBERED.replace("{n}", str(number)))
    return f'<button name="chosen" value="{name}"><img src="/small/{name}.jpg" alt=""><span>{told}</span></button>'


def answer(frame: Frame, page: Page, *, with_pdf: bool) -> Iterator[str]:
    """What the report's page says, and what can be done with it."""
    yield f'<p class="banner">{escape(page.banner)}</p>'
    yield from (f'<p class="notice">{escape(notice)}</p>' for notice in page.notices)
    yield '<div class="top"><div class="answers">'
    yield from (line for section in page.beside for line in lines_of_section(section, page.language))
    yield "</div><figure>"
    if page.film.is_shown:
        size = f'width="{page.film.width_px}" height="{page.film.height_px}"'
        yield f'<img src="/film.jpg" {size} alt="{escape(page.film_alt)}">'
    yield f"<figcaption>{spoken(page.film_caption, page.language)}</figcaption></figure></div>"
    yield f'<p class="way"><a class="button" href="/picture">{frame.say(captions.ANOTHER)}</a>'
    yield f'<button class="print" hidden>{frame.say(captions.PRINT)}</button>'
    if with_pdf:
        yield f'<a class="button" href="/paper">{frame.say(captions.AS_PDF)}</a>'
    yield "</p>"
    yield from (line for section in page.below for line in lines_of_section(section, page.language))


def paper(frame: Frame) -> Iterator[str]:
    """The PDF within a page, which can be left and does not stay."""
    yield f'<p class="way"><a class="button" href="/answer">{frame.say(captions.BACK)}</a></p>'
    yield f'<iframe src="/answer.pdf" title="{escape(frame.catalogue.word(captions.AS_PDF))}"></iframe>'


def still_there(frame: Frame, seconds: int) -> Iterator[str]:
    yield f"<p>{frame.say(captions.SOON_ERASED.replace('{n}', str(seconds)))}</p>"
    yield _form(frame, "/stay", f'<p class="way"><button class="main">{frame.say(captions.STAY)}</button></p>')


def told(frame: Frame, sentence: str, link: str, label: str) -> Iterator[str]:
    """What happened, and how to go on."""
    yield f"<p>{frame.say(sentence)}</p>"
    yield f'<p class="way"><a class="button main" href="{link}">{frame.say(label)}</a></p>'
