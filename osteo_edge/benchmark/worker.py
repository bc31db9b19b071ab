"""The measured process: a bundle or several, with one engine, precision and number of threads, in a process of its own.

It takes one job as a line of JSON on standard input and tells what happens as lines of JSON on standard output, samples in
small batches, so that whatever ends it leaves what was measured until then with the process that started it.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from osteo_edge.errors import InputError, OsteoEdgeError
from osteo_edge.model import load_models
from osteo_edge.records import parse_record, to_plain

if TYPE_CHECKING:
    from osteo_edge.answered import ModelIdentity
    from osteo_edge.arrays import Tensor
    from osteo_edge.engines.base import Engine
    from osteo_edge.model import LoadingModel
    from osteo_edge.prediction import Prediction
    from osteo_edge.predictor import OsteoPredictor

END_TO_END = "end_to_end"
MODEL_ALONE = "model_alone"
MIXED = "mixed"
# What is kept in memory for the model alone.
MAX_PREPARED_PICTURES = 32
# Telling takes time from no query, only from the pause between two.
_BATCH_S = 0.2
_DIGITS = 4
_LONGEST_MESSAGE = 200


@dataclass(frozen=True)
class Job:
    """What to measure; see ``Settings`` for the rest.

    Attributes:
        bundles: that are asked of each picture.
        threads: of the engine.
        pictures: paths.
    """

    bundles: tuple[str, ...]
    engine: str
    precision: str
    threads: int
    pictures: tuple[str, ...]
    min_seconds: float
    min_queries: int
    seed: int


Tell = Callable[[Mapping[str, Any]], None]


def main() -> None:
    """Take the job, measure, and end the process."""
    tell = _teller()
    try:
        measure_job(parse_record(Job, json.loads(sys.stdin.readline()), where="job"), tell)
        tell({"event": "done"})
    except OsteoEdgeError as error:
        tell({"event": "failed", "fault": type(error).__name__, "message": str(error)})
    except Exception as error:  # told to the process that started this one, which knows what to make of it
        tell({"event": "failed", "fault": type(error).__name__, "message": _root_of(error)})
    os._exit(0)


def _root_of(error: BaseException) -> str:
    """The first of the errors that led to this one: libraries wrap what the system said into pages of advice."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__ or error
    return " ".join(f"{type(error).__name__} {error}".split())[:_LONGEST_MESSAGE]


def _teller() -> Tell:
    """Lines go to what was standard output; what engines print goes to standard error."""
    lines: TextIO = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: Mapping[str, Any]) -> None:
        lines.write(json.dumps(event) + "\n")
        lines.flush()

    return tell


def measure_job(job: Job, tell: Tell) -> None:
    """Load, answer for every picture once, then measure end to end and the model alone; ``tell`` is told all of it.

    Raises:
        OsteoEdgeError: the bundle or the engine fails.
    """
    start = time.perf_counter()
    models = load_models(job.bundles, engine=job.engine, precision=job.precision, threads=job.threads)
    from osteo_edge.predictor import OsteoPredictor

    predictor = OsteoPredictor(models)
    for model in models:
        model.wait()
    load_ms = _milliseconds(start)
    engine, precision = (_in_common(found) for found in zip(*map(_ran, predictor.models), strict=True))
    tell({"event": "loaded", "engine": engine, "precision": precision, "load_ms": load_ms})
    found = _survey(predictor, job.pictures, tell)
    groups = {knees: tuple(one for one in found if one.knees == knees) for knees in sorted({one.knees for one in found})}
    for knees, pictures in groups.items():
        _end_to_end(predictor, pictures, knees, job, tell)
    for knees, pictures in groups.items():
        _model_alone(models, pictures, knees, job, tell)


def _ran(model: ModelIdentity) -> tuple[str, str]:
    return model.engine, model.precision


def _in_common(names: Sequence[str]) -> str:
    return names[0] if len(set(names)) == 1 else MIXED


@dataclass(frozen=True)
class _Found:
    """A picture that is answered, with the number of networks of each bundle that answered for it."""

    path: str
    knees: int
    members: tuple[int, ...]


