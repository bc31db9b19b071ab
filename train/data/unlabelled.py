"""Knees of a folder of radiographs without a bone-density label: ``index.csv`` and the files it names."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import InputError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.images.preprocess import prepare_knee
from osteo_edge.images.reader import read
from osteo_edge.integrity import sha256_hex
from train.runs import cache
from train.runs.arrays import Floats
from train.runs.config import Candidate, ConfigError

INDEX_FILE = "index.csv"


@dataclass(frozen=True)
class UnlabelledKnees:
    """The pictures in which exactly one knee was found.

    Attributes:
        images: (knees, height, width) float32 in 0 to 255.
        rows: of the index, in the same order.
    """

    images: Floats
    rows: tuple[Mapping[str, str], ...]


def unlabelled_knees(data: Path, finder: Path, region: Candidate, folder: Path) -> UnlabelledKnees:
    """Find and cut the knees, or read them from the cache ``folder``.

    Raises:
        ConfigError: the index, the finder or a picture cannot be read, or no knee was found.
    """
    rows = _index(data)
    finder_bytes = _read(finder)
    file = folder / f"knees-{cache.key(rows, sha256_hex(finder_bytes), region)}.npz"

    def make() -> dict[str, NDArray[Any]]:
        places, images = _find(data, [row["file"] for row in rows], JointFinder.from_bytes(finder_bytes), region)
        return {"places": np.array(places), "images": images}

    stored = cache.kept(file, make)
    return UnlabelledKnees(stored["images"], tuple(rows[place] for place in stored["places"].tolist()))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the knee finder cannot be read ({error.strerror})") from error


def _index(data: Path) -> list[dict[str, str]]:
    try:
        with (data / INDEX_FILE).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise ConfigError(f"{data / INDEX_FILE}: cannot be read; a table with the column 'file' is needed") from error
    if not rows or any(not row.get("file") for row in rows):
        raise ConfigError(f"{data / INDEX_FILE}: the column 'file' must name a picture in every row")
    return rows


def _find(data: Path, names: Sequence[str], finder: JointFinder, region: Candidate) -> tuple[list[int], Floats]:
    places, images = [], []
    with click.progressbar(names, label="Finding knees", file=sys.stderr) as progress:
        for place, name in enumerate(progress):
            try:
                pixels = read(data / name).pixels
            except InputError as error:
                raise ConfigError(f"{data / name}: {error}") from error
            joints = finder.find(pixels)
            if len(joints) == 1:
                places.append(place)
                images.append(prepare_knee(pixels, joints[0], region.region, region.input)[0, :, :, 0])
    if not images:
        raise ConfigError(f"{data}: no knee was found in any picture")
    return places, np.stack(images)
