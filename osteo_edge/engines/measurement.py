"""Which accepted file of a bundle is fastest on this device: all of them timed in turn, on the bundle's own picture."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from osteo_edge.bundle import Bundle
from osteo_edge.engines.base import Engine
from osteo_edge.engines.select import EngineChoice, choose, is_accepted, is_installed
from osteo_edge.engines.tuning import SCHEMA_VERSION, Timing, Tuning, circumstances
from osteo_edge.errors import InferenceError
from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS, EngineName, Precision
from osteo_edge.model import open_member
from osteo_edge.selftest import reference_tensors, run_self_test

if TYPE_CHECKING:
    from osteo_edge.engines.base import Picture

BUDGET_S = 10.0
MAX_ROUNDS = 100

Contender = tuple[EngineName, Precision]


@dataclass(frozen=True)
class Measured:
    """What was timed, and what was not.

    Attributes:
        tuning: its timings are in the order of the manifest's vocabulary.
        left_out: engine and precision -> why it was not timed.
    """

    tuning: Tuning
    left_out: dict[Contender, str]


def measure(
    bundle: Bundle,
    *,
    threads: int,
    budget_s: float = BUDGET_S,
    on_progress: Callable[[float], object] = lambda share: None,
    clock: Callable[[], float] = time.perf_counter,
) -> Measured:
    """Time every installed engine with every precision that all members accept and that passes the self-test here.

    One run takes the knees of the reference picture through all members. After a warm-up the contenders run in turn, so that
    whatever else the machine does meets all alike, until ``budget_s`` is over; each runs at least once. All of them are
    in memory meanwhile.

    Args:
        on_progress: told the share of the budget that is spent, 0 to 1, after each round.

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
        medians = _medians(runners, budget_s, on_progress, clock)
    finally:
        for runner in runners:
            runner.close()
    timings = tuple(
        Timing(engine, precision, median * 1000, medians[0] / median)
        for (engine, precision), median in zip(contenders, medians, strict=True)
    )
    best = min(timings, key=lambda timing: timing.median_ms)
    here = circumstances(bundle, threads=threads)
    return Measured(Tuning(SCHEMA_VERSION, here, best.engine, best.precision, timings), left_out)


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

    def __init__(self, bundle: Bundle, contender: Contender, tensors: Sequence[list[Picture]], *, threads: int) -> None:
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


def _medians(
    runners: Sequence[_Runner], budget_s: float, on_progress: Callable[[float], object], clock: Callable[[], float]
) -> list[float]:
    """Seconds of one run, one median a runner."""
    start = clock()
    for runner in runners:
        runner.run()
    samples: list[list[float]] = [[] for _ in runners]
    for number in range(1, MAX_ROUNDS + 1):
        for runner, own in zip(runners, samples, strict=True):
            before = clock()
            runner.run()
            own.append(clock() - before)
        spent = (clock() - start) / budget_s
        on_progress(min(1.0, max(spent, number / MAX_ROUNDS)))
        if spent >= 1:
            break
    return [max(statistics.median(own), 1e-9) for own in samples]
