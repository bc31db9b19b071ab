"""How many answers one file of a bundle would give otherwise than another, found by asking both."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from osteo_edge.bundle import Bundle
from osteo_edge.errors import InputError
from osteo_edge.labels import Status
from osteo_edge.manifest import EngineName, Precision
from osteo_edge.predictor import OsteoPredictor
from osteo_edge.selftest import reference_pixels

if TYPE_CHECKING:
    from osteo_edge.arrays import Pixels
    from osteo_edge.prediction import Prediction

    Shown = Path | Pixels

_GRAIN_SEED = 0


@dataclass(frozen=True)
class Agreement:
    """What became of the pictures that both were shown, without anything that is known of a person.

    Attributes:
        engine, precision: what the chosen file was compared with.
        pictures: those with a knee that could be answered for; all others tell nothing.
        different: those with another status, another likeliest class or other classes that cannot be ruled out.
        largest_difference: of any class's probability on any of them; 0 where there are none.
    """

    engine: EngineName
    precision: Precision
    pictures: int
    different: int
    largest_difference: float


def compare_answers(
    bundle: Bundle,
    chosen: tuple[EngineName, Precision],
    exact: tuple[EngineName, Precision],
    pictures: Sequence[Shown],
    *,
    threads: int,
) -> Agreement:
    """Ask both for every picture.

    Args:
        pictures: files, or pixels as ``OsteoPredictor.predict`` takes them.

    Raises:
        OsteoEdgeError: as ``OsteoPredictor``; a picture that cannot be read is passed over.
    """
    answers, expected = (list(_answers(bundle, one, pictures, threads=threads)) for one in (chosen, exact))
    pairs = [(one, other) for one, other in zip(answers, expected, strict=True) if one is not None and other is not None]
    different = sum(_gist(one) != _gist(other) for one, other in pairs)
    largest = max((_largest(one, other) for one, other in pairs), default=0.0)
    return Agreement(*exact, len(pairs), different, largest)


def variations(bundle: Bundle) -> Iterator[Pixels]:
    """The bundle's reference picture as 36 films would show it: two sides, sizes and so on, always the same ones.

    Each is of two sides, three exposures, two sizes, and plain, blurred or grainy; the first is the picture itself.
    """
    pixels = reference_pixels(bundle)
    most = np.iinfo(pixels.dtype).max
    grey = pixels.astype(np.float32) / most
    grain = np.random.default_rng(_GRAIN_SEED).normal(0, 0.03, grey.shape).astype(np.float32)
    textures = {"plain": grey, "blurred": cv2.GaussianBlur(grey, (0, 0), 1.5), "grainy": grey + grain}
    for is_mirrored, gamma, size, texture in product((False, True), (1.0, 0.7, 1.4), (1.0, 0.8), textures):
        shown = np.clip(textures[texture], 0, 1) ** gamma
        shown = shown[:, ::-1] if is_mirrored else shown
        if size != 1:
            shown = cv2.resize(shown, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
        yield np.rint(shown * most).astype(pixels.dtype)


def _answers(
    bundle: Bundle, file: tuple[EngineName, Precision], pictures: Iterable[Shown], *, threads: int
) -> Iterator[Prediction | None]:
    """One a picture; None for what is not read or not answered for."""
    engine, precision = file
    with OsteoPredictor(bundle.root, engine=engine, precision=precision, threads=threads) as predictor:
        for picture in pictures:
            try:
                answer = predictor.predict(picture)
            except InputError:
                yield None
            else:
                yield None if answer.status is Status.REJECTED else answer


def _gist(answer: Prediction) -> tuple[Status, str | None, tuple[str, ...]]:
    return answer.status, answer.likeliest, answer.label_set


def _largest(one: Prediction, other: Prediction) -> float:
    return max(abs(one.probabilities[label] - probability) for label, probability in other.probabilities.items())
