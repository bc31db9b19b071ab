"""What the finder hits in a picture as it is and otherwise, cut as the gate sees it: knees, near misses, anything else."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.arrays import Floats
from osteo_edge.finder.copies import cut_out, halvings
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.poses import Hit, Pose, choose
from osteo_edge.gates.knee import WINDOW
from train.gates.pictures import CROPS, DRAWN_KNEES, STRETCHED, WHOLE_FILMS, Knees, Other

HITS = 4
# A hit within this of a joint, in knee widths and as a ratio of widths, is the knee; beyond the other limits it is none.
NEAR, NEAR_RATIO = 0.2, 1.25
FAR, FAR_RATIO = 0.55, 1.8
# Without an annotation, the finder's surest hit is taken for the knee from this score on.
SURE_HIT = 0.3
_VARIANTS_OF_KNEES = {CROPS: 1, STRETCHED: 1, DRAWN_KNEES: 1}
_VARIANTS_OF_WHOLE_FILMS = 4
# Of so many pictures of single knees one is also turned, halved and shuffled.
_FILMS_A_NEAR_MISS = 3
_VARIANTS_AT_HAND = {"photograph": 12, "other radiograph": 40, "hip or ankle": 60, "tomography": 12}
_VARIANTS_OF_DRAWN = 1


@dataclass
class Windows:
    """Cut-outs, (64, 64) float16 each, and what they are of.

    Attributes:
        kinds: of what is no knee, a kind; of knees, the clinic.
        pictures: which picture, variants told apart.
        scores: the finder's, of the hit; NaN where no hit stood there.
    """

    cuts: list[NDArray[np.float16]] = field(default_factory=list)
    is_knee: list[bool] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    clinics: list[str] = field(default_factory=list)
    pictures: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def extend(self, other: Windows) -> None:
        for name in ("cuts", "is_knee", "kinds", "clinics", "pictures", "scores"):
            getattr(self, name).extend(getattr(other, name))

    def add(
        self, pyramid: list[Floats], pose: Pose, *, is_knee: bool, kind: str, clinic: str, picture: str, score: float
    ) -> None:
        self.cuts.append(cut_out(pyramid, pose, WINDOW).astype(np.float16))
        self.is_knee.append(is_knee)
        self.kinds.append(kind)
        self.clinics.append(clinic)
        self.pictures.append(picture)
        self.scores.append(score)


def of_others(finder: JointFinder, pictures: Iterable[Other], rng: np.random.Generator, *, varied: bool) -> Windows:
    """The finder's hits in pictures without a knee, and in parts of them, turned, stretched and regraded."""
    windows = Windows()
    for picture in pictures:
        variants = (_VARIANTS_OF_DRAWN if picture.is_drawn else _VARIANTS_AT_HAND.get(picture.kind, 8)) if varied else 0
        for number, work in enumerate([picture.work, *(any_part(picture.work, rng) for _ in range(variants))]):
            _add_hits(windows, finder, work, picture.kind, "", f"{picture.name} {number}")
    return windows


def of_knees(finder: JointFinder, pictures: Iterable[Knees], rng: np.random.Generator, *, varied: bool) -> Windows:
    """Knees as the finder hits them, what else it hits, and what is left when they are turned, halved or shuffled."""
    windows = Windows()
    for index, picture in enumerate(pictures):
        pyramid = halvings(picture.work)
        joints = picture.joints or surest(finder, pyramid)
        if not joints:
            continue
        variants = (_VARIANTS_OF_KNEES.get(picture.clinic, _VARIANTS_OF_WHOLE_FILMS)) if varied else 0
        for number in range(variants + 1):
            work, moved = varied_film(picture.work, joints, rng) if number else (picture.work, joints)
            _add_joints(windows, finder, work, moved, picture, number)
        if varied and (picture.clinic == WHOLE_FILMS or index % _FILMS_A_NEAR_MISS == 0):
            for kind, work in near_misses(picture.work, joints, rng):
                _add_hits(windows, finder, work, kind, picture.clinic, f"{picture.name} {kind}")
    return windows


def surest(finder: JointFinder, pyramid: list[Floats]) -> tuple[Pose, ...]:
    """The knees that the finder is sure of."""
    return tuple(hit.pose for hit in choose(finder.examine(pyramid), SURE_HIT))


