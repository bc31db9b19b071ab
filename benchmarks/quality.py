"""What the checks of a joint's picture cost of good films, source by source, and how much of spoilt ones they notice."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2
import numpy as np

from benchmarks.blemishes import blemishes
from benchmarks.growth import pictures_of
from benchmarks.stability import evenly, name_of
from osteo_edge import open_bundle
from osteo_edge.errors import InputError, OsteoEdgeError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.images.defects import LIMITS, Judged, judge, measure
from osteo_edge.images.reader import read
from osteo_edge.radiograph import Radiograph

NO_KNEE, UNFIT, DOUBTFUL, PASSED = "no knee", "unfit", "doubtful", "passed"
# A larger film is shrunk before it is spoilt: the checks look at no more.
LONGEST_PX = 1200


@dataclass
class Costs:
    """Of one folder.

    Attributes:
        films: in which a knee was found.
        codes: (code, unfit or doubtful) -> films.
        any: films that one check at least did not let pass.
        values: name -> of every joint.
    """

    films: int = 0
    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    any: int = 0
    values: dict[str, list[float]] = field(default_factory=dict)


@click.command("quality")
@click.option("--bundle", default="knee-mobilenet_v2", show_default=True, help="Whose finder.")
@click.option(
    "--data",
    "folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Folder of good radiographs; may be given again, and each is told apart.",
)
@click.option("--most", type=click.IntRange(1), default=1000, show_default=True, help="Pictures of each folder, evenly drawn.")
@click.option("--spoilt", type=click.IntRange(0), default=20, show_default=True, help="Of these, so many are spoilt.")
def command(bundle: str, folders: Sequence[Path], most: int, spoilt: int) -> None:
    """What the checks of quality cost and notice."""
    try:
        opened = open_bundle(bundle)
        finder = JointFinder.from_bytes(opened.read(opened.manifest.finder))
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    noticed: dict[tuple[str, str], Counter[str]] = {}
    for folder in folders:
        paths = pictures_of(folder)
        tell_costs(name_of(folder), costs(finder, evenly(paths, most)))
        for path in evenly(paths, spoilt) if spoilt else ():
            spoil(finder, path, noticed)
    for (kind, name), found in noticed.items():
        counts = "  ".join(f"{outcome} {found[outcome]:>3}" for outcome in (UNFIT, DOUBTFUL, NO_KNEE, PASSED))
        click.echo(f"{kind:<16}{name:<22}{counts}")


def costs(finder: JointFinder, paths: Sequence[str]) -> Costs:
    """Of films that are taken to be good. What cannot be read is left out."""
    found = Costs()
    with click.progressbar(paths, label="good films", file=sys.stderr) as bar:
        for path in bar:
            try:
                radiograph = read(path)
            except InputError:
                continue
            joints = finder.find(radiograph.pixels)
            if not joints:
                continue
            found.films += 1
            judged = judge(radiograph.pixels, joints, radiograph.jpeg_quality)
            told = {(one.code, UNFIT) for one in judged.unfit} | {(one.code, DOUBTFUL) for one in judged.doubtful}
            found.codes.update(told)
            found.any += bool(told)
            for joint in joints:
                for name, value in measure(radiograph.pixels, joint, radiograph.jpeg_quality).items():
                    found.values.setdefault(name, []).append(value)
    return found


def tell_costs(folder: str, found: Costs) -> None:
    click.echo(f"{folder}: {found.films} films with a knee, {found.any} not passed ({found.any / max(found.films, 1):.1%})")
    for (code, grade), films in sorted(found.codes.items()):
        click.echo(f"  {code:<18}{grade:<10}{films:>4}  {films / found.films:.2%}")
    for limit in LIMITS:
        if values := found.values.get(limit.of):
            places = np.percentile(values, [0, 1, 50, 99, 100])
            click.echo(f"  {limit.of:<10}" + " ".join(f"{place:>8.3g}" for place in places))


def spoil(finder: JointFinder, path: str, noticed: dict[tuple[str, str], Counter[str]]) -> None:
    """Count what becomes of one film spoilt in each way."""
    try:
        pixels = read(path).pixels
    except InputError:
        return
    factor = LONGEST_PX / max(pixels.shape)
    if factor < 1:
        pixels = cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    joints = finder.find(pixels)
    if not joints:
        return
    for kind, name, image in blemishes(pixels, max(joints, key=lambda joint: joint.score)):
        noticed.setdefault((kind, name), Counter())[outcome(finder, read(image))] += 1


def outcome(finder: JointFinder, radiograph: Radiograph) -> str:
    joints = finder.find(radiograph.pixels)
    judged = judge(radiograph.pixels, joints, radiograph.jpeg_quality) if joints else Judged()
    if not joints:
        return NO_KNEE
    return UNFIT if judged.unfit else DOUBTFUL if judged.doubtful else PASSED
