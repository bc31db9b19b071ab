"""Memory that pictures take at a time, however many threads read them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from threading import Condition

from osteo_edge.cgroups import memory_limit

MAX_BYTES = 256 << 20
MIN_BYTES = 32 << 20
# Of a control group's memory: libraries, a small bundle and what is beside the pixels.
_OF_THE_REST = 160 << 20


@cache
def picture_bytes() -> int:
    """What pictures may take together: 256 MiB, or half of what the container's limit leaves beside all else, if less."""
    limit = memory_limit()
    return MAX_BYTES if limit is None else max(MIN_BYTES, min(MAX_BYTES, (limit - _OF_THE_REST) // 2))


class MemoryBudget:
    """Shared by the threads that read pictures at the same time. Nobody who holds a part waits for ever.

    A picture takes its parts one after the other: the file's bytes, then, once its header tells them, those of its pixels. It
    waits while they do not fit, unless it is the oldest of those under way: that one always goes on, ends and makes room. So
    at most the budget and one picture are held, and a picture larger than the budget has it to itself but for what
    others hold already.
    """

    def __init__(self, total_bytes: int | None = None) -> None:
        """A budget of ``picture_bytes`` by default, which are looked up when two pictures first meet."""
        self._total = total_bytes
        self._reset()

    @contextmanager
    def picture(self) -> Iterator[Part]:
        """One picture, from before its file is read until its pixels are let go."""
        if self._process != os.getpid():
            self._reset()  # a fork: who held parts, and perhaps the lock, runs in the other process
        part = Part(self, next(self._numbers))
        with self._changed:
            self._held[part.number] = 0
        try:
            yield part
        finally:
            with self._changed:
                self._held.pop(part.number, None)
                self._changed.notify_all()

    def take(self, number: int, size: int) -> None:
        """Wait until the picture of this number may take so many bytes more."""
        with self._changed:
            self._changed.wait_for(lambda: self._may_take(number, size))
            self._held[number] += size

    def _may_take(self, number: int, size: int) -> bool:
        if number == next(iter(self._held)):  # numbers go up, so the first is the oldest
            return True
        if self._total is None:
            self._total = picture_bytes()
        return sum(self._held.values()) + size <= self._total

    def _reset(self) -> None:
        self._process = os.getpid()
        self._changed = Condition()
        self._numbers = count()
        self._held: dict[int, int] = {}


class Part:
    """What one picture holds of a budget."""

    def __init__(self, budget: MemoryBudget, number: int) -> None:
        self.number = number
        self._budget = budget

    def take(self, size: int) -> None:
        """Wait until so many bytes more may be taken; all are given back with the picture."""
        self._budget.take(self.number, size)
