"""What smaller and faster costs in accuracy: every bundle, engine and precision, from the evidence that the bundles carry.

Accuracy is never measured anew here: each row's figures were judged fold by fold when the files were planned. Speed is
measured now, all files of all bundles in one contest, so that models can be laid beside each other.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click
import numpy as np

from benchmarks import pareto
from benchmarks.contest import Entry, hold, ratio
from benchmarks.engines import ENGINES, PACKAGES, own_rivals, write_knees
from benchmarks.pareto import Point
from benchmarks.places import NATIVE, environments
from osteo_edge.device import processor
from osteo_edge.manifest import ENGINE_NAMES, Metric
from osteo_edge.records import to_plain
from train.runs.arrays import Doubles

if TYPE_CHECKING:
    from export.plans import FoldFigures
    from export.report.material import BundleMaterial, PackedFile
    from osteo_edge.bundle import Bundle

SCHEMA_VERSION: Literal[1] = 1
DEFAULT = "knee-mobilenet_v2"
_REFERENCE = (DEFAULT, "onnxruntime", "fp32")


@dataclass(frozen=True)
class Row:
    """One bundle on one engine in one precision; all figures out of fold, with 95 % intervals by patient.

    Attributes:
        lost: macro AUC less than fp32's, paired; None for fp32, and where an ensemble was not judged as a whole.
        balanced_accuracy_lost, calibration_error: likewise.
        agreement: share of unlabelled knees with fp32's label or an fp32 margin under 0.02; the lowest of the members'.
        same_label: without that margin.
        flips: knees whose label changes, of all members.
        megabytes: of the model files.
        ratio: times as fast as the default bundle's fp32 on ONNX Runtime, in the same rounds.
    """

    bundle: str
    engine: str
    precision: str
    macro_auc: Metric
    lost: Metric | None
    balanced_accuracy_lost: Metric | None
    calibration_error: Metric | None
    agreement: float | None
    same_label: float | None
    flips: int | None
    knees: int | None
    megabytes: float
    ratio: float
    median_ms: float
    samples_ms: tuple[float, ...]


@dataclass(frozen=True)
class Accuracy:
    """What the command writes.

    Attributes:
        bundles: name -> digest.
        left_out: bundle, engine -> why it holds no reduced file for that engine.
    """

    schema_version: Literal[1]
    processor: str
    threads: int
    rounds: int
    bundles: Mapping[str, str]
    rows: tuple[Row, ...]
    left_out: Mapping[str, str]


@click.command("accuracy")
@click.option(
    "--bundle", "names", multiple=True, default=(DEFAULT,), show_default=True, help="Name or folder; may be given again."
)
@click.option("--rounds", type=click.IntRange(3), default=15, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Also write all of it.")
@click.option(
    "--chart", type=click.Path(dir_okay=False, path_type=Path), help="Draw accuracy against time and size (SVG, PNG)."
)
def command(names: Sequence[str], rounds: int, threads: int, target: Path | None, chart: Path | None) -> None:
    """Accuracy drop of every bundle, engine and precision, and what each gains in speed and size."""
    from export.report.material import read_material
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError

    try:
        materials = [read_material(open_bundle(name)) for name in with_default(names)]
        found = measure(materials, rounds=rounds, threads=threads)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(table(found))
    if target:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(to_plain(found), indent=1) + "\n", encoding="utf-8")
    if chart:
        draw(found, chart)


def with_default(names: Sequence[str]) -> list[str]:
    """The bundles asked for and the default one, which speeds are measured against."""
    others = [name for name in names if Path(name).name != DEFAULT]
    own = [name for name in names if name not in others] or [DEFAULT]
    return [*own, *others]


def measure(materials: Sequence[BundleMaterial], *, rounds: int, threads: int) -> Accuracy:
    """Time all files in one contest and lay the evidence beside."""
    timings = time_files([one.bundle for one in materials], rounds=rounds, threads=threads)
    base = timings[_REFERENCE]
    rows = [
        _row(material, engine, precision, samples, base)
        for material in materials
        for (bundle, engine, precision), samples in timings.items()
        if bundle == material.manifest.name
    ]
    return Accuracy(
        schema_version=SCHEMA_VERSION,
        processor=processor().model,
        threads=threads,
        rounds=rounds,
        bundles={one.manifest.name: one.bundle.digest for one in materials},
        rows=tuple(rows),
        left_out={key: why for material in materials for key, why in _left_out(material)},
    )


Key = tuple[str, str, str]


def time_files(bundles: Sequence[Bundle], *, rounds: int, threads: int) -> dict[Key, Doubles]:
    """Bundle, engine, precision -> milliseconds of all members in turn, (rounds,)."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accuracy-")))
        variables = stack.enter_context(environments(tuple(PACKAGES[engine] for engine in ENGINE_NAMES)))[NATIVE]
        entries: dict[Key, Entry] = {}
        for bundle in bundles:
            place = folder / bundle.manifest.name
            place.mkdir()
            pictures = write_knees(bundle, None, place)
            for rival in own_rivals(bundle):
                key = bundle.manifest.name, rival.engine, rival.precision
                entries[key] = Entry(" ".join(key), (sys.executable,), variables, rival.engine, rival.files, pictures, threads)
        with click.progressbar(length=rounds + 1, label="rounds", file=sys.stderr) as bar:
            held = hold(list(entries.values()), rounds=rounds, seconds=0.2, on_round=lambda: bar.update(1))
    return {key: held[entry.name].total for key, entry in entries.items()}


