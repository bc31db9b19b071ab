"""Configurations against each other: one persistent process each, run in shuffled rounds, one at a time.

What else the machine does slows all configurations of a round alike, so ratios within rounds hold where milliseconds do not.
"""

from __future__ import annotations

import json
import random
import subprocess
import tempfile
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
import numpy as np

from train.runs.arrays import Doubles

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Entry:
    """One configuration.

    Attributes:
        command: the interpreter's.
        environment: its variables.
        engine: as ``benchmarks.worker`` names it.
        models: files that run in turn, as one.
        inputs: one ``.npy`` of knees a model.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    engine: str
    models: tuple[Path, ...]
    inputs: tuple[Path, ...]
    threads: int


@dataclass(frozen=True)
class Timing:
    """What was measured of one entry.

    Attributes:
        milliseconds: (rounds, models), medians within each round.
        load_ms, rss_mb: one a model; resident memory once this model and those before it have run.
        version: of the engine.
        logits: (N, labels) of every knee, one array a model; empty where they were not asked for.
    """

    milliseconds: Doubles
    load_ms: tuple[float, ...]
    rss_mb: tuple[float, ...]
    version: str
    logits: tuple[Doubles, ...] = ()

    @property
    def total(self) -> Doubles:
        """(rounds,)"""
        return np.asarray(self.milliseconds.sum(axis=1))


class Conversation:
    """A process that answers each line of JSON with one; it ends with the ``with`` block.

    An interruption from the keyboard reaches this process alone, which decides what becomes of the others.

    Raises:
        ClickException: it does not start, or ends before it has answered.
    """

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], job: Mapping[str, Any]) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed in __exit__
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            start_new_session=True,
        )
        self.loaded = self.tell(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self._process.communicate()
        self._errors.close()

    def tell(self, order: Mapping[str, Any]) -> dict[str, Any]:
        """Give an order and wait for its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        line = self._process.stdout.readline()
        if not line:
            self._process.communicate()
            self._errors.seek(0)
            last = (self._errors.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1]
            raise click.ClickException(f"{self.name} failed: {last[:300]}")
        answer: dict[str, Any] = json.loads(line)
        return answer


class Worker(Conversation):
    """A running configuration.

    Raises:
        ClickException: it does not start, or a model cannot be loaded.
    """

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        job = {
            "engine": entry.engine,
            "models": [str(path) for path in entry.models],
            "inputs": [str(path) for path in entry.inputs],
            "threads": entry.threads,
        }
        super().__init__(entry.name, [*entry.command, "-m", "benchmarks.worker"], entry.environment, job)

    def logits(self) -> tuple[Doubles, ...]:
        """(N, labels) of every knee, one array a model."""
        with tempfile.TemporaryDirectory(prefix="answers-") as folder:
            path = Path(folder) / "answers.npy"
            return tuple(self._logits(path, model) for model in range(len(self.entry.models)))

    def _logits(self, path: Path, model: int) -> Doubles:
        self.tell({"answers": str(path), "model": model})
        return np.asarray(np.load(path), np.float64)


def hold(
    entries: Sequence[Entry],
    *,
    rounds: int,
    seconds: float,
    answering: Container[str] = (),
    on_round: Callable[[], object] = lambda: None,
) -> dict[str, Timing]:
    """Run every entry once a round, in an order that is shuffled anew each time, after one round that is not counted.

    Args:
        seconds: about how long an entry runs in a round; three runs at least.
        answering: names of entries whose logits are asked for as well, once the rounds are over.

    Raises:
        ClickException: an entry cannot be run.
    """
    order = random.Random(0)
    with ExitStack() as stack:
        workers = {entry.name: stack.enter_context(Worker(entry)) for entry in entries}
        samples: dict[str, list[list[float]]] = {name: [] for name in workers}
        for turn in range(rounds + 1):
            for name in order.sample(sorted(workers), len(workers)):
                taken = workers[name].tell({"seconds": seconds})["milliseconds"]
                if turn:
                    samples[name].append(taken)
            on_round()
        return {
            name: Timing(
                np.array(samples[name]),
                tuple(worker.loaded["load_ms"]),
                tuple(worker.loaded["rss_mb"]),
                worker.loaded["version"],
                worker.logits() if name in answering else (),
            )
            for name, worker in workers.items()
        }


def ratio(samples: Doubles, reference: Doubles) -> float:
    """Times as fast as the reference: the median over the rounds of the ratio within a round."""
    return float(np.median(reference / samples))
