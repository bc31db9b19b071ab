"""Pictures of one person in order of their dates: what is said of each knee, and whether a change can be told.

A bundle tells a knee by the classes that it cannot rule out. A change is told only where the later of two such sets lies wholly
above or below the earlier one: single classes change when nothing has but the way in which a film was cut or stored, as the
bundle's own evidence counts. Pictures of one day that already differ as much speak against any change of that knee.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import combinations, pairwise
from typing import Final, Literal

from osteo_edge.bundle import open_bundle
from osteo_edge.errors import BundleError, ManifestError
from osteo_edge.findings import NOT_SUPPORTED, PICTURE_ADDS_NOTHING, UNPROVEN
from osteo_edge.records import parse_json
from osteo_edge.reports.pages.answers import Answer, Answered

# Where a bundle was not shown to tell, or not of such persons, nothing follows from its sets.
_WITHOUT_PROOF: Final = (UNPROVEN, NOT_SUPPORTED, PICTURE_ADDS_NOTHING)
_EVIDENCE: Final = "evidence/stability.json"
_ALL: Final = "all of them"
Side = Literal["right", "left"]


class Change(StrEnum):
    """What two answers to one question say of one knee, the earlier and the later."""

    HIGHER = "higher"
    LOWER = "lower"
    OPEN = "open"
    UNSTEADY = "unsteady"
    ANOTHER_MODEL = "another_model"
    NO_ANSWER = "no_answer"


@dataclass(frozen=True)
class Dated:
    """A picture and the day on which it was taken."""

    day: date
    answered: Answered


@dataclass(frozen=True)
class Point:
    """What was said on one day.

    Attributes:
        sentence: for people; empty where nothing was said of this knee.
        remaining: places of the classes that cannot be ruled out, the lowest and the highest; None where there is no answer.
        digest: of the bundle that answered.
    """

    day: date
    sentence: str
    remaining: tuple[int, int] | None
    digest: str


@dataclass(frozen=True)
class Course:
    """One question over time, of one knee or of the picture.

    Attributes:
        side: of the patient, as the fibula tells it; None where the question is of the picture.
        labels: research codes, in order.
        points: by day.
    """

    title: str
    side: Side | None
    labels: tuple[str, ...]
    points: tuple[Point, ...]

    @property
    def overall(self) -> Change:
        """From the first day to the last."""
        first, last = self.points[0], self.points[-1]
        told = change(first, last)
        return Change.UNSTEADY if told in (Change.HIGHER, Change.LOWER) and self._is_unsteady else told

    @property
    def _is_unsteady(self) -> bool:
        """Whether pictures of one day differ as much already."""
        pairs = ((one, other) for one, other in combinations(self.points, 2) if one.day == other.day)
        return any(change(one, other) in (Change.HIGHER, Change.LOWER) for one, other in pairs)

    @property
    def steps(self) -> list[tuple[Point, Point, Change]]:
        """From each day to the next."""
        return [(one, other, change(one, other)) for one, other in pairwise(self.points) if one.day != other.day]


@dataclass(frozen=True)
class Steadiness:
    """How often a bundle's answers changed when nothing but the way of a film did, by its own evidence.

    Attributes:
        knees: that were asked again.
        other_answer, other_class: of these, with another answer, and with another likeliest class.
    """

    knees: int
    other_answer: int
    other_class: int


def change(earlier: Point, later: Point) -> Change:
    """What can be told of a change between two points."""
    if earlier.remaining is None or later.remaining is None:
        return Change.NO_ANSWER
    if earlier.digest != later.digest:
        return Change.ANOTHER_MODEL
    if later.remaining[0] > earlier.remaining[1]:
        return Change.HIGHER
    return Change.LOWER if later.remaining[1] < earlier.remaining[0] else Change.OPEN


def courses_of(pictures: Sequence[Dated]) -> list[Course]:
    """Each question that was asked, of each side of which something was said on two days at least."""
    ordered = sorted(pictures, key=lambda one: (one.day, one.answered.sha256 or ""))
    named = {answer.question: answer for one in ordered for answer in one.answered.answers if answer.probabilities}
    courses = [
        Course(answer.title, side, tuple(answer.probabilities), tuple(_points(ordered, name, side)))
        for name, answer in named.items()
        for side in (_SIDES if answer.lead is not None else (None,))
    ]
    return [course for course in courses if len({point.day for point in course.points}) > 1]


_SIDES: Final[tuple[Side, ...]] = ("right", "left")


def _points(ordered: Sequence[Dated], name: str, side: Side | None) -> Iterator[Point]:
    for picture in ordered:
        for answer in picture.answered.answers:
            if answer.question == name:
                yield from _point(picture.day, answer, side)


def _point(day: date, answer: Answer, side: Side | None) -> Iterator[Point]:
    """None where the knee is not in the picture."""
    labels, digest = tuple(answer.probabilities), answer.model.digest
    if not labels:
        return
    is_told = not any(finding.code in _WITHOUT_PROOF for finding in answer.findings)
    if side is None:
        yield Point(day, answer.told.knees[0].sentence, _remaining(labels, answer.label_set if is_told else ()), digest)
        return
    for knee in answer.knees:
        if knee.joint.laterality == side:
            yield Point(day, knee.message or "", _remaining(labels, knee.label_set if is_told else ()), digest)


def _remaining(labels: Sequence[str], label_set: Sequence[str]) -> tuple[int, int] | None:
    places = [place for place, label in enumerate(labels) if label in label_set]
    return (places[0], places[-1]) if places else None


def steadiness_of(answer: Answer) -> Steadiness | None:
    """What the bundle that answered carries as evidence; None where it is not here any more, or has none."""
    try:
        bundle = open_bundle(answer.model.bundle)
        if bundle.digest != answer.model.digest or _EVIDENCE not in bundle.manifest.files:
            return None
        plain = parse_json(bundle.read(_EVIDENCE), what=_EVIDENCE)
    except (BundleError, ManifestError):
        return None
    rows = [row for row in plain.get("rows", ()) if row.get("kind") == row.get("name") == _ALL]
    knees = sum(row["knees"] - row["lost"] for row in rows)
    return Steadiness(knees, sum(row["crossed"] for row in rows), sum(row["changed"] for row in rows)) if knees else None
