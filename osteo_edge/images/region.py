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
import zlib
from dataclasses import dataclass
from tokenize import TokenError
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import ManifestError
from osteo_edge.labels import Laterality

if TYPE_CHECKING:
    from collections.abc import Iterator

    from osteo_edge.manifest import RegionProfile

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8] | NDArray[np.uint16]

WORK_SIDE_PX: Final = 512
DIRECTIONS: Final = 8
STAGES: Final = 3

# A knee's width as a share of the picture's longer side: two long legs on one film ... one knee that fills it.
SMALLEST_KNEE: Final = 0.13
LARGEST_KNEE: Final = 0.95
SCALES_PER_OCTAVE: Final = 3
MAX_HITS: Final = 6
# Hits this near to a stronger one, in knee widths, are the same joint.
SAME_JOINT: Final = 0.4

# No knee is seen as one that is wider than these shares of the picture.
MAX_SHARE_OF_WIDTH: Final = 1.1
MAX_SHARE_OF_HEIGHT: Final = 1.5

# Below this the two mirror images fit about equally well and no side is named.
SURE_SIDE: Final = 0.1
# What two knees of one person have in common, in knee widths.
MAX_WIDTH_RATIO: Final = 1.4
MAX_HEIGHT_DIFFERENCE: Final = 0.8
MIN_DISTANCE: Final = 0.9

# Added to the strength of the edges around a cell, as a share of the whole picture's, so that empty
# background stays quiet.
_QUIET = 0.3
# One stage moves a joint by no more than this, in knee widths and in the logarithm of the width.
_LONGEST_STEP = 0.3

