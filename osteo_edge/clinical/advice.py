"""One next step: what is known of a person, and what a picture says, to one sentence of a fixed set with its source.

The table below is all of it. Rows are read from above, and the first that fits speaks. Each sentence says whether to ask about
a DXA scan; none says that somebody has or lacks a disease, and none is about treatment. What a picture says of osteoarthritis
takes no part: ``picture_of`` does not read it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from osteo_edge.clinical.assessment import Assessment, assess
from osteo_edge.clinical.instruments import FRACTURE
from osteo_edge.clinical.known import read_known
from osteo_edge.covariates import ADULT_AGE_YEARS, Given, Person
from osteo_edge.labels import Status
from osteo_edge.printable import enumerate_words
from osteo_edge.questions import BONE_DENSITY

# The Task Force's own age, and the age below which nobody is told of menopause or of age as a risk.
WOMEN_FROM_YEARS: Final = 65.0
YOUNG_BELOW_YEARS: Final = 40.0

_NO_SIGN, _HIGHER_CHANCE = (answer.code for answer in BONE_DENSITY.answers)


class Who(StrEnum):
    """To whom something is said."""

    CHILD = "child"
    YOUNG_ADULT = "young_adult"
    WOMAN_FROM_65 = "woman_from_65"
    WOMAN_BEFORE_65 = "woman_before_65"
    MAN = "man"
    SOMEBODY_FROM_65 = "somebody_from_65"
    SOMEBODY_BEFORE_65 = "somebody_before_65"
    SOMEBODY = "somebody"


class Evidence(StrEnum):
    """The strongest of what is known of somebody's bones, the strongest first."""

    SCORE_IN_RANGE = "score_in_range"
    FRACTURE = "fracture"
    PICTURE_HIGHER_CHANCE = "picture_higher_chance"
    SCORES_BELOW_RANGE = "scores_below_range"
    PICTURE_NO_SIGN = "picture_no_sign"
    PICTURE_NOT_ANSWERED = "picture_not_answered"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        source: whose advice it is, besides the scores' own authors.
        cites_scores: whether it rests on scores, whose cut-offs are then part of its source.
    """

    code: str
    who: frozenset[Who]
    evidence: frozenset[Evidence]
    sentence: str
    source: str
    cites_scores: bool = False


@dataclass(frozen=True)
class NextStep:
    """What is advised.

    Attributes:
        code: of the row, for machines.
        sentence: for people.
        source: whose advice it is.
        scores: codes of the scores in whose range the person is; empty where none speaks.
    """

    code: str
    sentence: str
    source: str
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class Risk:
    """All scores of one person, and what is advised."""

    assessment: Assessment
    step: NextStep


class _Answered(Protocol):
    """What is read of a prediction's answer to one question."""

    @property
    def question(self) -> str: ...
    @property
    def status(self) -> Status: ...
    @property
    def answer(self) -> str | None: ...


@dataclass(frozen=True)
class Picture:
    """What a picture says of bone density, where it was asked.

    Attributes:
        bone_density: code of the answer; None where there is none to rest on, as where the bundle is not proven.
        is_asked: whether there is a picture at all.
    """

    bone_density: str | None = None
    is_asked: bool = False


NO_PICTURE: Final = Picture()


def picture_of(answers: Iterable[_Answered]) -> Picture:
    """What the answers to one picture say of bone density; those to other questions are not looked at.

    Only an answer that is reported counts: unproven bundles and unsure ones refer, unfit pictures are rejected.
    """
    of_bones = [one.answer if one.status is Status.REPORTED else None for one in answers if one.question == BONE_DENSITY.name]
    return Picture(next(iter(of_bones), None), is_asked=True)


_EVERYBODY: Final = frozenset(Who)
_ADULTS: Final = _EVERYBODY - {Who.CHILD}
_ANYTHING: Final = frozenset(Evidence)
# What speaks against nothing: no sign, an answer that is not there, scores below their ranges.
_REASSURING: Final = _ANYTHING - {Evidence.SCORE_IN_RANGE, Evidence.FRACTURE, Evidence.PICTURE_HIGHER_CHANCE}

