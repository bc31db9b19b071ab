"""Pictures that show no body at all: pages, charts, screens, patterns. Drawn, so that they are to be had in any number."""

from __future__ import annotations

import itertools
import string
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.arrays import Floats

SIDE_PX: Final = 320
_FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_COMPLEX, cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX)
_LETTERS: Final = np.array(list(string.ascii_letters + string.digits + "    ,.-:/"))

Bytes = NDArray[np.uint8]


def _page(rng: np.random.Generator, paper: int) -> Bytes:
    return np.full((SIDE_PX, SIDE_PX), paper, np.uint8)


def _words(rng: np.random.Generator, letters: int) -> str:
    return "".join(rng.choice(_LETTERS, letters))


def _write(page: Bytes, rng: np.random.Generator, x: int, y: int, letters: int, size: float, ink: int) -> None:
    font = _FONTS[int(rng.integers(len(_FONTS)))]
    cv2.putText(page, _words(rng, letters), (x, y), font, size, ink, int(rng.integers(1, 3)), cv2.LINE_AA)


def _document(rng: np.random.Generator) -> Bytes:
    paper, ink = (int(rng.integers(200, 256)), int(rng.integers(0, 90)))
    if rng.random() < 0.3:
        paper, ink = ink, paper
    page = _page(rng, paper)
    left, size = int(rng.integers(4, 60)), float(rng.uniform(0.25, 1.4))
    for y in range(int(rng.integers(10, 50)), SIDE_PX, max(8, int(rng.uniform(18, 40) * size))):
        if rng.random() < 0.85:
            _write(page, rng, left, y, int(rng.integers(2, 40)), size, ink)
    if rng.random() < 0.4:  # a table or a form
        for place in rng.integers(0, SIDE_PX, 8):
            cv2.line(page, (0, int(place)), (SIDE_PX, int(place)), ink, 1)
        for place in rng.integers(0, SIDE_PX, 4):
            cv2.line(page, (int(place), 0), (int(place), SIDE_PX), ink, 1)
    if rng.random() < 0.2:
        cv2.circle(page, tuple(map(int, rng.integers(60, 260, 2))), int(rng.integers(20, 60)), ink, 3)
    return page


def _chart(rng: np.random.Generator) -> Bytes:
    paper, ink = (255, 0) if rng.random() < 0.75 else (20, 230)
    page = _page(rng, paper)
    left, bottom = int(rng.integers(20, 60)), int(rng.integers(250, 300))
    frame = rng.random() < 0.5
    cv2.rectangle(page, (left, 20), (SIDE_PX - 15, bottom), ink, 1) if frame else cv2.line(
        page, (left, 20), (left, bottom), ink, 1
    )
    cv2.line(page, (left, bottom), (SIDE_PX - 15, bottom), ink, 1)
    for place in np.linspace(left, SIDE_PX - 15, int(rng.integers(3, 9))):
        cv2.line(page, (int(place), bottom), (int(place), bottom + 5), ink, 1)
        _write(page, rng, int(place) - 6, bottom + 18, 3, 0.3, ink)
    if rng.random() < 0.5:
        _write(page, rng, left + 20, 14, 20, 0.4, ink)
    _CHARTS[int(rng.integers(len(_CHARTS)))](page, rng, left, bottom)
    return page


def _grey(rng: np.random.Generator) -> int:
    return int(rng.integers(30, 210))


