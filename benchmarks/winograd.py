"""What Winograd's convolution would bring: VGG16 in ncnn, which has it, beside the engines that the project uses.

Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016: under half the products of a 3 x 3 convolution.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import click

from benchmarks.contest import Entry, Timing, hold, ratio
from benchmarks.places import NATIVE, Form, environments
from osteo_edge.device import processor
from osteo_edge.records import to_plain

REFERENCE = "ONNX Runtime fp32"
WINOGRAD = "ncnn fp32, Winograd"
DIRECT = "ncnn fp32, direct"
THREADS = (1, 2)


@dataclass(frozen=True)
class Row:
    """One engine, form and number of threads.

    Attributes:
        ratio: times as fast as ONNX Runtime's fp32 in the same form on as many threads.
        max_difference: of a probability, against ONNX Runtime's fp32 natively; of one thread, None of more.
        same_label: share of the knees, likewise.
    """

    form: Form
    name: str
    threads: int
    ratio: float
    median_ms: float
    samples_ms: tuple[float, ...]
    load_ms: float
    rss_mb: float
    max_difference: float | None
    same_label: float | None


@dataclass(frozen=True)
class Winograd:
    """What the command writes; ``run`` is the name of the training run whose weights were used."""

    schema_version: Literal[1]
    run: str
    processor: str
    versions: Mapping[str, str]
    rounds: int
    knees: int
    rows: tuple[Row, ...]


@click.command("winograd")
@click.option(
    "--run", "folder", type=click.Path(exists=True, path_type=Path), default="train/results/brief-vgg16", show_default=True
)
@click.option(
    "--finder", type=click.Path(exists=True, path_type=Path), default="train/results/knee-finder/finder.npz", show_default=True
)
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="The run's radiographs."
)
@click.option("--ncnn", "python", type=click.Path(exists=True, dir_okay=False), required=True, help="A Python that has ncnn.")
@click.option("--rounds", type=click.IntRange(3), default=9, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(0), default=0.4, show_default=True, help="That an entry runs in a round, about."
)
@click.option("--knees", type=click.IntRange(1), default=24, show_default=True, help="On which answers are compared.")
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep the files here, and use those that are there."
)
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write all samples.")
def command(
    folder: Path,
    finder: Path,
    data: Path,
    python: str,
    rounds: int,
    seconds: float,
    knees: int,
    keep: Path | None,
    target: Path | None,
) -> None:
    """VGG16 in ncnn with Winograd's convolution, against ONNX Runtime in fp32 and int8."""
    from osteo_edge.errors import OsteoEdgeError

    with tempfile.TemporaryDirectory(prefix="winograd-") as temporary:
        place = keep or Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        try:
            if not (place / "knees.npy").exists():
                make_files(folder, finder, data, place, knees)
        except OsteoEdgeError as error:
            raise click.ClickException(str(error)) from error
        measured = measure(place, folder.name, python, rounds=rounds, seconds=seconds)
    click.echo(table(measured))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(to_plain(measured), indent=1) + "\n", encoding="utf-8")


def make_files(run_folder: Path, finder: Path, data: Path, folder: Path, knees: int) -> None:
    """The run's network as fp32 and int8 ONNX and for ncnn, and some knees of its radiographs."""
    import numpy as np

    from benchmarks.ncnn_writer import write_ncnn
    from export.graph import inference_form
    from export.plans import Recipe
    from export.quantization import Exact, make, representative_set
    from export.radiographs import View, read_cases
    from export.radiographs import knees as of_all
    from osteo_edge.finder.joint_finder import JointFinder
    from train.runs.folder import load_run

    run = load_run(run_folder)
    view = View(run.region, run.input)
    cases = read_cases(data, JointFinder.from_bytes(finder.read_bytes()), [view], track=lambda items, label: items)[view]
    exact = Exact.of(inference_form(run.network()), run.input)
    (folder / "fp32.onnx").write_bytes(exact.onnx)
    reduced = make(exact, Recipe("onnxruntime", "static"), representative_set(cases, run.training_digests))
    (folder / "int8.onnx").write_bytes(reduced)
    write_ncnn(exact.form, folder)
    shown = of_all(cases)
    places = np.unique(np.linspace(0, len(shown) - 1, min(knees, len(shown))).round().astype(int))
    np.save(folder / "knees.npy", shown[places])


