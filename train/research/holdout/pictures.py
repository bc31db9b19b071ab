"""What the network is shown: whole radiographs or knees, prepared with the runtime's own code, and random views of them.

A mask and the published steps of preparation come after that, where a configuration asks for them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import cv2
import numpy as np

from osteo_edge.errors import InputError
from osteo_edge.images.preprocess import prepare
from osteo_edge.images.reader import read
from osteo_edge.joints import Box
from train.data.crops import Finder, cached_crops
from train.data.dataset import Dataset, DatasetError
from train.fitting.augmentation import augment
from train.fitting.material import weights_digest
from train.research.holdout.config import HoldOutConfig, View
from train.research.holdout.preparation import Outlier, Preparation, find_outliers, fit_limits, measure_qualities, prepare_crops
from train.research.segmentation.masking import mask_crops
from train.research.segmentation.networks import read_segmenter
from train.runs.arrays import Floats, Integers
from train.runs.cache import kept, key
from train.runs.config import Candidate, from_project

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
    images: Floats

    def of(self, radiographs: Integers) -> tuple[Floats, Integers]:
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


def masked_pictures(pictures: Pictures, config: HoldOutConfig, cache: Path) -> Pictures:
    """The pictures behind the configured mask, or read back from the cache; unchanged where no mask is configured.

    Raises:
        ConfigError: the segmenter's weights cannot be read.
    """
    mask = config.mask
    if mask == "":
        return pictures
    digests = [row.sha256 for row in pictures.radiographs.radiographs]
    file = cache / f"masked-{key(digests, config.view, config.mask, weights_digest(config.segmenter))}.npz"

    def make() -> dict[str, Floats]:
        segmenter = read_segmenter(from_project(config.segmenter))
        return {"images": mask_crops(pictures.images, config.view.candidate, segmenter, mask)}

    return replace(pictures, images=kept(file, make)["images"])


def find_rejected(pictures: Pictures, training: Integers, preparation: Preparation) -> tuple[Outlier, ...]:
    """Pictures of training radiographs that are too unusual to learn from; limits come from those very radiographs.

    Nothing but the training part is looked at: what is judged is never left out.

    Returns:
        each with its place among all pictures; empty where outliers are kept.
    """
    if not preparation.outliers:
        return ()
    places = np.flatnonzero(np.isin(pictures.owner, training))
    qualities, values = measure_qualities(pictures.images[places])
    digests = [pictures.radiographs.radiographs[owner].sha256 for owner in pictures.owner[places]]
    found = find_outliers(values, fit_limits(qualities, values), digests)
    return tuple(replace(one, place=int(places[one.place])) for one in found)


def without(pictures: Pictures, rejected: Sequence[Outlier]) -> Pictures:
    """The other pictures; the radiographs keep their numbers."""
    kept = np.setdiff1d(np.arange(len(pictures.owner)), [one.place for one in rejected])
    return replace(pictures, owner=pictures.owner[kept], images=pictures.images[kept])


def prepared_pictures(pictures: Pictures, preparation: Preparation) -> Pictures:
    """De-noised and standardised, each picture by itself."""
    return replace(pictures, images=prepare_crops(pictures.images, preparation))


def _cached_whole(dataset: Dataset, candidate: Candidate, file: Path) -> Floats:
    def make() -> dict[str, Floats]:
        with click.progressbar(dataset.radiographs, label="Reading radiographs", file=sys.stderr) as rows:
            return {"images": np.stack([_read_whole(row.path, candidate) for row in rows])}

    return kept(file, make)["images"]


def _read_whole(path: Path, candidate: Candidate) -> Floats:
    try:
        pixels = read(path).pixels
    except InputError as error:
        raise DatasetError(f"{path}: {error}") from error
    height, width = pixels.shape
    return np.asarray(prepare(pixels, Box(0, 0, width, height), candidate.input)[0, :, :, 0], np.float32)


def random_views(images: Iterable[Floats], config: HoldOutConfig, rng: np.random.Generator) -> Floats:
    """One view of each picture as the configured augmentation draws it, (pictures, height, width) float32 in 0 to 255."""
    return np.stack([_random_view(image, config, rng) for image in images])


def _random_view(image: Floats, config: HoldOutConfig, rng: np.random.Generator) -> Floats:
    if config.augmentation == "movement" and config.movement is not None:
        return augment(image, config.movement, rng)
    if config.augmentation == "shear_zoom_flip":
        return shear_zoom_flip(image, rng)
    return image


def shear_zoom_flip(image: Floats, rng: np.random.Generator) -> Floats:
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
