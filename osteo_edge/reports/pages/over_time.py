"""The page of one person's pictures over time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from osteo_edge.printable import printable
from osteo_edge.reports.pages import captions
from osteo_edge.reports.pages.answers import Answer
from osteo_edge.reports.pages.catalogue import Catalogue, Text
from osteo_edge.reports.pages.chart import WIDTH, draw, height_of
from osteo_edge.reports.pages.course import Course, Dated, Steadiness, courses_of, steadiness_of
from osteo_edge.reports.pages.page import (
    Film,
    Item,
    Page,
    Section,
    capitalised,
    laid_out,
    told_identity,
    told_time,
)

_SIDES: Final = {"right": "right side", "left": "left side"}
_DIGITS_SHOWN: Final = 12


def page_over_time(pictures: Sequence[Dated], catalogue: Catalogue, *, made: datetime) -> Page:
    """The page.

    Args:
        pictures: of one person, on two days at least; of none is a name shown.
    """
    courses = courses_of(pictures)
    ordered = sorted(pictures, key=lambda one: (one.day, one.answered.sha256 or ""))
    answers = {answer.question: answer for one in ordered for answer in one.answered.answers if answer.probabilities}
    beside = tuple(_course(course, catalogue) for course in courses)
    below = (*_scores(ordered, catalogue), _limits(list(answers.values()), catalogue), _identity(ordered, catalogue, made))
    film = _chart(courses)
    return laid_out(catalogue, captions.COURSE_TITLE, film, catalogue.say(film.caption), beside, below, made)


def _chart(courses: Sequence[Course]) -> Film:
    """Of the first question of which there is a course."""
    if not courses:
        return Film(b"", 0, 0, captions.CHANGE["no_answer"])
    shown = [course for course in courses if course.title == courses[0].title]
    return Film(draw(shown).encode(), WIDTH, height_of(shown[0]), captions.CHART, "image/svg+xml", captions.CHART_ALT)


def _course(course: Course, catalogue: Catalogue) -> Section:
    side = f", {catalogue.word(_SIDES[course.side])}" if course.side else ""
    return Section(f"{catalogue.word(capitalised(course.title))}{side}", tuple(_items(course, catalogue)))


def _items(course: Course, catalogue: Catalogue) -> Iterator[Item]:
    for point in course.points:
        yield Item(catalogue.say(printable(point.sentence)), catalogue.isolated(point.day.isoformat()))
    if len(course.steps) > 1:
        for one, other, change in course.steps:
            days = captions.ONE_STEP.replace("{}", one.day.isoformat(), 1).replace("{}", other.day.isoformat())
            yield Item(catalogue.say(captions.CHANGE[change]), catalogue.word(days), "small")
    yield Item(catalogue.say(captions.CHANGE[course.overall]), catalogue.word(captions.OVERALL), "strong")


def _scores(ordered: Sequence[Dated], catalogue: Catalogue) -> Iterator[Section]:
    items = []
    for one in ordered:
        computed = [score for score in one.answered.risk.scores if score.value is not None] if one.answered.risk else []
        if computed:
            told = catalogue.isolated(", ".join(f"{score.name} {score.value}" for score in computed))
            items.append(Item((Text(told),), catalogue.isolated(one.day.isoformat())))
    if items:
        items.append(Item(catalogue.say(captions.SCORES_CHANGE), weight="small"))
        yield Section(catalogue.word(captions.SCORES), tuple(items))


def _limits(answers: Sequence[Answer], catalogue: Catalogue) -> Section:
    told = [captions.SAME_PERSON]
    for answer in answers:
        told += [answer.intended_use, _steady(steadiness_of(answer))]
    told.append(captions.BOTH_WAYS)
    items = tuple(Item(catalogue.say(printable(one)), weight="small") for one in dict.fromkeys(told))
    return Section(catalogue.word(captions.LIMITS), items)


def _steady(found: Steadiness | None) -> str:
    if found is None:
        return captions.NOT_MEASURED
    told = captions.STEADY
    for number in (found.knees, found.other_answer, found.other_class):
        told = told.replace("{n}", str(number), 1)
    return told


def _identity(ordered: Sequence[Dated], catalogue: Catalogue, made: datetime) -> Section:
    rows = [
        (f"{catalogue.word(captions.PICTURE)} {one.day.isoformat()}", (one.answered.sha256 or "")[:_DIGITS_SHOWN])
        for one in ordered
    ]
    answers = [answer for one in ordered for answer in one.answered.answers]
    rows += [
        (catalogue.word(captions.PROGRAM), software) for software in dict.fromkeys(one.answered.software for one in ordered)
    ]
    rows += [(catalogue.word(captions.BUNDLE), identity) for identity in dict.fromkeys(map(told_identity, answers))]
    rows.append((catalogue.word(captions.MADE), told_time(made)))
    items = tuple(Item((Text(catalogue.isolated(printable(text))),), label, "small") for label, text in rows)
    return Section(catalogue.word(captions.IDENTITY), items)
