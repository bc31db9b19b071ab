"""Is what is no knee refused, and are knees not? Kind by kind, clinic by clinic, on pictures that nothing was fitted on.

The pictures go the runtime's own way up to the networks: colour and the like, the finder, the gate. Networks need not be asked.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.disturbances import regraded
from benchmarks.graded.tables import table
from benchmarks.pages import hand_on, json_option, page_option
from osteo_edge.arrays import Floats, Pixels
from osteo_edge.bundle import DEFAULT_BUNDLE, open_bundle
from osteo_edge.device import processor
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.finder.copies import halvings, shrink
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.orientation import look
from osteo_edge.gates.joints import look_for_joints
from osteo_edge.gates.knee import embedded_gate
from osteo_edge.images import quality, reader
from osteo_edge.manifest import QualityLimits
from train.finder.judgement import interval
from train.gates.pictures import CROPS, Knees, knees, others
from train.gates.windows import any_part, near_misses, surest

SCHEMA_VERSION: Final[Literal[1]] = 1
# Random parts of each picture at hand.
PARTS: Final = 6
KNEES: Final = "knees"
NOT_KNEES: Final = "not knees"
NEAR_MISSES: Final = "near misses"
Group = Literal["knees", "not knees", "near misses"]


@dataclass(frozen=True)
class Row:
    """What became of one kind of pictures.

    Attributes:
        group: whether they ought to be accepted.
        by_finder_alone: how many would have been refused without the gate.
        interval: 95 % (Wilson), of the share refused.
        codes: reason -> how many.
    """

    group: Group
    kind: str
    pictures: int
    refused: int
    by_finder_alone: int
    interval: tuple[float, float]
    codes: Mapping[str, int]


@dataclass(frozen=True)
class Gates:
    """``gates.json``.

    Attributes:
        gate_ms: median time of the gate for one joint; look_ms: of the whole search of such a picture, the gate with it.
    """

    schema_version: Literal[1]
    processor: str
    limit: float
    gate_ms: float
    look_ms: float
    rows: tuple[Row, ...]


@click.command("gates")
@click.option(
    "--data", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True, help="Folder of the data."
)
@click.option(
    "--more", type=click.Path(exists=True, file_okay=False, path_type=Path), help="Further pictures, a folder a kind."
)
@click.option("--most", type=click.IntRange(1), default=826, show_default=True, help="Knees of a clinic, evenly drawn.")
@json_option
@page_option
def command(data: Path, more: Path | None, most: int, target: Path | None, page: Path | None) -> None:
    """How much of what is no knee is refused, and how many knees, by kind and clinic."""
    try:
        found = measure(data, more, most)
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    hand_on(found, lines_of(found), "gates", target=target, page=page)


@dataclass(frozen=True)
class _Asked:
    """A picture and what it is."""

    group: Group
    kind: str
    pixels: Pixels


def measure(data: Path, more: Path | None, most: int) -> Gates:
    """Ask of all pictures.

    Raises:
        BundleError: the embedded bundle cannot be opened.
        DatasetError: the data cannot be read.
    """
    bundle = open_bundle(DEFAULT_BUNDLE)
    finder = JointFinder.from_bytes(bundle.read(bundle.manifest.finder))
    rng = np.random.default_rng(0)
    judged: dict[tuple[Group, str], list[tuple[str, bool]]] = {}
    films = list(knees(data, "judge", most))
    pictures = [*_not_knees(data, more, rng), *_knees(films), *_near_misses(films, finder, rng)]
    with click.progressbar(pictures, label="gates", file=sys.stderr) as bar:
        for one in bar:
            judged.setdefault((one.group, one.kind), []).append(_ask(one.pixels, finder, bundle.manifest.quality))
    rows = tuple(_row(group, kind, told) for (group, kind), told in judged.items())
    gate_ms, look_ms = _times(films[0], finder)
    return Gates(SCHEMA_VERSION, processor().model, round(embedded_gate().limit, 4), gate_ms, look_ms, rows)


def _ask(pixels: Pixels, finder: JointFinder, limits: QualityLimits) -> tuple[str, bool]:
    """The reason of the refusal, empty where there is none; and whether the finder alone would have refused too."""
    unfit = quality.assess(reader.read(pixels), limits)
    if unfit:
        return unfit[0].code, True
    finding = look_for_joints(finder, embedded_gate(), pixels).finding
    return finding.code if finding else "", not look(finder, pixels).joints


def _row(group: Group, kind: str, told: Sequence[tuple[str, bool]]) -> Row:
    codes = Counter(code for code, _ in told if code)
    refused = sum(codes.values())
    low, high = interval(refused, len(told))
    return Row(group, kind, len(told), refused, sum(alone for _, alone in told), (low, high), dict(codes.most_common()))


def _not_knees(data: Path, more: Path | None, rng: np.random.Generator) -> Iterator[_Asked]:
    for other in others(data, more, "judge"):
        yield _Asked(NOT_KNEES, other.kind, _bytes(other.work))
        if not other.is_drawn:
            yield from (_Asked(NOT_KNEES, f"{other.kind}, parts", _bytes(any_part(other.work, rng))) for _ in range(PARTS))


def _knees(films: Sequence[Knees]) -> Iterator[_Asked]:
    yield from (_Asked(KNEES, film.clinic, _bytes(film.work)) for film in films)
    for name, change in CHANGES.items():
        for film in films[:: 5 if len(films) > 100 else 1]:
            yield _Asked(KNEES, f"{film.clinic}, {name}", change(_bytes(film.work)))


def _near_misses(films: Sequence[Knees], finder: JointFinder, rng: np.random.Generator) -> Iterator[_Asked]:
    """Cut from every third film; a negative that fills the picture is taken for what it is and answered, hence left out."""
    for film in films[::3]:
        joints = film.joints or surest(finder, halvings(film.work))
        for kind, work in near_misses(film.work, joints, rng) if joints else ():
            if kind != "negative" or film.clinic != CROPS:
                yield _Asked(NEAR_MISSES, kind, _bytes(work))


def _bytes(work: Floats) -> Pixels:
    """The working copy as a picture of its own."""
    return _pixels(np.rint(work).astype(np.uint8 if work.max() <= 255 else np.uint16))


def _pixels(changed: NDArray[Any]) -> Pixels:
    return changed


def _stored(pixels: Pixels) -> Pixels:
    greys = pixels if pixels.dtype == np.uint8 else _pixels((pixels >> 8).astype(np.uint8))
    data = cv2.imencode(".jpg", greys, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    return _pixels(np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE)))


CHANGES: Final[Mapping[str, Callable[[Pixels], Pixels]]] = {
    "gamma 0.7": lambda pixels: regraded(pixels, 0.7),
    "gamma 1.4": lambda pixels: regraded(pixels, 1.4),
    "JPEG 40": _stored,
    "blurred": lambda pixels: _pixels(cv2.GaussianBlur(pixels, (0, 0), 1.5)),
    "mirrored": lambda pixels: _pixels(np.ascontiguousarray(pixels[:, ::-1])),
    "black border of 20 %": lambda pixels: _pixels(np.pad(pixels, round(0.2 * max(pixels.shape)))),
}


def _times(film: Knees, finder: JointFinder, rounds: int = 50) -> tuple[float, float]:
    """Medians in milliseconds: the gate for one joint, and the whole search with it."""
    pixels, gate = _bytes(film.work), embedded_gate()
    pyramid = halvings(shrink(pixels))
    hits = finder.examine(pyramid)[:1]
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        start = time.perf_counter()
        gate.likenesses(pyramid, hits)
        between = time.perf_counter()
        look_for_joints(finder, gate, pixels)
        taken[0].append(between - start)
        taken[1].append(time.perf_counter() - between)
    gate_ms, look_ms = (round(1000 * statistics.median(one), 3) for one in taken)
    return gate_ms, look_ms


def lines_of(found: Gates) -> list[str]:
    """The part of the page."""
    lines = [
        f"{found.processor}: the gate takes {found.gate_ms:.2f} ms a joint, the whole search with it {found.look_ms:.1f} ms. "
        f"Limit of the likeness: {found.limit:.2f}.",
    ]
    for group, title in ((NOT_KNEES, "No knee"), (NEAR_MISSES, "Near misses, cut from films of knees"), (KNEES, "Knees")):
        rows = [_shown(row) for row in found.rows if row.group == group]
        if rows:
            lines += ["", f"**{title}**", "", *table(list(rows[0]), rows)]
    return lines


def _shown(row: Row) -> dict[str, str]:
    low, high = row.interval
    return {
        "": row.kind,
        "pictures": str(row.pictures),
        "refused": f"{row.refused} ({100 * row.refused / row.pictures:.1f} %)",
        "95 %": f"{100 * low:.1f} to {100 * high:.1f}",
        "by the finder alone": str(row.by_finder_alone),
        "reasons": ", ".join(f"{code} {count}" for code, count in row.codes.items()),
    }
