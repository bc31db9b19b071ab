"""Work ahead of where its results are taken: order, bounds, faults in their place, an early end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import pytest

from osteo_edge import ahead
from osteo_edge.ahead import ITEMS_A_WORKER, in_order

WORKERS = 3


def no_bytes(_: object) -> int:
    return 0


def threads_at_work() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("osteo-edge-ahead")]


def test_results_come_in_the_items_order_from_several_threads() -> None:
    seen = set()
    together = threading.Barrier(2)

    def work(item: int) -> int:
        if item < 2:
            together.wait(timeout=10)  # passes only when two are worked on at once
        time.sleep(0.002 * (item % 3))
        seen.add(threading.current_thread().name)
        return -item

    assert list(in_order(work, range(40), workers=WORKERS, size=no_bytes, limit_bytes=0)) == [-item for item in range(40)]
    assert threading.current_thread().name not in seen
    assert threads_at_work() == []


def test_no_more_than_a_few_are_begun_and_not_taken() -> None:
    asked = 0

    def items() -> Iterator[int]:
        nonlocal asked
        while asked < 50:
            asked += 1
            yield asked

    for taken, _ in enumerate(in_order(lambda item: item, items(), workers=WORKERS, size=no_bytes, limit_bytes=0)):
        assert asked - taken <= ITEMS_A_WORKER * WORKERS
    assert asked == 50


class AtOnce:
    """In place of the threads: whatever is begun is finished."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def submit(self, work: Callable[[int], int], item: int) -> Future[int]:
        done: Future[int] = Future()
        done.set_result(work(item))
        return done

    def shutdown(self, *, cancel_futures: bool) -> None: ...


@pytest.mark.parametrize(("size", "at_once"), [(16, 6), (24, 4), (101, 1)])
def test_none_is_begun_while_finished_ones_hold_too_much(monkeypatch: pytest.MonkeyPatch, size: int, at_once: int) -> None:
    monkeypatch.setattr(ahead, "ThreadPoolExecutor", AtOnce)
    begun: list[int] = []
    results = in_order(lambda item: begun.append(item) or 0, range(30), workers=WORKERS, size=lambda _: size, limit_bytes=100)
    for taken, _ in enumerate(results):
        assert len(begun) == min(taken + at_once, 30)
    assert begun == list(range(30))


class Never(AtOnce):
    """What is begun stays under way, until it is asked for."""

    def submit(self, work: Callable[[int], int], item: int) -> Future[int]:
        class Asked(Future[int]):
            def result(self, timeout: float | None = None) -> int:
                return work(item)

        return Asked()


@pytest.mark.parametrize(("expected", "at_once"), [(0, 6), (16, 6), (30, 3), (1000, 1)])
def test_what_is_under_way_counts_as_much_as_is_expected(monkeypatch: pytest.MonkeyPatch, expected: int, at_once: int) -> None:
    monkeypatch.setattr(ahead, "ThreadPoolExecutor", Never)
    asked: list[int] = []

    def items() -> Iterator[int]:
        for item in range(20):
            asked.append(item)
            yield item

    results = in_order(abs, items(), workers=WORKERS, size=no_bytes, limit_bytes=100, expected_bytes=expected)
    for taken, _ in enumerate(results):
        assert len(asked) == min(taken + at_once, 20)


def test_a_failure_is_raised_in_its_place_and_ends_the_work() -> None:
    begun = []

    def work(item: int) -> int:
        begun.append(item)
        if item == 5:
            raise KeyError(item)
        return item

    results = in_order(work, range(1000), workers=WORKERS, size=no_bytes, limit_bytes=0)
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError):
        next(results)
    assert threads_at_work() == []
    assert len(begun) <= 6 + ITEMS_A_WORKER * WORKERS


def test_closed_early_it_begins_nothing_more() -> None:
    begun = []
    results = in_order(begun.append, range(1000), workers=WORKERS, size=no_bytes, limit_bytes=0)
    next(results)
    results.close()
    so_far = len(begun)
    assert threads_at_work() == []
    assert so_far <= 1 + ITEMS_A_WORKER * WORKERS
    time.sleep(0.02)
    assert len(begun) == so_far


def test_of_nothing_is_nothing() -> None:
    assert list(in_order(no_bytes, [], workers=WORKERS, size=no_bytes, limit_bytes=0)) == []