_REMEDY = "install the bundle again"
# What numpy and zipfile raise on bytes that are no archive of plain arrays.
_UNREADABLE = (
    AttributeError,
    EOFError,
    KeyError,
    NotImplementedError,
    MemoryError,
    OSError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


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
    """

    x_px: float
    y_px: float
    width_px: float
    score: float
    laterality: Laterality | None


@dataclass(frozen=True)
class Pose:
    """Where a joint is thought to be, in pixels of the working copy."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Hit:
    """A pose and how well something fits there."""

    pose: Pose
    score: float


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
        pyramid = halvings(work)
        x_factor, y_factor = pixels.shape[1] / work.shape[1], pixels.shape[0] / work.shape[0]
        return tuple(
            Joint(
                x_px=hit.pose.x * x_factor,
                y_px=hit.pose.y * y_factor,
                width_px=hit.pose.width * x_factor,
                score=hit.score,
                laterality=self.laterality(pyramid, hit.pose),
            )
            for hit in choose(self.examine(pyramid), self.threshold)
        )

    def examine(self, pyramid: list[Floats]) -> list[Hit]:
        """Everything that the template hits, pulled onto a joint and scored as a knee, best first."""
        found = search(pyramid, self.template, self.template_constant)
        ends = (self.descend(pyramid, hit.pose) for hit in found)
        poses = [pose for pose in ends if _is_shown(pose, pyramid[0])]
        scored = [Hit(pose, _linear(self.knee, close_up(pyramid, pose))) for pose in poses]
        return strongest(scored, MAX_HITS)

    def descend(self, pyramid: list[Floats], pose: Pose) -> Pose:
        """Follow the learned regressions to the joint."""
        for stage in self.descent:
            pose = moved(pose, close_up(pyramid, pose).ravel() @ stage[:-1] + stage[-1])
        return pose

    def laterality(self, pyramid: list[Floats], pose: Pose) -> Laterality | None:
        """Seen from the front, a right knee has its fibula at the left of the picture."""
        fibula_left = _linear(self.side, close_up(pyramid, pose))
        if abs(fibula_left) < SURE_SIDE:
            return None
        return Laterality.RIGHT if fibula_left > 0 else Laterality.LEFT


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
    small = cv2.resize(pixels, _scaled_size(pixels.shape, factor), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.float32)


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
        cell_px: side of a cell; pixels beyond the last whole cell are left out.

    Returns:
        (rows, columns, DIRECTIONS) float32; direction k is a gradient towards k x 45 degrees.
    """
    rows, columns = image.shape[0] // cell_px, image.shape[1] // cell_px
    image = image[: rows * cell_px, : columns * cell_px]
    dx = _filtered(image, [-1, 0, 1], [1])
    dy = _filtered(image, [1], [-1, 0, 1])
    angles = 2 * np.pi * np.arange(DIRECTIONS // 2) / DIRECTIONS
    halves = [dx * np.float32(np.cos(angle)) + dy * np.float32(np.sin(angle)) for angle in angles]
    planes = [np.maximum(half, 0) for half in halves] + [np.maximum(-half, 0) for half in halves]
    cells = np.stack([_resized(plane, (columns, rows), cv2.INTER_AREA) for plane in planes], axis=2)
    strength = cells.sum(axis=2)
    around = np.asarray(cv2.blur(strength, (3, 3), borderType=cv2.BORDER_REPLICATE))
    scale: Floats = around + np.float32(_QUIET * strength.mean() + 1e-6)
    relative: Floats = cells / scale[:, :, None]
    return relative


def mirrored(features: Floats) -> Floats:
    """What `describe` gives for the picture seen in a mirror."""
    directions = [(DIRECTIONS // 2 - k) % DIRECTIONS for k in range(DIRECTIONS)]
    return np.ascontiguousarray(features[:, ::-1, directions])


def cut_out(pyramid: list[Floats], pose: Pose, window: Window, *, angle: float = 0.0, flip: bool = False) -> Floats:
    """The square around a pose, turned and flipped about its centre where asked, from the coarsest fit copy."""
    work = pyramid[0]
    fit = [copy for copy in pyramid if pose.width * copy.shape[1] >= window.knee_px * work.shape[1]]
    source = fit[-1] if fit else work
    zoom = pose.width / window.knee_px
    turn = zoom * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    if flip:
        turn[:, 0] *= -1
    middle = (window.side_px - 1) / 2
    matrix = np.column_stack([turn, np.array([pose.x, pose.y]) - turn @ [middle, middle]])
    matrix *= np.array([[source.shape[1] / work.shape[1]], [source.shape[0] / work.shape[0]]])
    # Poses count from the edge of the first pixel, OpenCV from its middle.
    matrix[:, 2] -= 0.5
    return np.asarray(
        cv2.warpAffine(
            source,
            matrix,
            (window.side_px, window.side_px),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        dtype=np.float32,
    )


def close_up(pyramid: list[Floats], pose: Pose) -> Floats:
    """(11, 11, 8) float32 features around a pose."""
    return describe(cut_out(pyramid, pose, CLOSE_UP), CLOSE_UP.cell_px)


def levels(pyramid: list[Floats]) -> Iterator[tuple[Floats, Pose]]:
    """The features of each search scale, with the pose of a knee in the first cell."""
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
        yield describe(image, SEARCH.cell_px), Pose(middle * x_factor, middle * y_factor, SEARCH.knee_px * x_factor)


def search(pyramid: list[Floats], template: Floats, constant: float) -> list[Hit]:
    """The `MAX_HITS` strongest separate peaks of the template or its mirror image over all scales."""
    both = (template, mirrored(template))
    hits: list[Hit] = []
    for features, first in levels(pyramid):
        padded = padded_by_half(features)
        response = np.maximum(*(np.asarray(cv2.matchTemplate(padded, side, cv2.TM_CCORR)) for side in both))
        hits.extend(_peaks(response, first, constant))
    return strongest(hits, MAX_HITS)


def padded_by_half(features: Floats) -> Floats:
    """Empty cells all around, so that a template can stand on every cell."""
    margin = SEARCH.cells // 2
    return np.pad(features, ((margin, margin), (margin, margin), (0, 0)))


def strongest(hits: list[Hit], count: int) -> list[Hit]:
    """The best hits that are not the same joint as a better one."""
    kept: list[Hit] = []
    for hit in sorted(hits, key=lambda hit: hit.score, reverse=True):
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
    dx, dy, growth = (float(value) for value in np.clip(step, -_LONGEST_STEP, _LONGEST_STEP))
    return Pose(pose.x + dx * pose.width, pose.y + dy * pose.width, pose.width * math.exp(growth))


def _peaks(response: Floats, first: Pose, constant: float) -> Iterator[Hit]:
    """The best peaks of one scale; empty background is one wide flat top and comes last."""
    tops = response >= np.asarray(cv2.dilate(response, np.ones((3, 3), np.uint8)))
    places = np.argwhere(tops)
    order = np.argsort(-response[tops], kind="stable")[: 2 * MAX_HITS]
    for row, column in places[order]:
        pose = Pose(first.x * (2 * int(column) + 1), first.y * (2 * int(row) + 1), first.width)
        yield Hit(pose, float(response[row, column]) + constant)


def _is_shown(pose: Pose, work: Floats) -> bool:
    """The centre and most of the knee lie inside the picture."""
    height, width = (int(side) for side in work.shape)
    inside = 0 <= pose.x <= width and 0 <= pose.y <= height
    return inside and pose.width <= MAX_SHARE_OF_WIDTH * width and pose.width <= MAX_SHARE_OF_HEIGHT * height


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


def _linear(weights: Floats, features: Floats) -> float:
    return float(features.ravel() @ weights[:-1] + weights[-1])


def _nearest(value: float) -> int:
    return math.floor(value + 0.5)


def _scaled_size(shape: tuple[int, ...], factor: float, smallest: int = 1) -> tuple[int, int]:
    """(columns, rows), as OpenCV wants it."""
    rows, columns = (max(smallest, round(side * factor)) for side in shape)
    return columns, rows


def _resized(image: Floats, size: tuple[int, int], interpolation: int) -> Floats:
    return np.asarray(cv2.resize(image, size, interpolation=interpolation), dtype=np.float32)


def _filtered(image: Floats, row: list[float], column: list[float]) -> Floats:
    kernels = (np.array(row, np.float32), np.array(column, np.float32))
    result = cv2.sepFilter2D(image, cv2.CV_32F, *kernels, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(result, dtype=np.float32)


def _read_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except _UNREADABLE as error:
        raise ManifestError(f"The joint finder is no readable .npz file; {_REMEDY}.") from error
    if set(arrays) != set(LAYOUT):
        held, needed = ", ".join(sorted(arrays)) or "nothing", ", ".join(sorted(LAYOUT))
        raise ManifestError(f"The joint finder holds {held} where {needed} are needed; {_REMEDY}.")
    return arrays


def _check_array(name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ManifestError(f"The joint finder's {name} is {array.dtype} {array.shape} and must be {dtype} {shape}; {_REMEDY}.")
    if not np.isfinite(array.astype(np.float64)).all():
        raise ManifestError(f"The joint finder's {name} holds numbers that are not finite; {_REMEDY}.")
