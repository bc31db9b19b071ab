"""From a path, bytes or an array to a ``Radiograph``."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from osteo_edge.images.formats import read_header
from osteo_edge.integrity import sha256_hex
from osteo_edge.radiograph import Radiograph

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 40_000_000

ImageSource = str | Path | bytes | NDArray[np.uint8] | NDArray[np.uint16]


def read(image: ImageSource, *, source: str | None = None) -> Radiograph:
    """Read one radiograph.

    Args:
        image: a path; the bytes of a PNG, JPEG, TIFF or BMP file; or an array (H, W) or (H, W, 3) RGB of
            uint8 or uint16 with bone bright.
        source: the name to give it; by default the path, ``"<bytes>"`` or ``"<array>"``.

    Raises:
        UnreadableImageError: missing, empty, truncated, damaged, or not allowed to be read.
        UnsupportedImageError: another format, several pictures, transparency, or another data type.
        ImageTooLargeError: over 64 MiB or 40 megapixels; found without decoding.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image, source or "<array>")
    if isinstance(image, bytes):
        return decode(image, source=source or "<bytes>")
    if isinstance(image, (str, Path)):
        return decode(_read_file(Path(image)), source=source or str(image))
    raise UnsupportedImageError(f"a path, bytes or an array is read, not {type(image).__name__}", code="unsupported_type")


def read_stream(stream: BinaryIO) -> bytes:
    """Read a stream such as standard input up to the limit.

    Raises:
        ImageTooLargeError: it holds more than 64 MiB.
        UnreadableImageError: it cannot be read, or has nothing to read yet.
    """
    try:
        data = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UnreadableImageError(f"the data cannot be read ({error.strerror})", code="unreadable") from error
    if data is None:
        raise UnreadableImageError("there is nothing to read yet", code="unreadable")
    return _require_size(data)


def decode(data: bytes, *, source: str) -> Radiograph:
    """Decode the bytes of a picture file; the orientation that it records is applied.

    Raises:
        InputError: as ``read``.
    """
    header = read_header(_require_size(data))
    _require_pixels(header.pixels)
    if header.may_be_transparent:
        _refuse_transparency(data)
    pixels = _decode_grey(data)
    if pixels.size != header.pixels:
        raise UnreadableImageError("the picture's data and its header do not agree", code="damaged")
    return _radiograph(pixels, source, sha256_hex(data))


def _read_file(path: Path) -> bytes:
    try:
        # Non-blocking, so that a named pipe without a writer is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImageError("this is not a regular file", code="not_regular")
            # Asked for the limit, Python would first take 64 MiB for every picture.
            start = file.read(min(status.st_size, MAX_FILE_BYTES) + 1)
            return start if len(start) <= status.st_size else _require_size(start + read_stream(file))
    except FileNotFoundError as error:
        raise UnreadableImageError("there is no such file", code="not_found") from error
    except PermissionError as error:
        raise UnreadableImageError("this file may not be read", code="permission") from error
    except IsADirectoryError as error:
        raise UnreadableImageError("this is a folder, not a picture", code="not_regular") from error
    except (OSError, ValueError) as error:
        raise UnreadableImageError(f"the file cannot be read ({error})", code="unreadable") from error


def _decode_grey(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise UnreadableImageError("the picture data cannot be decoded", code="damaged") from error
    if pixels is None:
        raise UnreadableImageError("the picture data is truncated or damaged", code="truncated")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImageError(
            f"pixels of type {pixels.dtype} are not read; export 8 or 16 bit greys", code="unsupported_pixels"
        )
    return pixels  # type: ignore[return-value]


def _refuse_transparency(data: bytes) -> None:
    """Transparent pixels have no agreed brightness: a decoder that drops the alpha channel invents one."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 4:
        opaque = 65535 if pixels.dtype == np.uint16 else 255
        if pixels[..., 3].min() == opaque:
            return
    raise UnsupportedImageError("the picture is partly transparent; export it without transparency", code="transparent")


def _from_array(array: NDArray[np.generic], source: str) -> Radiograph:
    array = np.asarray(array)  # a matrix or masked array as what it holds
    if array.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImageError(f"an array of uint8 or uint16 is read, not {array.dtype}", code="unsupported_pixels")
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise UnsupportedImageError(f"an array (H, W) or (H, W, 3) is read, not {array.shape}", code="unsupported_shape")
    _require_pixels(array.shape[0] * array.shape[1])
    grey = array.copy() if array.ndim == 2 else cv2.cvtColor(np.ascontiguousarray(array), cv2.COLOR_RGB2GRAY)
    return _radiograph(grey, source, sha256_hex(f"{grey.dtype}{grey.shape}".encode() + grey.tobytes()))  # type: ignore[arg-type]


def _radiograph(pixels: NDArray[np.uint8] | NDArray[np.uint16], source: str, digest: str) -> Radiograph:
    pixels.setflags(write=False)
    return Radiograph(pixels=pixels, source=source, digest=digest)


def _require_size(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise ImageTooLargeError(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB", code="too_many_bytes")
    return data


def _require_pixels(pixels: int) -> None:
    if pixels > MAX_PIXELS:
        raise ImageTooLargeError(
            f"the picture has {pixels / 1e6:.1f} megapixels; at most {MAX_PIXELS // 1_000_000} are read", code="too_many_pixels"
        )
