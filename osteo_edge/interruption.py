"""Ctrl-C and SIGTERM: the same thing to what is being measured, and neither in the midst of what must be done whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Termination:
    """Whether SIGTERM came."""

    def __init__(self) -> None:
        self.came = False

    def _raise(self, number: int, frame: FrameType | None) -> None:
        self.came = True
        raise KeyboardInterrupt


@contextmanager
def sigterm_as_interrupt() -> Iterator[Termination]:
    """SIGTERM raises ``KeyboardInterrupt`` within the block, as Ctrl-C does; the record tells which of them it was.

    Outside the main thread, where no handler can be set, and where SIGTERM is ignored, everything stays as it is.
    """
    termination = Termination()
    with _handled((signal.SIGTERM,), termination._raise):
        yield termination


@contextmanager
def held_back() -> Iterator[None]:
    """SIGINT and SIGTERM that come within the block take effect at its end.

    The handlers are exchanged rather than the signals blocked, since a started process inherits what is blocked.
    """
    came: list[int] = []
    try:
        with _handled(_SIGNALS, lambda number, _: came.append(number)):
            yield
    finally:
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@contextmanager
def _handled(numbers: tuple[signal.Signals, ...], handler: Callable[[int, FrameType | None], Any]) -> Iterator[None]:
    """``handler`` in place of the present ones; what is ignored stays ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in numbers}
    # None: a handler that was not set by Python and could not be put back.
    exchanged = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in exchanged:
            signal.signal(number, handler)
        yield
    finally:
        for number, old in exchanged.items():
            signal.signal(number, old)
