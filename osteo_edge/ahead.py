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
MAX_HELD_BYTES = 256 << 20


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], *, workers: int, size: Callable[[Result], int]
) -> Generator[Result, None, None]:
    """``work`` on each item, on threads, with the results in the items' order.

    At most ``ITEMS_A_WORKER`` items a worker are begun and not yet taken, and none is begun while finished ones hold more
    than ``MAX_HELD_BYTES``. What ``work`` raises is raised in its item's place. Once the iterator is closed or has raised,
    nothing more is begun, and what was begun has ended.

    Args:
        work: called on several threads at once.
        items: asked for on the caller's thread.
        workers: number of threads, at least 1.
        size: bytes that a result holds.
    """
    waiting: deque[Future[Result]] = deque()
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="osteo-edge-ahead")
    try:
        while True:
            while len(waiting) < ITEMS_A_WORKER * workers and _held(waiting, size) <= MAX_HELD_BYTES:
                begun = [pool.submit(work, item) for item in islice(remaining, 1)]
                if not begun:
                    break
                waiting += begun
            if not waiting:
                return
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _held(waiting: Iterable[Future[Result]], size: Callable[[Result], int]) -> int:
    """Bytes of what is finished and was not taken; a failure holds none."""
    finished = (future for future in waiting if future.done())
    return sum(size(future.result()) for future in finished if future.exception() is None)