def _survey(predictor: OsteoPredictor, paths: Sequence[str], tell: Tell) -> tuple[_Found, ...]:
    """Answer for every picture once: the first answer is timed, the others warm up."""
    found: list[_Found] = []
    for path in paths:
        start = time.perf_counter()
        prediction, reason = _predict(predictor, path)
        first_ms = _milliseconds(start)
        if prediction is None or not prediction.joints:
            tell({"event": "left_out", "path": path, "reason": reason})
            continue
        if not found:
            tell({"event": "first", "first_ms": first_ms})
        knees = len(prediction.joints)
        found.append(_Found(path, knees, tuple(answer.members_answered for answer in prediction.answers)))
        tell({"event": "picture", "path": path, "sha256": prediction.digest, "knees": knees})
    return tuple(found)


def _predict(predictor: OsteoPredictor, path: str) -> tuple[Prediction | None, str]:
    try:
        prediction = predictor.predict(path)
    except InputError as error:
        return None, str(error)
    return prediction, "; ".join(finding.message for finding in prediction.findings)


def _end_to_end(predictor: OsteoPredictor, pictures: Sequence[_Found], knees: int, job: Job, tell: Tell) -> None:
    def query(picture: _Found) -> Mapping[str, float]:
        return predictor.predict(picture.path).timings_ms

    _repeat(query, pictures, job, {"scope": END_TO_END, "knees": knees}, tell)


def _model_alone(models: Sequence[LoadingModel], pictures: Sequence[_Found], knees: int, job: Job, tell: Tell) -> None:
    """All networks that answered, those of all bundles one after the other."""
    prepared = {one: list(_prepared(models, one)) for one in pictures[:MAX_PREPARED_PICTURES]}

    def query(picture: _Found) -> Mapping[str, float]:
        for engine, name, tensors in prepared[picture]:
            for tensor in tensors:
                engine.run({name: tensor})
        return {}

    query(pictures[0])
    _repeat(query, tuple(prepared), job, {"scope": MODEL_ALONE, "knees": knees}, tell)


def _prepared(models: Sequence[LoadingModel], picture: _Found) -> Iterator[tuple[Engine, str, list[Tensor]]]:
    """Each member that answered, the name of its input, and what it was shown of a picture: one tensor a knee."""
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.images import reader
    from osteo_edge.images.preprocess import prepare_knee

    pixels = reader.read(picture.path).pixels
    for model, count in zip(models, picture.members, strict=True):
        manifest = model.bundle.manifest
        joints = JointFinder.from_bytes(model.bundle.read(manifest.finder)).find(pixels)
        for index, member in enumerate(manifest.members[:count]):  # a cascade's first members
            engine = model.engine(index)
            tensors = [prepare_knee(pixels, joint, member.region, member.input) for joint in joints]
            yield engine, engine.inputs[0].name, tensors


def _repeat(
    query: Callable[[_Found], Mapping[str, float]],
    pictures: Sequence[_Found],
    job: Job,
    about: Mapping[str, Any],
    tell: Tell,
) -> None:
    """Run queries one after the other, each on a picture drawn with replacement, until time and number are both reached."""
    draw = random.Random(job.seed)
    tell({"event": "started", **about})
    samples: list[float] = []
    stages: dict[str, list[float]] = {}
    count = 0
    start = told = time.perf_counter()
    while True:
        picture = draw.choice(pictures)
        before = time.perf_counter()
        timings = query(picture)
        after = time.perf_counter()
        samples.append(round((after - before) * 1000, _DIGITS))
        for stage, taken in timings.items():
            stages.setdefault(stage, []).append(round(taken, _DIGITS))
        count += 1
        share = min((after - start) / job.min_seconds if job.min_seconds else 1.0, count / job.min_queries)
        if share >= 1 or after - told >= _BATCH_S:
            batch = {"samples_ms": samples, "stages_ms": stages, "share": min(share, 1.0), "memory": _memory()}
            tell({"event": "samples", **batch, **about})
            samples, stages, told = [], {}, time.perf_counter()
        if share >= 1:
            return


def _memory() -> dict[str, int]:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {"steady_bytes": _kilobytes(status["VmRSS"]), "peak_bytes": _kilobytes(status["VmHWM"])}


def _kilobytes(text: str) -> int:
    return int(text.split()[0]) * 1024


def _milliseconds(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, _DIGITS)


def as_line(job: Job) -> str:
    """The job as the worker takes it."""
    return json.dumps(to_plain(job)) + "\n"
