"""A good film spoilt: exposed wrongly, blurred, compressed, covered, cut, with metal; and what training makes of films."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.disturbances import regraded
from osteo_edge.arrays import Pixels
from osteo_edge.joints import Joint

# What the network of grades was shown in training: no check may find fault with it.
HARMLESS = "as in training"
Blemish = tuple[str, str, Pixels | bytes]


def blemishes(pixels: Pixels, joint: Joint) -> Iterator[Blemish]:
    """Kind, name, and the spoilt picture: greys or the bytes of a file."""
    yield from _harmless(pixels)
    yield from _exposed(pixels, joint)
    yield from _coarse(pixels)
    yield from _blurred(pixels, joint)
    yield from _stored(pixels)
    yield from _with_metal(pixels, joint)
    yield from _covered(pixels, joint)
    yield from _cut(pixels, joint)


def _harmless(pixels: Pixels) -> Iterator[Blemish]:
    yield from ((HARMLESS, f"gamma {one:g}", regraded(pixels, one)) for one in (0.7, 1.4))
    noise = np.random.default_rng(0).normal(0, 5 / 255 * _most(pixels), pixels.shape)
    yield HARMLESS, "noise", _whole(pixels + noise, pixels)
    size = pixels.shape[1] // 2, pixels.shape[0] // 2
    yield HARMLESS, "half resolution", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)  # type: ignore[misc]
    yield HARMLESS, "JPEG 50", _jpeg(pixels, 50)


def _exposed(pixels: Pixels, joint: Joint) -> Iterator[Blemish]:
    square = _around(pixels, joint)
    for share in (20, 40):
        yield "exposure", f"{share} % white", _whole(pixels * (_most(pixels) / np.percentile(square, 100 - share)), pixels)
        low = float(np.percentile(square, share))
        yield "exposure", f"{share} % black", _whole((pixels - low) * (_most(pixels) / max(_most(pixels) - low, 1)), pixels)


def _coarse(pixels: Pixels) -> Iterator[Blemish]:
    for levels in (8, 16):
        stairs = np.floor(pixels / _most(pixels) * (levels - 0.001)) * (_most(pixels) / (levels - 1))
        yield "few grey levels", str(levels), _whole(stairs, pixels)


def _blurred(pixels: Pixels, joint: Joint) -> Iterator[Blemish]:
    greys = pixels.astype(np.float32)
    for share in (0.015, 0.025, 0.04):
        yield "blur", f"{share:.1%} of the width", _whole(cv2.GaussianBlur(greys, (0, 0), share * joint.width_px), pixels)
    length = max(3, round(0.08 * joint.width_px) | 1)
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    yield "blur", "moved by 8 %", _whole(cv2.filter2D(greys, -1, kernel), pixels)


def _stored(pixels: Pixels) -> Iterator[Blemish]:
    yield from (("compression", f"JPEG {quality}", _jpeg(pixels, quality)) for quality in (5, 10, 20))


# In knee widths from the joint's middle.
_CAPS = (
    ((-0.42, -0.25), (-0.38, -0.05), (-0.1, -0.06), (0, -0.14), (0.1, -0.06), (0.38, -0.05), (0.42, -0.25), (0, -0.2)),
    ((-0.42, 0.05), (0.42, 0.05), (0.42, 0.11), (0.06, 0.12), (0.05, 0.4), (-0.05, 0.4), (-0.06, 0.12), (-0.42, 0.11)),
)
_PLATE = ((0.3, -0.1), (0.4, 0.1), (0.36, 0.5), (0.28, 0.5), (0.3, 0.1), (0.24, -0.1))
_SCREWS = (0.05, 0.15, 0.25, 0.35)


def _with_metal(pixels: Pixels, joint: Joint) -> Iterator[Blemish]:
    most = int(_most(pixels))
    with_caps = pixels.copy()
    cv2.fillPoly(with_caps, [_places(joint, cap) for cap in _CAPS], most)
    yield "metal", "prosthesis", with_caps
    with_plate = pixels.copy()
    cv2.fillPoly(with_plate, [_places(joint, _PLATE)], most)
    for height in _SCREWS:
        start, end = _places(joint, ((0.33, height), (-0.2, height))).tolist()
        cv2.line(with_plate, start, end, most, max(1, round(0.03 * joint.width_px)))
    yield "metal", "plate and screws", with_plate


def _covered(pixels: Pixels, joint: Joint) -> Iterator[Blemish]:
    most, width = int(_most(pixels)), joint.width_px
    written = pixels.copy()
    (place,) = _places(joint, ((-0.55, 0),)).tolist()
    cv2.putText(written, "RIGHT KNEE AP 12:45", place, cv2.FONT_HERSHEY_SIMPLEX, width / 330, most, max(1, round(width / 110)))
    yield "covered", "a line of text", written
    asked = pixels.copy()
    corner, other, place = _places(joint, ((-0.3, -0.3), (0.4, 0.1), (-0.25, -0.1))).tolist()
    cv2.rectangle(asked, corner, other, round(0.8 * most), -1)
    cv2.putText(asked, "Save as?", place, cv2.FONT_HERSHEY_SIMPLEX, width / 250, 0, max(1, round(width / 110)))
    yield "covered", "a dialog", asked


def _cut(pixels: Pixels, joint: Joint) -> Iterator[Blemish]:
    for name, share in (("from 0.15 widths on", 0.15), ("from 0.3 widths on", 0.3)):
        shut = pixels.copy()
        shut[:, max(0, round(joint.x_px + share * joint.width_px)) :] = 0
        yield "cut off", name, shut


def _most(pixels: Pixels) -> float:
    return float(np.iinfo(pixels.dtype).max if pixels.dtype == np.uint8 else max(int(pixels.max()), 4095))


def _whole(values: NDArray[Any], like: Pixels) -> Pixels:
    whole: Pixels = np.clip(np.rint(values), 0, _most(like)).astype(like.dtype)
    return whole


def _jpeg(pixels: Pixels, quality: int) -> bytes:
    greys = pixels if pixels.dtype == np.uint8 else (pixels >> 8).astype(np.uint8)
    return cv2.imencode(".jpg", greys, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _around(pixels: Pixels, joint: Joint) -> Pixels:
    reach = 0.6 * joint.width_px
    rows, columns = (slice(max(0, round(middle - reach)), round(middle + reach)) for middle in (joint.y_px, joint.x_px))
    return pixels[rows, columns]


def _places(joint: Joint, places: tuple[tuple[float, float], ...]) -> NDArray[np.int32]:
    return (np.array(places) * joint.width_px + [joint.x_px, joint.y_px]).round().astype(np.int32)
