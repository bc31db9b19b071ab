"""What a file is, from its own bytes and before anything is decoded: format, size, number of pictures.

The decoder would learn the same, but only after it has taken the memory for the pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from osteo_edge.errors import InputError, UnreadableImageError, UnsupportedImageError

FormatName = Literal["PNG", "JPEG", "TIFF", "BMP"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"RIFF", "WEBP or another RIFF file"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"%!PS", "PostScript"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"II+\x00", "BigTIFF"),
    (b"MM\x00+", "BigTIFF"),
    (b"<", "a text or HTML file"),
)
# Start of frame markers of JPEG (ITU-T T.81, table B.1), without DHT (C4), JPG (C8) and DAC (CC).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length (T.81, table B.1): none of them stands before a frame, and a reader that took one for
# a segment would jump to another place than the decoder does.
_JPEG_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xDA)})
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
# TIFF 6.0, sections 8 and 18.
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_CHANNELS = 256, 257, 258, 262, 277
_TIFF_PLANAR, _TIFF_EXTRA = 284, 338
_TIFF_TYPE_SIZES = {1: 1, 3: 2, 4: 4}


@dataclass(frozen=True)
class ImageHeader:
    """Format and size as stored, before the orientation is applied.

    Attributes:
        may_be_transparent: the file has an alpha channel or names a transparent colour.
    """

    format: FormatName
    width_px: int
    height_px: int
    may_be_transparent: bool = False

    @property
    def pixels(self) -> int:
        return self.width_px * self.height_px


def read_header(data: bytes) -> ImageHeader:
    """Recognise PNG, JPEG, TIFF or BMP by content and read its size.

    PNG chunks are checked against their CRC, so that a damaged file is named as such.

    Raises:
        UnsupportedImageError: another format, or several pictures in one file.
        UnreadableImageError: empty, truncated or damaged.
    """
    if not data:
        raise UnreadableImageError("the file is empty", code="empty")
    parse = _parser_of(data)
    try:
        header = parse(data)
    except (struct.error, IndexError) as error:
        raise UnreadableImageError("the file ends inside its header", code="truncated") from error
    if header.width_px < 1 or header.height_px < 1:
        raise UnreadableImageError("the file's header gives no size", code="damaged")
    return header


def _parser_of(data: bytes) -> Callable[[bytes], ImageHeader]:
    if data.startswith(_PNG_SIGNATURE):
        return _read_png
    if data.startswith(b"\xff\xd8\xff"):
        return _read_jpeg
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return _read_tiff
    if data.startswith(b"BM"):
        return _read_bmp
    raise _unsupported(data)


def _unsupported(data: bytes) -> InputError:
    if data[128:132] == b"DICM":
        return UnsupportedImageError("DICOM is not read yet; export the picture as PNG or TIFF", code="unsupported_format")
    found = next((name for start, name in _OTHER_FORMATS if data.lstrip()[: len(start)] == start), None)
    what = f"this is {found}" if found else "this is not a picture"
    return UnsupportedImageError(f"{what}; PNG, JPEG, TIFF and BMP are read", code="unsupported_format")


def _read_png(data: bytes) -> ImageHeader:
    width, height = struct.unpack_from(">II", data, 16)
    may_be_transparent = data[25] in (4, 6)  # colour types with an alpha channel
    offset, kind = len(_PNG_SIGNATURE), b""
    view = memoryview(data)
    while kind != b"IEND":
        if offset + 12 > len(data):
            raise UnreadableImageError("the PNG file is truncated", code="truncated")
        (length,) = struct.unpack_from(">I", data, offset)
        kind = data[offset + 4 : offset + 8]
        end = offset + 8 + length
        if end + 4 > len(data):
            raise UnreadableImageError("the PNG file is truncated", code="truncated")
        if zlib.crc32(view[offset + 4 : end]) != struct.unpack_from(">I", data, end)[0]:
            raise UnreadableImageError("the PNG file is damaged (wrong checksum)", code="damaged")
        if kind == b"acTL":
            raise _several_pictures("an animated PNG")
        may_be_transparent |= kind == b"tRNS"
        offset = end + 4
    return ImageHeader("PNG", width, height, may_be_transparent)


def _read_jpeg(data: bytes) -> ImageHeader:
    offset = 2
    while True:
        while data[offset] == 0xFF and data[offset + 1] == 0xFF:  # fill bytes, T.81 B.1.1.2
            offset += 1
        marker = data[offset + 1]
        if data[offset] != 0xFF or marker in _JPEG_BARE:
            raise UnreadableImageError("the JPEG file is damaged (no frame found)", code="damaged")
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, offset + 5)
            return ImageHeader("JPEG", width, height)
        (length,) = struct.unpack_from(">H", data, offset + 2)
        offset += 2 + length


def _read_bmp(data: bytes) -> ImageHeader:
    (header_size,) = struct.unpack_from("<I", data, 14)
    if header_size not in _BMP_HEADER_SIZES:
        raise UnreadableImageError("this is not a BMP file, or a damaged one", code="damaged")
    if header_size == 12:  # the OS/2 form has 16-bit sizes
        width, height = struct.unpack_from("<HH", data, 18)
    else:
        width, height = struct.unpack_from("<ii", data, 18)
    return ImageHeader("BMP", abs(width), abs(height))


def _read_tiff(data: bytes) -> ImageHeader:
    order = "<" if data[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, directory)
    tags = dict(_tiff_tag(data, order, directory + 2 + 12 * index) for index in range(count))
    (following,) = struct.unpack_from(order + "I", data, directory + 2 + 12 * count)
    if following:
        raise _several_pictures("a TIFF with several pages")
    _refuse_misread_tiff(tags)
    may_be_transparent = tags.get(_TIFF_EXTRA) in (1, 2)  # associated or unassociated alpha
    return ImageHeader("TIFF", tags.get(_TIFF_WIDTH, 0), tags.get(_TIFF_HEIGHT, 0), may_be_transparent)


def _refuse_misread_tiff(tags: dict[int, int]) -> None:
    """What OpenCV decodes to other pixels without a word: inverted greys, and colours that lie apart."""
    if tags.get(_TIFF_PHOTOMETRIC) == 0 and tags.get(_TIFF_BITS, 1) > 8:
        raise UnsupportedImageError(
            "this is a TIFF of more than 8 bit with white as zero; export it with black as zero", code="unsupported_pixels"
        )
    if tags.get(_TIFF_PLANAR) == 2 and tags.get(_TIFF_CHANNELS, 1) > 1:
        raise UnsupportedImageError(
            "this is a TIFF with separate colour planes; export it as one grey plane", code="unsupported_pixels"
        )


def _tiff_tag(data: bytes, order: str, offset: int) -> tuple[int, int]:
    """Number and first value of a directory entry (TIFF 6.0, section 2); 0 for values stored elsewhere."""
    tag, kind, count = struct.unpack_from(order + "HHI", data, offset)
    size = _TIFF_TYPE_SIZES.get(kind, 0)
    if not size or size * count > 4:
        return tag, 0
    return tag, struct.unpack_from(order + {1: "B", 2: "H", 4: "I"}[size], data, offset + 8)[0]


def _several_pictures(what: str) -> InputError:
    return UnsupportedImageError(f"this is {what}; export one picture a file", code="multi_frame")
