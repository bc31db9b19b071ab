"""Find each knee joint of a radiograph, and the box around it.

The picture goes the way of the classical detectors. It is shrunk and described by the directions of its
edges (histograms of oriented gradients, Dalal & Triggs, CVPR 2005), so that exposure, borders and padding
matter little. One learned linear template and its mirror image search it at several scales. Each hit is
pulled onto the joint by a few linear regressions (supervised descent, Xiong & De la Torre, CVPR 2013), and
two more linear functions say whether it is a knee and which one. Only numpy and OpenCV take part: every
inference engine is shown exactly the same crop.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from osteo_edge.errors import ManifestError
from osteo_edge.labels import Laterality

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from osteo_edge.manifest import RegionProfile

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

WORK_SIDE_PX: Final = 512
_NARROWEST_PX: Final = 64
DIRECTIONS: Final = 8
STAGES: Final = 3

# A knee's width as a share of the picture's longer side: two long legs on one film ... one knee that fills it.
SMALLEST_KNEE: Final = 0.13
LARGEST_KNEE: Final = 0.95
SCALES_PER_OCTAVE: Final = 3
# Hits that are followed to a joint. `train/results/knee-finder/evaluation.json` tells how often more would change an answer.
MAX_HITS: Final = 3
# Of one scale no more peaks are looked at.
_MAX_PEAKS: Final = 12
# Hits this near to a stronger one, in knee widths, are the same joint.
SAME_JOINT: Final = 0.4

# No knee is seen as one that is wider than these shares of the picture.
MAX_SHARE_OF_WIDTH: Final = 1.1
MAX_SHARE_OF_HEIGHT: Final = 1.5

# A picture of one joint and nothing else, as archives of joints keep them: where the knee's middle lies, and how wide it is, in
# shares of the picture's sides. Hardly anything but a knee is taken for one just there, so that a weaker hit will do, as
# deformed joints give it; `train/results/knee-finder/evaluation.json` tells of both (joint_crops, windows_of_not_a_knee).
FILLING_X: Final = (0.4, 0.6)
FILLING_Y: Final = (0.4, 0.7)
FILLING_WIDTH: Final = (0.7, 1.0)
MIN_FILLING_SCORE: Final = -0.2

# Below this the two mirror images fit about equally well and no side is named.
SURE_SIDE: Final = 0.1
# What two knees of one person have in common, in knee widths.
MAX_WIDTH_RATIO: Final = 1.4
MAX_HEIGHT_DIFFERENCE: Final = 0.8
MIN_DISTANCE: Final = 0.9

# How the sums over a cell give its strength in each direction. Only gradients' positive parts towards 0, 45, 90 and
# 135 degrees are summed (the diagonal ones too long by the root of two), and the gradients themselves, dx and dy: what
# points the other way is what the positive part is more than the whole. Rows: positive parts, dx, dy; columns: directions.
_HALF = math.sqrt(0.5)
_MIXTURE: Final = np.array(
    [
        [1, 0, 0, 0, 1, 0, 0, 0],
        [0, _HALF, 0, 0, 0, _HALF, 0, 0],
        [0, 0, 1, 0, 0, 0, 1, 0],
        [0, 0, 0, _HALF, 0, 0, 0, _HALF],
        [0, 0, 0, 0, -1, -_HALF, 0, _HALF],
        [0, 0, 0, 0, 0, -_HALF, -1, -_HALF],
    ],
    np.float32,
)
_SUM_OF_DIRECTIONS: Final = _MIXTURE.sum(axis=1)
# Added to the strength of the edges around a cell, as a share of the whole picture's, so that empty
# background stays quiet.
_QUIET = 0.3
# One stage moves a joint by no more than this, in knee widths and in the logarithm of the width.
_LONGEST_STEP = 0.3
_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)
# Far below any strength of a picture that is not flat.
_TINY = 1e-6

_REMEDY = "install the bundle again"
# A .npy file's own header, which says what type and shape the numbers have.
_MAX_HEADER_BYTES = 1 << 10


@dataclass(frozen=True)
class Box:
    """Pixels of the upright picture, x1 and y1 excluded. May reach beyond the picture."""

    x0: int
    y0: int
    x1: int
    y1: int

    @property
    def width(self) -> int:
        return self.x1 - self.x0

    @property
    def height(self) -> int:
        return self.y1 - self.y0


@dataclass(frozen=True)
class Joint:
    """One knee joint in pixels of the upright picture; the middle of pixel i stands at i + 0.5.

    Attributes:
        x_px, y_px: middle of the joint space between the outer edges of the tibial plateau.
        width_px: distance of these edges.
        score: about 1 for a knee and -1 for anything else.
        laterality: the patient's side, taking the view as antero-posterior; None where the fibula does not tell.
        is_negative: whether bone is dark in the picture, so that networks are shown its negative.
    """

    x_px: float
    y_px: float
    width_px: float
    score: float
    laterality: Laterality | None
    is_negative: bool = False


@dataclass(frozen=True)
class Pose:
    """Where a joint is thought to be, in pixels of the working copy."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Hit:
    """A pose, how well something fits there, and the patient's side where that was looked at and is told."""

    pose: Pose
    score: float
    laterality: Laterality | None = None


