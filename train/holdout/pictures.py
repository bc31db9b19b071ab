"""What the network is shown: whole radiographs or knees, prepared with the runtime's own code, and random views of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import click
import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import InputError
from osteo_edge.images.preprocess import prepare
from osteo_edge.images.reader import read
from osteo_edge.images.region import Box
from train.augmentation import augment
from train.cache import key, save_arrays
from train.config import Candidate
from train.crops import Finder, cached_crops
from train.dataset import Dataset, DatasetError
from train.holdout.config import HoldOutConfig, View

Integers = NDArray[np.int64]
Images = NDArray[np.float32]

SHEAR_DEGREES = 0.2  # Keras' ``shear_range`` is in degrees: the papers' 0.2 hardly moves a pixel.
ZOOM = 0.2


@dataclass(frozen=True)
class Pictures:
    """Pictures of the radiographs in which something to show was found.

    Attributes:
        radiographs: their rows.
        owner: (pictures,) int64, the radiograph that each picture is of.
        images: (pictures, height, width) float32 in 0 to 255.
    """

    radiographs: Dataset
    owner: Integers
    images: Images

    def of(self, radiographs: Integers) -> tuple[Images, Integers]:
        """Pictures of these radiographs, and the place in ``radiographs`` (ascending) that each is of."""
        chosen = np.flatnonzero(np.isin(self.owner, radiographs))
        return self.images[chosen], np.searchsorted(radiographs, self.owner[chosen])


def gather_pictures(dataset: Dataset, view: View, finder: Finder, finder_digest: str, cache: Path) -> Pictures:
    """Prepare every radiograph, or read it back from the cache.

    Raises:
        DatasetError: a radiograph cannot be read.
    """
    digests = [row.sha256 for row in dataset.radiographs]
    if view.kind == "whole":
        file = cache / f"whole-{key(digests, view)}.npz"
        return Pictures(dataset, np.arange(len(digests)), _cached_whole(dataset, view.candidate, file))
    crops = cached_crops(dataset, finder, (view.candidate,), cache / f"knees-{key(digests, finder_digest, view)}.npz")
    found = dataset.subset(crops.with_knees())
    return Pictures(found, crops.renumbered().owner, crops.images[view.candidate.name])


def _cached_whole(dataset: Dataset, candidate: Candidate, file: Path) -> Images:
    if not file.exists():
        with click.progressbar(dataset.radiographs, label="Reading radiographs", file=sys.stderr) as rows:
            save_arrays(file, {"images": np.stack([_read_whole(row.path, candidate) for row in rows])})
    with np.load(file, allow_pickle=False) as stored:
        return stored["images"]  # type: ignore[no-any-return]


def _read_whole(path: Path, candidate: Candidate) -> Images:
    try:
        pixels = read(path).pixels
    except InputError as error:
        raise DatasetError(f"{path}: {error}") from error
    height, width = pixels.shape
    return prepare(pixels, Box(0, 0, width, height), candidate.input)[0, :, :, 0]


def random_views(images: Iterable[Images], config: HoldOutConfig, rng: np.random.Generator) -> Images:
    """One view of each picture as the configured augmentation draws it, (pictures, height, width) float32 in 0 to 255."""
    return np.stack([_random_view(image, config, rng) for image in images])


def _random_view(image: Images, config: HoldOutConfig, rng: np.random.Generator) -> Images:
    if config.augmentation == "movement" and config.movement is not None:
        return augment(image, config.movement, rng)
    if config.augmentation == "shear_zoom_flip":
        return shear_zoom_flip(image, rng)
    return image


def shear_zoom_flip(image: Images, rng: np.random.Generator) -> Images:
    """The published augmentation: what Keras' image generator does with shear 0.2, zoom 0.2 and horizontal flip.

    Args:
        image: (height, width) float32.

    Returns:
        The same shape and type; what comes in from outside repeats the border.
    """
    height, width = image.shape
    shear = np.deg2rad(rng.uniform(-SHEAR_DEGREES, SHEAR_DEGREES))
    zoom_x, zoom_y = rng.uniform(1 - ZOOM, 1 + ZOOM, 2)
    linear = np.array([[zoom_x, -np.sin(shear) * zoom_y], [0.0, np.cos(shear) * zoom_y]])
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.column_stack([linear, centre - linear @ centre])
    moved = cv2.warpAffine(
        np.ascontiguousarray(image),
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved[:, ::-1] if rng.random() < 0.5 else moved  # type: ignore[return-value]
