"""What makes a joint's picture unfit for a network, or its answer doubtful: each with a value, a limit and a sentence.

All is measured around one joint, in a square of 1.2 knee widths: a film may be black or white elsewhere as it likes. The limits
stand in one table below. `python -m benchmarks quality` measures what they cost of good films, and what they notice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, Literal

import cv2
import numpy as np

from osteo_edge.findings import BLUR, COMPRESSION, COVERED, CUT_OFF, EXPOSURE, FEW_GREYS, METAL, Finding
from osteo_edge.images.greys import grey_range
from osteo_edge.images.preprocess import negative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from osteo_edge.arrays import Floats, Pixels
    from osteo_edge.joints import Joint

Name = Literal["white", "black", "greys", "detail", "quality", "metal", "ink", "cut_off"]

_REACH: Final = 0.6
_SIDE_PX: Final = 144
# Greys are counted on so many pixels, whatever the film's size.
_SAMPLES: Final = 40_000
# Of the joint's own range: what is as bright, or as dark, as can be.
_END: Final = 0.01
# Metal ends within a pixel or two of the square; bone that is overexposed fades.
_STEEP: Final = 0.07
# Only where so much is white its edge is looked at.
_MAY_BE_METAL: Final = 0.01
# A stroke stands out from what is around it by so much, and is nearly as bright or dark as can be.
_STANDS_OUT: Final = 0.3
_NEARLY: Final = 0.03
_STROKE_PX: Final = 7
# A row or column of the square is shut off where so much of it is black.
_ALL: Final = 0.97


@dataclass(frozen=True)
class Limit:
    """From where on a value is doubtful, and from where on unfit.

    Attributes:
        of: which value.
        worse: whether larger or smaller values are worse.
        told: sentence with the value and the limit that it passes.
    """

    code: str
    of: Name
    worse: Literal["above", "below"]
    doubtful: float
    unfit: float
    told: str

    def passed(self, value: float) -> float | None:
        """The graver limit that the value passes; None where it keeps both."""
        for limit in (self.unfit, self.doubtful):
            if value > limit if self.worse == "above" else value < limit:
                return limit
        return None


LIMITS: Final = (
    Limit(EXPOSURE, "white", "above", 0.1, 0.25, "{value:.0%} of the joint is plain white; up to {limit:.0%} is taken"),
    Limit(EXPOSURE, "black", "above", 0.15, 0.25, "{value:.0%} of the joint is plain black; up to {limit:.0%} is taken"),
    Limit(FEW_GREYS, "greys", "below", 40, 24, "the joint has {value:.0f} grey levels; {limit:.0f} are needed"),
    Limit(BLUR, "detail", "below", 0.22, 0.18, "the joint's fine detail is {value:.2f} of the coarse; {limit:.2f} is needed"),
    Limit(COMPRESSION, "quality", "below", 30, 15, "the file is a JPEG of quality {value:.0f}; {limit:.0f} is needed"),
    Limit(
        METAL,
        "metal",
        "above",
        0.015,
        0.03,
        "{value:.0%} of the joint is bright and sharp as metal; {limit:.1%} is taken",
    ),
    Limit(
        COVERED,
        "ink",
        "above",
        0.001,
        0.004,
        "strokes as of letters cover {value:.1%} of the joint; {limit:.1%} is taken",
    ),
    Limit(
        CUT_OFF,
        "cut_off",
        "above",
        0.06,
        0.2,
        "{value:.0%} of the joint's breadth or height is black; {limit:.0%} is taken",
    ),
)


@dataclass(frozen=True)
class Judged:
    """Of one picture."""

    unfit: tuple[Finding, ...] = ()
    doubtful: tuple[Finding, ...] = ()


def judge(pixels: Pixels, joints: Sequence[Joint], jpeg_quality: int | None) -> Judged:
    """Unfit where all joints are; doubtful where one of them is either.

    Args:
        pixels: (height, width), upright.
        jpeg_quality: of the file, where it is a JPEG.
    """
    found = [dict(_passed(measure(pixels, joint, jpeg_quality))) for joint in joints]
    unfit = [[finding for limit, finding in one.items() if limit.is_unfit] for one in found]
    if found and all(unfit):
        return Judged(unfit=tuple(dict.fromkeys(unfit[0])))
    told = {finding.code: finding for one in found for finding in one.values()}
    return Judged(doubtful=tuple(told.values()))


@dataclass(frozen=True)
class _Passed:
    of: Name
    is_unfit: bool


def _passed(values: dict[Name, float]) -> Iterator[tuple[_Passed, Finding]]:
    for one in LIMITS:
        value = values.get(one.of)
        limit = None if value is None else one.passed(value)
        if limit is not None:
            yield _Passed(one.of, limit == one.unfit), Finding(one.code, one.told.format(value=value, limit=limit))


def measure(pixels: Pixels, joint: Joint, jpeg_quality: int | None = None) -> dict[Name, float]:
    """Each value of one joint; none of a joint whose surroundings have no two greys.

    White and black are shares of the square's pixels at either end of its range; greys how many of 256 levels are in use;
    detail the strength of structures of 1 to 2 hundredths of a knee width as a share of those of 4; ink the share of narrow
    strokes at either end of the range; metal the share of white that ends steeply; cut_off the share of columns, or rows, at an
    edge that are black.
    """
    values: dict[Name, float] = {} if jpeg_quality is None else {"quality": float(jpeg_quality)}
    square = _square(pixels, joint)
    if min(square.shape, default=0) < 8 or square.min() == square.max():
        return values
    step = max(1, math.isqrt(square.size // _SAMPLES))
    sample = np.ascontiguousarray(square[::step, ::step])
    low, high = float(sample.min()), float(sample.max())
    scale = 1 / max(high - low, 1.0)
    shares = (sample.astype(np.float32) - np.float32(low)) * np.float32(scale)
    values["white"], values["black"] = float((shares >= 1 - _END).mean()), float((shares <= _END).mean())
    values["greys"] = float(np.count_nonzero(np.bincount((shares * 255).astype(np.uint8).ravel(), minlength=256)))
    way = cv2.INTER_AREA if min(square.shape) > _SIDE_PX else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(square, (_SIDE_PX, _SIDE_PX), interpolation=way), np.float32)
    greys = np.clip((small - np.float32(low)) * np.float32(scale), 0, 1)
    values["detail"] = _detail(greys)
    values["ink"] = _ink(greys)
    values["cut_off"] = _cut_off(greys)
    if values["white"] > _MAY_BE_METAL and _is_steep(greys, sample):
        values["metal"] = values.pop("white")
    return values


def _square(pixels: Pixels, joint: Joint) -> Pixels:
    """As far as the picture goes."""
    reach = _REACH * joint.width_px
    height, width = pixels.shape
    top, bottom = (round(min(max(joint.y_px + side * reach, 0), height)) for side in (-1, 1))
    left, right = (round(min(max(joint.x_px + side * reach, 0), width)) for side in (-1, 1))
    square = pixels[top:bottom, left:right]
    return negative(square) if joint.is_negative and square.size else square


def _detail(greys: Floats) -> float:
    """Without the pixels' own grain, which noise and compression make."""
    smooth = [cv2.GaussianBlur(greys, (0, 0), width) for width in (0.8, 1.6, 3.2, 6.4)]
    fine, _, coarse = (float((one - other).std()) for one, other in pairwise(smooth))
    return fine / max(coarse, 1e-6)