@dataclass(frozen=True)
class Window:
    """A square cut-out in which a knee is `knee_px` wide, described by `cells` x `cells` square cells."""

    knee_px: int
    cell_px: int
    cells: int

    @property
    def side_px(self) -> int:
        return self.cell_px * self.cells

    @property
    def features(self) -> int:
        return self.cells * self.cells * DIRECTIONS


SEARCH: Final = Window(knee_px=24, cell_px=4, cells=11)
CLOSE_UP: Final = Window(knee_px=48, cell_px=6, cells=11)

# Name, shape and type of every array of a finder's file. A linear function's last weight is its constant.
LAYOUT: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "template": ((SEARCH.cells, SEARCH.cells, DIRECTIONS), "float16"),
    "template_constant": ((), "float32"),
    "descent": ((STAGES, CLOSE_UP.features + 1, 3), "float16"),
    "knee": ((CLOSE_UP.features + 1,), "float16"),
    "side": ((CLOSE_UP.features + 1,), "float16"),
    "threshold": ((), "float32"),
}


@dataclass(frozen=True)
class JointFinder:
    """Learned weights; `train/finder/` makes them.

    Attributes:
        template: (11, 11, 8) float32, fits a knee whose fibula stands at its left in the picture.
        template_constant: added to the template's response.
        descent: (3, 969, 3) float32, per stage from a close-up's features to dx, dy (knee widths) and
            the logarithm of the width's change.
        knee: (969,) float32, about 1 for a knee and -1 for anything else.
        side: (969,) float32, about 1 where the fibula is at the left in the picture and -1 at the right.
        threshold: a hit with a lower `knee` is none.
    """

    template: Floats
    template_constant: float
    descent: Floats
    knee: Floats
    side: Floats
    threshold: float

    @classmethod
    def from_bytes(cls, data: bytes) -> JointFinder:
        """Read an .npz file.

        Raises:
            ManifestError: it is damaged or does not hold what `LAYOUT` asks for.
        """
        arrays = _read_arrays(data)
        for name, (shape, dtype) in LAYOUT.items():
            _check_array(name, arrays[name], shape, dtype)
        return cls(
            template=arrays["template"].astype(np.float32),
            template_constant=float(arrays["template_constant"]),
            descent=arrays["descent"].astype(np.float32),
            knee=arrays["knee"].astype(np.float32),
            side=arrays["side"].astype(np.float32),
            threshold=float(arrays["threshold"]),
        )

    def find(self, pixels: Pixels) -> tuple[Joint, ...]:
        """Find one knee or two.

        Args:
            pixels: (height, width), upright, bone bright.

        Returns:
            left to right in the picture; empty when there is no knee.
        """
        work = shrink(pixels)
        return as_joints(self.knees_in(halvings(work)), work.shape, pixels.shape)

    def knees_in(self, pyramid: list[Floats]) -> list[Hit]:
        """The best knee and the best plausible second one, left to right; or the weak one that fills the picture."""
        hits = self.examine(pyramid)
        return choose(hits, self.threshold) or self._filling(hits, pyramid[0])

    def _filling(self, hits: list[Hit], work: Floats) -> list[Hit]:
        """The best hit that fills the picture, where nothing fits the picture turned or inverted as well."""
        filling = [hit for hit in hits if hit.score >= MIN_FILLING_SCORE and fills(hit.pose, work)]
        if not filling:
            return []
        from osteo_edge.images.orientation import best_of_other_views  # a knee that is clear need not wait for this import

        return filling[:1] if best_of_other_views(self, work) < filling[0].score else []

    def examine(self, pyramid: list[Floats], hits: int = MAX_HITS) -> list[Hit]:
        """The template's strongest hits, pulled onto a joint and scored as a knee, best first."""
        found = search(pyramid, self.template, self.template_constant, hits)
        ends = self.descend(pyramid, [hit.pose for hit in found])
        poses = [pose for pose in ends if _is_shown(pose, pyramid[0])]
        judged = zip(poses, self._judgement.answers(pyramid, poses).tolist(), strict=True)
        return strongest([Hit(pose, knee, _laterality(side)) for pose, (knee, side) in judged], hits)

    def descend(self, pyramid: list[Floats], poses: Sequence[Pose]) -> list[Pose]:
        """Follow the learned regressions to the joints."""
        for stage in self._stages:
            steps = stage.answers(pyramid, poses)
            poses = [moved(pose, step) for pose, step in zip(poses, steps, strict=True)]
        return list(poses)

    @cached_property
    def _stages(self) -> list[LinearFunctions]:
        return [LinearFunctions.of(stage) for stage in self.descent]

    @cached_property
    def _judgement(self) -> LinearFunctions:
        return LinearFunctions.of(np.stack([self.knee, self.side], axis=1))


