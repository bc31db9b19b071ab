"""Other bones than a knee's, drawn: as unlike real films as drawings are, and as unlike knees as those bones are.

A bone is a tube with a bright rim; tubes lie in soft tissue and add up. Nothing here was fitted to real films, and nothing of
it is evidence of anything but that the gate does not take just any bones for a knee.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import cv2
import numpy as np

from osteo_edge.arrays import Floats

SIDE_PX: Final = 320

Point = tuple[float, float]


class Film:
    """A square film of `SIDE_PX` on which tissue and bones add up; places and widths are shares of its side."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.sum = np.zeros((SIDE_PX, SIDE_PX), np.float32)

    def tissue(self, points: Sequence[Point], width: float, amount: float) -> None:
        self.sum += amount * _rounded(self._tube(points, [width] * len(points)), 0.5 * width * SIDE_PX)

    def bone(self, points: Sequence[Point], widths: Sequence[float], amount: float = 1.0) -> None:
        """A tube with a bright rim along the points, as wide as given at each."""
        depth = self._tube(points, widths)
        rim = max(2.0, self.rng.uniform(0.08, 0.2) * float(np.mean(widths)) * SIDE_PX)
        inside = depth > 0
        density = self.rng.uniform(0.35, 0.7)
        self.sum += amount * inside * (density + (1 - density) * np.exp(-((depth / rim - 0.5) ** 2)))

    def body(self, centre: Point, size: Point, angle: float = 0.0, amount: float = 1.0) -> None:
        """A rounded block or an oval with a bright rim."""
        mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        middle = (centre[0] * SIDE_PX, centre[1] * SIDE_PX)
        if self.rng.random() < 0.5:
            axes = (round(size[0] * SIDE_PX / 2), round(size[1] * SIDE_PX / 2))
            cv2.ellipse(mask, (round(middle[0]), round(middle[1])), axes, math.degrees(angle), 0, 360, 1, -1)
        else:
            box = cv2.boxPoints((middle, (size[0] * SIDE_PX, size[1] * SIDE_PX), math.degrees(angle)))
            cv2.fillPoly(mask, [np.rint(box).astype(np.int32)], 1)
        depth = cv2.distanceTransform(mask, cv2.DIST_L2, 3)
        rim = max(2.0, self.rng.uniform(0.05, 0.15) * min(size) * SIDE_PX)
        self.sum += amount * (depth > 0) * (0.5 + 0.5 * np.exp(-((depth / rim - 0.4) ** 2)))

    def developed(self) -> Floats:
        """Blurred, grained, 0 to 255, bone bright."""
        rng = self.rng
        film = cv2.GaussianBlur(self.sum, (0, 0), rng.uniform(0.6, 2.0))
        clouds = cv2.resize(rng.normal(0, 1, (9, 9)).astype(np.float32), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
        fine = cv2.GaussianBlur(rng.normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32), (0, 0), rng.uniform(0.5, 1.5))
        spread = float(film.std()) + 1e-3
        film = film + spread * (rng.uniform(0, 0.25) * clouds + rng.uniform(0, 0.3) * fine)
        share = (film - film.min()) / (float(np.ptp(film)) + 1e-6)
        return np.asarray(255 * share ** rng.uniform(0.6, 1.3), np.float32)

    def _tube(self, points: Sequence[Point], widths: Sequence[float]) -> Floats:
        """Depth in pixels inside the union of discs along the points."""
        mask = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        along = np.linspace(0, len(points) - 1, 40)
        xs, ys, ws = (np.interp(along, range(len(points)), values) for values in (*zip(*points, strict=True), widths))
        for x, y, width in zip(xs, ys, ws, strict=True):
            cv2.circle(mask, (round(x * SIDE_PX), round(y * SIDE_PX)), max(1, round(width * SIDE_PX / 2)), 1, -1)
        return np.asarray(cv2.distanceTransform(mask, cv2.DIST_L2, 3), np.float32)


def _rounded(depth: Floats, radius: float) -> Floats:
    """How much of a round body lies in the beam, 0 to 1."""
    share = np.clip(depth / radius, 0, 1)
    return np.asarray(np.sqrt(share * (2 - share)), np.float32)


def _hand(film: Film) -> None:
    rng = film.rng
    film.tissue([(0.5, 1.0), (0.5, 0.6)], 0.5, 0.4)
    for finger in range(5):
        angle = -0.7 + 0.35 * finger + rng.normal(0, 0.05)
        start = 0.62 + (0.1 if finger == 0 else 0)
        film.tissue([(0.5, 0.62), (0.5 + 0.6 * math.sin(angle), start - 0.62 * math.cos(angle))], 0.1, 0.25)
        reach = 0.05
        for length in (0.22, 0.14, 0.09, 0.06):
            ends = [(0.5 + (0.1 + at) * math.sin(angle), start - at * math.cos(angle)) for at in (reach, reach + length)]
            film.bone([ends[0], _between(*ends), ends[1]], [0.05, 0.03, 0.045])
            reach += length + 0.012
    for _ in range(8):
        film.body((0.5 + rng.uniform(-0.13, 0.13), rng.uniform(0.62, 0.76)), (0.08, 0.08), rng.uniform(0, 3))
    film.bone([(0.45, 0.8), (0.43, 1.1)], [0.14, 0.07])
    film.bone([(0.58, 0.8), (0.58, 1.1)], [0.08, 0.05])