def _bars(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    count = int(rng.integers(2, 14))
    step = (SIDE_PX - 20 - left) / count
    for bar in range(count):
        x = left + bar * step
        corner = (int(x + step * rng.uniform(0.6, 0.95)), bottom)
        cv2.rectangle(page, (int(x + 0.1 * step), int(rng.uniform(30, bottom - 5))), corner, _grey(rng), -1)


def _lines(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    xs = np.linspace(left, SIDE_PX - 16, int(rng.integers(8, 80)))
    for _ in range(int(rng.integers(1, 6))):
        walk = np.cumsum(rng.normal(0, 1, len(xs)))
        if rng.random() < 0.4:
            walk = np.exp(-(((xs - rng.uniform(left, SIDE_PX)) / rng.uniform(10, 60)) ** 2))
        ys = bottom - 10 - (walk - walk.min()) / (np.ptp(walk) + 1e-6) * (bottom - 40) * rng.uniform(0.3, 1)
        points = np.stack([xs, ys], axis=1).astype(np.int32)
        cv2.polylines(page, [points], False, _grey(rng), int(rng.integers(1, 5)), cv2.LINE_AA)


def _dots(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    for _ in range(int(rng.integers(1, 4))):
        middle, grey = rng.uniform((left, 40), (SIDE_PX - 30, bottom - 20)), _grey(rng)
        for x, y in rng.normal(middle, rng.uniform(10, 50, 2), (int(rng.integers(10, 150)), 2)):
            cv2.circle(page, (int(x), int(y)), int(rng.integers(1, 5)), grey, -1, cv2.LINE_AA)


def _pie(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    page[:] = page[0, 0]
    ends = np.sort(rng.uniform(0, 360, int(rng.integers(2, 8))))
    radius = int(rng.integers(60, 140))
    for start, end in zip(ends, [*ends[1:], ends[0] + 360], strict=True):
        cv2.ellipse(page, (160, 160), (radius, radius), 0, start, end, _grey(rng), -1)


def _boxes(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    for x in np.linspace(left + 20, SIDE_PX - 40, int(rng.integers(2, 7))):
        low, high = sorted(rng.uniform(60, bottom - 20, 2))
        cv2.line(page, (int(x) + 10, int(low) - 25), (int(x) + 10, int(high) + 25), _grey(rng), 1)
        cv2.rectangle(page, (int(x), int(low)), (int(x) + 20, int(high)), _grey(rng), -1 if rng.random() < 0.5 else 1)


def _heat(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    cells = rng.integers(0, 256, tuple(rng.integers(2, 14, 2))).astype(np.uint8)
    way = cv2.INTER_NEAREST if rng.random() < 0.6 else cv2.INTER_CUBIC
    page[20:bottom, left : SIDE_PX - 15] = cv2.resize(cells, (SIDE_PX - 15 - left, bottom - 20), interpolation=way)


def _boxes_and_arrows(page: Bytes, rng: np.random.Generator, left: int, bottom: int) -> None:
    page[:] = page[0, 0]
    places = rng.integers(10, 230, (int(rng.integers(3, 8)), 2))
    ink = 255 - int(page[0, 0])
    for one, other in itertools.pairwise(places):
        cv2.arrowedLine(page, tuple(map(int, one + 20)), tuple(map(int, other + 20)), ink, 1, cv2.LINE_AA)
    for x, y in places:
        cv2.rectangle(page, (int(x), int(y)), (int(x) + 70, int(y) + 34), int(page[0, 0]), -1)
        cv2.rectangle(page, (int(x), int(y)), (int(x) + 70, int(y) + 34), ink, 1)
        _write(page, rng, int(x) + 4, int(y) + 20, 7, 0.35, ink)


_CHARTS: Final = (_bars, _lines, _dots, _pie, _boxes, _heat, _boxes_and_arrows)


def _screen(rng: np.random.Generator) -> Bytes:
    dark = rng.random() < 0.5
    page = _page(rng, int(rng.integers(15, 60) if dark else rng.integers(200, 250)))
    ink = 230 if dark else 20
    cv2.rectangle(page, (0, 0), (SIDE_PX, int(rng.integers(12, 40))), _grey(rng), -1)
    for _ in range(int(rng.integers(3, 16))):
        x, y, width, height = map(int, rng.integers((0, 30, 20, 10), (250, 290, 160, 140)))
        cv2.rectangle(page, (x, y), (x + width, y + height), _grey(rng), -1 if rng.random() < 0.6 else 1)
        _write(page, rng, x + 4, y + 14, int(rng.integers(2, 14)), 0.35, ink)
    return page


def _noise(rng: np.random.Generator) -> Bytes:
    grain = rng.uniform(0, 255, (SIDE_PX, SIDE_PX)) if rng.random() < 0.5 else rng.normal(128, 50, (SIDE_PX, SIDE_PX))
    blurred = cv2.GaussianBlur(grain.astype(np.float32), (0, 0), float(rng.uniform(0.3, 30)))
    return _stretched(np.asarray(blurred, np.float32))


def _pattern(rng: np.random.Generator) -> Bytes:
    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32) / SIDE_PX - 0.5
    angle, pitch = rng.uniform(0, np.pi), rng.uniform(2, 40)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    around = np.hypot(x - rng.uniform(-0.4, 0.4), y - rng.uniform(-0.4, 0.4))
    kinds = (
        np.sin(2 * np.pi * pitch * along),
        np.sign(np.sin(2 * np.pi * pitch * along) * np.sin(2 * np.pi * pitch * across)),
        np.sin(2 * np.pi * pitch * around),
        np.sin(2 * np.pi * pitch * along) + np.sin(2 * np.pi * pitch * 1.07 * across),
        along + 0.3 * around,
        (around < rng.uniform(0.1, 0.5)).astype(np.float32) + 0.3 * along,
    )
    grain = rng.normal(0, rng.uniform(0, 0.3), x.shape)
    return _stretched((kinds[int(rng.integers(len(kinds)))] + grain).astype(np.float32))


def _shapes(rng: np.random.Generator) -> Bytes:
    """Blobs, tubes and blocks at random: what edges alone may make of a joint."""
    page = _page(rng, int(rng.integers(0, 120)))
    for _ in range(int(rng.integers(2, 14))):
        points, grey = rng.integers(0, SIDE_PX, (int(rng.integers(2, 7)), 2)).astype(np.int32), int(rng.integers(60, 256))
        kind = int(rng.integers(3))
        if kind == 0:
            cv2.fillPoly(page, [points], grey)
        elif kind == 1:
            cv2.polylines(page, [points], False, grey, int(rng.integers(3, 60)), cv2.LINE_AA)
        else:
            axes = tuple(map(int, rng.integers(8, 120, 2)))
            cv2.ellipse(page, tuple(map(int, points[0])), axes, float(rng.uniform(0, 180)), 0, 360, grey, -1)
    return cv2.GaussianBlur(page, (0, 0), float(rng.uniform(0.3, 6)))  # type: ignore[return-value]


def _stretched(values: Floats) -> Bytes:
    levels: Bytes = np.rint(255 * (values - values.min()) / (np.ptp(values) + 1e-6)).astype(np.uint8)
    return levels


KINDS: Final[Mapping[str, Callable[[np.random.Generator], Bytes]]] = {
    "document": _document,
    "chart": _chart,
    "screen": _screen,
    "noise": _noise,
    "pattern": _pattern,
    "shapes": _shapes,
}


def draw(kind: str, rng: np.random.Generator) -> Floats:
    """(320, 320) float32, one of `KINDS`."""
    return KINDS[kind](rng).astype(np.float32)
