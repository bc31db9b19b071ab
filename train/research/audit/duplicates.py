"""All pairs of a collection that show the same radiograph, and the groups that they tie together."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import click
import cv2
from threadpoolctl import threadpool_limits

from train.research.audit.candidates import find_candidates
from train.research.audit.descriptors import Descriptor
from train.research.audit.registration import Registration, register

Kind = Literal["same file", "same pixels", "near duplicate"]


@dataclass(frozen=True)
class Twin:
    """Two pictures, by their places in the collection, the lower first, that show the same radiograph.

    Attributes:
        registration: None for files or pixels that are equal throughout.
    """

    first: int
    second: int
    kind: Kind
    registration: Registration | None = None


def find_twins(file_digests: Sequence[str], descriptors: Sequence[Descriptor]) -> tuple[Twin, ...]:
    """Every pair found: equal bytes, equal pixels, and what registration holds for one radiograph.

    Candidates grow as n log n, registrations as n; memory is about half a megabyte a picture.
    """
    twins = {(twin.first, twin.second): twin for twin in _equal_throughout(file_digests, descriptors)}
    with _one_thread(), click.progressbar(find_candidates(descriptors), label="Comparing pairs", file=sys.stderr) as candidates:
        for first, second, form in candidates:
            known = twins.get((first, second))
            if known is not None and known.registration is None:
                continue
            found = register(descriptors[first], descriptors[second], form)
            if found is not None and found.is_twin and (known is None or _is_better(found, known)):
                twins[first, second] = Twin(first, second, "near duplicate", found)
    return tuple(twins[pair] for pair in sorted(twins))


@contextmanager
def _one_thread() -> Iterator[None]:
    """On such small pictures more threads only wait for one another."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        cv2.setNumThreads(before)


def _is_better(found: Registration, known: Twin) -> bool:
    """A symmetric border or letter may let a wrong form pass as well; the right one agrees better."""
    return known.registration is not None and found.agreement > known.registration.agreement


def _equal_throughout(file_digests: Sequence[str], descriptors: Sequence[Descriptor]) -> list[Twin]:
    twins = [Twin(*pair, "same pixels") for pair in _pairs_of_equals([one.pixels_sha256 for one in descriptors])]
    return twins + [Twin(*pair, "same file") for pair in _pairs_of_equals(file_digests)]


def _pairs_of_equals(values: Sequence[str]) -> Iterable[tuple[int, int]]:
    places: dict[str, list[int]] = defaultdict(list)
    for place, value in enumerate(values):
        places[value].append(place)
    for equals in places.values():
        yield from combinations(equals, 2)


def tied_groups(count: int, pairs: Iterable[tuple[int, int]]) -> list[int]:
    """Connected components: for each of ``count`` pictures the lowest place among all that pairs tie it to."""
    root = list(range(count))

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for first, second in pairs:
        low, high = sorted((find(first), find(second)))
        root[high] = low
    return [find(place) for place in range(count)]
