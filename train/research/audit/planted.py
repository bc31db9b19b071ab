"""How well copies are found: twins are planted among radiographs that are none, then searched for."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np

from osteo_edge.errors import InputError
from osteo_edge.images.reader import read
from osteo_edge.integrity import sha256_hex
from train.data.dataset import DatasetError
from train.finder.judgement import interval, rounded
from train.research.audit.descriptors import describe
from train.research.audit.duplicates import find_twins
from train.runs.arrays import Bytes
from train.synthetic.cases import sample_case
from train.synthetic.records import Acquisition, KneeAnatomy
from train.synthetic.render import render

Change = Callable[[Bytes, np.random.Generator], Bytes]
Pair = tuple[int, int]

# One in so many radiographs of a synthetic collection is taken a second time: the same knees, otherwise positioned.
_RETAKEN = 4
_SYNTHETIC_PX = 512
COPIES = 4  # of each original, each of another kind.


def _turn(degrees: float) -> Change:
    def change(pixels: Bytes, rng: np.random.Generator) -> Bytes:
        height, width = pixels.shape
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0)
        return cv2.warpAffine(pixels, matrix, (width, height))  # type: ignore[return-value]

    return change


def _crop(share: float) -> Change:
    """That share of both sides, somewhere."""

    def change(pixels: Bytes, rng: np.random.Generator) -> Bytes:
        height, width = (round(side * share) for side in pixels.shape)
        top, left = (int(rng.integers(0, whole - part + 1)) for whole, part in zip(pixels.shape, (height, width), strict=True))
        return pixels[top : top + height, left : left + width]

    return change


def _rescale(factor: float) -> Change:
    interpolation = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return lambda pixels, _: cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=interpolation)  # type: ignore[return-value]


def _jpeg(quality: int) -> Change:
    def change(pixels: Bytes, _: np.random.Generator) -> Bytes:
        encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE)  # type: ignore[return-value]

    return change


def _contrast(pixels: Bytes, _: np.random.Generator) -> Bytes:
    return np.clip(20 + 200 * (pixels / 255.0) ** 1.5, 0, 255).astype(np.uint8)


def _equalise(pixels: Bytes, _: np.random.Generator) -> Bytes:
    return cv2.createCLAHE(4.0, (8, 8)).apply(pixels)  # type: ignore[return-value]


def _chain(*changes: Change) -> Change:
    def change(pixels: Bytes, rng: np.random.Generator) -> Bytes:
        for one in changes:
            pixels = one(pixels, rng)
        return pixels

    return change


def _mirror(pixels: Bytes, _: np.random.Generator) -> Bytes:
    return pixels[:, ::-1]


def _invert(pixels: Bytes, _: np.random.Generator) -> Bytes:
    return 255 - pixels


def _squash(pixels: Bytes, _: np.random.Generator) -> Bytes:
    return np.asarray(cv2.resize(pixels, (224, 224), interpolation=cv2.INTER_AREA), np.uint8)


CHANGES: Mapping[str, Change] = {
    "same pixels": lambda pixels, _: pixels,
    "mirrored": _mirror,
    "turned 90": lambda pixels, _: np.rot90(pixels, 1),
    "turned 180": lambda pixels, _: np.rot90(pixels, 2),
    "turned 7": _turn(7),
    "turned -7": _turn(-7),
    "crop 0.9": _crop(0.9),
    "crop 0.75": _crop(0.75),
    "crop 0.6": _crop(0.6),
    "scaled 0.4": _rescale(0.4),
    "scaled 0.7": _rescale(0.7),
    "scaled 1.5": _rescale(1.5),
    "squashed to 224 x 224": _squash,
    "JPEG quality 40": _jpeg(40),
    "inverted": _invert,
    "contrast": _contrast,
    "local equalisation": _equalise,
    "mirrored, turned, cropped, scaled, JPEG": _chain(_mirror, _turn(5), _crop(0.75), _rescale(0.5), _jpeg(50)),
    "inverted, cropped, contrast": _chain(_invert, _crop(0.75), _contrast),
}


def plant(pixels: Bytes, name: str, rng: np.random.Generator) -> Bytes:
    """A copy of (height, width) uint8, changed as ``CHANGES`` says."""
    return np.ascontiguousarray(CHANGES[name](pixels, rng))


def measure(*, count: int, pictures: Path | None, limit: int, seed: int) -> dict[str, Any]:
    """Precision over pairs and recall by kind of copy, on ``count`` synthetic radiographs and on real ones if given.

    Every original gets ``COPIES`` copies of different kinds, the kinds in turn. Any pair found that does not come from one
    original counts as false, second exposures of the same synthetic knees among them. Intervals are Wilson's, which
    take pairs as independent; those of one original are not quite.

    Args:
        pictures: a folder, searched to the bottom, of pictures none of which is a copy of another.
        limit: how many of them to take, drawn at random.

    Raises:
        DatasetError: the folder holds no picture, or one that cannot be read.
    """
    sources = {"synthetic": _measure(_synthetic(count, seed), seed)}
    if pictures is not None:
        sources["real"] = _measure(_real(pictures, limit, seed), seed)
    return {"schema_version": 1, "seed": seed, "copies_of_each": COPIES, "sources": sources}


def _synthetic(count: int, seed: int) -> list[Bytes]:
    rng = np.random.default_rng(seed)
    found: list[Bytes] = []
    case = sample_case(rng)
    with click.progressbar(range(count), label="Drawing radiographs", file=sys.stderr) as numbers:
        for number in numbers:
            is_retaken = number % _RETAKEN == _RETAKEN - 1
            case = retake(*case, rng) if is_retaken else sample_case(rng)
            found.append(draw(*case, rng))
    return found


def retake(
    knees: tuple[KneeAnatomy, ...], acquisition: Acquisition, rng: np.random.Generator
) -> tuple[tuple[KneeAnatomy, ...], Acquisition]:
    """The same knees at another visit: bent and turned a little otherwise, exposed anew. It is no copy.

    The generator draws flat outlines and cannot turn a knee out of the plane; what such a turn moves is moved instead.
    """
    bent = float(rng.choice((-1, 1)))
    posed = tuple(
        replace(
            knee,
            tilt_deg=knee.tilt_deg + 3 * bent,
            valgus_deg=knee.valgus_deg + 1.5 * bent,
            joint_space_mm=knee.joint_space_mm * (1 - 0.15 * bent),
            notch_height_mm=knee.notch_height_mm + 2 * bent,
            spine_height_mm=knee.spine_height_mm - 1.5 * bent,
            patella_offset_mm=knee.patella_offset_mm + 6 * bent,
            fibula_offset_mm=knee.fibula_offset_mm + 3 * bent,
        )
        for knee in knees
    )
    return posed, replace(acquisition, knee_height=acquisition.knee_height + 0.03, photons=0.8 * acquisition.photons)


def draw(knees: tuple[KneeAnatomy, ...], acquisition: Acquisition, rng: np.random.Generator) -> Bytes:
    """A radiograph of the knees, (height, width), its longer side ``_SYNTHETIC_PX``: as large as the audit looks at."""
    scale = _SYNTHETIC_PX / max(acquisition.width_px, acquisition.height_px)
    smaller = replace(
        acquisition,
        width_px=round(acquisition.width_px * scale),
        height_px=round(acquisition.height_px * scale),
        pixel_spacing_mm=acquisition.pixel_spacing_mm / scale,
    )
    return render(knees, smaller, seed=int(rng.integers(2**31))).pixels.astype(np.uint8)


def _real(folder: Path, limit: int, seed: int) -> list[Bytes]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".bmp"))
    if not files:
        raise DatasetError(f"{folder}: holds no picture")
    chosen = sorted(np.random.default_rng(seed).permutation(len(files))[:limit])
    found = []
    with click.progressbar(chosen, label="Reading pictures", file=sys.stderr) as places:
        for place in places:
            try:
                pixels = read(files[place]).pixels
            except InputError as error:
                raise DatasetError(f"{files[place]}: {error}") from error
            found.append(np.asarray(pixels if pixels.dtype == np.uint8 else pixels // 257, np.uint8))
    return found


def _measure(originals: Sequence[Bytes], seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    kinds = list(CHANGES)
    # Neighbours in the order of kinds are alike (crops, scales): a stride that shares no factor with their number parts them.
    kind_of = [kinds[5 * number % len(kinds)] for number in range(COPIES * len(originals))]
    source = [*range(len(originals)), *(number // COPIES for number in range(len(kind_of)))]
    copies = [plant(originals[number // COPIES], kind, rng) for number, kind in enumerate(kind_of)]
    started = time.monotonic()
    descriptors = [describe(pixels) for pixels in (*originals, *copies)]
    twins = find_twins([sha256_hex(str(place).encode()) for place in range(len(source))], descriptors)
    seconds = time.monotonic() - started
    found = {(twin.first, twin.second) for twin in twins}
    true = {pair for pair in found if source[pair[0]] == source[pair[1]]}
    planted = [(source[place], place) for place in range(len(originals), len(source))]
    return {
        "originals": len(originals),
        "copies": len(copies),
        "precision": _share(len(true), len(found)),
        "recall": _share(sum(pair in found for pair in planted), len(planted)),
        "false_pairs": len(found - true),
        "seconds": round(seconds, 1),
        "by_kind": {
            kind: _of_kind([pair for pair, one in zip(planted, kind_of, strict=True) if one == kind], found, true)
            for kind in kinds
        },
    }


def _of_kind(planted: Sequence[Pair], found: set[Pair], true: set[Pair]) -> dict[str, Any]:
    """Recall of the copies from their originals, and precision of all pairs found that such a copy is part of."""
    copies = {copy for _, copy in planted}
    named = [pair for pair in found if copies & set(pair)]
    return {
        "recall": _share(sum(pair in found for pair in planted), len(planted)),
        "precision": _share(sum(pair in true for pair in named), len(named)),
    }


def _share(successes: int, trials: int) -> dict[str, Any]:
    """With Wilson's 95 % interval; value and interval are absent where nothing was tried."""
    counts: dict[str, Any] = {"count": successes, "of": trials}
    return counts | ({"value": rounded(successes / trials), "interval": interval(successes, trials)} if trials else {})