def _ink(greys: Floats) -> float:
    low, high = grey_range((greys * 255).astype(np.uint8), 1, 99)
    stretched = np.clip((greys * 255 - np.float32(low)) / np.float32(max(high - low, 1)), 0, 1)
    around = cv2.medianBlur((stretched * 255).astype(np.uint8), _STROKE_PX).astype(np.float32) / 255
    at_an_end = (greys < _NEARLY) | (greys > 1 - _NEARLY)
    return float(((np.abs(stretched - around) > _STANDS_OUT) & at_an_end).mean())


def _cut_off(greys: Floats) -> float:
    """The wider of the black strips at one side, from the edge inwards."""
    black = greys <= 2 * _END
    widths = []
    for axis in (0, 1):
        is_shut = black.mean(axis=axis) >= _ALL
        widths += [_run(is_shut), _run(is_shut[::-1])]
    return max(widths) / _SIDE_PX


def _run(flags: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> int:
    """How many are true before the first that is not."""
    return int(np.argmin(flags)) if not flags.all() else len(flags)


def _is_steep(greys: Floats, sample: NDArray[Any]) -> bool:
    """Whether what is white ends at once."""
    white = (greys >= 1 - 4 * _END).astype(np.uint8)
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(white, kernel) != cv2.erode(white, kernel)
    if not edge.any():
        return False
    low, high = grey_range(sample, 1, 99)
    contrast = max(high - low, 1) / max(float(sample.max()) - float(sample.min()), 1)
    across, down = (cv2.Sobel(greys, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
    return float(np.median(cv2.magnitude(across, down)[edge])) / contrast >= _STEEP