def _add_hits(windows: Windows, finder: JointFinder, work: Floats, kind: str, clinic: str, picture: str) -> None:
    pyramid = halvings(work)
    for hit in finder.examine(pyramid, HITS):
        windows.add(pyramid, hit.pose, is_knee=False, kind=kind, clinic=clinic, picture=picture, score=hit.score)


def _add_joints(
    windows: Windows, finder: JointFinder, work: Floats, joints: Sequence[Pose], picture: Knees, number: int
) -> None:
    pyramid = halvings(work)
    name = f"{picture.name} {number}"
    hits = finder.examine(pyramid, HITS)
    for hit in hits:
        if any(_is_near(hit, joint) for joint in joints):
            windows.add(
                pyramid, hit.pose, is_knee=True, kind=picture.clinic, clinic=picture.clinic, picture=name, score=hit.score
            )
        elif all(_is_far(hit, joint) for joint in joints):
            windows.add(
                pyramid, hit.pose, is_knee=False, kind="beside the knee", clinic=picture.clinic, picture=name, score=hit.score
            )


def _is_near(hit: Hit, joint: Pose) -> bool:
    distance, ratio = _apart(hit.pose, joint)
    return distance < NEAR and ratio < NEAR_RATIO


def _is_far(hit: Hit, joint: Pose) -> bool:
    distance, ratio = _apart(hit.pose, joint)
    return distance > FAR or ratio > FAR_RATIO


def _apart(one: Pose, joint: Pose) -> tuple[float, float]:
    distance = math.hypot(one.x - joint.x, one.y - joint.y) / joint.width
    return distance, max(one.width, joint.width) / min(one.width, joint.width)