def measure(folder: Path, run: str, python: str, *, rounds: int, seconds: float) -> Winograd:
    """Hold the contest of the files in ``folder`` and compare their answers.

    Raises:
        ClickException: an entry cannot be run.
    """
    import numpy as np

    with ExitStack() as stack:
        entries = list(_entries(folder, python, stack))
        with click.progressbar(length=rounds + 1, label="rounds", file=sys.stderr) as bar:
            timings = hold(
                [one for _, _, one in entries],
                rounds=rounds,
                seconds=seconds,
                answering={one.name for _, _, one in entries if one.threads == 1},
                on_round=lambda: bar.update(1),
            )
    compared = _compare(timings)
    return Winograd(
        schema_version=1,
        run=run,
        processor=processor().model,
        versions={entry.engine: timings[entry.name].version for _, _, entry in entries},
        rounds=rounds,
        knees=len(np.load(folder / "knees.npy", mmap_mode="r")),
        rows=tuple(_row(form, name, entry, timings, compared) for form, name, entry in entries),
    )


_Named = tuple[Form, str, Entry]


def _entries(folder: Path, python: str, stack: ExitStack) -> Iterator[_Named]:
    own = stack.enter_context(environments(("onnxruntime",)))
    other = stack.enter_context(environments(("ncnn",), python))
    kinds: tuple[tuple[str, str, Mapping[Form, Mapping[str, str]], str, str, Mapping[str, bool]], ...] = (
        (REFERENCE, sys.executable, own, "onnxruntime", "fp32.onnx", {}),
        ("ONNX Runtime int8", sys.executable, own, "onnxruntime", "int8.onnx", {}),
        (WINOGRAD, python, other, "ncnn", "model.param", {"winograd": True}),
        (DIRECT, python, other, "ncnn", "model.param", {"winograd": False}),
    )
    for name, command_, forms, engine, file, options in kinds:
        for form, variables in forms.items():
            for threads in THREADS:
                models, inputs = (folder / file,), (folder / "knees.npy",)
                title = _title(name, form, threads)
                yield form, name, Entry(title, (command_,), variables, engine, models, inputs, threads, options)


def _title(name: str, form: Form, threads: int) -> str:
    return f"{name}, {form}, {threads}"


def _compare(timings: Mapping[str, Timing]) -> dict[str, tuple[float, float]]:
    """Entry of one thread -> largest difference of a probability, share with the same label."""
    import numpy as np

    from osteo_edge.decision.scores import softmax

    probabilities = {name: softmax(timing.logits[0]) for name, timing in timings.items() if timing.logits}
    exact = probabilities[_title(REFERENCE, NATIVE, 1)]
    return {
        name: (float(np.abs(one - exact).max()), float((one.argmax(1) == exact.argmax(1)).mean()))
        for name, one in probabilities.items()
    }


def _row(
    form: Form, name: str, entry: Entry, timings: Mapping[str, Timing], compared: Mapping[str, tuple[float, float]]
) -> Row:
    import numpy as np

    timing, base = timings[entry.name], timings[_title(REFERENCE, form, entry.threads)]
    difference, same = compared.get(entry.name, (None, None))
    return Row(
        form=form,
        name=name,
        threads=entry.threads,
        ratio=round(ratio(timing.total, base.total), 3),
        median_ms=round(float(np.median(timing.total)), 2),
        samples_ms=tuple(round(float(one), 3) for one in timing.total),
        load_ms=round(timing.load_ms[0], 1),
        rss_mb=round(timing.rss_mb[0], 1),
        max_difference=None if difference is None else float(f"{difference:.3g}"),
        same_label=same,
    )


def table(measured: Winograd) -> str:
    """Ratios, the fastest first within form and number of threads."""
    lines = [f"{measured.run} on {measured.processor}, {measured.rounds} rounds, interleaved; times as fast as {REFERENCE}"]
    lines += [", ".join(f"{engine} {version}" for engine, version in measured.versions.items()), ""]
    lines.append(
        f"{'form':<14} {'threads':>7} {'engine':<22} {'ratio':>6} {'ms':>8} {'load ms':>8} {'MB':>6} {'off':>8} {'label':>6}"
    )
    for row in sorted(measured.rows, key=lambda row: (row.form != NATIVE, row.threads, -row.ratio)):
        off = "" if row.max_difference is None else f"{row.max_difference:.1e}"
        label = "" if row.same_label is None else f"{row.same_label:.0%}"
        lines.append(
            f"{row.form:<14} {row.threads:>7} {row.name:<22} {row.ratio:>6.2f} {row.median_ms:>8.1f} {row.load_ms:>8.0f} "
            f"{row.rss_mb:>6.0f} {off:>8} {label:>6}"
        )
    return "\n".join(lines)