USPSTF: Final = "US Preventive Services Task Force, Osteoporosis to Prevent Fractures: Screening, 14 January 2025"
_WOMEN_65: Final = f"{USPSTF}: women of 65 and over (B)"
_WOMEN_RISK: Final = f"{USPSTF}: women after menopause below 65 who have a risk factor (B)"
_MEN: Final = f"{USPSTF}: men, insufficient evidence (I)"
_ALL: Final = (
    f"{USPSTF}: women of 65 and over, younger ones after menopause with a risk factor (B); men, insufficient evidence (I)"
)
_NOT_SCREENING: Final = f"{USPSTF}: it is of persons without a fracture of this kind; others are examined, not screened"

TABLE: Final = (
    Row(
        "child",
        frozenset({Who.CHILD}),
        _ANYTHING,
        "Below 18 years of age nothing is advised here; ask a doctor.",
        "none: scores and screening are of adults",
    ),
    Row(
        "score_woman_from_65",
        frozenset({Who.WOMAN_FROM_65}),
        frozenset({Evidence.SCORE_IN_RANGE}),
        "A published risk score is in the range where a DXA scan is advised, and it is advised for all women of 65 and over: "
        "ask a doctor about one.",
        _WOMEN_65,
        cites_scores=True,
    ),
    Row(
        "score_man",
        frozenset({Who.MAN}),
        frozenset({Evidence.SCORE_IN_RANGE}),
        "A published risk score is in the range where its authors advise a DXA scan: ask a doctor about one, since for men it "
        "is not settled who gains from it.",
        _MEN,
        cites_scores=True,
    ),
    Row(
        "score",
        _ADULTS,
        frozenset({Evidence.SCORE_IN_RANGE}),
        "A published risk score is in the range where a DXA scan is advised: ask a doctor about one.",
        _WOMEN_RISK,
        cites_scores=True,
    ),
    Row(
        "fracture",
        _ADULTS,
        frozenset({Evidence.FRACTURE}),
        "A bone that broke in a slight fall is itself a reason to ask a doctor about a DXA scan.",
        _NOT_SCREENING,
    ),
    Row(
        "picture_higher_chance",
        _ADULTS,
        frozenset({Evidence.PICTURE_HIGHER_CHANCE}),
        "The picture shows a higher chance of low bone density: ask about a DXA scan.",
        "the bundle's own evidence, as its card gives it",
    ),
    Row(
        "woman_from_65",
        frozenset({Who.WOMAN_FROM_65}),
        _REASSURING,
        "DXA is advised for women of 65 and over, whatever scores and pictures say.",
        _WOMEN_65,
    ),
    Row(
        "young_adult",
        frozenset({Who.YOUNG_ADULT}),
        _REASSURING,
        "At this age DXA is not advised as a rule; ask a doctor about it if you have risk factors, such as a bone that broke "
        "in a slight fall.",
        f"{USPSTF}: no screening is advised at this age",
    ),
    Row(
        "scores_below_woman",
        frozenset({Who.WOMAN_BEFORE_65}),
        frozenset({Evidence.SCORES_BELOW_RANGE}),
        "No score is in the range where a DXA scan is advised, and they miss cases: before 65 it is advised for women after "
        "menopause who have risk factors.",
        _WOMEN_RISK,
        cites_scores=True,
    ),
    Row(
        "woman_before_65",
        frozenset({Who.WOMAN_BEFORE_65}),
        _REASSURING,
        "Before 65, DXA is advised for women after menopause who have risk factors.",
        _WOMEN_RISK,
    ),
    Row(
        "scores_below_man",
        frozenset({Who.MAN}),
        frozenset({Evidence.SCORES_BELOW_RANGE}),
        "No score is in the range where its authors advise a DXA scan, and they miss cases: ask a doctor about it if you have "
        "risk factors.",
        _MEN,
        cites_scores=True,
    ),
    Row(
        "man",
        frozenset({Who.MAN}),
        _REASSURING,
        "For men it is not settled who gains from DXA; ask a doctor about it if you have risk factors.",
        _MEN,
    ),
    Row(
        "somebody_from_65",
        frozenset({Who.SOMEBODY_FROM_65}),
        _REASSURING,
        "DXA is advised for women of 65 and over; men with risk factors should ask a doctor about it.",
        _ALL,
    ),
    Row(
        "somebody_before_65",
        frozenset({Who.SOMEBODY_BEFORE_65}),
        _REASSURING,
        "Before 65, DXA is advised for women after menopause who have risk factors; men with risk factors should ask a doctor "
        "about it.",
        _ALL,
    ),
    Row(
        "somebody_without_sign",
        frozenset({Who.SOMEBODY}),
        frozenset({Evidence.PICTURE_NO_SIGN}),
        "No sign was found by this test, which misses cases: if you are over 65 or have risk factors, DXA is still advised.",
        _ALL,
    ),
    Row(
        "somebody_without_answer",
        frozenset({Who.SOMEBODY}),
        frozenset({Evidence.PICTURE_NOT_ANSWERED}),
        "The picture tells nothing of bone density: if you are over 65 or have risk factors, ask about a DXA scan.",
        _ALL,
    ),
    Row(
        "somebody",
        frozenset({Who.SOMEBODY}),
        _REASSURING,
        "If you are over 65 or have risk factors, ask about a DXA scan.",
        _ALL,
    ),
)


