"""Does a bundle say the same of the same film that comes otherwise? Knee by knee, of each of ``benchmarks.disturbances``."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from benchmarks.disturbances import Change, changes_of
from benchmarks.engines import digests
from benchmarks.growth import pictures_of
from benchmarks.pages import hand_on, json_option, page_option
from export.stability import ALL, SCHEMA_VERSION, Disturbed, Stability, stability_lines
from osteo_edge import OsteoPredictor
from osteo_edge.errors import InputError, OsteoEdgeError
from osteo_edge.finder.poses import SAME_JOINT
from osteo_edge.images import reader
from osteo_edge.joints import Joint
from osteo_edge.labels import Status
from osteo_edge.prediction import Prediction
from train.runs.arrays import Doubles


@dataclass(frozen=True)
class Told:
    """What is said of the knees of one picture.

    Attributes:
        probabilities: (knees, labels).
        codes: of what is reported of each; empty where nothing is.
    """

    joints: tuple[Joint, ...]
    probabilities: Doubles
    codes: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """One knee before and after.

    Attributes:
        difference: (labels,) of the probabilities.
    """

    difference: Doubles
    is_other_label: bool
    before: str
    after: str


@dataclass(frozen=True)
class Outcome:
    """What one change did to one picture."""

    kind: str
    name: str
    is_refused: bool
    lost: int
    pairs: tuple[Pair, ...]


@click.command("stability")
@click.option("--bundle", required=True, help="Name or folder.")
@click.option(
    "--data",
    "folders",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Folder of radiographs; may be given again, and each is told apart.",
)
@click.option("--most", type=click.IntRange(1), default=100, show_default=True, help="Pictures of each folder, evenly drawn.")
@json_option
@page_option
def command(bundle: str, folders: Sequence[Path], most: int, target: Path | None, page: Path | None) -> None:
    """What changes in a bundle's answers when the same film comes otherwise."""
    try:
        with OsteoPredictor(bundle, threads=1) as predictor:
            found = measure(predictor, {name_of(folder): evenly(pictures_of(folder), most) for folder in folders})
    except OsteoEdgeError as error:
        raise click.ClickException(str(error)) from error
    hand_on(found, stability_lines(found), f"stability of {found.bundle}", target=target, page=page)


def name_of(folder: Path) -> str:
    """Its last part, and the one before where that is a part of the set."""
    parts = folder.resolve().parts
    return "/".join(parts[-2:]) if parts[-1] in ("train", "val") else parts[-1]


def evenly(paths: Sequence[str], most: int) -> list[str]:
    """At most so many, in their order, from the first to the last."""
    places = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
    return [paths[place] for place in places]


def measure(predictor: OsteoPredictor, folders: dict[str, list[str]]) -> Stability:
    """Ask of every picture unchanged, and where it is answered of each change.

    Raises:
        ClickException: a picture cannot be read, or none of a folder is answered.
    """
    (identity,) = predictor.models
    rows: list[Disturbed] = []
    answered: dict[str, int] = {}
    for name, paths in folders.items():
        outcomes: list[Outcome] = []
        answered[name] = 0
        with click.progressbar(paths, label=f"{identity.bundle}, {name}", file=sys.stderr) as bar:
            for path in bar:
                found = disturb(predictor, path)
                outcomes += found or ()
                answered[name] += found is not None
        if not outcomes:
            raise click.ClickException(f"{name}: no picture is answered even as it is")
        rows += summarise(name, outcomes)
    return Stability(
        SCHEMA_VERSION, identity.bundle, digests(predictor.bundle), identity.engine, identity.precision, answered, tuple(rows)
    )


def disturb(predictor: OsteoPredictor, path: str) -> list[Outcome] | None:
    """What each change does; None where the picture as it is was refused."""
    try:
        pixels = reader.read(path).pixels
    except InputError as error:
        raise click.ClickException(f"{path}: {error}") from error
    before = told(predictor.predict(pixels))
    if before is None:
        return None
    return [compare(before, told(predictor.predict(change.image)), change) for change in changes_of(pixels, before.joints)]


def told(prediction: Prediction) -> Told | None:
    """None where the picture was refused."""
    answer = prediction.first
    if answer.status is Status.REJECTED:
        return None
    of_knees = answer.asked.unit == "knee"
    return Told(
        tuple(knee.joint for knee in answer.knees),
        np.array([list(knee.probabilities.values()) for knee in answer.knees]),
        tuple((knee.answer if of_knees else answer.answer) or "" for knee in answer.knees),
    )


def compare(before: Told, after: Told | None, change: Change) -> Outcome:
    """Pair the knees that must still be seen with those that were found."""
    expected = [(knee, place) for knee, joint in enumerate(before.joints) if (place := change.place_of(joint))]
    if after is None:
        return Outcome(change.kind, change.name, True, 0, ())
    partners = [(knee, _partner(before.joints[knee], place, after.joints, change.scale)) for knee, place in expected]
    pairs = tuple(_pair(before, knee, after, partner) for knee, partner in partners if partner is not None)
    return Outcome(change.kind, change.name, False, len(expected) - len(pairs), pairs)


def _partner(joint: Joint, place: tuple[float, float], found: Sequence[Joint], scale: float) -> int | None:
    """The nearest, where it is near enough to be the same."""
    distances = [math.hypot(one.x_px - place[0], one.y_px - place[1]) for one in found]
    nearest = min(range(len(found)), key=distances.__getitem__)
    return nearest if distances[nearest] <= SAME_JOINT * joint.width_px * scale else None


def _pair(before: Told, knee: int, after: Told, partner: int) -> Pair:
    one, other = before.probabilities[knee], after.probabilities[partner]
    return Pair(other - one, bool(one.argmax() != other.argmax()), before.codes[knee], after.codes[partner])


def summarise(folder: str, outcomes: Sequence[Outcome]) -> Iterator[Disturbed]:
    """Of each change, of each kind, and of all."""
    kinds = dict.fromkeys(outcome.kind for outcome in outcomes)
    for kind in kinds:
        of_kind = [outcome for outcome in outcomes if outcome.kind == kind]
        names = dict.fromkeys(outcome.name for outcome in of_kind)
        if len(names) > 1:
            for name in names:
                yield _row(folder, kind, name, [outcome for outcome in of_kind if outcome.name == name])
        yield _row(folder, kind, ALL, of_kind)
    yield _row(folder, ALL, ALL, outcomes)


def _row(folder: str, kind: str, name: str, outcomes: Sequence[Outcome]) -> Disturbed:
    pairs = [pair for outcome in outcomes for pair in outcome.pairs]
    changes = np.abs([pair.difference for pair in pairs]) if pairs else np.zeros((1, 1))
    return Disturbed(
        pictures=folder,
        kind=kind,
        name=name,
        asked=len(outcomes),
        refused=_count(outcome.is_refused for outcome in outcomes),
        knees=sum(len(outcome.pairs) + outcome.lost for outcome in outcomes),
        lost=sum(outcome.lost for outcome in outcomes),
        changed=_count(pair.is_other_label for pair in pairs),
        crossed=_count(bool(pair.before and pair.after) and pair.before != pair.after for pair in pairs),
        withdrawn=_count(bool(pair.before) and not pair.after for pair in pairs),
        mean_change=round(float(changes.mean()), 5),
        largest_change=round(float(changes.max()), 4),
    )


def _count(claims: Iterable[bool]) -> int:
    return sum(claims)
