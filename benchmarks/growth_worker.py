"""One measurement of ``benchmarks growth`` in a process of its own, so that its peak of memory is its own.

It reads one JSON object from standard input, what to do and with what, and answers with lines of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from osteo_edge import OsteoPredictor

Answer = dict[str, float]


def main() -> None:
    order = json.loads(sys.stdin.readline())
    for answer in _KINDS[order.pop("kind")](**order):
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def many(bundle: str, pictures: Sequence[str], count: int, threads: int) -> Iterator[Answer]:
    """``predict_many`` over ``count`` pictures, the given ones again and again."""
    with OsteoPredictor(bundle, threads=threads, workers=threads) as predictor:
        predictor.predict(pictures[0])
        start = time.perf_counter()
        answered = sum(1 for _ in predictor.predict_many(list(_again_and_again(pictures, count))))
        yield {"seconds": time.perf_counter() - start, "answered": answered} | _memory()


def one(bundle: str, picture: str, runs: int, threads: int) -> Iterator[Answer]:
    """One picture several times; the median."""
    with OsteoPredictor(bundle, threads=threads) as predictor:
        seconds = sorted(_timed(lambda: predictor.predict(picture)) for _ in range(runs + 1))
        yield {"seconds": seconds[len(seconds) // 2]} | _memory()


def callers(bundle: str, pictures: Sequence[str], count: int, callers: int) -> Iterator[Answer]:
    """So many callers at the same time, each with a predictor of one thread; ``count`` pictures in all."""
    predictors = [OsteoPredictor(bundle, threads=1) for _ in range(callers)]

    def call(predictor: OsteoPredictor) -> None:
        for picture in _again_and_again(pictures, count // callers):
            predictor.predict(picture)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(lambda predictor: predictor.predict(pictures[0]), predictors))
        start = time.perf_counter()
        list(pool.map(call, predictors))
        yield {"seconds": time.perf_counter() - start, "answered": count // callers * callers} | _memory()


def soak(bundle: str, pictures: Sequence[str], count: int, every: int) -> Iterator[Answer]:
    """A process that goes on all day: resident memory after each ``every`` predictions."""
    with OsteoPredictor(bundle, threads=1) as predictor:
        start = time.perf_counter()
        for done, picture in enumerate(_again_and_again(pictures, count), 1):
            predictor.predict(picture)
            if done % every == 0:
                yield {"answered": done, "seconds": time.perf_counter() - start} | _memory()


def _again_and_again(pictures: Sequence[str], count: int) -> Iterator[str]:
    return (pictures[place % len(pictures)] for place in range(count))


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _memory() -> Answer:
    """Resident and peak memory in MB (10^6 bytes). What getrusage tells is not below the peak of this process' parent."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if name[:2] == "Vm"}
    return {"rss_mb": kilobytes["VmRSS"] * 1024 / 1e6, "peak_mb": kilobytes["VmHWM"] * 1024 / 1e6}


_KINDS: Mapping[str, Callable[..., Iterator[Any]]] = {"many": many, "one": one, "callers": callers, "soak": soak}

if __name__ == "__main__":
    main()
