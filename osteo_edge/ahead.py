"""Work done ahead of where its results are taken, in order and within bounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_A_WORKER = 2


def in_order(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    size: Callable[[Result], int],
    limit_bytes: int,
    expected_bytes: int = 0,
) -> Generator[Result, None, None]:
    """``work`` on each item, on threads, with the results in the items' order.

    At most ``ITEMS_A_WORKER`` items a worker are begun and not yet taken, and none is begun, but for a first, while the results
    that wait, and those that are under way, may hold more than ``limit_bytes``. What ``work`` raises is raised in its item's
    place. Once the iterator is closed or has raised, nothing more is begun, and what was begun has ended.

    Args:
        work: called on several threads at once.
        items: asked for on the caller's thread.
        workers: number of threads, at least 1.
        size: bytes that a result holds.
        expected_bytes: what one is thought to hold until the first is there; then as much as the largest held so far.
    """
    waiting: deque[Future[Result]] = deque()
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="osteo-edge-ahead")
    expected, is_known = expected_bytes, False
    try:
        while True:
            while len(waiting) < ITEMS_A_WORKER * workers:
                held = [size(future.result()) for future in waiting if _has_result(future)]
                if held:
                    expected, is_known = max([*held, expected] if is_known else held), True
                if waiting and sum(held) + (len(waiting) + 1 - len(held)) * expected > limit_bytes:
                    break
                begun = [pool.submit(work, item) for item in islice(remaining, 1)]
                if not begun:
                    break
                waiting += begun
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _has_result(future: Future[Result]) -> bool:
    """A failure holds nothing."""
    return future.done() and future.exception() is None
