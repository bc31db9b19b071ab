"""Steps of paper 4 before a network sees a crop: outlier rejection, de-noising, standardisation; each can be switched off.

A run whose ``denoise`` or ``standardise`` differs from ``RUNTIME`` cannot be exported: the runtime prepares knees with
``osteo_edge.images.preprocess`` alone, and a network must be shown in use what it was shown in training. Outlier rejection
changes only what is learnt from, never what is judged, and does not stand in the way of export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from osteo_edge.errors import OsteoEdgeError
from train.runs.arrays import Bytes, Doubles, Floats

Denoise = Literal["none", "median", "nlm"]
Standardise = Literal["percentile", "zscore", "clahe"]


QUALITIES = ("exposure", "contrast", "sharpness")
KNEE_SIZE = "knee_size"
# Times the robust standard deviation: Iglewicz & Hoaglin, How to Detect and Handle Outliers, 1993.
OUTLIER_LIMIT = 3.5
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution.
_MEDIAN_PX = 3
_NLM_STRENGTH, _NLM_PATCH_PX, _NLM_SEARCH_PX = 6.0, 5, 15
_DEVIATIONS_SHOWN = 3.0
_CLAHE_LIMIT, _CLAHE_TILES = 2.0, (8, 8)


class PreparationError(OsteoEdgeError):
    """A preparation that does not exist, or images that it cannot be done to."""


@dataclass(frozen=True)
class Preparation:
    """Which steps are done, in this order; the defaults do nothing beyond what the runtime does.

    Attributes:
        outliers: leave knees of unusual exposure, contrast, sharpness or size out of the training.
        denoise: ``median`` of 3 x 3 pixels, or ``nlm``, non-local means (Buades et al., CVPR 2005).
        standardise: ``percentile`` is the runtime's own stretch, done already; ``zscore`` gives every knee the same mean and
            spread, three standard deviations to either side; ``clahe`` equalises locally (Zuiderveld, Graphics Gems IV, 1994).

    Raises:
        PreparationError: an unknown word.
    """

    outliers: bool = False
    denoise: Denoise = "none"
    standardise: Standardise = "percentile"

    def __post_init__(self) -> None:
        for name, known in (("denoise", get_args(Denoise)), ("standardise", get_args(Standardise))):
            if getattr(self, name) not in known:
                raise PreparationError(f"preparation.{name} is {getattr(self, name)!r}; known are {', '.join(known)}")

    @property
    def is_exportable(self) -> bool:
        """Whether the runtime shows a network the same pixels."""
        return (self.denoise, self.standardise) == (RUNTIME.denoise, RUNTIME.standardise)


RUNTIME = Preparation()


@dataclass(frozen=True)
class Limits:
    """What is usual: median and robust standard deviation of each quality, fitted on training knees alone."""

    qualities: tuple[str, ...]
    median: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Outlier:
    """One rejected knee: its place, the SHA-256 of its radiograph, and why; no file is named."""

    place: int
    sha256: str
    reason: str


def prepare_crops(images: Floats, preparation: Preparation) -> Floats:
    """De-noise and standardise.

    Args:
        images: (knees, height, width) float32 in 0 to 255.

    Returns:
        The same shape, type and range; the input itself is not changed.

    Raises:
        PreparationError: another shape, or values that are NaN or out of range.
    """
    _require_crops(images)
    return _STANDARDISERS[preparation.standardise](_DENOISERS[preparation.denoise](images))


def measure_qualities(images: Floats, knee_widths_px: Sequence[float] | None = None) -> tuple[tuple[str, ...], Doubles]:
    """Names and values, (knees, qualities): mean grey, standard deviation, logarithm of the Laplacian's variance.

    Args:
        images: as for ``prepare_crops``.
        knee_widths_px: of each knee in its radiograph; adds the logarithm of the size as a fourth quality.
    """
    _require_crops(images)
    values = [
        (float(image.mean()), float(image.std()), float(np.log(cv2.Laplacian(image, cv2.CV_32F).var() + 1.0)))
        for image in images
    ]
    measured = np.array(values, np.float64).reshape(-1, len(QUALITIES))
    if knee_widths_px is None:
        return QUALITIES, measured
    return (*QUALITIES, KNEE_SIZE), np.column_stack([measured, np.log(np.asarray(knee_widths_px, np.float64))])


def fit_limits(qualities: tuple[str, ...], values: Doubles) -> Limits:
    """Median and 1.4826 times the median absolute deviation, of training knees (knees, qualities).

    Raises:
        PreparationError: there is no knee.
    """
    if not len(values):
        raise PreparationError("outliers cannot be told without a single knee")
    median = np.median(values, axis=0)
    deviation = _MAD_TO_DEVIATION * np.median(np.abs(values - median), axis=0)
    return Limits(qualities, tuple(median.tolist()), tuple(deviation.tolist()))


def find_outliers(values: Doubles, limits: Limits, digests: Sequence[str]) -> tuple[Outlier, ...]:
    """Knees that lie further than ``OUTLIER_LIMIT`` robust deviations from the median in any quality.

    A quality that does not vary (deviation 0) rejects nothing.
    """
    deviation = np.array(limits.deviation)
    far = np.divide(values - np.array(limits.median), deviation, out=np.zeros_like(values), where=deviation > 0)
    return tuple(
        Outlier(place, digests[place], _reason(row, limits))
        for place, row in enumerate(far)
        if np.abs(row).max() > OUTLIER_LIMIT
    )


def _reason(far: Doubles, limits: Limits) -> str:
    worst = int(np.abs(far).argmax())
    side = "above" if far[worst] > 0 else "below"
    return f"{limits.qualities[worst]} lies {abs(far[worst]):.1f} robust standard deviations {side} the median"


def _require_crops(images: Floats) -> None:
    if images.ndim != 3 or images.dtype != np.float32:
        raise PreparationError(f"float32 (knees, height, width) is prepared, not {images.dtype} {images.shape}")
    if images.size and not (images.min() >= 0 and images.max() <= 255):  # Also where one is NaN.
        raise PreparationError("crops must lie in 0 to 255 and hold no NaN")


def _each_as_bytes(images: Floats, change: Callable[[Bytes], Bytes]) -> Floats:
    changed = [change(np.rint(image).astype(np.uint8)) for image in images]
    return np.array(changed, np.float32).reshape(images.shape)


def _median(images: Floats) -> Floats:
    return np.array([cv2.medianBlur(image, _MEDIAN_PX) for image in images], np.float32).reshape(images.shape)


def _non_local_means(images: Floats) -> Floats:
    def change(image: Bytes) -> Bytes:
        return cv2.fastNlMeansDenoising(image, None, _NLM_STRENGTH, _NLM_PATCH_PX, _NLM_SEARCH_PX)  # type: ignore[return-value]

    return _each_as_bytes(images, change)


def _z_scores(images: Floats) -> Floats:
    mean, spread = images.mean(axis=(1, 2), keepdims=True), images.std(axis=(1, 2), keepdims=True)
    scores = (images - mean) / np.maximum(spread, 1e-3)
    shown: Floats = np.clip((scores / _DEVIATIONS_SHOWN + 1) * 127.5, 0, 255).astype(np.float32)
    return shown


def _equalised(images: Floats) -> Floats:
    equaliser = cv2.createCLAHE(_CLAHE_LIMIT, _CLAHE_TILES)
    return _each_as_bytes(images, lambda image: np.asarray(equaliser.apply(image), np.uint8))


_DENOISERS: Mapping[str, Callable[[Floats], Floats]] = {"none": np.copy, "median": _median, "nlm": _non_local_means}
_STANDARDISERS: Mapping[str, Callable[[Floats], Floats]] = {"percentile": np.copy, "zscore": _z_scores, "clahe": _equalised}
