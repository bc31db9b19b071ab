"""How fast are a bundle's files? Every engine and precision, on this processor and with AVX-512 hidden, in one contest."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from benchmarks.contest import ROOT, Entry, Timing, hold, ratio
from benchmarks.places import NATIVE, Form, environments
from osteo_edge.device import processor
from osteo_edge.records import to_plain
from train.runs.arrays import Doubles

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle
    from osteo_edge.manifest import Member

SCHEMA_VERSION: Literal[1] = 1
ENGINES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT", "openvino": "OpenVINO"}
PACKAGES = {"onnxruntime": "onnxruntime", "litert": "ai_edge_litert", "openvino": "openvino"}
REPRESENTATIVE_KNEES = 64
_REFERENCE = ("onnxruntime", "fp32")


@dataclass(frozen=True)
class Row:
    """One engine and precision, for one member or for all.

    Attributes:
        form: with the processor as it is, or with AVX-512 hidden.
        name: for people.
        member: empty for all together, run in turn.
        ratio: times as fast as ONNX Runtime's fp32 in the same form: the median over the rounds of the ratio within a round.
        samples_ms: a median a round.
        rss_mb: resident memory of the process, with those members that come before.
        agreement: share of the knees with fp32's label, or with an fp32 margin under 0.02; None where no knees were given,
            for fp32, and for several members together.
    """

    form: Form
    name: str
    engine: str
    precision: str
    member: str
    ratio: float
    median_ms: float
    samples_ms: tuple[float, ...]
    load_ms: float
    rss_mb: float
    agreement: float | None


@dataclass(frozen=True)
class Latency:
    """What the command writes.

    Attributes:
        files: path in the bundle -> SHA-256.
        processor, architecture, features: of the machine, nothing hidden.
        versions: engine -> version.
        rounds: of the contest; every row has so many samples.
    """

    schema_version: Literal[1]
    files: Mapping[str, str]
    processor: str
    architecture: str
    features: tuple[str, ...]
    versions: Mapping[str, str]
    threads: int
    rounds: int
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Rival:
    """One engine and precision with a file of every member; ``python`` runs it."""

    name: str
    engine: str
    precision: str
    files: tuple[Path, ...]
    python: str = sys.executable


@dataclass(frozen=True)
class Task:
    """What is measured.

    Attributes:
        knees: one ``.npy`` (N, H, W, 1) a member.
        are_real: whether they are knees on which agreement may be judged.
    """

    members: tuple[str, ...]
    knees: tuple[Path, ...]
    are_real: bool
    threads: int
    rounds: int
    seconds: float


@click.command("engines")
@click.option("--bundle", "name", required=True, help="Folder or name of a bundle.")
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Radiographs, to judge agreement on."
)
@click.option(
    "--peers",
    type=click.Path(exists=True, dir_okay=False),
    help="A Python that has openvino and nncf, to measure these beside.",
)
@click.option("--only", multiple=True, help="Files with this in their name, beside ONNX Runtime fp32; may be given again.")
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0), default=0.3, show_default=True, help="That an entry runs in a round, about."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write all samples.")
def command(
    name: str,
    data: Path | None,
    peers: str | None,
    only: Sequence[str],
    rounds: int,
    seconds: float,
    threads: int,
    target: Path | None,
) -> None:
    """Latency, load time and memory of a bundle's files by engine and precision."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError

    if peers and data is None:
        raise click.UsageError("--peers needs --data: their int8 ranges are measured on real knees")
    try:
        bundle = open_bundle(name)
        with tempfile.TemporaryDirectory(prefix="engines-") as folder:
            members = tuple(member.name for member in bundle.manifest.members)
            knees = write_knees(bundle, data, Path(folder))
            task = Task(members, knees, data is not None, threads, rounds, seconds)
            rivals = [*own_rivals(bundle), *(peer_rivals(bundle, knees, peers, Path(folder)) if peers else ())]
            latency = measure(chosen(rivals, only), task, digests(bundle))
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(latency))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(to_plain(latency), indent=1) + "\n", encoding="utf-8")


def chosen(rivals: Sequence[Rival], only: Sequence[str]) -> list[Rival]:
    """Those with one of ``only`` in their name, and the reference; all where nothing is asked for."""
    return [rival for rival in rivals if not only or _is_reference(rival) or any(part in rival.name for part in only)]


