"""What is asked of every entrant: the pictures, with their knees, and how often."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from benchmarks.growth import pictures_of
from benchmarks.peers.records import IMAGE, ONE_KNEE, TWO_KNEES

if TYPE_CHECKING:
    from osteo_edge.bundle import Bundle
    from osteo_edge.joints import Joint

MOST_OF_A_KIND = 24
EXAMINED = 120


@dataclass(frozen=True)
class Shown:
    """A picture file with its knees."""

    path: str
    joints: tuple[Joint, ...]


@dataclass(frozen=True)
class Programme:
    """What is asked of every entrant.

    Attributes:
        shown: all pictures; the first is the image.
        kinds: task -> places of its pictures in ``shown``.
        folder: places of the folder's pictures; one portion a round.
    """

    shown: tuple[Shown, ...]
    kinds: Mapping[str, tuple[int, ...]]
    folder: tuple[int, ...]
    rounds: int
    cold_rounds: int
    seconds: float

    @property
    def steps(self) -> int:
        """Of the progress bar."""
        return 2 * (self.rounds + 1) + self.cold_rounds + 1


def programme(
    bundle: Bundle,
    image: Path,
    data: Path | None,
    place: Path,
    pictures: int,
    rounds: int,
    cold_rounds: int,
    seconds: float,
) -> Programme:
    """The image, one-knee and two-knee radiographs of the data, and a folder of copies of them.

    Raises:
        ClickException: the image, or every radiograph, is unfit or shows no knee.
    """
    first = examine(bundle, [str(image.resolve())])
    if not first:
        raise click.ClickException(f"{image} shows no knee that could be screened; name another with --image")
    found = examine(bundle, evenly(pictures_of(data), EXAMINED)) if data else []
    if data and not found:
        raise click.ClickException(f"no radiograph of {data} shows a knee; name another folder with --data")
    shown = [*first]
    kinds: dict[str, tuple[int, ...]] = {IMAGE: (0,)}
    for kind, knees in ((ONE_KNEE, 1), (TWO_KNEES, 2)):
        if of_kind := evenly([one for one in found if len(one.joints) == knees], MOST_OF_A_KIND):
            kinds[kind] = tuple(range(len(shown), len(shown) + len(of_kind)))
            shown += of_kind
    copies = list(copied(found or first, pictures, place / "folder"))
    return Programme((*shown, *copies), kinds, tuple(range(len(shown), len(shown) + len(copies))), rounds, cold_rounds, seconds)


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """At most so many, spread over all."""
    places = np.unique(np.linspace(0, len(items) - 1, min(most, len(items))).round().astype(int)) if items else ()
    return [items[place] for place in places]


def examine(bundle: Bundle, paths: Sequence[str]) -> list[Shown]:
    """The pictures that osteo-edge answers for, with their knees."""
    from osteo_edge.errors import InputError
    from osteo_edge.finder.joint_finder import JointFinder
    from osteo_edge.images import quality, reader

    finder = JointFinder.from_bytes(bundle.read(bundle.manifest.finder))
    found = []
    for path in paths:
        try:
            radiograph = reader.read(path)
        except InputError:
            continue
        if not quality.assess(radiograph, bundle.manifest.quality) and (joints := finder.find(radiograph.pixels)):
            found.append(Shown(path, joints))
    return found


def copied(shown: Sequence[Shown], count: int, folder: Path) -> Iterator[Shown]:
    """So many copies in one folder, of each picture in turn."""
    folder.mkdir()
    for number in range(count):
        source = shown[number % len(shown)]
        target = folder / f"{number:05}{Path(source.path).suffix}"
        shutil.copyfile(source.path, target)
        yield replace(source, path=str(target))
