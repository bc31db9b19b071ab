"""What follows from a DICOM file's tags: refusals, doubts, and what they add to what is known of the person.

Tags are filled in by people and by habit. They can refuse a picture and cast doubt on an answer; none of them makes the picture
pass what it would not pass without.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from osteo_edge.covariates import AGE, SEX, Given, Value, describe
from osteo_edge.findings import (
    BODY_PART,
    IMPLANT,
    NOT_SQUARE,
    PERSON_CONTRADICTED,
    PERSON_FROM_FILE,
    SIDE_CONTRADICTED,
    VIEW,
    Finding,
)
from osteo_edge.printable import enumerate_words

if TYPE_CHECKING:
    from osteo_edge.joints import Joint
    from osteo_edge.tags import Tags

_FROM_THE_FRONT: Final = ("ap", "pa")
# How much longer one side of a pixel may be, as rounding makes it.
_MOST_UNEVEN: Final = 0.01
# Ages are written in whole years, some when the picture was ordered and some when it was taken.
_BIRTHDAY_YEARS: Final = 1.0
# A newborn's age is less than any that is taken; nobody below 18 is answered.
_LEAST_YEARS: Final = 1.0
_SPOKEN: Final = {AGE: "age", SEX: "sex"}


@dataclass(frozen=True)
class Completed:
    """What was given, and what a file says where nothing was.

    Attributes:
        added: names of what came from the file.
    """

    given: Given
    added: frozenset[str]
    notes: tuple[Finding, ...]


def refuse(tags: Tags, body_part: str) -> tuple[Finding, ...]:
    """Reasons, if any, why no picture of such a file is answered by a bundle of this body part."""
    return tuple(_reasons(tags, body_part))


def _reasons(tags: Tags, body_part: str) -> Iterator[Finding]:
    if tags.body_part not in (None, body_part):
        yield Finding(BODY_PART, f"by the file's tags this is a picture of another body part ({tags.body_part})")
    if tags.view_position not in (None, *_FROM_THE_FRONT):
        yield Finding(VIEW, f"by the file's tags this is no view from the front ({tags.view_position})")
    if tags.aspect is not None and abs(tags.aspect - 1) > _MOST_UNEVEN:
        yield Finding(NOT_SQUARE, f"by the file's tags its pixels are {tags.aspect:.2f} times as high as wide")
    if tags.names_implant:
        yield Finding(IMPLANT, "the file's tags name an implant, which this test has not learnt from")


def complete(given: Given, tags: Tags) -> Completed:
    """Add age and sex from a file's tags to ``given``, which was checked before; what was given counts for more."""
    own = describe(None, given)
    added: dict[str, Value] = {}
    wrong = []
    if tags.age_years is not None:
        if own.age_years is None:
            added[AGE] = max(tags.age_years, _LEAST_YEARS)
        elif abs(own.age_years - tags.age_years) > _BIRTHDAY_YEARS:
            wrong.append(AGE)
    if tags.sex is not None:
        if own.sex is None:
            added[SEX] = tags.sex
        elif own.sex != tags.sex:
            wrong.append(SEX)
    return Completed({**given, **added}, frozenset(added), (*_from_file(list(added)), *_contradicted(wrong)))


def doubts(tags: Tags, joints: Sequence[Joint]) -> tuple[Finding, ...]:
    """Where the only knee's side by its fibula is not the file's: one of the two is wrong, or the picture is mirrored."""
    sides = {joint.laterality for joint in joints}
    if len(joints) != 1 or None in sides or tags.laterality is None or tags.laterality in sides:
        return ()
    told = (
        f"by the file's tags this is a {tags.laterality.value} knee, by its fibula the other one; the picture may be mirrored"
    )
    return (Finding(SIDE_CONTRADICTED, told),)


def _from_file(names: list[str]) -> Iterator[Finding]:
    if names:
        verb = "is" if len(names) == 1 else "are"
        yield Finding(PERSON_FROM_FILE, f"{_words(names)} {verb} taken from the file's own tags")


def _contradicted(names: list[str]) -> Iterator[Finding]:
    if names:
        yield Finding(
            PERSON_CONTRADICTED, f"the file's tags say another {_words(names)} than was given; what was given is taken"
        )


def _words(names: list[str]) -> str:
    return enumerate_words([_SPOKEN[name] for name in names])
