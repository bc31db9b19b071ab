"""From a path, a file, bytes or an array to a ``Radiograph``."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, cast

import cv2
import numpy as np

from osteo_edge.errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from osteo_edge.findings import TOO_MANY_BYTES, TOO_MANY_PIXELS
from osteo_edge.images.colour import coloured_share, single_plane
from osteo_edge.images.formats import is_dicom, read_header
from osteo_edge.images.header import ImageHeader
from osteo_edge.images.tail import require_no_cut
from osteo_edge.integrity import sha256_hex
from osteo_edge.radiograph import Radiograph

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Pixels
    from osteo_edge.tags import Tags

    ImageSource = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO | Pixels

MAX_FILE_BYTES = 64 << 20
MAX_PIXELS = 40_000_000
MAX_GREY_BYTES = 2 * MAX_PIXELS
# 40 megapixels of grey take 200 MB or less in every format, and as a PNG in 8-bit colours 240 MB.
MAX_MEMORY_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
# How OpenCV names a limit that its environment set, where we read more.
_OPENCV_LIMIT = re.compile(r"CV_IO_MAX_IMAGE_(PIXELS|WIDTH|HEIGHT)")
# Orientation -> what to mirror, after rows and columns were exchanged from 5 on: 1 left and right, 0 up and down, -1 both.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}


def take_no_account(_: int) -> None:
    """Of memory."""


@dataclass(frozen=True)
class Decoded:
    """What the bytes of a picture file hold; see ``Radiograph`` for the fields."""

    pixels: Pixels
    coloured_share: float = 0.0
    tags: Tags | None = None
    jpeg_quality: int | None = None

    def named(self, source: str, digest: str) -> Radiograph:
        self.pixels.setflags(write=False)
        return Radiograph(self.pixels, source, digest, self.coloured_share, self.tags, self.jpeg_quality)


def read(image: ImageSource, *, source: str | None = None, take: Callable[[int], None] = take_no_account) -> Radiograph:
    """Read one radiograph.

    Args:
        image: a path; a PNG, JPEG, TIFF, BMP, WebP or DICOM file as a binary file object, or its bytes; or an array of uint8 or
            uint16 with bone bright: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA without transparency.
        source: the name to give it; by default the path, a file's name, ``"<file>"``, ``"<bytes>"`` or ``"<array>"``.
        take: told of bytes before they are taken, the file's first and then those that decoding takes; may wait.

    Raises:
        UnreadableImageError: missing, empty, truncated, damaged, or not allowed to be read; a path that cannot be one.
        UnsupportedImageError: another format, several pictures, transparency, or another data type or shape.
        ImageTooLargeError: over 64 MiB, 40 megapixels, or what these take in memory; found without decoding.
        TypeError: none of these kinds.
    """
    if isinstance(image, np.ndarray):
        return from_array(image, source or name_of(image), take)
    return decode(bytes_of(image, take), source=source or name_of(image), take=take)


def name_of(image: ImageSource) -> str:
    """The name that a picture has of itself."""
    if isinstance(image, np.ndarray):
        return "<array>"
    if isinstance(image, (bytes, bytearray, memoryview)):
        return "<bytes>"
    if isinstance(image, (str, os.PathLike)):
        return os.fsdecode(image)
    name = getattr(image, "name", None)
    return name if isinstance(name, str) and name else "<file>"


def is_picture(image: object) -> bool:
    """Whether this is of a kind that ``read`` takes, whatever it holds."""
    kinds = (str, os.PathLike, bytes, bytearray, memoryview, np.ndarray)
    return isinstance(image, kinds) or hasattr(image, "read")


def read_stream(stream: BinaryIO) -> bytes:
    """Read a stream such as standard input, or a file object, up to the limit.

    Raises:
        ImageTooLargeError: it holds more than 64 MiB.
        UnreadableImageError: it cannot be read, or has nothing to read yet.
        TypeError: it gives text.
    """
    parts: list[bytes] = []
    left = MAX_FILE_BYTES + 1
    while left > 0:
        try:
            part = stream.read(min(left, _CHUNK_BYTES))
        except (OSError, ValueError) as error:  # a ValueError: the file was closed
            raise UnreadableImageError(f"the data cannot be read ({_reason(error)})", code="unreadable") from error
        if part is None:
            raise UnreadableImageError("there is nothing to read yet", code="unreadable")
        if not isinstance(part, bytes):
            raise TypeError(f"a file that is read must give bytes, not {type(part).__name__}; open it with mode 'rb'")
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return _require_size(b"".join(parts))


def decode(data: bytes, *, source: str, take: Callable[[int], None] = take_no_account) -> Radiograph:
    """Decode the bytes of a picture file; the orientation that it records is applied. See ``read`` for the arguments.

    Raises:
        InputError: as ``read``.
    """
    return decode_pixels(data, take).named(source, sha256_hex(data))


def decode_pixels(data: bytes, take: Callable[[int], None] = take_no_account) -> Decoded:
    """As ``decode``, without a name or digest.

    Raises:
        InputError: as ``read``.
    """
    if is_dicom(_require_size(data)):
        return _decode_dicom(data, take)
    header = read_header(data)
    require_pixels(header.pixels)
    _require_memory(header.memory_bytes)
    take(header.memory_bytes)
    if header.format == "TIFF":
        from osteo_edge.images.tiff import require_whole_strips

        require_whole_strips(data)
    if header.may_be_transparent:
        _refuse_transparency(data)
    decode_pixels = {"JPEG": _decode_jpeg, "WebP": _decode_webp}.get(header.format, _decode_other)
    pixels, share = decode_pixels(data, header)
    if pixels.size != header.pixels:
        raise UnreadableImageError("the picture's data and its header do not agree", code="damaged")
    return Decoded(pixels, share, jpeg_quality=header.jpeg_quality)


def _decode_dicom(data: bytes, take: Callable[[int], None]) -> Decoded:
    from osteo_edge.images import dicom

    picture = dicom.open_picture(data, take)
    require_pixels(picture.header.pixels)
    _require_memory(picture.header.memory_bytes)
    take(picture.header.memory_bytes)
    pixels = picture.decode()
    grey, share = (pixels, 0.0) if pixels.ndim == 2 else _grey_of(pixels)
    return Decoded(grey, share, picture.tags, picture.header.jpeg_quality)


def bytes_of(image: ImageSource, take: Callable[[int], None]) -> bytes:
    """The bytes of a picture file; of an array there are none. See ``read`` for the arguments and errors."""
    if isinstance(image, bytes):
        return image
    if isinstance(image, (bytearray, memoryview)):
        return _require_size(bytes(image))
    if isinstance(image, (str, os.PathLike)):
        return _read_file(os.fsdecode(image), take)
    if hasattr(image, "read"):
        return read_stream(cast(BinaryIO, image))
    hint = "; give np.asarray(image)" if hasattr(image, "__array__") or hasattr(image, "__array_interface__") else ""
    raise TypeError(
        f"a path, a file opened with mode 'rb', the bytes of a file or an array is read, not {type(image).__name__}{hint}"
    )


def _read_file(path: str, take: Callable[[int], None]) -> bytes:
    try:
        # Non-blocking, so that a named pipe without a writer is refused instead of waited for.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImageError("this is not a regular file", code="not_regular")
            take(min(status.st_size, MAX_FILE_BYTES))
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
        raise UnreadableImageError(f"the file cannot be read ({_reason(error)})", code="unreadable") from error


def _reason(error: OSError | ValueError) -> str:
    return getattr(error, "strerror", None) or str(error)


def _decode_jpeg(data: bytes, header: ImageHeader) -> tuple[Pixels, float]:
    from osteo_edge.images import jpeg_pixels

    pixels, share = jpeg_pixels.decode(data, may_be_coloured=header.may_be_coloured)
    return _upright(pixels, header.orientation), share


def _decode_webp(data: bytes, header: ImageHeader) -> tuple[Pixels, float]:
    """Grey is what OpenCV makes of the decoded colours, as it is in training, and not the luminance that a lossy file holds."""
    from osteo_edge.images import webp

    if _by_opencv(webp.without_end(data), cv2.IMREAD_GRAYSCALE) is not None:
        raise webp.not_whole()
    colours = _imdecode(webp.alone(data), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    grey = cast("Pixels", cv2.cvtColor(colours, cv2.COLOR_BGR2GRAY))
    return _upright(grey, header.orientation), coloured_share(colours)


def _upright(pixels: Pixels, orientation: int) -> Pixels:
    """Turn and mirror pixels as stored, as an EXIF orientation asks for."""
    if orientation >= 5:
        pixels = cast("Pixels", cv2.transpose(pixels))
    flip = _FLIPS.get(orientation)
    return pixels if flip is None else cast("Pixels", cv2.flip(pixels, flip))


def _decode_other(data: bytes, header: ImageHeader) -> tuple[Pixels, float]:
    """Upright grey pixels, and the share of coloured ones."""
    grey, share = _decode_colours(data) if header.may_be_coloured else (None, 0.0)
    if grey is None:
        grey = _imdecode(data, cv2.IMREAD_GRAYSCALE)
    if header.format in ("TIFF", "BMP"):
        require_no_cut(grey)
    return grey, share


def _decode_colours(data: bytes) -> tuple[Pixels | None, float]:
    """Grey pixels where the colours are none, and the share of coloured ones."""
    colours = _imdecode(data, cv2.IMREAD_COLOR)
    grey = single_plane(colours)
    return grey, coloured_share(colours) if grey is None else 0.0


def _imdecode(data: bytes, mode: int) -> Pixels:
    pixels = _by_opencv(data, mode | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise UnreadableImageError("the picture data is truncated or damaged", code="truncated")
    if pixels.dtype not in (np.uint8, np.uint16):
        raise UnsupportedImageError(
            f"pixels of type {pixels.dtype} are not read; export 8 or 16 bit greys", code="unsupported_pixels"
        )
    return cast("Pixels", pixels)


def _by_opencv(data: bytes, mode: int) -> NDArray[np.generic] | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    except cv2.error as error:
        if limit := _OPENCV_LIMIT.search(str(error)):
            raise ImageTooLargeError(
                f"OPENCV_IO_MAX_IMAGE_{limit[1]} is set in the environment of this program, and allows less than this picture; "
                "unset it before OpenCV is imported",
                code=TOO_MANY_PIXELS,
            ) from error
        raise UnreadableImageError("the picture data cannot be decoded", code="damaged") from error


def _refuse_transparency(data: bytes) -> None:
    """Transparent pixels have no agreed brightness: a decoder that drops the alpha channel invents one."""
    pixels = _by_opencv(data, cv2.IMREAD_UNCHANGED)
    if pixels is not None and pixels.ndim == 3 and pixels.shape[2] == 4 and _is_opaque(pixels):
        return
    raise UnsupportedImageError("the picture is partly transparent; export it without transparency", code="transparent")


def _is_opaque(pixels: NDArray[np.generic]) -> bool:
    return bool(pixels[..., 3].min() == (255 if pixels.dtype.itemsize == 1 else 65535))


def from_array(array: NDArray[np.generic], source: str, take: Callable[[int], None]) -> Radiograph:
    """The radiograph in an array; see ``read``."""
    array = np.asarray(array)  # a matrix or masked array as what it holds
    if array.dtype.kind != "u" or array.dtype.itemsize > 2:
        raise UnsupportedImageError(
            f"an array of uint8 or uint16 is read, not {array.dtype}; {_conversion(array.dtype)}", code="unsupported_pixels"
        )
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))):
        raise UnsupportedImageError(
            f"an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) is read, not {array.shape}", code="unsupported_shape"
        )
    require_pixels(array.shape[0] * array.shape[1])
    take(array.nbytes)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if array.ndim == 3 and array.shape[2] == 4 and not _is_opaque(array):
        raise UnsupportedImageError("the picture is partly transparent; give it without transparency", code="transparent")
    grey, share = _grey_of(array)
    return Decoded(grey, share).named(source, sha256_hex(f"{grey.dtype}{grey.shape}".encode() + grey.tobytes()))


def _grey_of(array: NDArray[np.generic]) -> tuple[Pixels, float]:
    """A copy as grey pixels, and the share of coloured ones."""
    if array.ndim == 2 or array.shape[2] == 1:
        return cast("Pixels", array.reshape(array.shape[:2]).copy()), 0.0
    colours = np.ascontiguousarray(array[..., :3])
    return cast("Pixels", cv2.cvtColor(colours, cv2.COLOR_RGB2GRAY)), coloured_share(cast("Pixels", colours))


def _conversion(kind: np.dtype[np.generic]) -> str:
    """How an array of other numbers becomes one that is read."""
    if kind.kind == "f":
        return "give np.round(array * 65535).astype(np.uint16) if it holds 0 to 1"
    if kind.kind == "b":
        return "give array.astype(np.uint8) * 255"
    return "give array.astype(np.uint16) if no number is below 0 or above 65535"


def _require_size(data: bytes) -> bytes:
    if len(data) > MAX_FILE_BYTES:
        raise ImageTooLargeError(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB", code=TOO_MANY_BYTES)
    return data


def require_pixels(pixels: int) -> None:
    """Of one picture.

    Raises:
        ImageTooLargeError: more than are read.
    """
    if pixels > MAX_PIXELS:
        raise ImageTooLargeError(
            f"the picture has {pixels / 1e6:.1f} megapixels; at most {MAX_PIXELS // 1_000_000} are read", code=TOO_MANY_PIXELS
        )


def _require_memory(size: int) -> None:
    if size > MAX_MEMORY_BYTES:
        raise ImageTooLargeError(
            f"decoding the picture would take {size >> 20} MiB; at most {MAX_MEMORY_BYTES >> 20} are taken; "
            "export it in grey, or smaller",
            code=TOO_MANY_BYTES,
        )
