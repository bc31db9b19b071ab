"""Sound files of every format and kind that is read, small, from which damaged ones are made."""

from __future__ import annotations

import cv2
import numpy as np

from tests import dicoms
from tests.pictures import encoded, tiff

_HEIGHT, _WIDTH = 72, 56
_PROGRESSIVE = (cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
_TIFF_CODINGS = {"none": 1, "lzw": 5, "deflate": 8, "packbits": 32773}


def seeds() -> dict[str, list[bytes]]:
    """Format -> files."""
    greys = _greys()
    wide = greys.astype(np.uint16) * 257
    colours = np.dstack([greys, greys, greys])
    alpha = np.dstack([colours, np.full_like(greys, 255)])
    return {
        "PNG": [encoded(".png", one) for one in (greys, wide, colours, alpha)],
        "JPEG": [
            encoded(".jpg", greys),
            encoded(".jpg", colours),
            encoded(".jpg", greys, *_PROGRESSIVE),
            encoded(".jpg", greys, cv2.IMWRITE_JPEG_RST_INTERVAL, 3),
        ],
        "TIFF": [
            *(encoded(".tif", wide, cv2.IMWRITE_TIFF_COMPRESSION, code) for code in _TIFF_CODINGS.values()),
            encoded(".tif", colours),
            tiff([greys.tobytes()], _WIDTH, _HEIGHT, order=">"),
        ],
        "BMP": [encoded(".bmp", greys), encoded(".bmp", colours)],
        "WebP": [encoded(".webp", colours, cv2.IMWRITE_WEBP_QUALITY, quality) for quality in (70, 101)],
        "DICOM": [*_dicoms(greys), *_dicoms(wide >> 4, bits=12)],
    }


def _greys() -> np.ndarray:
    rows, columns = np.mgrid[:_HEIGHT, :_WIDTH]
    noise = np.random.default_rng(0).normal(0, 6, (_HEIGHT, _WIDTH))
    soft = 120 + 80 * np.sin(rows / 9) * np.cos(columns / 7)
    return np.clip(soft + noise, 0, 255).astype(np.uint8)


def _dicoms(greys: np.ndarray, **elements: object) -> list[bytes]:
    """In every syntax that takes greys of this depth."""
    said = {**dicoms.OF_A_KNEE, "PatientAge": "067Y", "PatientSex": "F", **elements}
    lossy = dicoms.LOSSY if greys.itemsize == 1 else (dicoms.JPEG_LS_LOSSY, dicoms.J2K)
    return [dicoms.file(greys, syntax, **said) for syntax in (*dicoms.NATIVE, *dicoms.LOSSLESS, *lossy)]