def _pelvis(film: Film) -> None:
    rng = film.rng
    film.tissue([(0.5, 0.0), (0.5, 1.0)], 1.1, 0.8)
    for side in (-1, 1):
        film.body((0.5 + side * 0.27, 0.33), (0.3, 0.42), side * 0.5, 0.7)
        film.bone(
            [(0.5 + side * x, y) for x, y in ((0.04, 0.72), (0.14, 0.66), (0.2, 0.75), (0.08, 0.86), (0.02, 0.78))], [0.06] * 5
        )
        film.body((0.5 + side * 0.31, 0.62), (0.15, 0.15), 0.0)
        film.bone(
            [(0.5 + side * x, y) for x, y in ((0.31, 0.62), (0.4, 0.7), (0.38, 0.8), (0.36, 1.1))], [0.11, 0.13, 0.12, 0.1]
        )
    for level in range(4):
        film.body((0.5, 0.02 + 0.1 * level), (0.16 + 0.01 * level, 0.08), rng.normal(0, 0.05))
    film.body((0.5, 0.5), (0.2, 0.26), 0.0, 0.8)


def _foot(film: Film) -> None:
    rng = film.rng
    film.tissue([(0.5, 0.95), (0.5, 0.3)], 0.42, 0.5)
    for toe in range(5):
        x = 0.32 + 0.09 * toe
        film.bone([(0.42 + 0.04 * toe, 0.58), (x, 0.4), (x - 0.01, 0.26)], [0.07, 0.035, 0.06])
        reach = 0.23
        for length in (0.1, 0.05, 0.04):
            film.bone([(x, reach), (x - 0.01, reach - length)], [0.045, 0.04])
            reach -= length + 0.015
    for _ in range(6):
        film.body((0.5 + rng.uniform(-0.12, 0.12), rng.uniform(0.58, 0.72)), (0.11, 0.1), rng.uniform(0, 3))
    film.body((0.5, 0.85), (0.2, 0.28), 0.0)


def _elbow(film: Film) -> None:
    """Of the long joints the one most like a knee: one bone above, two below."""
    lean = film.rng.normal(0, 0.05)
    film.tissue([(0.5, 0.0), (0.5 + lean, 1.0)], 0.5, 0.6)
    film.bone([(0.5, -0.1), (0.5, 0.3), (0.5, 0.45)], [0.14, 0.15, 0.3])
    film.body((0.5, 0.42), (0.12, 0.1), 0.0, -0.4)
    film.bone([(0.58, 0.5), (0.57, 0.7), (0.6 + lean, 1.1)], [0.15, 0.13, 0.09])
    film.bone([(0.43, 0.54), (0.43, 0.62), (0.38 + lean, 1.1)], [0.12, 0.07, 0.09])


def _ankle(film: Film) -> None:
    film.tissue([(0.5, 0.0), (0.5, 0.7), (0.5, 1.0)], 0.42, 0.6)
    film.bone([(0.5, -0.1), (0.5, 0.35), (0.48, 0.52)], [0.14, 0.16, 0.26])
    film.bone([(0.62, -0.1), (0.63, 0.4), (0.64, 0.62)], [0.05, 0.06, 0.1])
    film.body((0.5, 0.66), (0.27, 0.16), film.rng.normal(0, 0.1))
    film.body((0.5, 0.84), (0.24, 0.18), film.rng.normal(0, 0.2))


def _hip(film: Film) -> None:
    film.tissue([(0.4, 0.0), (0.5, 1.0)], 0.9, 0.7)
    film.body((0.38, 0.38), (0.22, 0.22), 0.0)
    film.bone([(0.36, 0.37), (0.52, 0.46), (0.58, 0.55), (0.57, 0.7), (0.56, 1.1)], [0.18, 0.16, 0.22, 0.16, 0.14])
    film.bone([(0.62, 0.42), (0.6, 0.52)], [0.08, 0.14])
    film.body((0.25, 0.18), (0.4, 0.3), 0.4, 0.7)
    film.bone([(0.2, 0.55), (0.1, 0.7), (0.2, 0.8)], [0.07, 0.09, 0.07])


