"""Is one picture made from the other: brought onto it by its local features, then compared block by block.

Knees look alike, and films of one device share frame and letters. What two different exposures never share is the
fine pattern everywhere at once. Hence the last word has neither the number of matched points nor the correlation of
the whole, which letters and edges rule, but how small blocks of the fine pattern correlate, the worse of them too.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from train.research.audit.descriptors import Descriptor, Form, in_form, work_in_form
from train.runs.arrays import Booleans, Bytes, Doubles, Floats

# Different knees agree in up to 33 points on real radiographs and 40 on drawn ones, copies in 22 and more: points alone
# decide nothing, but pairs with fewer than these are not looked at.
FEWEST_INLIERS = 20
# Of the smaller picture: a crop's share of its original does not matter, only what the two have in common.
LEAST_OVERLAP = 0.3
LEAST_AGREEMENT = 0.8
_CERTAINTY = 2.326  # Standard normal deviate of a one-sided bound of 99 %.
_LEAST_SIMILARITY = 0.75  # of two matched features: the cosine of RootSIFT.
_REPROJECTION_PX = 4.0
_LARGEST_SQUASH = 2.0
_SCALES = (0.15, 7.0)
_BLOCK_PX = 32
_FEWEST_BLOCKS = 6
_FLAT = 3.0  # Grey levels: a block that varies less, in either picture, shows little but noise.
_FINE_SIGMA_PX, _COARSE_SIGMA_PX = 1.0, 5.0
_REFINING_STEPS = 40


@dataclass(frozen=True)
class Registration:
    """How one picture lies on another.

    Attributes:
        form: mirrored or inverted before it was laid on.
        matrix: (2, 3) float64, from the first picture's small grey picture, in its form, to the second's.
        inliers: matched points that agree with it.
        overlap: share of the smaller picture that both show.
        agreement: mean of the lower quartile and the median of the blocks' correlations, -1 to 1.
    """

    form: Form
    matrix: Doubles
    inliers: int
    overlap: float
    agreement: float

    @property
    def is_twin(self) -> bool:
        return self.overlap >= LEAST_OVERLAP and self.certain_agreement >= LEAST_AGREEMENT

    @property
    def certain_agreement(self) -> float:
        """Lower 99 % bound of the agreement by Fisher's z (Metron 1921), each inlier counted as one observation.

        Of many placements tried on small, smooth pictures of different knees some agree well by chance, but on few points:
        a pair with 20 points must agree by 0.93, one with 200 by 0.85. A rule by analogy: it claims no error rate of 1 %.
        """
        certain = np.arctanh(np.clip(self.agreement, -1 + 1e-6, 1 - 1e-6)) - _CERTAINTY / np.sqrt(self.inliers - 3)
        return float(np.tanh(certain))

    @property
    def rotation_degrees(self) -> float:
        """Counter-clockwise, of the first picture in its form."""
        return float(np.degrees(np.arctan2(-self.matrix[1, 0], self.matrix[0, 0])))

    @property
    def scale(self) -> float:
        return float(np.sqrt(abs(np.linalg.det(self.matrix[:, :2]))))


def register(first: Descriptor, second: Descriptor, form: Form) -> Registration | None:
    """Lay the first picture in its form on the second; None where their points agree on no placement."""
    placed = _place(first, second, form)
    if placed is None:
        return None
    matrix, inliers = placed
    moving, fixed = work_in_form(first, form), second.work
    # The finer picture is brought to the coarser one's scale: detail that the other has lost says nothing.
    if np.linalg.det(matrix[:, :2]) > 1:
        refined, overlap, agreement = _compare(fixed, moving, _inverted(matrix))
        refined = _inverted(refined)
    else:
        refined, overlap, agreement = _compare(moving, fixed, matrix)
    return Registration(form, refined, inliers, overlap, agreement)


def _place(first: Descriptor, second: Descriptor, form: Form) -> tuple[Doubles, int] | None:
    """Affine placement by RANSAC on matched points: a copy may have been squashed to a square."""
    points, features = in_form(first, form)
    if min(len(points), len(second.points)) < FEWEST_INLIERS:
        return None
    similarity = features @ second.features.T
    best, back = similarity.argmax(axis=1), similarity.argmax(axis=0)
    places = np.arange(len(best))
    chosen = np.flatnonzero((back[best] == places) & (similarity[places, best] >= _LEAST_SIMILARITY))
    if len(chosen) < FEWEST_INLIERS:
        return None
    cv2.setRNGSeed(0)
    matrix, inliers = cv2.estimateAffine2D(
        points[chosen], second.points[best[chosen]], ransacReprojThreshold=_REPROJECTION_PX, maxIters=3000, confidence=0.995
    )
    if matrix is None or int(inliers.sum()) < FEWEST_INLIERS or not _is_plausible(np.asarray(matrix, np.float64)):
        return None
    return np.asarray(matrix, np.float64), int(inliers.sum())


def _inverted(matrix: Doubles) -> Doubles:
    return np.asarray(cv2.invertAffineTransform(matrix), np.float64)


def _is_plausible(matrix: Doubles) -> bool:
    """No mirroring (the form has said that already), no shrinking to nothing, no squashing beyond measure."""
    large, small = np.linalg.svd(matrix[:, :2], compute_uv=False)
    return bool(
        np.linalg.det(matrix[:, :2]) > 0 and _SCALES[0] < small and large < _SCALES[1] and large / small < _LARGEST_SQUASH
    )


def _compare(moving: Bytes, fixed: Bytes, matrix: Doubles) -> tuple[Doubles, float, float]:
    matrix = _refine(moving, fixed, matrix)
    warped, inside = _warp(moving, fixed.shape, matrix)
    common = float(inside.sum()) / min(fixed.size, moving.size * abs(np.linalg.det(matrix[:, :2])))
    return matrix, min(common, 1.0), _agreement(_correlations(warped, fixed, inside))


def _warp(moving: Bytes, shape: tuple[int, int], matrix: Doubles) -> tuple[Bytes, Booleans]:
    size = (shape[1], shape[0])
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if scale < 0.7:  # Or else fine detail would turn into a false pattern.
        moving = np.asarray(cv2.GaussianBlur(moving, (0, 0), 0.5 / scale), np.uint8)
    warped = cv2.warpAffine(moving, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpAffine(np.full(moving.shape, 255, np.uint8), matrix, size, flags=cv2.INTER_NEAREST) > 0
    return np.asarray(warped, np.uint8), inside


def _refine(moving: Bytes, fixed: Bytes, matrix: Doubles) -> Doubles:
    """To fractions of a pixel by maximising the correlation (Evangelidis & Psarakis, PAMI 2008)."""
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _REFINING_STEPS, 1e-5)
    inverse = _inverted(matrix).astype(np.float32)
    try:
        _, refined = cv2.findTransformECC(fixed, moving, inverse, cv2.MOTION_AFFINE, stop, None, 5)  # type: ignore[call-overload]  # OpenCV takes None for no mask
    except cv2.error:  # It does not converge on pictures that have nothing in common.
        return matrix
    back = _inverted(refined.astype(np.float64))
    return back if _is_plausible(back) else matrix


def _agreement(correlations: Doubles) -> float:
    """Mean of lower quartile and median; -1 where blocks are too few."""
    if len(correlations) < _FEWEST_BLOCKS:
        return -1.0
    # The lower quartile counts as much as the median: two knees laid on each other agree along the shafts, and only there.
    return float(np.quantile(correlations, (0.25, 0.5)).mean())


def _correlations(warped: Bytes, fixed: Bytes, inside: Booleans) -> Doubles:
    """Of the fine pattern, in each block that both pictures show and in which both show something."""
    first, second = _fine_pattern(warped), _fine_pattern(fixed)
    whole = cv2.erode(inside.astype(np.uint8), np.ones((9, 9), np.uint8), borderValue=0).astype(bool)
    return np.array(
        [
            _correlation(first[block], second[block])
            for block in _blocks(fixed.shape)
            if whole[block].mean() > 0.95 and min(first[block].std(), second[block].std()) >= _FLAT
        ]
    )


def _fine_pattern(picture: Bytes) -> Floats:
    grey = picture.astype(np.float32)
    return cv2.GaussianBlur(grey, (0, 0), _FINE_SIGMA_PX) - cv2.GaussianBlur(grey, (0, 0), _COARSE_SIGMA_PX)


def _blocks(shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    return [
        (slice(top, top + _BLOCK_PX), slice(left, left + _BLOCK_PX))
        for top in range(0, shape[0] - _BLOCK_PX + 1, _BLOCK_PX)
        for left in range(0, shape[1] - _BLOCK_PX + 1, _BLOCK_PX)
    ]


def _correlation(first: Floats, second: Floats) -> float:
    first, second = first - first.mean(), second - second.mean()
    return float((first * second).sum() / max(np.sqrt((first**2).sum() * (second**2).sum()), 1e-6))
