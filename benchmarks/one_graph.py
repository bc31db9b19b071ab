"""Do an ensemble's members run faster or smaller in one ONNX graph than in a session each?"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import numpy as np

from benchmarks.contest import Entry, Timing, hold, ratio
from benchmarks.engines import write_noise
from benchmarks.places import NATIVE, environments
from export.graph import INPUT_NAME
from osteo_edge.device import processor
from osteo_edge.records import to_plain

if TYPE_CHECKING:
    import onnx

    from osteo_edge.bundle import Bundle

SEPARATE = "a session each"
TOGETHER = "one graph"
SIDE_BY_SIDE = "one graph, branches side by side"
THREADS = (1, 2)


@dataclass(frozen=True)
class Row:
    """One way to run the members.

    Attributes:
        threads: that compute at the same time.
        ratio: times as fast as a session each, on as many threads.
        rss_mb: resident memory of the process.
        max_difference: of a logit, against a session each.
    """

    name: str
    threads: int
    ratio: float
    median_ms: float
    samples_ms: tuple[float, ...]
    load_ms: float
    rss_mb: float
    max_difference: float


@dataclass(frozen=True)
class OneGraph:
    """What the command writes; ``files``: path in the bundle -> SHA-256."""

    schema_version: Literal[1]
    files: Mapping[str, str]
    processor: str
    precision: str
    version: str
    rounds: int
    rows: tuple[Row, ...]


@click.command("one-graph")
@click.option("--bundle", "name", required=True, help="Folder or name of an ensemble's bundle.")
@click.option("--precision", type=click.Choice(["fp32", "int8"]), default="fp32", show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0), default=0.4, show_default=True, help="That an entry runs in a round, about."
)
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write all samples.")
def command(name: str, precision: str, rounds: int, seconds: float, target: Path | None) -> None:
    """An ensemble's members in one ONNX graph, against a session each."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError

    try:
        bundle = open_bundle(name)
        with tempfile.TemporaryDirectory(prefix="one-graph-") as folder:
            measured = measure(bundle, precision, Path(folder), rounds=rounds, seconds=seconds)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(measured))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(to_plain(measured), indent=1) + "\n", encoding="utf-8")


def measure(bundle: Bundle, precision: str, folder: Path, *, rounds: int, seconds: float) -> OneGraph:
    """Merge the members and hold the contest.

    Raises:
        ClickException: the bundle has one member, or members without such a file, or one that cannot be run.
    """
    import onnx

    members = bundle.manifest.members
    paths = [member.files.get("onnxruntime", {}).get(precision, "") for member in members]
    if len(members) == 1 or not all(paths):
        raise click.ClickException(f"needs the bundle of an ensemble, each member with {precision} for ONNX Runtime")
    models = [bundle.read(path) for path in paths]
    inputs = tuple(write_noise(member, folder / f"noise-{index}.npy") for index, member in enumerate(members))
    merged = folder / "merged.onnx"
    merged.write_bytes(merge([onnx.load_from_string(model) for model in models]).SerializeToString())
    separate = tuple(bundle.root / path for path in paths)
    with ExitStack() as stack:
        variables = stack.enter_context(environments(()))[NATIVE]
        entries = _entries(separate, merged, inputs, variables)
        with click.progressbar(length=rounds + 1, label="rounds", file=sys.stderr) as bar:
            timings = hold(
                list(entries.values()),
                rounds=rounds,
                seconds=seconds,
                answering={entry.name for entry in entries.values()},
                on_round=lambda: bar.update(1),
            )
    return OneGraph(
        schema_version=1,
        files={path: bundle.manifest.files[path].sha256 for path in paths},
        processor=processor().model,
        precision=precision,
        version=next(iter(timings.values())).version,
        rounds=rounds,
        rows=tuple(_row(*key, timings, entries) for key in entries),
    )


def merge(models: Sequence[onnx.ModelProto]) -> onnx.ModelProto:
    """One graph with the members beside each other; those whose inputs are alike share one, constants that are alike too."""
    import onnx
    from onnx import compose

    whole = onnx.ModelProto(ir_version=models[0].ir_version, opset_import=models[0].opset_import)
    whole.graph.name = "ensemble"
    inputs: dict[bytes, str] = {}
    for index, model in enumerate(models):
        if {one.domain: one.version for one in model.opset_import} != {one.domain: one.version for one in whole.opset_import}:
            raise click.ClickException("the members' files are of different operator sets; export them anew")
        graph = compose.add_prefix(model, f"{index}/").graph
        entry = graph.input[0]
        shared = inputs.setdefault(entry.type.SerializeToString(), entry.name)
        if shared == entry.name:
            whole.graph.input.append(entry)
        for node in graph.node:
            node.input[:] = [shared if one == entry.name else one for one in node.input]
        whole.graph.node.extend(graph.node)
        whole.graph.initializer.extend(graph.initializer)
        whole.graph.output.extend(graph.output)
    onnx.checker.check_model(whole)
    return whole


_Key = tuple[str, int]


def _entries(separate: Sequence[Path], merged: Path, inputs: Sequence[Path], variables: Mapping[str, str]) -> dict[_Key, Entry]:
    """Way and number of threads -> entry."""
    feeds = {f"{index}/{INPUT_NAME}": str(path) for index, path in enumerate(inputs)}
    found: dict[_Key, Entry] = {}

    def add(name: str, threads: int, models: Sequence[Path], options: Mapping[str, object], each: int) -> None:
        shown = tuple(inputs[: len(models)])
        title = f"{name}, {threads}"
        found[name, threads] = Entry(title, (sys.executable,), variables, "onnxruntime", tuple(models), shown, each, options)

    for threads in THREADS:
        add(SEPARATE, threads, separate, {}, threads)
        add(TOGETHER, threads, [merged], {"feeds": feeds, "branches": 1}, threads)
    add(SIDE_BY_SIDE, max(THREADS), [merged], {"feeds": feeds, "branches": max(THREADS)}, 1)
    return found


def _row(name: str, threads: int, timings: Mapping[str, Timing], entries: Mapping[_Key, Entry]) -> Row:
    timing, base = timings[entries[name, threads].name], timings[entries[SEPARATE, threads].name]
    off = np.abs(np.concatenate(timing.logits, axis=1) - np.concatenate(base.logits, axis=1)).max()
    return Row(
        name=name,
        threads=threads,
        ratio=round(ratio(timing.total, base.total), 3),
        median_ms=round(float(np.median(timing.total)), 3),
        samples_ms=tuple(round(float(one), 3) for one in timing.total),
        load_ms=round(sum(timing.load_ms), 1),
        rss_mb=round(timing.rss_mb[-1], 1),
        max_difference=float(f"{off:.3g}"),
    )


def table(measured: OneGraph) -> str:
    """Ratios by way and number of threads."""
    lines = [
        f"{measured.precision} on {measured.processor}, ONNX Runtime {measured.version}, {measured.rounds} rounds, interleaved",
        "",
    ]
    lines.append(f"{'way':<34} {'threads':>7} {'ratio':>6} {'ms':>8} {'load ms':>8} {'MB':>6} {'logits off':>11}")
    for row in measured.rows:
        lines.append(
            f"{row.name:<34} {row.threads:>7} {row.ratio:>6.2f} {row.median_ms:>8.1f} {row.load_ms:>8.0f} {row.rss_mb:>6.0f} "
            f"{row.max_difference:>11.1e}"
        )
    return "\n".join(lines)
