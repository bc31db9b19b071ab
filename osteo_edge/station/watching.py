"""The loop of a folder that is watched: look, take what stands still, answer, wait."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osteo_edge.errors import ReportError, StationError
from osteo_edge.station.inbox import Arrival, Inbox, Stillness
from osteo_edge.station.journal import Outcome
from osteo_edge.station.outbox import Outbox
from osteo_edge.station.worker import Worker

# A picture that cannot be read is looked at again so much later.
PATIENCE: Final = 6
# After something could not be written.
RETRY_SECONDS: Final = 30.0


@dataclass(frozen=True)
class Pace:
    """How a folder is watched.

    Attributes:
        still_seconds: for so long a file must look the same before it is taken.
        look_seconds: between two looks.
        keep_free_bytes: on the disk of OUTBOX; with less nothing is taken.
        is_once: end when nothing is left to wait for.
    """

    still_seconds: float
    look_seconds: float
    keep_free_bytes: int
    is_once: bool = False


class Watch:
    """Watches one folder."""

    def __init__(
        self,
        inbox: Inbox,
        outbox: Outbox,
        worker: Worker,
        pace: Pace,
        *,
        tell: Callable[[Outcome], None],
        warn: Callable[[str], None],
        wait: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is looked at before ``run``.

        Args:
            tell: is told each outcome.
            warn: is told what keeps pictures waiting, once each time that it begins, and when it is over.
        """
        self._inbox, self._outbox, self._worker, self._pace = inbox, outbox, worker, pace
        self._tell, self._warn_of, self._wait, self._now = tell, warn, wait, now
        self._warned, self._is_to_recover = "", True
        self._taken: dict[Path, Arrival] = {}
        self._stillness = Stillness()

    def run(self) -> None:
        """Until it is interrupted, or nothing is left to wait for.

        Raises:
            StationError, ReportError: something cannot be written, where it is not waited for.
            OsteoEdgeError: no picture can be answered.
        """
        while True:
            try:
                is_over = self.turn()
            except (StationError, ReportError) as error:
                if self._pace.is_once:
                    raise
                self._is_to_recover = True
                self._warn(str(error))
                self._wait(max(RETRY_SECONDS, self._pace.look_seconds))
                continue
            if is_over and self._pace.is_once:
                return
            self._wait(self._pace.look_seconds)

    def turn(self) -> bool:
        """Look once, and answer all that is ready; returns whether nothing is there that may become ready.

        Raises: as ``run``.
        """
        if self._is_to_recover:
            self._recover()
        self._stillness.look(self._taken, self._now())
        for path in self._stillness.still(self._now(), PATIENCE * self._pace.still_seconds):
            self._answer(self._taken[path], is_final=True)
        self._inbox.look(self._now())
        for arrival in self._inbox.take_still(self._now(), self._pace.still_seconds, self._has_room_for):
            self._answer(arrival, is_final=False)
        return not self._taken and not self._inbox.waits

    def _recover(self) -> None:
        """Go on where the program was ended, or where something could not be written."""
        self._worker.finish_begun(self._inbox.left_over())
        self._is_to_recover = False
        for arrival in self._inbox.left_over():
            if arrival.path not in self._taken:
                self._answer(arrival, is_final=False)

    def _answer(self, arrival: Arrival, *, is_final: bool) -> None:
        """A picture that cannot be read stays until it has stood still for longer."""
        outcome = self._worker.take(arrival, is_final=is_final)
        if outcome is None:
            self._taken[arrival.path] = arrival
            return
        self._taken.pop(arrival.path, None)
        self._tell(outcome)

    def _has_room_for(self, picture: Path) -> bool:
        free, wanted = self._outbox.free_bytes(), self._pace.keep_free_bytes
        if free >= wanted:
            self._warn("")
            return True
        shortage = (
            f"the disk of {self._outbox.folder} has {free >> 20} MiB left and is to keep {wanted >> 20}; "
            f"pictures wait in {self._inbox.folder}"
        )
        if self._pace.is_once:
            raise StationError(shortage)
        self._warn(shortage)
        return False

    def _warn(self, message: str) -> None:
        if message != self._warned:
            self._warn_of(message or "that is over; pictures are taken again")
        self._warned = message
