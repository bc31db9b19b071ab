"""Stand-ins for machines that are not at hand: whether the same answers come, and whether they come at all.

A processor without AVX-512 is this one with its questions answered otherwise; one without VNNI and AVX-512 from top to
bottom is emulated; a small board's memory is a limit in force; one core is one core. None of them tells a time but the last.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from benchmarks.growth import pictures_of
from benchmarks.places import HIDDEN, NATIVE, environments
from osteo_edge.benchmark.limits import confinement, parse_bytes
from osteo_edge.device import processor
from osteo_edge.records import to_plain

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle
    from osteo_edge.manifest import EngineName, Precision

SCHEMA_VERSION: Literal[1] = 1
LIMITS = ("4GB", "1GB", "512MB")
EMULATOR = "qemu-x86_64"
EMULATED = "Haswell-noTSX"
# Whole programs differ by float rounding, which other kernels order otherwise; integers by a step here and there.
MAX_DIFFERENCE = {"fp32": 1e-4, "fp16": 1e-4, "int8": 0.02}
ANSWERED = (0, 4)

Pair = tuple["EngineName", "Precision"]


@dataclass(frozen=True)
class Row:
    """One engine and precision on one stand-in.

    Attributes:
        stand_in: "AVX-512 hidden", "Haswell, emulated", a limit of memory, or "one core".
        answered: pictures with the native status, labels and, within the tolerance, probabilities; of ``pictures``.
        max_difference: of a probability; None where there was no answer.
        peak_mb: resident memory at its peak, under a limit.
        detail: what was in force, or what went wrong.
    """

    stand_in: str
    engine: str
    precision: str
    pictures: int
    answered: int
    max_difference: float | None
    peak_mb: float | None
    detail: str
    passes: bool


@dataclass(frozen=True)
class OneCore:
    """A folder on all cores against one, by whole processes in turn.

    Attributes:
        ratio: times as many pictures a second, the median over the rounds of the ratio within a round.
    """

    pictures: int
    cores: int
    ratio: float
    all_cores_s: tuple[float, ...]
    one_core_s: tuple[float, ...]


@dataclass(frozen=True)
class Devices:
    """What the command writes; ``left_out`` says what could not be stood in for, and why."""

    schema_version: Literal[1]
    processor: str
    bundle: str
    rows: tuple[Row, ...]
    one_core: OneCore | None
    left_out: Mapping[str, str]


@click.command("devices")
@click.option("--bundle", "name", default="knee-mobilenet_v2", show_default=True)
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Radiographs; else the example.")
@click.option("--pictures", "most", type=click.IntRange(1), default=12, show_default=True, help="So many of them.")
@click.option(
    "--folder", "many", type=click.IntRange(0), default=200, show_default=True, help="Pictures for one core; 0: none."
)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="For one core.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path))
def command(name: str, data: Path | None, most: int, many: int, rounds: int, target: Path | None) -> None:
    """Answers on stand-ins for other machines: AVX2 alone, an emulated Haswell, 4 GB, 1 GB and 512 MB, one core."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError

    try:
        bundle = open_bundle(name)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    found = measure(bundle, pictures_of(data)[:most], many=many, rounds=rounds)
    click.echo(table(found))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(to_plain(found), indent=1) + "\n", encoding="utf-8")
    if not all(row.passes for row in found.rows):
        raise click.ClickException("answers are missing or differ on a stand-in; see above")


def measure(bundle: Bundle, pictures: Sequence[str], *, many: int, rounds: int) -> Devices:
    """Run every accepted file on every stand-in."""
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with ExitStack() as stack:
        places = stack.enter_context(environments(("onnxruntime", "ai_edge_litert")))
        native = Place(places[NATIVE])
        emulator = shutil.which(EMULATOR)
        with click.progressbar(accepted(bundle), label="files", file=sys.stderr) as pairs:
            for pair in pairs:
                asked = Asked(str(bundle.root), *pair, tuple(pictures))
                reference = answers_of(native.run(asked))
                if HIDDEN in places:
                    rows.append(judge("AVX-512 hidden", asked, reference, Place(places[HIDDEN]).run(asked)))
                if emulator:
                    emulated = Place(places[NATIVE], (emulator, "-cpu", EMULATED))
                    few = Asked(asked.bundle, *pair, asked.pictures[:1])
                    answer = emulated.run(few)
                    rows.append(judge("Haswell, emulated", few, reference[:1], answer))
                rows += [judge(limit, asked, reference, native.run(asked, limit=limit)) for limit in LIMITS]
        if HIDDEN not in places:
            left_out["AVX-512 hidden"] = "this processor has none to hide"
        if not emulator:
            left_out["Haswell, emulated"] = f"{EMULATOR} is not installed (apt install qemu-user)"
        one_core = one_core_of(bundle, pictures, many=many, rounds=rounds, place=native) if many else None
    if one_core is None and many:
        left_out["one core"] = "this machine has no more than one"
    left_out["arm64"] = "see python -m export portability --arm64; by emulation, never a time"
    return Devices(SCHEMA_VERSION, processor().model, bundle.manifest.name, tuple(rows), one_core, left_out)


def accepted(bundle: Bundle) -> list[Pair]:
    """Engines and precisions that every member accepts."""
    first, *others = bundle.manifest.members
    return [
        (engine, precision)  # type: ignore[misc]  # the manifest's check admits no other names
        for engine, precisions in first.accepted.items()
        for precision in precisions
        if all(precision in member.accepted.get(engine, ()) for member in others)
    ]


