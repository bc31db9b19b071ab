"""Knees of the radiographs, found and prepared with the runtime's own code, so that both see the same pixels."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import InputError
from osteo_edge.images.preprocess import prepare_knee
from osteo_edge.images.reader import read
from train.data.dataset import Dataset, DatasetError
from train.runs.arrays import Floats, Integers, Pixels
from train.runs.cache import kept
from train.runs.config import Candidate

if TYPE_CHECKING:
    from osteo_edge.joints import Joint
    from osteo_edge.radiograph import Radiograph


class Finder(Protocol):
    """What is needed of ``osteo_edge.finder.joint_finder.JointFinder``."""

    def find(self, pixels: Pixels) -> tuple[Joint, ...]: ...


@dataclass(frozen=True)
class Crops:
    """The knees of a dataset.

    Attributes:
        owner: (knees,) int64, index of the radiograph that each knee is of; ascending.
        images: region name -> (knees, height, width) float32 in 0 to 255.
    """

    owner: Integers
    images: Mapping[str, Floats]

    def with_knees(self) -> Integers:
        """Indices of the radiographs in which a knee was found."""
        return np.unique(self.owner)

    def renumbered(self) -> Crops:
        """The same crops, their radiographs counted without those that have no knee."""
        return Crops(np.unique(self.owner, return_inverse=True)[1].astype(np.int64), self.images)


def cached_crops(dataset: Dataset, finder: Finder, candidates: Sequence[Candidate], file: Path) -> Crops:
    """The crops of ``file`` where it exists; otherwise found, prepared and kept there."""

    def make() -> dict[str, NDArray[Any]]:
        crops = make_crops(dataset, finder, candidates)
        return {"owner": crops.owner, **crops.images}

    stored = kept(file, make)
    return Crops(stored["owner"], {candidate.name: stored[candidate.name] for candidate in candidates})


def make_crops(dataset: Dataset, finder: Finder, candidates: Sequence[Candidate]) -> Crops:
    """Find every knee and cut every candidate region around it.

    Raises:
        DatasetError: a radiograph cannot be read.
    """
    owner: list[int] = []
    images: dict[str, list[Floats]] = {candidate.name: [] for candidate in candidates}
    with click.progressbar(dataset.radiographs, label="Finding knees", file=sys.stderr) as rows:
        for index, row in enumerate(rows):
            radiograph = _read(row.path)
            for joint in finder.find(radiograph.pixels):
                owner.append(index)
                for candidate in candidates:
                    images[candidate.name].append(_cut(radiograph, joint, candidate))
    return Crops(
        np.array(owner, np.int64), {candidate.name: _stack(images[candidate.name], candidate) for candidate in candidates}
    )


def _read(path: Path) -> Radiograph:
    try:
        return read(path)
    except InputError as error:
        raise DatasetError(f"{path}: {error}") from error


def _cut(radiograph: Radiograph, joint: Joint, candidate: Candidate) -> Floats:
    return np.asarray(prepare_knee(radiograph.pixels, joint, candidate.region, candidate.input)[0, :, :, 0], np.float32)


def _stack(images: Iterable[Floats], candidate: Candidate) -> Floats:
    empty = np.empty((0, candidate.height_px, candidate.width_px), np.float32)
    return np.concatenate([empty, *(image[np.newaxis] for image in images)])