def as_joints(hits: Iterable[Hit], work_shape: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Joint, ...]:
    """Hits in the working copy as joints of the picture, of these shapes."""
    pixel_width, pixel_height = pixel_size(shape, work_shape)
    return tuple(
        Joint(
            x_px=hit.pose.x * pixel_width,
            y_px=hit.pose.y * pixel_height,
            width_px=hit.pose.width * pixel_width,
            score=hit.score,
            laterality=hit.laterality,
        )
        for hit in hits
    )


def box_around(joint: Joint, profile: RegionProfile) -> Box:
    """The region that a model was trained on, rounded to whole pixels."""
    return Box(
        x0=_nearest(joint.x_px - profile.half_width * joint.width_px),
        y0=_nearest(joint.y_px - profile.above * joint.width_px),
        x1=_nearest(joint.x_px + profile.half_width * joint.width_px),
        y1=_nearest(joint.y_px + profile.below * joint.width_px),
    )


def shrink(pixels: Pixels) -> Floats:
    """The working copy: (height, width) float32, longer side at most `WORK_SIDE_PX`."""
    factor = WORK_SIDE_PX / max(pixels.shape)
    if factor >= 1:
        return pixels.astype(np.float32)
    # Integers until it is small: a 40-megapixel film as floats would take 160 MB.
    halved = pixels
    for _ in range(_first_halvings(pixels.shape)):
        rows, columns = halved.shape[0] // 2, halved.shape[1] // 2
        whole = halved[: 2 * rows, : 2 * columns]
        halved = cv2.resize(whole, (columns, rows), interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    small = cv2.resize(halved, _scaled_size(pixels.shape, factor), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


def pixel_size(shape: tuple[int, ...], work_shape: tuple[int, ...]) -> tuple[float, float]:
    """Width and height of a pixel of the working copy, in pixels of the picture.

    The last odd row or column has no part in a halving.
    """
    halvings = _first_halvings(shape)
    height, width = (side >> halvings << halvings for side in shape)
    return width / work_shape[1], height / work_shape[0]


def _first_halvings(shape: tuple[int, ...]) -> int:
    """How often a picture is halved, which OpenCV does with vector instructions, before it is shrunk by what is left.

    That is 2 to 4, so that a pixel of the working copy still is the mean over very nearly its own place: joints of large films
    move by at most 0.002 knee widths, with less left by up to 0.015. A strip stays 64 px wide.
    """
    return max(0, min((max(shape) // WORK_SIDE_PX).bit_length() - 2, (min(shape) // _NARROWEST_PX).bit_length() - 1))


def halvings(work: Floats) -> list[Floats]:
    """The working copy and its halves, down to 64 px, for close-ups without aliasing."""
    pyramid = [work]
    while max(pyramid[-1].shape) > 64:
        pyramid.append(_resized(pyramid[-1], _scaled_size(pyramid[-1].shape, 0.5), cv2.INTER_AREA))
    return pyramid


def describe(image: Floats, cell_px: int) -> Floats:
    """Edge strength by direction, relative to the strength around.

    Args:
        image: (height, width) float32 of any scale.
        cell_px: side of a cell, even; pixels beyond the last whole cell are left out.

    Returns:
        (rows, columns, DIRECTIONS) float32; direction k is a gradient towards k x 45 degrees.
    """
    features: Floats = _sums_of_one(image, cell_px) @ _MIXTURE
    return features


def _sums_of_one(image: Floats, cell_px: int) -> Floats:
    """(rows, columns, 6) float32 of a picture of any size."""
    rows, columns = image.shape[0] // cell_px, image.shape[1] // cell_px
    sums: Floats = _relative_sums(image[: rows * cell_px, np.newaxis, : columns * cell_px], cell_px)[0]
    return sums


def _relative_sums(images: Floats, cell_px: int) -> Floats:
    """Of each of several pictures that lie side by side, what ``_MIXTURE`` makes ``describe``'s features of.

    A radiograph takes some twenty descriptions of small pictures, where calls cost more than sums: hence several pictures
    at once, with everything to be summed over cells as one wide picture.

    Args:
        images: (height, pictures, width) float32, both sides whole numbers of cells.
        cell_px: side of a cell, even.

    Returns:
        (pictures, rows, columns, 6) float32.
    """
    height, pictures, width = images.shape
    rows, columns = height // cell_px, width // cell_px
    sums = _over_cells(_gradients(images).reshape(height, -1), cell_px).reshape(rows, -1, pictures * columns)
    strength = (_SUM_OF_DIRECTIONS @ sums).reshape(rows, pictures, columns)
    sums /= _scale(strength).reshape(rows, 1, -1)
    return sums.reshape(rows, len(_MIXTURE), pictures, columns).transpose(2, 0, 3, 1)


def _scale(strength: Floats) -> Floats:
    """What a cell's strength is relative to: the mean around it and a share of its picture's; (rows, pictures, columns)."""
    rows, pictures, columns = strength.shape
    framed = np.empty((rows, pictures, columns + 2), np.float32)
    framed[:, :, 1:-1] = strength
    framed[:, :, 0], framed[:, :, -1] = strength[:, :, 0], strength[:, :, -1]
    around = cv2.blur(framed.reshape(rows, -1), (3, 3), borderType=cv2.BORDER_REPLICATE).reshape(framed.shape)
    quiet = strength.sum(axis=(0, 2)) * np.float32(_QUIET / (rows * columns)) + np.float32(_TINY)
    scale: Floats = around[:, :, 1:-1] + quiet[:, np.newaxis]
    return scale


def _gradients(images: Floats) -> Floats:
    """What is summed over cells, as ``_MIXTURE`` takes it: (height, 6, pictures, width) float32."""
    height, pictures, width = images.shape
    planes = np.empty((height, len(_MIXTURE), pictures, width), np.float32)
    dx, dy = planes[:, 4], planes[:, 5]
    np.subtract(images[:, :, 2:], images[:, :, :-2], out=dx[:, :, 1:-1])
    np.subtract(images[:, :, 1], images[:, :, 0], out=dx[:, :, 0])
    np.subtract(images[:, :, -1], images[:, :, -2], out=dx[:, :, -1])
    np.subtract(images[2:], images[:-2], out=dy[1:-1])
    np.subtract(images[1], images[0], out=dy[0])
    np.subtract(images[-1], images[-2], out=dy[-1])
    wide = planes.reshape(height, len(_MIXTURE), -1)
    x, y = wide[:, 4], wide[:, 5]
    for index, along in enumerate((x, x + y, y, y - x)):
        # OpenCV's way to the positive part takes a third of numpy's time.
        cv2.threshold(along, 0, 0, cv2.THRESH_TOZERO, dst=wide[:, index])
    return planes


def _over_cells(planes: Floats, cell_px: int) -> Floats:
    """Means over cells, (rows, columns): halved first, which OpenCV does with vector instructions."""
    rows, columns = planes.shape[0] // cell_px, planes.shape[1] // cell_px
    halved = _resized(planes, (planes.shape[1] // 2, planes.shape[0] // 2), cv2.INTER_AREA)
    return _resized(halved, (columns, rows), cv2.INTER_AREA)


def mirrored(features: Floats) -> Floats:
    """What `describe` gives for the picture seen in a mirror."""
    directions = [(DIRECTIONS // 2 - k) % DIRECTIONS for k in range(DIRECTIONS)]
    return np.ascontiguousarray(features[:, ::-1, directions])


def cut_out(pyramid: list[Floats], pose: Pose, window: Window, *, angle: float = 0.0, flip: bool = False) -> Floats:
    """The square around a pose, turned and flipped about its centre where asked, from the coarsest fit copy."""
    cut = np.empty((window.side_px, window.side_px), np.float32)
    _cut_into(cut, pyramid, pose, window, angle=angle, flip=flip)
    return cut


def _cut_into(
    cut: Floats, pyramid: list[Floats], pose: Pose, window: Window, *, angle: float = 0.0, flip: bool = False
) -> None:
    work = pyramid[0]
    fit = [copy for copy in pyramid if pose.width * copy.shape[1] >= window.knee_px * work.shape[1]]
    source = fit[-1] if fit else work
    x_factor, y_factor = source.shape[1] / work.shape[1], source.shape[0] / work.shape[0]
    zoom = pose.width / window.knee_px
    across, down = zoom * math.cos(angle), zoom * math.sin(angle)
    turn = [[-across if flip else across, -down], [-down if flip else down, across]]
    middle = (window.side_px - 1) / 2
    # Poses count from the edge of the first pixel, OpenCV from its middle.
    x = (pose.x - (turn[0][0] * middle + turn[0][1] * middle)) * x_factor - 0.5
    y = (pose.y - (turn[1][0] * middle + turn[1][1] * middle)) * y_factor - 0.5
    matrix = [[turn[0][0] * x_factor, turn[0][1] * x_factor, x], [turn[1][0] * y_factor, turn[1][1] * y_factor, y]]
    cv2.warpAffine(
        source,
        np.array(matrix),
        (window.side_px, window.side_px),
        dst=cut,
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )


def close_up(pyramid: list[Floats], pose: Pose) -> Floats:
    """(11, 11, 8) float32 features around a pose."""
    return describe(cut_out(pyramid, pose, CLOSE_UP), CLOSE_UP.cell_px)


@dataclass(frozen=True)
class LinearFunctions:
    """Of a close-up, taken on the sums that its features are made of: weights (726, n), constants (n,)."""

    weights: Floats
    constants: Floats

    @classmethod
    def of(cls, learned: Floats) -> LinearFunctions:
        """From (969, n) weights of features."""
        by_cell = learned[:-1].reshape(-1, DIRECTIONS, learned.shape[1])
        return cls((_MIXTURE @ by_cell).reshape(-1, learned.shape[1]), learned[-1])

    def answers(self, pyramid: list[Floats], poses: Sequence[Pose]) -> Floats:
        """(poses, n) float32."""
        answers: Floats = _close_ups(pyramid, poses).reshape(-1, len(self.weights)) @ self.weights + self.constants
        return answers


def _close_ups(pyramid: list[Floats], poses: Sequence[Pose]) -> Floats:
    """(poses, 11, 11, 6) float32 sums around each pose."""
    if not poses:
        return np.empty((0, CLOSE_UP.cells, CLOSE_UP.cells, len(_MIXTURE)), np.float32)
    cuts = np.empty((CLOSE_UP.side_px, len(poses), CLOSE_UP.side_px), np.float32)
    for index, pose in enumerate(poses):
        _cut_into(cuts[:, index], pyramid, pose, CLOSE_UP)
    return _relative_sums(cuts, CLOSE_UP.cell_px)


def levels(pyramid: list[Floats]) -> Iterator[tuple[Floats, Pose]]:
    """The features of each search scale, with the pose of a knee in the first cell."""
    for image, first in _scaled(pyramid):
        yield describe(image, SEARCH.cell_px), first


def _scaled(pyramid: list[Floats]) -> Iterator[tuple[Floats, Pose]]:
    """The picture at each search scale, with the pose of a knee in the first cell."""
    work = pyramid[0]
    octaves = math.log2(LARGEST_KNEE / SMALLEST_KNEE)
    for level in range(math.floor(octaves * SCALES_PER_OCTAVE) + 1):
        knee = SMALLEST_KNEE * max(work.shape) * 2 ** (level / SCALES_PER_OCTAVE)
        factor = SEARCH.knee_px / knee
        columns, rows = _scaled_size(work.shape, factor, smallest=2 * SEARCH.cell_px)
        larger = [copy for copy in pyramid if copy.shape[0] >= rows and copy.shape[1] >= columns]
        if larger:
            image = _resized(larger[-1], (columns, rows), cv2.INTER_AREA)
        else:
            image = _resized(work, (columns, rows), cv2.INTER_LINEAR)
        x_factor, y_factor = work.shape[1] / columns, work.shape[0] / rows
        middle = SEARCH.cell_px / 2
        yield image, Pose(middle * x_factor, middle * y_factor, SEARCH.knee_px * x_factor)


def search(pyramid: list[Floats], template: Floats, constant: float, count: int = MAX_HITS) -> list[Hit]:
    """The `count` strongest separate peaks of the template or its mirror image over all scales."""
    kernel = _search_kernel(template)
    scales = [_Scale(_response(_sums_of_one(image, SEARCH.cell_px), kernel), first) for image, first in _scaled(pyramid)]
    return _apart(_peaks(scales, constant), count)


@dataclass(frozen=True)
class _Scale:
    """One scale's responses (rows, columns), and the pose of a knee in the first cell."""

    response: Floats
    first: Pose


def _search_kernel(template: Floats) -> Floats:
    """The template and its mirror image, row by row, for sums instead of features: (2 x 11, 11 x 6) float32."""
    both = np.stack([template, mirrored(template)], axis=1) @ _MIXTURE.T
    return both.reshape(2 * SEARCH.cells, -1)


def _response(sums: Floats, kernel: Floats) -> Floats:
    """How well the template or its mirror image fits on each cell, (rows, columns); the better of the two.

    Each row of cells meets each row of both templates in one matrix product, and the templates' rows are then summed
    downwards: all of it where the processor is fastest, and no product so large that it would be shared among threads.
    """
    rows, columns = sums.shape[:2]
    padded = padded_by_half(sums)
    margin = SEARCH.cells // 2
    down, across, each = padded.strides
    windows = as_strided(padded[margin:], (rows, columns, kernel.shape[1]), (down, across, each))
    products = np.zeros((rows + 2 * margin, len(kernel), columns), np.float32)
    np.matmul(kernel, np.ascontiguousarray(windows).transpose(0, 2, 1), out=products[margin : margin + rows])
    down, next_row, each = products.strides
    aligned = as_strided(
        products, (rows, SEARCH.cells, 2, columns), (down, down + 2 * next_row, next_row, each), writeable=False
    )
    response: Floats = aligned.sum(axis=1).max(axis=1)
    return response


def padded_by_half(features: Floats) -> Floats:
    """Empty cells all around, so that a template can stand on every cell."""
    margin = SEARCH.cells // 2
    rows, columns, directions = features.shape
    padded = np.zeros((rows + 2 * margin, columns + 2 * margin, directions), np.float32)
    padded[margin : margin + rows, margin : margin + columns] = features
    return padded


def strongest(hits: Iterable[Hit], count: int) -> list[Hit]:
    """The best hits that are not the same joint as a better one."""
    return _apart(sorted(hits, key=lambda hit: hit.score, reverse=True), count)


def _apart(hits: Iterable[Hit], count: int) -> list[Hit]:
    """The first hits, best first, that are not the same joint as a better one."""
    kept: list[Hit] = []
    for hit in hits:
        if all(_distance(hit.pose, other.pose) > SAME_JOINT for other in kept):
            kept.append(hit)
        if len(kept) == count:
            break
    return kept


def choose(hits: list[Hit], threshold: float) -> list[Hit]:
    """The best knee and the best plausible second one, left to right. `hits` are best first."""
    knees = [hit for hit in hits if hit.score >= threshold]
    if not knees:
        return []
    second = [knee for knee in knees[1:] if _is_pair(knees[0].pose, knee.pose)]
    return sorted([knees[0], *second[:1]], key=lambda hit: hit.pose.x)


def moved(pose: Pose, step: Floats) -> Pose:
    """A pose after one stage: `step` holds dx and dy in knee widths and the logarithm of the width's change."""
    dx, dy, growth = (min(max(value, -_LONGEST_STEP), _LONGEST_STEP) for value in step.tolist())
    return Pose(pose.x + dx * pose.width, pose.y + dy * pose.width, pose.width * math.exp(growth))


def _peaks(scales: Sequence[_Scale], constant: float) -> Iterator[Hit]:
    """The best peaks of every scale, best first; empty background is one wide flat top and comes last."""
    tops = [np.flatnonzero(one.response >= cv2.dilate(one.response, _NEIGHBOURS)) for one in scales]
    scores = np.concatenate([one.response.ravel()[places] for one, places in zip(scales, tops, strict=True)])
    owners = [index for index, places in enumerate(tops) for _ in range(len(places))]
    places = np.concatenate(tops)
    left = [_MAX_PEAKS] * len(scales)
    for peak in np.argsort(-scores, kind="stable").tolist():
        index = owners[peak]
        if left[index]:
            left[index] -= 1
            first = scales[index].first
            row, column = divmod(int(places[peak]), scales[index].response.shape[1])
            yield Hit(Pose(first.x * (2 * column + 1), first.y * (2 * row + 1), first.width), float(scores[peak]) + constant)


def _is_shown(pose: Pose, work: Floats) -> bool:
    """The centre and most of the knee lie inside the picture."""
    height, width = (int(side) for side in work.shape)
    inside = 0 <= pose.x <= width and 0 <= pose.y <= height
    return inside and pose.width <= MAX_SHARE_OF_WIDTH * width and pose.width <= MAX_SHARE_OF_HEIGHT * height


def fills(pose: Pose, work: Floats) -> bool:
    """Whether the picture shows this joint and nothing else."""
    height, width = work.shape
    shares = (pose.x / width, pose.y / height, pose.width / width)
    limits = (FILLING_X, FILLING_Y, FILLING_WIDTH)
    return all(low <= share <= high for share, (low, high) in zip(shares, limits, strict=True))


def _is_pair(one: Pose, other: Pose) -> bool:
    """Knees of one person are alike in width, stand at about one height, and not on each other."""
    mean_width = (one.width + other.width) / 2
    return (
        max(one.width, other.width) <= MAX_WIDTH_RATIO * min(one.width, other.width)
        and abs(one.y - other.y) <= MAX_HEIGHT_DIFFERENCE * mean_width
        and abs(one.x - other.x) >= MIN_DISTANCE * mean_width
    )


def _distance(one: Pose, other: Pose) -> float:
    """In widths of the wider pose."""
    return math.hypot(one.x - other.x, one.y - other.y) / max(one.width, other.width)


def _laterality(fibula_left: float) -> Laterality | None:
    """Seen from the front, a right knee has its fibula at the left of the picture."""
    if abs(fibula_left) < SURE_SIDE:
        return None
    return Laterality.RIGHT if fibula_left > 0 else Laterality.LEFT


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def _scaled_size(shape: tuple[int, ...], factor: float, smallest: int = 1) -> tuple[int, int]:
    """(columns, rows), as OpenCV wants it."""
    rows, columns = (max(smallest, round(side * factor)) for side in shape)
    return columns, rows


def _resized(image: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.float32)


def _read_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    # Of bytes that are no archive of plain arrays, zipfile, zlib and numpy raise a dozen classes, none of which they promise.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            if held == set(LAYOUT):
                return {name: _read_array(archive.getinfo(f"{name}.npy"), archive, *LAYOUT[name]) for name in LAYOUT}
    except Exception as error:
        raise ManifestError(f"The joint finder is no readable .npz file; {_REMEDY}.") from error
    raise ManifestError(f"The joint finder holds {_enumerated(held)} where {_enumerated(LAYOUT)} are needed; {_REMEDY}.")


def _read_array(entry: zipfile.ZipInfo, archive: zipfile.ZipFile, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    if entry.file_size > math.prod(shape) * np.dtype(dtype).itemsize + _MAX_HEADER_BYTES:
        raise ValueError(f"{entry.filename} is larger than what it should hold")
    array = np.load(io.BytesIO(archive.read(entry)), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{entry.filename} is no array")
    return array


def _enumerated(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))[:200] or "nothing"


def _check_array(name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ManifestError(f"The joint finder's {name} is {array.dtype} {array.shape} and must be {dtype} {shape}; {_REMEDY}.")
    if not np.isfinite(array.astype(np.float64)).all():
        raise ManifestError(f"The joint finder's {name} holds numbers that are not finite; {_REMEDY}.")