@dataclass(frozen=True)
class Asked:
    """One run of the program."""

    bundle: str
    engine: str
    precision: str
    pictures: tuple[str, ...]

    @property
    def command(self) -> list[str]:
        program = [sys.executable, "-m", "osteo_edge", "predict", "--format", "jsonl", "--bundle", self.bundle]
        return [*program, "--engine", self.engine, "--precision", self.precision, *self.pictures]


@dataclass(frozen=True)
class Ended:
    """How a run ended; ``limit`` is what was in force."""

    exit_code: int
    output: str
    errors: str
    peak_mb: float
    limit: str = ""


@dataclass(frozen=True)
class Place:
    """Where the program is run.

    Attributes:
        prefix: an emulator with its options.
    """

    environment: Mapping[str, str]
    prefix: tuple[str, ...] = field(default=())

    def run(self, asked: Asked, *, limit: str | None = None) -> Ended:
        """Run to the end; a limit of memory is in force from the program's first instruction."""
        with confinement(parse_bytes(limit) if limit else None) as confined:
            ended = _run([*self.prefix, *asked.command], self.environment, confined.enter)
        told = confined.limit.message if confined.limit else ""
        return Ended(ended.exit_code, ended.output, ended.errors, ended.peak_mb, told)


def _run(command: Sequence[str], environment: Mapping[str, str], enter: Callable[[], None] | None) -> Ended:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=dict(environment), preexec_fn=enter)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said = []
        for stream in (output, errors):
            stream.seek(0)
            said.append(stream.read().decode(errors="replace"))
        return Ended(process.returncode, said[0], said[1], usage.ru_maxrss * 1024 / 1e6)


def answers_of(ended: Ended) -> list[dict[str, Any]]:
    """The answers of a run to the bundle's question, one a picture; those before it broke off."""
    return [line["answers"][0] for line in _lines(ended.output)]


def _lines(output: str) -> Iterator[dict[str, Any]]:
    for line in output.splitlines():
        try:
            yield json.loads(line)
        except ValueError:  # the last line of a process that was killed
            return


def judge(stand_in: str, asked: Asked, reference: Sequence[Mapping[str, Any]], ended: Ended) -> Row:
    """A run's predictions beside the native ones."""
    here = answers_of(ended)
    differences = [difference(one, other) for one, other in zip(reference, here, strict=False)]
    limit = MAX_DIFFERENCE[asked.precision]
    answered = sum(off is not None and off <= limit for off in differences)
    known = [off for off in differences if off is not None]
    is_whole = ended.exit_code in ANSWERED and len(here) == len(asked.pictures) == answered
    last = (ended.errors.strip().splitlines() or ["no message"])[-1][:200]
    return Row(
        stand_in=stand_in,
        engine=asked.engine,
        precision=asked.precision,
        pictures=len(asked.pictures),
        answered=answered,
        max_difference=max(known, default=None),
        peak_mb=round(ended.peak_mb, 1) if ended.limit else None,
        detail=ended.limit if is_whole else f"exit code {ended.exit_code}: {last}",
        passes=is_whole,
    )


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> float | None:
    """Of a probability; None where status or what cannot be ruled out is another."""
    if (one["status"], one["label_set"]) != (other["status"], other["label_set"]):
        return None
    return max((abs(value - other["probabilities"][label]) for label, value in one["probabilities"].items()), default=0.0)


def one_core_of(bundle: Bundle, pictures: Sequence[str], *, many: int, rounds: int, place: Place) -> OneCore | None:
    """A folder's pictures on all cores and on one, in turn; None where there is one alone."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) == 1:
        return None
    shown = tuple(pictures[number % len(pictures)] for number in range(many))
    asked = Asked(str(bundle.root), "auto", "auto", shown)
    seconds: dict[int, list[float]] = {1: [], len(cores): []}
    with click.progressbar(range(rounds), label="one core", file=sys.stderr) as turns:
        for _ in turns:
            for count in seconds:
                start = time.perf_counter()
                _run(asked.command, place.environment, partial(os.sched_setaffinity, 0, cores[:count]))
                seconds[count].append(time.perf_counter() - start)
    alone, together = seconds[1], seconds[len(cores)]
    times = statistics.median(one / other for one, other in zip(alone, together, strict=True))
    return OneCore(many, len(cores), round(times, 3), tuple(together), tuple(alone))


def table(found: Devices) -> str:
    """All rows."""
    lines = [f"{found.processor}, {found.bundle}", ""]
    lines.append(f"{'stand-in':<18} {'engine':<12} {'form':<5} {'answers':>8} {'off by':>8} {'peak MB':>8}")
    for row in found.rows:
        off = "-" if row.max_difference is None else f"{row.max_difference:.0e}"
        peak = "-" if row.peak_mb is None else f"{row.peak_mb:.0f}"
        answers = f"{row.answered}/{row.pictures}"
        lines.append(
            f"{row.stand_in:<18} {row.engine:<12} {row.precision:<5} {answers:>8} {off:>8} {peak:>8}"
            + ("" if row.passes else f"  {row.detail}")
        )
    limits = {row.detail for row in found.rows if row.stand_in in LIMITS and row.passes}
    lines += [f"limit: {one}" for one in sorted(limits)]
    if found.one_core:
        lines.append(
            f"{found.one_core.pictures} pictures: {found.one_core.ratio:.2f} times as fast on "
            f"{found.one_core.cores} cores as on one"
        )
    lines += [f"not here: {what}: {why}" for what, why in found.left_out.items()]
    return "\n".join(lines)
