"""Which accepted file of a bundle is fastest on this device: all of them timed in turn, on the bundle's own picture.

A less exact file must be faster than a more exact one beyond the noise of this very measurement. All run in every round, so
that a round is one pair of times for any two of them, and whatever else the machine does meets both. One is faster when it won
three of four rounds, and more of them than tossing a coin would give once in fifty (the sign test).
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from pathlib import Path
from typing import TYPE_CHECKING

from osteo_edge.bundle import Bundle
from osteo_edge.engines.base import Engine
from osteo_edge.engines.select import EngineChoice, choose, is_accepted, is_installed
from osteo_edge.engines.stored import SCHEMA_VERSION, Timing, Tuning, circumstances
from osteo_edge.errors import InferenceError
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS, EngineName, Precision
from osteo_edge.model import open_member
from osteo_edge.selftest import reference_tensors, run_self_test

if TYPE_CHECKING:
    from osteo_edge.arrays import Tensor

BUDGET_S = 10.0
# Six rounds are the fewest of which winning all tells more than chance.
MIN_ROUNDS = 6
MAX_ROUNDS = 100
_LEAST_SHARE = 0.75
_CHANCE = 0.02
# Below, the system's clock of used time is too coarse.
_LEAST_WATCHED_S = 1.0
_BUSY_SHARE = 0.1

Contender = tuple[EngineName, Precision]


@dataclass(frozen=True)
class Faster:
    """One with a lower median than what is kept, which it did not beat beyond the noise.

    Attributes:
        won: rounds in which it was faster.
    """

    engine: EngineName
    precision: Precision
    won: int
    rounds: int


@dataclass(frozen=True)
class Measured:
    """What was timed, and what was not.

    Attributes:
        tuning: its timings are in the order of the manifest's vocabulary.
        left_out: engine and precision -> why it was not timed.
        faster: the one of the lowest median, where another is kept.
        exact: the fp32 that the kept one's answers are to be compared with; None where it is that itself, or none was timed.
        other_work: processors that other programs used meanwhile; None where the system does not tell.
    """

    tuning: Tuning
    left_out: dict[Contender, str]
    faster: Faster | None
    exact: Contender | None
    other_work: float | None

    @property
    def is_busy(self) -> bool:
        """Whether other programs used more than a tenth of the machine."""
        return self.other_work is not None and self.other_work > _BUSY_SHARE * (os.cpu_count() or 1)


def measure(
    bundle: Bundle,
    *,
    threads: int,
    budget_s: float = BUDGET_S,
    on_progress: Callable[[float], object] = lambda share: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Time every installed engine with every precision that all members accept and that passes the self-test here.

    One run takes the knees of the reference picture through all members. After a warm-up the contenders run in turn until
    ``budget_s`` is over, for ``MIN_ROUNDS`` at least and ``MAX_ROUNDS`` at most. All of them are in memory meanwhile.

    Args:
        on_progress: told the share of the work that is done, 0 to 1, after each round.

    Raises:
        EngineUnavailableError: no engine that the bundle has files for is installed.
        InferenceError: no contender is left.
        BundleError: the bundle is damaged.
    """
    left_out = _left_out(bundle)
    contenders = [one for one in _contenders(bundle) if one not in left_out]
    if not contenders:
        reasons = "; ".join(f"{engine} {precision}: {why}" for (engine, precision), why in left_out.items())
        raise InferenceError(f"no engine of this device runs the bundle ({reasons or 'none is installed'})")
    tensors = reference_tensors(bundle)
    runners = [_Runner(bundle, contender, tensors, threads=threads) for contender in contenders]
    try:
        watch = _OtherWork()
        samples = dict(zip(contenders, _samples(runners, budget_s, on_progress, clock), strict=True))
        other_work = watch.processors()
    finally:
        for runner in runners:
            runner.close()
    kept, faster = _choice(samples, preferred=choose(bundle.manifest)[0].engine)
    exact = next((one for one in contenders if one[1] == PRECISIONS[0]), kept)
    tuning = Tuning(SCHEMA_VERSION, circumstances(bundle, threads=threads), *kept, _timings(samples))
    return Measured(tuning, left_out, faster, None if exact == kept else exact, other_work)


def _choice(samples: Mapping[Contender, Sequence[float]], *, preferred: EngineName) -> tuple[Contender, Faster | None]:
    """The most exact of those that none beats beyond the noise, and the one of the lowest median where that is another.

    Among files of one precision the engine that is ``preferred`` without a measurement comes first.
    """

    def exactness(contender: Contender) -> tuple[int, bool, int]:
        engine, precision = contender
        return PRECISIONS.index(precision), engine != preferred, ENGINE_NAMES.index(engine)

    fastest = min(samples, key=lambda one: statistics.median(samples[one]))
    unbeaten = [one for one, own in samples.items() if not any(_is_faster(other, own) for other in samples.values())]
    kept = min(unbeaten or [fastest], key=exactness)  # five may beat each other in a circle
    if kept == fastest:
        return kept, None
    return kept, Faster(*fastest, _rounds_won(samples[fastest], samples[kept]), len(samples[kept]))


