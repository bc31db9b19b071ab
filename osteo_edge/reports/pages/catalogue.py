"""Message catalogues: English sentences to those of another language.

The program and its bundles speak English, and JSON that was written earlier holds it. So a catalogue is asked for what is to be
said by the English itself: a gettext file (``catalogues/es.po``) has each sentence once, with ``{n}`` where a number stands in
it and ``{}`` where words do, which are looked up in turn. What it does not have is left in English, and known to be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from osteo_edge.errors import ReportError

FOLDER: Final = Path(__file__).parent / "catalogues"
ENGLISH: Final = "en"
# Code -> the language's own name, and the direction of its writing.
LANGUAGES: Final[Mapping[str, tuple[str, Literal["ltr", "rtl"]]]] = {
    ENGLISH: ("English", "ltr"),
    "es": ("Español", "ltr"),
    "pt": ("Português", "ltr"),
    "fr": ("Français", "ltr"),
    "hi": ("हिन्दी", "ltr"),
    "ar": ("العربية", "rtl"),
}
# The header of a catalogue says who has read it; a speaker puts a name in its place.
_READ_BY: Final = "X-Read-By"
_NOBODY: Final = "nobody"

_STOPS: Final = ".।"
_NUMBER: Final = r"[-\u2212]?\d+(?:[.,]\d+)?"
_PLACE: Final = re.compile(r"\{n?\}")
# In a translation also by number, where the places stand in another order.
_PLACE_FILLED: Final = re.compile(r"\{(n|\d)?\}")
_SENTENCE_END: Final = re.compile(r"(?<=[.]) (?=[A-Z])")
# Lists of words as ``printable.enumerate_words`` and the rules make them; each connector is a message of its own.
CONNECTORS: Final = (", ", " and ", " or ", " to ", " from ")
_CONNECTOR: Final = re.compile(rf"(?:{'|'.join(map(re.escape, CONNECTORS))})(?![^(]*\))")
_NAMED: Final = re.compile(r"([A-Z]+) \((.+)\)")
# Unicode's marks about a piece that runs left to right whatever stands beside it, and about one that brings its own direction.
_LEFT_TO_RIGHT, _OF_ITS_OWN, _END = "\u2066", "\u2068", "\u2069"


@dataclass(frozen=True)
class Text:
    """A piece of a page.

    Attributes:
        is_foreign: it is English, as the page's language has no translation of it.
    """

    text: str
    is_foreign: bool = False


@dataclass(frozen=True)
class _Template:
    """A message with places: what it is in English, as a pattern, and the translation."""

    pattern: re.Pattern[str]
    kinds: tuple[str, ...]
    translation: str
    weight: int


class Catalogue:
    """One language.

    Attributes:
        language: its code.
        direction: of its writing.
        is_draft: no speaker has read it yet.
    """

    def __init__(self, language: str, messages: Mapping[str, str], *, is_draft: bool) -> None:
        self.language, self.is_draft = language, is_draft
        self.direction = LANGUAGES[language][1]
        self.messages = messages
        self._whole = {key_of(message): text for message, text in messages.items() if text and not _PLACE.search(message)}
        self._templates = sorted(_templates(messages), key=lambda template: -template.weight)

    @property
    def is_english(self) -> bool:
        return self.language == ENGLISH

    def say(self, english: str) -> tuple[Text, ...]:
        """One or several sentences; each that is not in the catalogue stays English, and is marked."""
        if self.is_english:
            return (Text(english),)
        return tuple(_joined(self._pieces(_SENTENCE_END.split(english))))

    def word(self, english: str) -> str:
        """A short message that every catalogue has, as a plain string."""
        return " ".join(piece.text for piece in self.say(english))

    def has(self, english: str) -> bool:
        """Whether all of it can be said in this language."""
        return not any(piece.is_foreign for piece in self.say(english))

    def isolated(self, text: str) -> str:
        """A number, code or name that runs left to right also in writing that runs the other way."""
        return f"{_LEFT_TO_RIGHT}{text}{_END}" if self.direction == "rtl" and not _is_rtl(text) else text

    def _pieces(self, sentences: list[str]) -> Iterator[Text]:
        """The longest runs of sentences that the catalogue has, in order."""
        start = 0
        while start < len(sentences):
            ends = range(len(sentences), start, -1)
            found = next(((end, said) for end in ends if (said := self._one(" ".join(sentences[start:end]))) is not None), None)
            end, text = found or (start + 1, None)
            yield Text(sentences[start], is_foreign=True) if text is None else Text(text)
            start = end

    def _one(self, english: str) -> str | None:
        key = key_of(english)
        if (whole := self._whole.get(key)) is not None:
            return self._shaped(whole, english)
        for template in self._templates:
            if found := template.pattern.fullmatch(key):
                return self._shaped(self._filled(template, found.groups()), english)
        return None

    def _filled(self, template: _Template, groups: tuple[str, ...]) -> str:
        words = [
            self.isolated(group) if kind == "{n}" else self._words(group)
            for kind, group in zip(template.kinds, groups, strict=True)
        ]
        following = iter(words)

        def word(place: re.Match[str]) -> str:
            return words[int(place[1]) - 1] if (place[1] or "").isdigit() else next(following)

        return _PLACE_FILLED.sub(word, template.translation)

    def _words(self, english: str) -> str:
        """What stands in a place: a message, or a list of words of which each is looked up; codes stay as they are."""
        if (whole := self._one(english)) is not None:
            return whole
        parts = [self._word(part) for part in _CONNECTOR.split(english)]
        between = [self._whole.get(one, one) for one in _CONNECTOR.findall(english)]
        return parts[0] + "".join(f"{connector}{part}" for connector, part in zip(between, parts[1:], strict=True))

    def _word(self, english: str) -> str:
        if (known := self._one(english)) is not None:
            return known
        if named := _NAMED.fullmatch(english):
            return f"{self.isolated(named[1])} ({self._words(named[2])})"
        return self.isolated(english)

    def _shaped(self, text: str, english: str) -> str:
        """With a capital letter and a full stop where the English has them."""
        if english[:1].isupper() and text[:1].islower():
            text = text[:1].upper() + text[1:]
        elif english[:1].islower() and text[:1].isupper() and text[1:2].islower():
            text = text[:1].lower() + text[1:]
        bare = text.rstrip(_STOPS)
        if not english.endswith("."):
            return bare
        return text if text.endswith(tuple(_STOPS)) else f"{bare}{'।' if self.language == 'hi' else '.'}"


def _templates(messages: Mapping[str, str]) -> Iterator[_Template]:
    for message, translation in messages.items():
        kinds = tuple(_PLACE.findall(message))
        if kinds and translation:
            fixed = _PLACE.split(key_of(message))
            places = [f"({_NUMBER})" if kind == "{n}" else "(.+)" for kind in kinds]
            pattern = "".join(re.escape(text) + place for text, place in zip(fixed, [*places, ""], strict=True))
            yield _Template(re.compile(pattern), kinds, translation, sum(map(len, fixed)))


def _joined(pieces: Iterator[Text]) -> Iterator[Text]:
    """Neighbours of one kind as one."""
    last: Text | None = None
    for piece in pieces:
        if last is not None and last.is_foreign == piece.is_foreign:
            last = Text(f"{last.text} {piece.text}", last.is_foreign)
            continue
        if last is not None:
            yield last
        last = piece
    if last is not None:
        yield last


def key_of(message: str) -> str:
    """As it is looked up: without the last full stop, with a small first letter but for abbreviations."""
    text = message[:-1] if message.endswith(".") else message
    is_word = text[1:2].islower() or text[1:2] == " "
    return text[:1].lower() + text[1:] if is_word else text


def _is_rtl(text: str) -> bool:
    return any("\u0590" <= character <= "\u08ff" for character in text)


@cache
def catalogue_of(language: str) -> Catalogue:
    """The catalogue of one of ``LANGUAGES``.

    Raises:
        ReportError: its file is damaged.
    """
    if language == ENGLISH:
        return Catalogue(ENGLISH, {}, is_draft=False)
    path = FOLDER / f"{language}.po"
    try:
        messages = read_po(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReportError(f"the catalogue {path} cannot be read: {error}; install osteo-edge again") from error
    header = dict(line.split(": ", 1) for line in messages.pop("", "").splitlines() if ": " in line)
    return Catalogue(language, messages, is_draft=header.get(_READ_BY, _NOBODY) == _NOBODY)


def read_po(text: str) -> dict[str, str]:
    """Message -> translation of a gettext file without contexts and plurals; of the empty message, the header.

    Raises:
        ValueError: names the line.
    """
    messages: dict[str, str] = {}
    field, parts = "", {"msgid": "", "msgstr": ""}
    for number, line in enumerate([*text.splitlines(), 'msgid ""'], start=1):
        keyword, quote, rest = line.strip().partition('"')
        if not quote or keyword.startswith("#"):
            if keyword and not keyword.startswith("#"):
                raise ValueError(f"line {number} is neither a message nor a comment")
            continue
        keyword = keyword.strip()
        if keyword == "msgid" and field == "msgstr":
            if parts["msgid"] in messages:
                raise ValueError(f"a message before line {number} stands twice: {parts['msgid'][:60]!r}")
            messages[parts["msgid"]] = parts["msgstr"]
            parts = {"msgid": "", "msgstr": ""}
        field = keyword or field
        if field not in parts:
            raise ValueError(f"line {number} begins with {keyword!r}, not msgid or msgstr")
        parts[field] += json.loads(f'"{rest}')
    return messages