def write_knees(bundle: Bundle, data: Path | None, folder: Path) -> tuple[Path, ...]:
    """The knees of ``data`` as each member sees them, or one picture of noise where there are none."""
    if data is None:
        return tuple(write_noise(member, folder / f"noise-{index}.npy") for index, member in enumerate(bundle.manifest.members))
    from export.portability.compare import write_knees as write_views
    from export.radiographs import View

    with click.progressbar(length=1, label="reading radiographs", file=sys.stderr):
        views, _ = write_views(bundle, data, folder, lambda items, label: items)
    return tuple(views[View(member.region, member.input)] for member in bundle.manifest.members)


def write_noise(member: Member, path: Path) -> Path:
    """A picture as one member takes it, (1, H, W, 1) float32 (.npy); the path."""
    import numpy as np

    spec = member.input
    shape = (1, spec.height_px, spec.width_px, 1)
    np.save(path, np.random.default_rng(0).uniform(*spec.value_range, shape).astype(np.float32))
    return path


def own_rivals(bundle: Bundle) -> Iterator[Rival]:
    """The bundle's engines and precisions that every member has."""
    members = bundle.manifest.members
    for engine, by_precision in members[0].files.items():
        for precision in by_precision:
            paths = [member.files.get(engine, {}).get(precision) for member in members]
            if all(paths):
                files = tuple(_verified(bundle, path) for path in paths if path)
                yield Rival(f"{ENGINES[engine]} {precision}", engine, precision, files)


def _verified(bundle: Bundle, path: str) -> Path:
    bundle.read(path)
    return bundle.root / path


def digests(bundle: Bundle) -> dict[str, str]:
    """Path -> SHA-256 of every model file."""
    paths = [path for member in bundle.manifest.members for files in member.files.values() for path in files.values()]
    return {path: bundle.manifest.files[path].sha256 for path in sorted(paths)}


def peer_rivals(
    bundle: Bundle, knees: Sequence[Path], python: str, folder: Path, *, wanted: Sequence[str] | None = None
) -> Iterator[Rival]:
    """OpenVINO on the bundle's fp32 files, and on int8 files that its own tools make of them with real knees.

    Args:
        wanted: the only names to make files for.

    Raises:
        ClickException: ``python`` lacks openvino or nncf, or they fail.
    """
    made = []
    for index, (member, shown) in enumerate(zip(bundle.manifest.members, knees, strict=True)):
        place = folder / f"peers-{index}"
        place.mkdir()
        models = [
            _verified(bundle, files["fp32"]) for _, files in sorted(member.files.items(), reverse=True) if "fp32" in files
        ]
        made.append(_make_peers(models, shown, python, place, wanted))
    for name in made[0]:
        precision = "fp32" if "fp32" in name else "int8"
        yield Rival(name, "openvino", precision, tuple(Path(one[name]) for one in made), python)


