"""Which way up is a film? Films turned by quarters: turned back, refused, or answered as they lie; and negatives."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click
import numpy as np

from benchmarks.growth import pictures_of
from benchmarks.stability import evenly, name_of
from osteo_edge import open_bundle
from osteo_edge.arrays import Pixels
from osteo_edge.errors import InputError, OsteoEdgeError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.orientation import Seen
from osteo_edge.gates.joints import look_for_joints
from osteo_edge.gates.knee import embedded_gate
from osteo_edge.images.preprocess import negative
from osteo_edge.images.reader import read
from osteo_edge.turning import turned

NEGATIVE = "negative"
RIGHT, WRONG, UNSURE, REFUSED = "right", "wrong", "unsure", "refused"


@dataclass(frozen=True)
class Row:
    """Of one folder, given in one way.

    Attributes:
        counts: outcome -> pictures.
        median_ms: of the search.
    """

    folder: str
    way: str
    counts: dict[str, int]
    median_ms: float


@click.command("turned")
@click.option("--bundle", default="knee-mobilenet_v2", show_default=True, help="Whose finder.")
@click.option(
    "--data",
    "folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Folder of upright radiographs; may be given again, and each is told apart.",
)
@click.option("--most", type=click.IntRange(1), default=1000, show_default=True, help="Pictures of each folder, evenly drawn.")
def command(bundle: str, folders: Sequence[Path], most: int) -> None:
    """What is made of films that were fed in sideways, upside down or as negatives."""
    try:
        opened = open_bundle(bundle)
        finder = JointFinder.from_bytes(opened.read(opened.manifest.finder))
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{'folder':<18}{'given':<10}" + "".join(f"{name:>9}" for name in (RIGHT, WRONG, UNSURE, REFUSED, "ms")))
    for folder in folders:
        for row in measure(finder, name_of(folder), evenly(pictures_of(folder), most)):
            numbers = (row.counts.get(name, 0) for name in (RIGHT, WRONG, UNSURE, REFUSED))
            click.echo(f"{row.folder:<18}{row.way:<10}" + "".join(f"{one:>9}" for one in numbers) + f"{row.median_ms:>9.1f}")


def measure(finder: JointFinder, folder: str, paths: Sequence[str]) -> Iterator[Row]:
    """Each picture as it is, turned by three quarters, and as a negative. What cannot be read is left out."""
    ways: dict[str, Callable[[Pixels], Pixels]] = {str(one): partial(turned, degrees=one) for one in (0, 90, 180, 270)}
    ways[NEGATIVE] = negative
    counts: dict[str, Counter[str]] = {way: Counter() for way in ways}
    times: dict[str, list[float]] = {way: [] for way in ways}
    with click.progressbar(paths, label=folder, file=sys.stderr) as bar:
        for path in bar:
            try:
                pixels = read(path).pixels
            except InputError:
                continue
            for way, make in ways.items():
                given = make(pixels)
                start = time.perf_counter()
                seen = look_for_joints(finder, embedded_gate(), given)
                times[way].append((time.perf_counter() - start) * 1000)
                counts[way][outcome(way, seen)] += 1
    for way in ways:
        yield Row(folder, way, dict(counts[way]), float(np.median(times[way])))


def outcome(way: str, seen: Seen) -> str:
    """What became of a picture that was given so. A negative is right where it was taken as one, wrong as it is."""
    if not seen.joints:
        return REFUSED
    if seen.doubt:
        return UNSURE
    if way == NEGATIVE:
        return RIGHT if seen.degrees == 0 and all(joint.is_negative for joint in seen.joints) else WRONG
    is_right = (seen.degrees + int(way)) % 360 == 0 and not any(joint.is_negative for joint in seen.joints)
    return RIGHT if is_right else WRONG
