"""Entrants side by side: in persistent processes, round by round, and as whole processes in turn."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.contest import Conversation
from benchmarks.peers.entrants import Entrant, Field
from benchmarks.peers.programme import Programme, Shown
from benchmarks.peers.records import COLD, FOLDER, SCHEMA_VERSION, Participant, Peers, Ratio, Row
from benchmarks.places import NATIVE, environments
from osteo_edge.device import processor

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle

RESAMPLES = 2000
SAME_ANSWER = 1e-4
_ANSWERED = (0, 4)  # of the program: reported, referred or rejected


class Contest:
    """Entrants in persistent processes, one at a time, in rounds of shuffled order; and whole processes in turn.

    An interruption from the keyboard ends the measuring; what was measured is kept.
    """

    def __init__(
        self, field: Field, bundles: Sequence[Bundle], asked: Programme, place: Path, on_round: Callable[[], object]
    ) -> None:
        self._entrants, self._left_out = list(field.entrants), dict(field.left_out)
        self._bundles, self._asked, self._place, self._on_round = bundles, asked, place, on_round
        self._default = self._entrants[0].name
        self._samples: dict[tuple[str, str, int | None], list[float]] = {}
        self._peaks: dict[str, float] = {}
        self._cold_peaks: dict[str, float] = {}
        self._stages: dict[str, dict[str, float]] = {}
        self._answers: dict[str, list[list[float]]] = {}
        self._exact: dict[str, list[list[float]]] = {}

    def measure(self) -> Iterator[Peers]:
        """What is known after each part.

        Raises:
            ClickException: osteo-edge itself cannot be run.
        """
        with environments(()) as forms:
            self._variables = forms[NATIVE]
            try:
                for threads in (1, None):
                    self._warm(threads)
                    yield self.found()
                self._cold()
                yield self.found()
            except KeyboardInterrupt:
                click.echo("interrupted; what was measured is kept", err=True)
                yield self.found()

    def found(self) -> Peers:
        """All rounds that every entrant finished."""
        machine = processor()
        kinds = {kind: len(places) for kind, places in self._asked.kinds.items()}
        return Peers(
            schema_version=SCHEMA_VERSION,
            processor=machine.model,
            architecture=machine.architecture,
            features=machine.features,
            cores=len(os.sched_getaffinity(0)),
            pictures=kinds | {FOLDER: len(self._asked.folder)},
            default=self._default,
            participants=tuple(self._participant(one) for one in self._entrants),
            rows=tuple(rows_of(self._samples, self._entrants)),
            left_out=self._left_out,
        )

    def _warm(self, threads: int | None) -> None:
        """One thread, or the engine's own choice and the folder as well."""
        order = random.Random(0)
        with ExitStack() as stack:
            workers = self._start(threads, stack)
            for turn in range(self._asked.rounds + 1):
                taken: dict[tuple[str, str, int | None], float] = {}
                for entrant in order.sample(self._entrants, len(self._entrants)):
                    worker = workers[entrant.name]
                    for task, milliseconds in self._turn(worker, turn, is_folder=threads is None):
                        taken[entrant.name, task, threads] = milliseconds
                if turn:  # the first warms up; a round that was broken off counts for nobody
                    for key, milliseconds in taken.items():
                        self._samples.setdefault(key, []).append(milliseconds)
                self._on_round()
            if threads == 1:
                self._peaks = {name: worker.tell({"memory": True})["peak_mb"] for name, worker in workers.items()}
                self._stages = {name: worker.tell({"stages": 0}) for name, worker in workers.items()}

    def _start(self, threads: int | None, stack: ExitStack) -> dict[str, Conversation]:
        """Every entrant's process; a peer that cannot be run is left out, with what it said."""
        workers: dict[str, Conversation] = {}
        firsts = [places[0] for places in self._asked.kinds.values()]
        for entrant in list(self._entrants):
            command = [entrant.python, "-m", "benchmarks.peers.worker"]
            try:
                worker = Conversation(entrant.name, command, self._variables, self._job(entrant, threads))
                stack.enter_context(worker)
                self._answers[entrant.name] = worker.tell({"answers": firsts})["probabilities"]
            except click.ClickException as error:
                if entrant.is_own:
                    raise
                self._drop(entrant, error.message)
            else:
                workers[entrant.name] = worker
        return workers

    def _turn(self, worker: Conversation, turn: int, *, is_folder: bool) -> Iterator[tuple[str, float]]:
        """One picture of each kind, the same for all in a round, and a portion of the folder."""
        for kind, places in self._asked.kinds.items():
            order = {"picture": places[turn % len(places)], "seconds": self._asked.seconds}
            yield kind, worker.tell(order)["milliseconds"]
        portions = np.array_split(np.array(self._asked.folder, int), self._asked.rounds)
        if is_folder and turn and len(portions[turn - 1]):
            portion = portions[turn - 1].tolist()
            yield FOLDER, worker.tell({"folder": portion})["seconds"] * 1000 / len(portion)

    def _cold(self) -> None:
        """Whole processes with the image, after one round that is not counted."""
        if not self._asked.cold_rounds:
            return
        commands = {entrant.name: self._process(entrant) for entrant in self._entrants}
        starter = [sys.executable, "-m", "benchmarks.processes"]
        with Conversation("the starter of processes", starter, self._variables, {}) as starting:
            for turn in range(self._asked.cold_rounds + 1):
                runs = {name: starting.tell({"command": command}) for name, command in commands.items()}
                for entrant in [one for one in self._entrants if one.name in runs]:
                    run = runs[entrant.name]
                    if run["exit_code"] not in (_ANSWERED if entrant.is_own else (0,)):
                        self._left_out[f"{COLD}, {entrant.name}"] = f"a process ended with exit code {run['exit_code']}"
                        commands.pop(entrant.name)
                    elif turn:
                        self._samples.setdefault((entrant.name, COLD, None), []).append(run["seconds"] * 1000)
                        self._cold_peaks[entrant.name] = max(self._cold_peaks.get(entrant.name, 0.0), run["peak_mb"])
                self._on_round()

    def _process(self, entrant: Entrant) -> list[str]:
        image = self._asked.shown[0].path
        if entrant.is_own:
            return [entrant.python, "-m", "osteo_edge", "predict", "--bundle", str(entrant.model), image]
        path = self._place / f"job-{self._entrants.index(entrant)}.json"
        path.write_text(json.dumps(self._job(entrant, None)), encoding="utf-8")
        return [entrant.python, "-m", "benchmarks.peers.worker", str(path)]

    def _job(self, entrant: Entrant, threads: int | None) -> dict[str, Any]:
        return job(entrant, threads, self._asked.shown)

    def _drop(self, entrant: Entrant, why: str) -> None:
        self._entrants.remove(entrant)
        self._left_out[entrant.name] = why
        for key in [key for key in self._samples if key[0] == entrant.name]:
            del self._samples[key]

    def _participant(self, entrant: Entrant) -> Participant:
        shared = {name: size for package in entrant.packages for name, size in package.mb.items()}
        return Participant(
            name=entrant.name,
            network=entrant.network,
            engine=entrant.engine,
            precision=entrant.precision,
            versions={package.name: package.version for package in entrant.packages},
            installed_mb={name: round(size, 2) for name, size in sorted(shared.items())},
            peak_mb=_rounded(self._peaks.get(entrant.name)),
            cold_peak_mb=_rounded(self._cold_peaks.get(entrant.name)),
            max_difference=self._difference(entrant),
            stages_ms={stage: round(one, 3) for stage, one in self._stages.get(entrant.name, {}).items()},
        )

    def _difference(self, entrant: Entrant) -> float | None:
        bundle = next((one for one in self._bundles if one.manifest.name == entrant.network), None)
        if bundle is None or entrant.name not in self._answers:
            return None
        if bundle.manifest.name not in self._exact:
            self._exact[bundle.manifest.name] = exact_answers(
                bundle, [self._asked.shown[places[0]].path for places in self._asked.kinds.values()]
            )
        off = np.abs(np.array(self._answers[entrant.name]) - np.array(self._exact[bundle.manifest.name]))
        return float(f"{off.max():.3g}")