def _make_peers(models: Sequence[Path], knees: Path, python: str, folder: Path, wanted: Sequence[str] | None) -> dict[str, str]:
    import numpy as np

    shown = np.load(knees, mmap_mode="r")
    places = np.unique(np.linspace(0, len(shown) - 1, min(REPRESENTATIVE_KNEES, len(shown))).round().astype(int))
    np.save(folder / "representative.npy", shown[places])
    job = {
        "models": [str(model) for model in models],
        "knees": str(folder / "representative.npy"),
        "folder": str(folder),
        "wanted": wanted,
    }
    done = subprocess.run(
        [python, "-m", "benchmarks.openvino_files"],
        cwd=ROOT,
        input=json.dumps(job),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise click.ClickException(
            f"OpenVINO's files could not be made: {(done.stderr.strip().splitlines() or ['no message'])[-1]}"
        )
    made: dict[str, str] = json.loads(done.stdout)
    return made


def measure(rivals: Sequence[Rival], task: Task, files: Mapping[str, str]) -> Latency:
    """Hold the contest and judge agreement.

    Raises:
        ClickException: there is no fp32 file for ONNX Runtime, or a file cannot be run.
    """
    if not any((rival.engine, rival.precision) == _REFERENCE for rival in rivals):
        raise click.ClickException("the bundle has no fp32 files for ONNX Runtime, which the others are measured against")
    with ExitStack() as stack:
        entries = list(_entries(rivals, task, stack))
        answering = {entry.name for form, rival, entry in entries if task.are_real and _is_asked(form, rival)}
        with click.progressbar(length=task.rounds + 1, label="rounds", file=sys.stderr) as bar:
            timings = hold(
                [entry for _, _, entry in entries],
                rounds=task.rounds,
                seconds=task.seconds,
                answering=answering,
                on_round=lambda: bar.update(1),
            )
    agreements = _agreements(entries, timings) if task.are_real else {}
    machine = processor()
    return Latency(
        schema_version=SCHEMA_VERSION,
        files=files,
        processor=machine.model,
        architecture=machine.architecture,
        features=machine.features,
        versions={rival.engine: timings[entry.name].version for _, rival, entry in entries},
        threads=task.threads,
        rounds=task.rounds,
        rows=tuple(row for entry in entries for row in _rows(*entry, entries, timings, agreements, task)),
    )


_Named = tuple[Form, Rival, Entry]


def _entries(rivals: Sequence[Rival], task: Task, stack: ExitStack) -> Iterator[_Named]:
    """Every rival in every form."""
    for python in dict.fromkeys(rival.python for rival in rivals):
        mine = [rival for rival in rivals if rival.python == python]
        packages = tuple(dict.fromkeys(PACKAGES[rival.engine] for rival in mine))
        for form, variables in stack.enter_context(environments(packages, python)).items():
            for rival in mine:
                name = f"{rival.name}, {form}"
                yield form, rival, Entry(name, (python,), variables, rival.engine, rival.files, task.knees, task.threads)


def _is_asked(form: Form, rival: Rival) -> bool:
    return rival.precision != "fp32" or (form == NATIVE and _is_reference(rival))


def _agreements(entries: Sequence[_Named], timings: Mapping[str, Timing]) -> dict[str, list[float]]:
    """Entry -> agreement of each member with its fp32 form, which ONNX Runtime answers natively."""
    from export.quantization.agreement import agreement_of
    from osteo_edge.decision.scores import softmax

    exact = next(timings[entry.name].logits for form, rival, entry in entries if form == NATIVE and _is_reference(rival))
    places = [("", knee) for knee in range(len(exact[0]))]
    labels = [str(label) for label in range(exact[0].shape[1])]
    return {
        entry.name: [
            agreement_of(softmax(fp32), softmax(reduced), places, labels).agreement
            for fp32, reduced in zip(exact, timings[entry.name].logits, strict=True)
        ]
        for _, rival, entry in entries
        if rival.precision != "fp32"
    }


def _is_reference(rival: Rival) -> bool:
    return (rival.engine, rival.precision) == _REFERENCE


def _rows(
    form: Form,
    rival: Rival,
    entry: Entry,
    entries: Sequence[_Named],
    timings: Mapping[str, Timing],
    agreements: Mapping[str, Sequence[float]],
    task: Task,
) -> Iterator[Row]:
    """All members together and, where there are several, each."""
    reference = timings[next(other.name for one, other_rival, other in entries if one == form and _is_reference(other_rival))]
    timing, agreed = timings[entry.name], agreements.get(entry.name)
    several = len(task.members) > 1

    def row(member: str, samples: Doubles, base: Doubles, load_ms: float, rss_mb: float, kept: float | None) -> Row:
        import numpy as np

        return Row(
            form=form,
            name=rival.name,
            engine=rival.engine,
            precision=rival.precision,
            member=member,
            ratio=round(ratio(samples, base), 3),
            median_ms=round(float(np.median(samples)), 3),
            samples_ms=tuple(round(float(one), 3) for one in samples),
            load_ms=round(load_ms, 1),
            rss_mb=round(rss_mb, 1),
            agreement=kept,
        )

    yield row(
        "", timing.total, reference.total, sum(timing.load_ms), timing.rss_mb[-1], None if several or not agreed else agreed[0]
    )
    for index, member in enumerate(task.members if several else ()):
        yield row(
            member,
            timing.milliseconds[:, index],
            reference.milliseconds[:, index],
            timing.load_ms[index],
            timing.rss_mb[index],
            agreed[index] if agreed else None,
        )


def table(latency: Latency) -> str:
    """Ratios, the fastest first within a form."""
    lines = [
        f"{latency.processor}, {latency.threads} thread(s), {latency.rounds} rounds, interleaved",
        "ratio: times as fast as ONNX Runtime fp32 in the same form",
    ]
    versions = ", ".join(f"{ENGINES.get(engine, engine)} {version}" for engine, version in latency.versions.items())
    lines += [
        versions,
        "",
        f"{'form':<14} {'files':<58} {'member':<28} {'ratio':>6} {'ms':>8} {'load ms':>8} {'MB':>6} {'agree':>7}",
    ]
    for row in sorted(latency.rows, key=lambda row: (row.form != NATIVE, row.form, row.member, -row.ratio)):
        agreed = "" if row.agreement is None else f"{row.agreement:.2%}"
        lines.append(
            f"{row.form:<14} {row.name:<58} {row.member or 'all':<28} {row.ratio:>6.2f} {row.median_ms:>8.2f} "
            f"{row.load_ms:>8.0f} {row.rss_mb:>6.0f} {agreed:>7}"
        )
    return "\n".join(lines)
