"""What stands on a page, in one language, whatever it is printed with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal

from osteo_edge.clinical.known import MEANINGS
from osteo_edge.covariates import AGE, SEX, WEIGHT
from osteo_edge.printable import printable
from osteo_edge.reports.pages import captions
from osteo_edge.reports.pages.answers import Answer, Answered, Risk, Score
from osteo_edge.reports.pages.catalogue import Catalogue, Text
from osteo_edge.wording import BURNED_IN, SPOKEN_NOTES

Tone = Literal["reported", "referred", "rejected", "plain"]
Weight = Literal["strong", "plain", "small"]
Texts = tuple[Text, ...]

_YES_OR_NO: Final = "yes or no: "
_HIDDEN: Final = "(...)"
_DIGITS_SHOWN: Final = 16


@dataclass(frozen=True)
class Item:
    """A paragraph, after a label where there is one."""

    texts: Texts
    label: str = ""
    weight: Weight = "plain"


@dataclass(frozen=True)
class Line:
    """A row of the table of scores: the name, the value and what it means."""

    name: str
    value: str
    meaning: Texts
    source: str


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        mark: a word beside the title, for example whether there is an answer.
        tone: how it is set apart.
        lines: a table above the items.
    """

    title: str
    items: tuple[Item, ...]
    mark: str = ""
    tone: Tone = "plain"
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Film:
    """The picture on a page.

    Attributes:
        data: a JPEG with frames and the research use burned in, or a chart as SVG; empty where there is nothing to show.
        caption: what is seen, or why nothing is; English.
        alt: the same for those who do not see it; English.
    """

    data: bytes = field(repr=False)
    width_px: int
    height_px: int
    caption: str
    kind: Literal["image/jpeg", "image/svg+xml"] = "image/jpeg"
    alt: str = captions.ALT

    @property
    def is_shown(self) -> bool:
        return bool(self.data)


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        banner: what it is not to be used for.
        notices: of the translation; empty in English.
        beside: sections beside the picture.
        below: sections below it.
    """

    language: str
    direction: Literal["ltr", "rtl"]
    title: str
    banner: str
    notices: tuple[str, ...]
    film: Film
    film_caption: Texts
    film_alt: str
    beside: tuple[Section, ...]
    below: tuple[Section, ...]
    made: datetime


def page_of(answered: Answered, film: Film, catalogue: Catalogue, *, made: datetime, with_name: bool = False) -> Page:
    """The page of one picture.

    Args:
        made: the time that it states.
        with_name: also the file's name, which may be a person's; else it is left out wherever it stands.
    """
    return _Writer(answered, catalogue, with_name=with_name).page(film, made)


def laid_out(
    catalogue: Catalogue,
    title: str,
    film: Film,
    caption: Texts,
    beside: tuple[Section, ...],
    below: tuple[Section, ...],
    made: datetime,
) -> Page:
    """A page of these parts, with what stands on every page.

    Args:
        title: English.
        caption: what the picture's caption says, in the catalogue's language.
    """
    foreign = any(piece.is_foreign for piece in all_texts((*beside, *below), caption))
    return Page(
        language=catalogue.language,
        direction=catalogue.direction,
        title=catalogue.word(title),
        banner=catalogue.word(BURNED_IN),
        notices=notices(catalogue, is_foreign=foreign),
        film=film,
        film_caption=caption,
        film_alt=catalogue.word(film.alt),
        beside=beside,
        below=below,
        made=made,
    )


class _Writer:
    """What the parts of one page have in common: the language, and the name that is not to be told."""

    def __init__(self, answered: Answered, catalogue: Catalogue, *, with_name: bool) -> None:
        self._answered, self._catalogue = answered, catalogue
        names = (answered.source, printable(answered.source), Path(answered.source).name, Path(answered.source).stem)
        self._hidden = () if with_name else tuple(name for name in names if len(name) > 1)
        self._with_name = with_name

    def page(self, film: Film, made: datetime) -> Page:
        catalogue, answered = self._catalogue, self._answered
        beside = tuple(self._answer(answer) for answer in told_apart(answered))
        below = (*self._risk(), self._limits(), self._identity(made))
        return laid_out(catalogue, captions.TITLE, film, self._say(film.caption), beside, below, made)

    def _say(self, english: str) -> Texts:
        for name in self._hidden:
            english = english.replace(name, _HIDDEN)
        return self._catalogue.say(printable(english))

    def _sentence(self, message: str) -> Texts:
        """A message of a finding, which begins with a small letter and has no full stop."""
        return self._say(f"{capitalised(message).rstrip('.')}.")

    def _word(self, english: str) -> str:
        return self._catalogue.word(english)

    def _separator(self) -> str:
        return self._word(captions.SEPARATOR)

    def _verbatim(self, text: str) -> Texts:
        return (Text(self._catalogue.isolated(printable(text))),)

    def _answer(self, answer: Answer) -> Section:
        return Section(
            title=" ".join(piece.text for piece in self._say(capitalised(answer.title))),
            mark=self._word(captions.STATUS[answer.status]),
            tone=answer.status,
            items=tuple(self._items(answer)),
        )

    def _items(self, answer: Answer) -> Iterator[Item]:
        if answer.status != "rejected":
            yield Item(self._say(captions.ASKED_OF[answer.lead is not None]), weight="small")
        for said in answer.told.knees:
            place = " ".join(piece.text for piece in self._say(capitalised(said.place))) if said.place else ""
            yield Item(self._say(said.sentence), place, "strong")
        if why := tuple(self._why(answer)):
            yield Item(why, self._word(captions.WHY))
        if answer.status == "referred":
            for finding in (one for one in answer.findings if one.code not in SPOKEN_NOTES):
                yield Item(self._sentence(finding.message), self._word(captions.RECORDED), "small")
        if answer.told.next_step:
            yield Item(self._say(answer.told.next_step), self._word(captions.NEXT), "strong")
        if answer.mode == "fused":
            yield Item(self._say(captions.RESTS_ON))
        for note in answer.notes:
            if note.code not in SPOKEN_NOTES:
                yield Item(self._sentence(note.message), self._word(captions.NOTE))
        if answer.label_set:
            yield Item(self._verbatim(_codes(answer)), self._word(captions.REMAINING), "small")

    def _why(self, answer: Answer) -> Iterator[Text]:
        """The reasons; what is told of a file in English alone stands after what its code tells."""
        for sentence in answer.told.why:
            told = self._say(sentence)
            unread = captions.UNREAD.get(answer.findings[0].code) if answer.status == "rejected" else None
            if unread and any(piece.is_foreign for piece in told):
                yield from self._say(unread)
            yield from told

    def _risk(self) -> Iterator[Section]:
        risk = self._answered.risk
        if risk is not None:
            yield Section(
                self._word(captions.SCORES),
                tuple(self._advised(risk)),
                lines=tuple(
                    Line(one.name, self._catalogue.isolated(_shown(one.value)), self._meaning(one), one.source)
                    for one in risk.scores
                ),
            )

    def _meaning(self, score: Score) -> Texts:
        if score.status == "computed":
            return self._say(capitalised(score.verdict))
        if score.status == "outside":
            return self._say(f"{captions.NOT_COMPUTED}: {score.reason}")
        asked = self._separator().join(self._word(_meaning_of(name)) for name in score.missing)
        return (Text(f"{self._word(capitalised(captions.ALSO_ASKS))}: {asked}"),)

    def _advised(self, risk: Risk) -> Iterator[Item]:
        is_told = any(answer.told.next_step == risk.next_step.sentence for answer in self._answered.answers)
        if not is_told:
            yield Item(self._say(risk.next_step.sentence), self._word(captions.NEXT), "strong")
        yield Item(self._say(f"{capitalised(risk.next_step.source)}."), self._word(captions.SOURCE), "small")
        for note in _notes(risk):
            yield Item(self._say(f"{capitalised(note)}."), self._word(captions.NOTE), "small")
        for told in risk.not_open.values():
            yield Item(self._say(told), weight="small")

    def _limits(self) -> Section:
        uses = dict.fromkeys(answer.intended_use for answer in self._answered.answers)
        told = [*uses, captions.NOTHING_ELSE, captions.BOTH_WAYS]
        if self._answered.risk is not None:
            told.insert(len(uses), self._answered.risk.intended_use)
        return Section(self._word(captions.LIMITS), tuple(Item(self._say(one), weight="small") for one in told))

    def _identity(self, made: datetime) -> Section:
        answered = self._answered
        rows = [(captions.FILE, self._verbatim(answered.source))] if self._with_name else []
        digest = self._verbatim(answered.sha256) if answered.sha256 else self._say(captions.NO_DIGEST)
        rows.append((captions.PICTURE, digest))
        if answered.tags is not None:
            rows.append((captions.TAGS, (Text(", ".join(self._tags())),)))
        if known := tuple(self._known()):
            rows.append((captions.PERSON, (Text(self._separator().join(known)),)))
        rows.append((captions.PROGRAM, self._verbatim(answered.software)))
        rows += [
            (captions.BUNDLE, self._verbatim(identity)) for identity in dict.fromkeys(map(told_identity, answered.answers))
        ]
        rows.append((captions.MADE, self._verbatim(told_time(made))))
        return Section(self._word(captions.IDENTITY), tuple(Item(texts, self._word(label), "small") for label, texts in rows))

    def _tags(self) -> Iterator[str]:
        tags = self._answered.tags
        if tags is None:
            return
        for word in (tags.kind, tags.body_part, tags.view_position, tags.laterality):
            if word:
                yield self._word(captions.TAG_WORDS[word]) if word in captions.TAG_WORDS else self._catalogue.isolated(word)
        yield self._catalogue.isolated(tags.coding)

    def _known(self) -> Iterator[str]:
        values: dict[str, float] = {}
        sex = None
        for answer in self._answered.answers:
            values |= answer.covariates_used
        if risk := self._answered.risk:
            values |= risk.known
            sex = risk.sex
        if SEX in values:
            sex = "female" if values[SEX] else "male"
        if AGE in values:
            yield self._word(captions.AGE.replace("{n}", f"{values[AGE]:g}"))
        if sex:
            yield self._word(captions.FEMALE if sex == "female" else captions.MALE)
        if WEIGHT in values:
            yield self._word(captions.WEIGHT.replace("{n}", f"{values[WEIGHT]:g}"))
        for name, value in values.items():
            if name not in (AGE, SEX, WEIGHT):
                yield f"{self._word(_meaning_of(name))}: {self._value(name, value)}"

    def _value(self, name: str, value: float) -> str:
        is_yes_no = MEANINGS.get(name, "").startswith(_YES_OR_NO)
        if is_yes_no and value in (0, 1):
            return self._word(captions.YES if value else captions.NO)
        return self._catalogue.isolated(f"{value:g}")


def notices(catalogue: Catalogue, *, is_foreign: bool) -> tuple[str, ...]:
    """What is said of the translation itself."""
    told = ((catalogue.is_draft, captions.DRAFT), (is_foreign, captions.FOREIGN))
    return tuple(catalogue.word(text) for holds, text in told if holds)


def told_time(made: datetime) -> str:
    """The time that a page states, to the minute."""
    return f"{made:%Y-%m-%d %H:%M} UTC"


def told_apart(answered: Answered) -> tuple[Answer, ...]:
    """One for all questions where the picture itself was refused, as ``wording.told_apart``."""
    first, *others = answered.answers
    is_whole = first.status == "rejected" and all(one.findings == first.findings for one in others)
    return (first,) if is_whole else answered.answers


def all_texts(sections: Iterable[Section], caption: Texts) -> Iterator[Text]:
    yield from caption
    for section in sections:
        for line in section.lines:
            yield from line.meaning
        for item in section.items:
            yield from item.texts


def _notes(risk: Risk) -> list[str]:
    """Each once; those of scores without the scores' names, which stand in no sentence of the catalogue."""
    of_scores = dict.fromkeys(note for score in risk.scores for note in score.notes)
    general = [note for note in risk.notes if not any(note.endswith(f": {one}") for one in of_scores)]
    return [*general, *of_scores]


def _codes(answer: Answer) -> str:
    if answer.lead is None:
        return ", ".join(answer.label_set)
    return "; ".join(", ".join(knee.label_set) for knee in answer.knees)


def told_identity(answer: Answer) -> str:
    model = answer.model
    networks = f", {answer.members_answered}/{model.members}" if model.members > 1 else ""
    return f"{model.bundle} {model.version}, {model.digest[:_DIGITS_SHOWN]}, {model.engine} {model.precision}{networks}"


def _meaning_of(name: str) -> str:
    """A covariate in words for people; a bundle's own by its name."""
    return MEANINGS.get(name, name.replace("_", " ")).removeprefix(_YES_OR_NO)


def _shown(value: int | None) -> str:
    return "" if value is None else str(value)


def capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]
