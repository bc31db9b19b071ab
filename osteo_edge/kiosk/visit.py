"""One person's way through the pages: kept in memory, one at a time, and gone with its end or after a while."""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from osteo_edge.reports.pages.answers import Answered
    from osteo_edge.reports.pages.page import Film

WHAT, PERSON, PICTURE, ANSWER = STEPS = ("what", "person", "picture", "answer")
WARNED_BEFORE_S: Final = 30


def token() -> str:
    """What nobody can guess."""
    return secrets.token_urlsafe(24)


def is_same(one: str, other: str) -> bool:
    """In a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode(), other.encode())


@dataclass
class Visit:
    """What is known of the person who stands there; nothing of it is written anywhere.

    Attributes:
        name: what the browser's cookie holds.
        token: what the next form must hold; it is another one after each form.
        step: of the page that is shown, of ``STEPS``.
        reached: the furthest step.
        given: what the person wrote of age, sex and weight.
        answered, film: the answer and its picture, once there are any.
    """

    language: str
    is_large: bool
    until: float
    name: str = field(default_factory=token, repr=False)
    token: str = field(default_factory=token, repr=False)
    step: str = WHAT
    reached: str = WHAT
    given: Mapping[str, str] = field(default_factory=dict, repr=False)
    answered: Answered | None = field(default=None, repr=False)
    film: Film | None = field(default=None, repr=False)

    def may_see(self, step: str) -> bool:
        return STEPS.index(step) <= STEPS.index(self.reached)

    def know(self, given: Mapping[str, str]) -> None:
        """Of the person; an answer that was given without is none any more."""
        self.given, self.answered, self.film = given, None, None
        self.step = self.reached = PICTURE

    def go_to(self, step: str) -> None:
        self.step = step
        if not self.may_see(step):
            self.reached = step


class Desk:
    """Holds the one visit. All of it is called from one thread."""

    def __init__(self, idle_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        """Nobody is there.

        Args:
            idle_seconds: after so long without a page or a form the visit is over.
            now: a clock that is never set back.
        """
        self.idle_seconds = idle_seconds
        self._now = now
        self._visit: Visit | None = None
        self.door = token()

    def is_taken(self) -> bool:
        self.sweep()
        return self._visit is not None

    def begin(self, language: str, *, is_large: bool) -> Visit:
        """A visit in place of the one before."""
        self.door = token()
        self._visit = Visit(language, is_large, self._now() + self.idle_seconds)
        return self._visit

    def visit_of(self, name: str) -> Visit | None:
        """The visit of a browser that has this cookie; None where it has none, or its time is over."""
        self.sweep()
        return self._visit if self._visit is not None and is_same(self._visit.name, name) else None

    def prolong(self, visit: Visit) -> None:
        """The person has done something."""
        visit.until = self._now() + self.idle_seconds

    def holds(self, visit: Visit) -> bool:
        return self._visit is visit

    def end(self) -> None:
        self._visit = None

    def sweep(self) -> None:
        """End what has had its time."""
        if self._visit is not None and self._now() >= self._visit.until:
            self.end()