def risk_of(given: Given) -> Risk:
    """The scores and the next step of a person of whom this is known, without a picture.

    Raises:
        CovariateError, TypeError: as ``clinical.known.read_known``.
    """
    assessment = assess(read_known(given))
    return Risk(assessment, next_step(assessment))


def next_step(assessment: Assessment, picture: Picture = NO_PICTURE) -> NextStep:
    """The one sentence for this person.

    Args:
        picture: what ``picture_of`` found, where there is one.
    """
    row = row_of(who_is(assessment.person), evidence_of(assessment, picture))
    cited = (assessment.in_range or assessment.computed) if row.cites_scores else ()
    cut_offs = [f"{one.instrument.name} ({one.population.referral})" for one in cited if one.population]
    by_scores = f"cut-off of {enumerate_words(cut_offs)} by its authors; " if cut_offs else ""
    return NextStep(row.code, row.sentence, by_scores + row.source, tuple(one.instrument.code for one in assessment.in_range))


def row_of(who: Who, evidence: Evidence) -> Row:
    """The first row that fits; one does for everybody and any evidence."""
    return next(row for row in TABLE if who in row.who and evidence in row.evidence)


def who_is(person: Person) -> Who:
    """By age first: below 40 nobody is told of menopause, woman or man."""
    age, is_man = person.age_years, person.sex == "male"
    if age is not None and age < YOUNG_BELOW_YEARS:
        return Who.CHILD if age < ADULT_AGE_YEARS else Who.YOUNG_ADULT
    if is_man:
        return Who.MAN
    if age is None:
        return Who.SOMEBODY
    if person.sex is None:
        return Who.SOMEBODY_FROM_65 if age >= WOMEN_FROM_YEARS else Who.SOMEBODY_BEFORE_65
    return Who.WOMAN_FROM_65 if age >= WOMEN_FROM_YEARS else Who.WOMAN_BEFORE_65


def evidence_of(assessment: Assessment, picture: Picture) -> Evidence:
    """The strongest that is known: one score in its range outweighs any number of others, and any picture."""
    return next(one for one in Evidence if one in _known(assessment, picture))


def _known(assessment: Assessment, picture: Picture) -> Collection[Evidence]:
    holds = {
        Evidence.SCORE_IN_RANGE: bool(assessment.in_range),
        Evidence.FRACTURE: bool(assessment.person.values.get(FRACTURE)),
        Evidence.PICTURE_HIGHER_CHANCE: picture.bone_density == _HIGHER_CHANCE,
        Evidence.SCORES_BELOW_RANGE: bool(assessment.computed),
        Evidence.PICTURE_NO_SIGN: picture.bone_density == _NO_SIGN,
        Evidence.PICTURE_NOT_ANSWERED: picture.is_asked,
        Evidence.NOTHING: True,
    }
    return {evidence for evidence, is_so in holds.items() if is_so}
