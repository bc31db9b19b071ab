"""How time and memory grow: with pictures, their size, members, threads, callers, and with a day's work."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import cv2
import numpy as np

from benchmarks.contest import ROOT, Entry, hold
from benchmarks.engines import PACKAGES, own_rivals, write_knees
from benchmarks.places import NATIVE, environments
from osteo_edge.device import processor
from osteo_edge.records import to_plain

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle

SCHEMA_VERSION: Literal[1] = 1
EXAMPLE = Path("examples/synthetic-knee.png")
MEGAPIXELS = (0.25, 1.0, 4.0, 10.0, 20.0, 39.9)
FORMATS = (".png", ".jpg")
COUNTS = (1, 10, 100, 1000, 10_000)
THREADS = (1, 2, 4)
CALLERS = (1, 2, 4)
RUNS = 9
SOAK_STEPS = 50

WHAT = ("pictures", "size", "members", "threads", "callers", "soak")


@dataclass(frozen=True)
class Point:
    """One measurement.

    Attributes:
        what: of ``WHAT``, what is varied.
        at: its value: pictures, megapixels, members, threads, callers, or predictions so far.
        kind: file format for sizes, engine and precision for members; empty otherwise.
        seconds: for all pictures together; for size and members of one picture, the median.
        per_second: pictures a second.
        rss_mb, peak_mb: resident memory at the end, and its peak, of the whole process.
    """

    what: str
    at: float
    kind: str
    seconds: float
    per_second: float
    rss_mb: float
    peak_mb: float


@dataclass(frozen=True)
class Growth:
    """What the command writes."""

    schema_version: Literal[1]
    processor: str
    bundle: str
    pictures: int
    points: tuple[Point, ...]


@click.command("growth")
@click.option("--bundle", "name", default="knee-mobilenet_v2", show_default=True)
@click.option("--what", "asked", multiple=True, type=click.Choice(WHAT), default=WHAT[:-1], show_default=True)
@click.option("--most", type=click.IntRange(1), default=1000, show_default=True, help="Most pictures, by tens up to 10,000.")
@click.option("--soak", "soaked", type=click.IntRange(SOAK_STEPS), default=100_000, show_default=True, help="Predictions.")
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Radiographs; else the example.")
@click.option("--json", "target", type=click.Path(dir_okay=False, path_type=Path), help="Kept up to date while measuring.")
def command(name: str, asked: Sequence[str], most: int, soaked: int, data: Path | None, target: Path | None) -> None:
    """Time and memory against number and size of pictures, members, threads, callers, and predictions of one process."""
    from osteo_edge.bundle import open_bundle
    from osteo_edge.errors import OsteoEdgeError

    try:
        bundle = open_bundle(name)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    pictures = pictures_of(data)
    points: list[Point] = []

    def found() -> Growth:
        return Growth(SCHEMA_VERSION, processor().model, bundle.manifest.name, len(pictures), tuple(points))

    try:
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            for point in measure(bundle, asked, pictures, Path(folder), most=most, soaked=soaked):
                points.append(point)
                click.echo(f"{line(point)}", err=True)
                if target:
                    write(found(), target)
    except KeyboardInterrupt:
        click.echo("interrupted; what was measured is kept", err=True)
    click.echo(table(found()))


def pictures_of(data: Path | None) -> list[str]:
    """Paths of the radiographs, or of the example alone.

    Raises:
        ClickException: the folder holds none.
    """
    if data is None:
        return [str(EXAMPLE.resolve())]
    found = sorted(
        str(path.resolve()) for path in data.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".webp")
    )
    if not found:
        raise click.ClickException(f"there is no PNG, JPEG, TIFF or WebP file in {data}; name a folder of radiographs")
    return found


def measure(
    bundle: Bundle, asked: Sequence[str], pictures: Sequence[str], folder: Path, *, most: int, soaked: int
) -> Iterator[Point]:
    """One point after the other, each in a process of its own."""
    common = {"bundle": str(bundle.root), "pictures": list(pictures)}
    for what in asked:
        if what == "pictures":
            for count in (count for count in COUNTS if count <= most):
                yield from _points(what, count, {"kind": "many", "count": count, "threads": 1} | common)
        elif what == "size":
            for megapixels in MEGAPIXELS:
                for path in resized(Path(pictures[0]), megapixels, folder):
                    order = {"kind": "one", "bundle": str(bundle.root), "picture": str(path), "runs": RUNS, "threads": 1}
                    yield from _points(what, megapixels, order, kind=path.suffix[1:])
        elif what == "members":
            yield from _members(bundle, folder)
        elif what == "threads":
            for threads in THREADS:
                yield from _points(what, threads, {"kind": "many", "count": 100, "threads": threads} | common)
        elif what == "callers":
            for callers in CALLERS:
                yield from _points(what, callers, {"kind": "callers", "count": 100, "callers": callers} | common)
        else:
            order = {"kind": "soak", "count": soaked, "every": soaked // SOAK_STEPS} | common
            yield from _points(what, None, order)


def resized(picture: Path, megapixels: float, folder: Path) -> Iterator[Path]:
    """The picture at about so many megapixels, as PNG and as JPEG."""
    pixels = cv2.imread(str(picture), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise click.ClickException(f"{picture} cannot be read as a picture")
    factor = math.sqrt(megapixels * 1e6 / pixels.size)
    sides = math.floor(pixels.shape[1] * factor), math.floor(pixels.shape[0] * factor)
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    for suffix in FORMATS:
        path = folder / f"{megapixels:g}{suffix}"
        cv2.imwrite(str(path), cv2.resize(pixels, sides, interpolation=how))
        yield path


def _points(what: str, at: float | None, order: Mapping[str, Any], *, kind: str = "") -> Iterator[Point]:
    """Measurements of one process; ``at`` is None where it counts its own predictions."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.growth_worker"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    with process:
        process.stdin.write(json.dumps(dict(order)) + "\n")
        process.stdin.close()
        for answer in map(json.loads, process.stdout):
            yield point_of(what, answer["answered"] if at is None else at, answer, kind)
        said = process.stderr.read().strip().splitlines()
    if process.returncode:
        raise click.ClickException(f"measuring {what} failed: {(said or ['no message'])[-1]}")


