"""What pictures may hold at a time: by bytes, not by threads, and without a thread that waits for ever."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import pytest

from osteo_edge import memory_budget
from osteo_edge.memory_budget import MAX_BYTES, MIN_BYTES, MemoryBudget, picture_bytes

TOTAL = 100


class Ledger:
    """What was held at most at a time, as the threads themselves count it."""

    def __init__(self) -> None:
        self.lock, self.held, self.most = threading.Lock(), 0, 0

    def add(self, size: int) -> None:
        with self.lock:
            self.held += size
            self.most = max(self.most, self.held)


def together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def reading(shared: MemoryBudget, ledger: Ledger, sizes: list[tuple[int, ...]]) -> Callable[[], None]:
    def read() -> None:
        for parts in sizes:
            with shared.picture() as part:
                for size in parts:
                    part.take(size)
                    ledger.add(size)
                    time.sleep(0)
                ledger.add(-sum(parts))

    return read


@pytest.mark.parametrize("threads", [2, 8, 40])
def test_many_threads_hold_no_more_than_the_budget_and_one_picture(threads: int) -> None:
    draw = random.Random(threads)
    ledger, shared = Ledger(), MemoryBudget(TOTAL)
    sizes = [[(draw.randint(0, 20), draw.randint(0, 40)) for _ in range(30)] for _ in range(threads)]
    together([reading(shared, ledger, own) for own in sizes])
    assert ledger.most <= TOTAL + 60
    assert ledger.held == 0


def test_pictures_larger_than_the_budget_go_on_one_after_the_other() -> None:
    ledger, shared = Ledger(), MemoryBudget(TOTAL)
    together([reading(shared, ledger, [(0, 500)] * 5) for _ in range(4)])
    assert ledger.most == 500


def test_small_ones_go_side_by_side() -> None:
    shared, meeting = MemoryBudget(TOTAL), threading.Barrier(4)

    def read() -> None:
        with shared.picture() as part:
            part.take(TOTAL // 4)
            meeting.wait(30)

    together([read] * 4)


def test_a_fault_gives_back_what_was_held() -> None:
    shared = MemoryBudget(TOTAL)

    def fail() -> None:
        with shared.picture() as part:
            part.take(TOTAL)
            raise KeyError

    for _ in range(3):
        with pytest.raises(KeyError):
            fail()
    assert shared._held == {}


def test_after_a_fork_nobody_waits_for_the_other_process() -> None:
    shared = MemoryBudget(TOTAL)
    with shared.picture() as part:
        part.take(TOTAL)
        child = os.fork()
        if not child:
            with shared.picture() as first, shared.picture() as second:
                first.take(1)
                second.take(TOTAL - 1)  # fits only when nothing of the parent's counts
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize(
    ("limit_mib", "budget_bytes"), [(None, MAX_BYTES), (8192, MAX_BYTES), (512, 176 << 20), (256, 48 << 20), (64, MIN_BYTES)]
)
def test_a_container_that_allows_little_makes_it_smaller(
    limit_mib: int | None, budget_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_budget, "memory_limit", lambda: limit_mib and limit_mib << 20)
    picture_bytes.cache_clear()
    try:
        assert picture_bytes() == budget_bytes
    finally:
        picture_bytes.cache_clear()