def job(entrant: Entrant, threads: int | None, shown: Sequence[Shown]) -> dict[str, Any]:
    """What ``benchmarks.peers.worker`` is told first."""
    from osteo_edge.joints import box_around

    def boxes(one: Shown) -> list[list[int]]:
        found = [box_around(joint, entrant.region) for joint in one.joints]
        return [[box.x0, box.y0, box.x1, box.y1] for box in found]

    return {
        "engine": entrant.engine,
        "model": str(entrant.model),
        "threads": threads,
        "channels": entrant.channels,
        "spec": asdict(entrant.spec),
        "pictures": [[one.path, [] if entrant.is_own else boxes(one)] for one in shown],
    }


def exact_answers(bundle: Bundle, paths: Sequence[str]) -> list[list[float]]:
    """(pictures, labels): probabilities by osteo-edge in fp32."""
    from osteo_edge import OsteoPredictor

    engine = "onnxruntime" if "onnxruntime" in bundle.manifest.members[0].files else "litert"
    with OsteoPredictor(bundle.root, engine=engine, precision="fp32") as predictor:
        return [list(one.image_probabilities.values()) for one in predictor.predict_many(paths)]


def rows_of(samples: Mapping[tuple[str, str, int | None], Sequence[float]], entrants: Sequence[Entrant]) -> Iterator[Row]:
    """Every series of samples beside osteo-edge's of the same task; the first entrant is the default.

    Only rounds that both finished are compared.
    """
    own = {entrant.network: entrant.name for entrant in reversed(entrants) if entrant.is_own}
    default = entrants[0].name
    networks = {entrant.name: entrant for entrant in entrants}
    for (name, task, threads), taken in samples.items():
        if name not in networks:
            continue

        def against(other: str | None, name: str = name, task: str = task, threads: int | None = threads) -> Ratio | None:
            base = samples.get((other, task, threads)) if other and other != name else None
            return ratio_of(samples[name, task, threads], base) if base else None

        same = None if networks[name].is_own else own.get(networks[name].network)
        milliseconds = tuple(round(one, 3) for one in taken)
        yield Row(name, task, threads, milliseconds, round(float(np.median(taken)), 3), against(default), against(same))


def ratio_of(samples: Sequence[float], base: Sequence[float], *, seed: int = 0) -> Ratio:
    """How many times as long as ``base``, round by round; the interval resamples rounds, the 2.5th to the 97.5th percentile."""
    common = min(len(samples), len(base))
    ratios = np.array(samples[:common]) / np.array(base[:common])
    drawn = np.random.default_rng(seed).integers(common, size=(RESAMPLES, common))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), (2.5, 97.5))
    return Ratio(*(round(float(one), 3) for one in (np.median(ratios), low, high)))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