def near_misses(work: Floats, joints: Sequence[Pose], rng: np.random.Generator) -> Iterator[tuple[str, Floats]]:
    """What is cut, turned or shuffled from a film of knees, and shows no knee that can be answered."""
    yield "upside down", np.ascontiguousarray(work[::-1, ::-1])
    yield "sideways", np.ascontiguousarray(np.rot90(work, int(rng.choice([1, 3]))))
    yield "negative", work.max() + work.min() - work
    joint = joints[int(rng.integers(len(joints)))]
    height, width = work.shape
    x, y = (int(np.clip(place, 0, side)) for place, side in ((joint.x, width), (joint.y, height)))
    off = int(rng.uniform(0.05, 0.4) * joint.width)
    alone = work[:, max(0, x - int(joint.width)) : x + int(joint.width)]  # the other leg left out
    parts = {
        "femur alone": alone[: max(0, y - off)],
        "tibia alone": alone[y + off // 2 :],
        "half a joint": alone[:, : alone.shape[1] // 2] if rng.random() < 0.5 else alone[:, alone.shape[1] // 2 :],
    }
    yield from ((kind, _enlarged(part)) for kind, part in parts.items() if min(part.shape) >= 24)
    yield "shuffled", shuffled(work, joint, rng)


def _enlarged(part: Floats) -> Floats:
    factor = 224 / max(part.shape)
    return np.asarray(cv2.resize(part, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR), np.float32)


def shuffled(work: Floats, joint: Pose, rng: np.random.Generator) -> Floats:
    """The square around a joint in tiles, which have changed places."""
    reach = int(1.1 * joint.width)
    padded = np.pad(work, reach, mode="edge")
    x, y = int(np.clip(joint.x, 0, work.shape[1])), int(np.clip(joint.y, 0, work.shape[0]))
    square = cv2.resize(padded[y : y + 2 * reach, x : x + 2 * reach], (216, 216))
    count = int(rng.choice([2, 3, 4]))
    side = 216 // count
    tiles = [square[r * side : (r + 1) * side, c * side : (c + 1) * side] for r in range(count) for c in range(count)]
    order = rng.permutation(len(tiles))
    while (order == np.arange(len(tiles))).mean() > 0.5:
        order = rng.permutation(len(tiles))
    rows = [np.hstack([tiles[order[r * count + c]] for c in range(count)]) for r in range(count)]
    return np.ascontiguousarray(np.vstack(rows), np.float32)


def any_part(work: Floats, rng: np.random.Generator) -> Floats:
    """A random part of a picture: cropped, turned, mirrored, stretched, exchanged, regraded."""
    height, width = work.shape
    share = float(rng.uniform(0.25, 1.0))
    rows, columns = max(16, int(share * height)), max(16, int(share * width * rng.uniform(0.6, 1)))
    y, x = int(rng.integers(0, max(1, height - rows + 1))), int(rng.integers(0, max(1, width - columns + 1)))
    part = work[y : y + rows, x : x + columns]
    part = np.rot90(part, int(rng.integers(4))) if rng.random() < 0.5 else part
    part = part[:, ::-1] if rng.random() < 0.5 else part
    part = part.max() + part.min() - part if rng.random() < 0.3 else part
    side = int(rng.integers(160, 420))
    shape = (side, int(np.clip(side * part.shape[0] / part.shape[1] * np.exp(rng.normal(0, 0.15)), 80, 512)))
    return regraded(np.asarray(cv2.resize(np.ascontiguousarray(part), shape), np.float32), rng)


def varied_film(work: Floats, joints: Sequence[Pose], rng: np.random.Generator) -> tuple[Floats, tuple[Pose, ...]]:
    """The film as it may come otherwise, and where its knees are then: mirrored, tilted, stretched, cropped, framed."""
    scale_x = float(rng.uniform(0.75, 1.25))
    scale_y = scale_x * float(np.exp(rng.uniform(-0.25, 0.45)))
    turn = float(np.clip(rng.normal(0, 0.08), -0.2, 0.2))
    flip = -1.0 if rng.random() < 0.5 else 1.0
    linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ np.diag(
        [flip * scale_x, scale_y]
    )
    left, top, right, bottom = _kept(work, joints, rng)
    corners = np.array([[left, top], [right, top], [left, bottom], [right, bottom]]) @ linear.T
    low, high = corners.min(axis=0), corners.max(axis=0)
    size = np.clip(np.rint(high - low), 64, 640).astype(int)
    matrix = np.hstack([linear, -low[:, None]])
    warped = cv2.warpAffine(work, matrix, (int(size[0]), int(size[1])), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    moved = tuple(_moved(joint, matrix, scale_x) for joint in joints)
    inside = tuple(pose for pose in moved if 0 <= pose.x < size[0] and 0 <= pose.y < size[1])
    shown = np.asarray(warped, np.float32)
    if rng.random() < 0.2:
        border = int(rng.uniform(0.05, 0.3) * max(shown.shape))
        shown = np.pad(shown, border)
        inside = tuple(Pose(pose.x + border, pose.y + border, pose.width) for pose in inside)
    return regraded(shown, rng), inside


def _kept(work: Floats, joints: Sequence[Pose], rng: np.random.Generator) -> tuple[float, float, float, float]:
    """All of the film, or what is around one joint."""
    height, width = work.shape
    if rng.random() < 0.4:
        return 0.0, 0.0, float(width), float(height)
    joint = joints[int(rng.integers(len(joints)))]
    left, right = rng.uniform(0.6, 1.2, 2) * joint.width
    above, below = rng.uniform(0.55, 1.5, 2) * joint.width
    return max(0, joint.x - left), max(0, joint.y - above), min(width, joint.x + right), min(height, joint.y + below)


def _moved(joint: Pose, matrix: NDArray[np.float64], scale: float) -> Pose:
    x, y = (matrix @ np.array([joint.x, joint.y, 1.0])).tolist()
    return Pose(x, y, joint.width * scale)


def regraded(work: Floats, rng: np.random.Generator) -> Floats:
    """Other greys, a little blur or grain, stored with loss now and then."""
    low, high = float(work.min()), float(work.max())
    greys = ((work - low) / max(high - low, 1e-6)) ** float(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.3:
        greys = np.asarray(cv2.GaussianBlur(greys, (0, 0), float(rng.uniform(0.4, 1.6))), np.float32)
    if rng.random() < 0.3:
        greys = np.asarray(greys + rng.normal(0, rng.uniform(0.005, 0.05), greys.shape), np.float32)
    clipped = np.clip(rng.uniform(0.7, 1.25) * greys + rng.uniform(-0.1, 0.1), 0, 1)
    bytes_ = np.rint(255 * clipped).astype(np.uint8)
    if rng.random() < 0.3:
        data = cv2.imencode(".jpg", bytes_, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])[1]
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.float32)
    return np.asarray(bytes_, np.float32)