def point_of(what: str, at: float, answer: Mapping[str, float], kind: str) -> Point:
    """A worker's answer as a point."""
    seconds = answer["seconds"]
    return Point(
        what=what,
        at=at,
        kind=kind,
        seconds=round(seconds, 5),
        per_second=round(answer.get("answered", 1) / seconds, 2),
        rss_mb=round(answer["rss_mb"], 1),
        peak_mb=round(answer["peak_mb"], 1),
    )


def _members(bundle: Bundle, folder: Path) -> Iterator[Point]:
    """The first member alone, the first two and so on, on every engine that has all."""
    from osteo_edge.manifest import ENGINE_NAMES

    shown = write_knees(bundle, None, folder)
    with ExitStack() as stack:
        variables = stack.enter_context(environments([PACKAGES[name] for name in ENGINE_NAMES]))[NATIVE]
        for rival in own_rivals(bundle):
            for count in range(1, len(rival.files) + 1):
                name = f"{rival.engine} {rival.precision}"
                entry = Entry(name, (sys.executable,), variables, rival.engine, rival.files[:count], shown[:count], 1)
                timing = hold([entry], rounds=3, seconds=0.3)[name]
                seconds, memory = float(np.median(timing.total)) / 1000, timing.rss_mb[-1]
                yield point_of("members", count, {"seconds": seconds, "rss_mb": memory, "peak_mb": memory}, name)


def slope(points: Sequence[Point]) -> float:
    """Growth of resident memory in MB for 10,000 predictions, by least squares over the later half."""
    later = [point for point in points if point.what == "soak"]
    later = later[len(later) // 2 :]
    if len(later) < 2:
        raise ValueError("a slope needs two points of the later half")
    return float(np.polyfit([point.at for point in later], [point.rss_mb for point in later], 1)[0]) * 10_000


def line(point: Point) -> str:
    """One point for people."""
    return (
        f"{point.what:<9} {point.at:>9g} {point.kind:<17} {point.seconds:>10.4f} {point.per_second:>9.1f} "
        f"{point.rss_mb:>8.0f} {point.peak_mb:>8.0f}"
    )


def table(found: Growth) -> str:
    """All points."""
    lines = [f"{found.processor}, {found.bundle}, {found.pictures} picture(s)", ""]
    lines.append(f"{'what':<9} {'at':>9} {'kind':<17} {'seconds':>10} {'a second':>9} {'MB':>8} {'peak MB':>8}")
    lines += [line(point) for point in found.points]
    soaked = [point for point in found.points if point.what == "soak"]
    if len(soaked) >= 4:
        lines += ["", f"resident memory, later half: {slope(soaked):+.3f} MB for 10,000 predictions"]
    return "\n".join(lines)


def write(found: Growth, target: Path) -> None:
    """Write ``found`` as JSON."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(to_plain(found), indent=1) + "\n", encoding="utf-8")