def _is_faster(own: Sequence[float], others: Sequence[float]) -> bool:
    """Whether ``own`` times, round by round, are below the others' beyond the noise of both."""
    rounds, won = len(own), _rounds_won(own, others)
    by_chance = sum(comb(rounds, more) for more in range(won, rounds + 1)) / 2**rounds
    return won >= _LEAST_SHARE * rounds and by_chance <= _CHANCE


def _rounds_won(own: Sequence[float], others: Sequence[float]) -> int:
    return sum(one < other for one, other in zip(own, others, strict=True))


def _timings(samples: Mapping[Contender, Sequence[float]]) -> tuple[Timing, ...]:
    medians = {one: max(statistics.median(own), 1e-9) for one, own in samples.items()}
    first = next(iter(medians.values()))
    return tuple(
        Timing(*one, median * 1000, first / median, _half_of_middle_range(samples[one]) / median)
        for one, median in medians.items()
    )


def _half_of_middle_range(samples: Sequence[float]) -> float:
    if len(samples) < 2:
        return 0.0
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return (high - low) / 2


def _contenders(bundle: Bundle) -> Iterator[Contender]:
    for engine in ENGINE_NAMES:
        for precision in PRECISIONS:
            if is_installed(engine) and is_accepted(bundle.manifest.members, engine, precision):
                yield engine, precision


def _left_out(bundle: Bundle) -> dict[Contender, str]:
    """What does not give its recorded numbers on this device."""
    failed = {result.path: result.message for result in run_self_test(bundle) if result.status == "failed"}
    return {
        contender: failed[choice.path]
        for contender in _contenders(bundle)
        for choice in _choices(bundle, contender)
        if choice.path in failed
    }


def _choices(bundle: Bundle, contender: Contender) -> tuple[EngineChoice, ...]:
    engine, precision = contender
    return choose(bundle.manifest, engine=engine, precision=precision)


class _Runner:
    """All members with one engine and precision, loaded."""

    def __init__(self, bundle: Bundle, contender: Contender, tensors: Sequence[list[Tensor]], *, threads: int) -> None:
        self._engines: list[Engine] = [
            open_member(bundle, member, choice, threads=threads)
            for member, choice in zip(bundle.manifest.members, _choices(bundle, contender), strict=True)
        ]
        self._tensors = tensors

    def run(self) -> None:
        for engine, knees in zip(self._engines, self._tensors, strict=True):
            name = engine.inputs[0].name
            for knee in knees:
                engine.run({name: knee})

    def close(self) -> None:
        for engine in self._engines:
            engine.close()


class _OtherWork:
    """How much of the machine other programs use, from now on: all processors' used time, less that of this process."""

    def __init__(self) -> None:
        self._start = self._now()

    def processors(self) -> float | None:
        """How many processors they used, on average; None where the system does not tell."""
        now = self._now()
        if self._start is None or now is None or now[0] - self._start[0] < _LEAST_WATCHED_S:
            return None
        seconds, used, own = (end - begin for begin, end in zip(self._start, now, strict=True))
        return max(0.0, (used - own) / seconds)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds: by the clock, used by all on this machine, used by this process. Linux: proc(5), ``/proc/stat``."""
        try:
            with Path("/proc/stat").open("rb") as file:
                user, nice, system, _, _, *others = (int(one) for one in file.readline().split()[1:9])
            ticks = os.sysconf("SC_CLK_TCK")
        except (OSError, ValueError):
            return None
        return time.monotonic(), (user + nice + system + sum(others)) / ticks, sum(os.times()[:4])


def _samples(
    runners: Sequence[_Runner], budget_s: float, on_progress: Callable[[float], object], clock: Callable[[], float]
) -> list[list[float]]:
    """Seconds of each run, one list a runner, one number a round."""
    start = clock()
    for runner in runners:
        runner.run()
    samples: list[list[float]] = [[] for _ in runners]
    for number in range(1, MAX_ROUNDS + 1):
        for runner, own in zip(runners, samples, strict=True):
            before = clock()
            runner.run()
            own.append(clock() - before)
        done = max(min((clock() - start) / budget_s, number / MIN_ROUNDS), number / MAX_ROUNDS)
        on_progress(min(1.0, done))
        if done >= 1:
            break
    return samples