def _row(material: BundleMaterial, engine: str, precision: str, samples: Doubles, base: Doubles) -> Row:
    files = [one for one in material.files if (one.engine, one.precision) == (engine, precision)]
    figures = _figures(material, files, engine, precision)
    agreements = [one.agreement for one in files if one.agreement is not None]
    lost = figures.difference if figures else {}
    absolute = figures.reduced if figures else material.manifest.metrics
    return Row(
        bundle=material.manifest.name,
        engine=engine,
        precision=precision,
        macro_auc=absolute["macro_auc"],
        lost=_negative(lost.get("macro_auc")),
        balanced_accuracy_lost=_negative(lost.get("balanced_accuracy")),
        calibration_error=absolute.get("ece"),
        agreement=min((one.agreement for one in agreements), default=None),
        same_label=min((one.same_label for one in agreements), default=None),
        flips=sum(len(one.flips) for one in agreements) if agreements else None,
        knees=agreements[0].knees if agreements else None,
        megabytes=round(sum(one.bytes for one in files) / 1e6, 3),
        ratio=round(ratio(samples, base), 4),
        median_ms=round(float(np.median(samples)), 3),
        samples_ms=tuple(round(float(one), 3) for one in samples),
    )


def _figures(material: BundleMaterial, files: Sequence[PackedFile], engine: str, precision: str) -> FoldFigures | None:
    """``FoldFigures`` of the whole bundle; None for fp32 and where only members were judged."""
    if len(files) == 1:
        return files[0].judged.figures if files[0].judged else None
    return material.together.get(engine) if precision == "int8" else None


def _negative(metric: Metric | None) -> Metric | None:
    return Metric(-metric.value, -metric.high, -metric.low) if metric else None


def _left_out(material: BundleMaterial) -> Iterator[tuple[str, str]]:
    packed = {(file.member, file.engine) for file in material.files if file.precision == "int8"}
    for member, plan in material.plans.items():
        for one in plan.int8.engines:
            if (member, one.engine) not in packed:
                yield f"{material.manifest.name}: {member}, int8 on {ENGINES[one.engine]}", one.reason


def table(found: Accuracy) -> str:
    """Bundles in the order given, fp32 first."""
    lines = [
        f"{found.processor}, {found.threads} thread(s), {found.rounds} rounds, interleaved",
        "figures are out of fold, 95 % intervals by patient; speed: times the default bundle's fp32 on ONNX Runtime",
        "",
        f"{'bundle':<20} {'engine':<12} {'form':<5} {'macro AUC':<21} {'lost':<28} {'calibration error':<21} "
        f"{'label kept':>10} {'flips':>6} {'MB':>7} {'speed':>7} {'ms':>7}",
    ]
    for row in found.rows:
        kept = "" if row.agreement is None else f"{row.agreement:.2%}"
        flips = "" if row.flips is None else str(row.flips)
        lines.append(
            f"{row.bundle:<20} {row.engine:<12} {row.precision:<5} {_told(row.macro_auc):<21} {_told(row.lost, 4):<28} "
            f"{_told(row.calibration_error):<21} {kept:>10} {flips:>6} {row.megabytes:>7.2f} {row.ratio:>7.3f} "
            f"{row.median_ms:>7.2f}"
        )
    lines += ["", *(f"not there: {what}: {why}" for what, why in found.left_out.items())] if found.left_out else []
    return "\n".join(lines)


def _told(metric: Metric | None, digits: int = 2) -> str:
    if metric is None:
        return "-"
    value, low, high = (round(one, digits) + 0.0 for one in (metric.value, metric.low, metric.high))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def points(rows: Sequence[Row]) -> list[Point]:
    """Macro AUC against time, as a multiple of the reference's."""
    return [
        Point(row.bundle, f"{ENGINES[row.engine]} {row.precision}", row.precision, row.macro_auc, 1 / row.ratio, row.megabytes)
        for row in rows
    ]


def draw(found: Accuracy, path: Path) -> None:
    """Macro AUC against time and size."""
    pareto.draw(
        points(found.rows),
        path,
        title="Accuracy out of fold, time and size; dashed: chance",
        value="macro AUC, 95 % interval",
        time="time of the models, as a multiple of the default bundle's fp32 on ONNX Runtime (one thread)",
        chance=0.5,
    )