def _shoulder(film: Film) -> None:
    film.tissue([(0.2, 0.1), (0.6, 0.5), (0.7, 1.1)], 0.5, 0.6)
    film.body((0.62, 0.35), (0.22, 0.22), 0.0)
    film.bone([(0.62, 0.36), (0.66, 0.55), (0.68, 1.1)], [0.2, 0.13, 0.12])
    film.bone([(0.05, 0.2), (0.3, 0.14), (0.55, 0.2)], [0.05, 0.05, 0.07])
    film.body((0.36, 0.55), (0.26, 0.4), 0.3, 0.5)
    _ribs(film, 0.0, 0.3)


def _skull(film: Film) -> None:
    rng = film.rng
    film.body((0.5, 0.42), (0.62, 0.74), 0.0)
    for side in (-1, 1):
        film.body((0.5 + side * 0.14, 0.55), (0.16, 0.13), 0.0, -0.4)
        film.bone([(0.5 + side * 0.22, 0.62), (0.5 + side * 0.2, 0.82), (0.5, 0.92)], [0.05] * 3)
    film.body((0.5, 0.65), (0.09, 0.14), 0.0, -0.4)
    for tooth in range(8):
        film.body((0.38 + 0.034 * tooth, 0.79 + rng.normal(0, 0.004)), (0.03, 0.09), 0.0, 0.6)


def _chest(film: Film) -> None:
    film.tissue([(0.5, 0.0), (0.5, 1.0)], 1.2, 0.5)
    for side in (-1, 1):
        film.body((0.5 + side * 0.22, 0.5), (0.3, 0.66), 0.0, -0.5)
        film.bone([(0.5, 0.1), (0.5 + side * 0.35, 0.07)], [0.05, 0.05])
    _ribs(film, 0.1, 0.9)
    film.tissue([(0.52, 0.45), (0.6, 0.68)], 0.3, 0.7)
    for level in range(10):
        film.body((0.5, 0.05 + 0.1 * level), (0.09, 0.08), 0.0, 0.4)


def _ribs(film: Film, left: float, right: float) -> None:
    for rib in range(9):
        y = 0.1 + 0.085 * rib
        for side in (-1, 1):
            points = [(0.5 + side * 0.05, y), (0.5 + side * 0.3, y + 0.03), (0.5 + side * 0.38, y + 0.14)]
            film.bone([(left + (right - left) * x, place) for x, place in points], [0.022] * 3, 0.35)


def _spine(film: Film) -> None:
    rng = film.rng
    film.tissue([(0.5, 0.0), (0.5, 1.0)], 0.9, 0.6)
    pitch = rng.uniform(0.12, 0.22)
    for level in range(-1, round(1 / pitch) + 1):
        y, width = (level + 0.5) * pitch, rng.uniform(0.2, 0.26) + 0.006 * level
        film.body((0.5, y), (width, 0.75 * pitch), rng.normal(0, 0.04))
        film.bone([(0.5 - 0.9 * width, y), (0.5 + 0.9 * width, y)], [0.03, 0.03], 0.4)
        film.bone([(0.5, y), (0.5, y + 0.3 * pitch)], [0.03, 0.03], 0.5)


def _lone_shaft(film: Film) -> None:
    lean = film.rng.normal(0, 0.08)
    film.tissue([(0.5, 0.0), (0.5 + lean, 1.0)], 0.5, 0.7)
    film.bone([(0.45, -0.1), (0.45 + lean, 1.1)], [0.2, 0.2])
    if film.rng.random() < 0.5:
        film.bone([(0.65, -0.1), (0.65 + lean, 1.1)], [0.1, 0.1])


def _between(one: Point, other: Point) -> Point:
    return (one[0] + other[0]) / 2, (one[1] + other[1]) / 2


PARTS: Final[Mapping[str, Callable[[Film], None]]] = {
    "hand": _hand,
    "pelvis": _pelvis,
    "foot": _foot,
    "elbow": _elbow,
    "ankle": _ankle,
    "hip": _hip,
    "shoulder": _shoulder,
    "skull": _skull,
    "chest": _chest,
    "spine": _spine,
    "shaft": _lone_shaft,
}


def draw(part: str, rng: np.random.Generator) -> Floats:
    """(320, 320) float32 of one part of the body, turned and moved a little."""
    film = Film(rng)
    PARTS[part](film)
    turn = cv2.getRotationMatrix2D((SIDE_PX / 2, SIDE_PX / 2), float(rng.normal(0, 12)), float(rng.uniform(0.8, 1.4)))
    matrix = np.asarray(turn, np.float64)
    matrix[:, 2] += rng.normal(0, 0.05 * SIDE_PX, 2)
    warped = cv2.warpAffine(film.sum, matrix, (SIDE_PX, SIDE_PX), borderMode=cv2.BORDER_REPLICATE)
    film.sum = np.asarray(warped, np.float32)
    return film.developed()
