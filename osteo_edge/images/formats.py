"""What a file is, from its own bytes and before anything is decoded: format, size, number of pictures.

The decoder would learn the same, but only after it has taken the memory for the pixels.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

from osteo_edge.errors import ImageTooLargeError, InputError, UnreadableImageError, UnsupportedImageError
from osteo_edge.findings import TOO_MANY_PARTS
from osteo_edge.images.header import ImageHeader, several_pictures, unsupported_pixels

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_OTHER_FORMATS = (
    (b"GIF8", "GIF"),
    (b"RIFF", "a RIFF file, such as sound or video"),
    (b"%PDF", "PDF"),
    (b"PK\x03\x04", "ZIP"),
    (b"%!PS", "PostScript"),
    (b"\x00\x00\x00\x0cJXL ", "JPEG XL"),
    (b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
    (b"II+\x00", "BigTIFF"),
    (b"MM\x00+", "BigTIFF"),
    (b"<", "a text or HTML file"),
)
# Beginnings of other pictures, which are refused by name.
_OTHER_PICTURES = tuple(start for start, name in _OTHER_FORMATS if name in ("GIF", "JPEG XL", "JPEG 2000", "BigTIFF"))
# Colour type -> channels that are decoded, a palette's too.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}
# An encoder's chunks of pixels hold 8 KiB or more; as many of these would be a gigabyte.
MAX_CHUNKS = 131_072
_BMP_HEADER_SIZES = (12, 40, 52, 56, 64, 108, 124)
_BMP_RGB, _BMP_MASKS = 0, 3


def read_header(data: bytes) -> ImageHeader:
    """Recognise PNG, JPEG, TIFF, BMP, WebP or DICOM by content and read its size.

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


def begins_as_picture(start: bytes) -> bool:
    """Whether a file is a picture, of a format that is read here or not, by its first 132 bytes or more."""
    if start.startswith(b"BM"):  # text may begin so as well
        return int.from_bytes(start[14:18], "little") in _BMP_HEADER_SIZES
    try:
        _parser_of(start)
    except UnsupportedImageError:
        return start.startswith(_OTHER_PICTURES)
    return True


def is_dicom(data: bytes) -> bool:
    """By the mark after the preamble (PS3.10, 7.1), which may itself begin as another picture does."""
    return data[128:132] == b"DICM"


def _parser_of(data: bytes) -> Callable[[bytes], ImageHeader]:
    if is_dicom(data):
        return _read_dicom
    if data.startswith(_PNG_SIGNATURE):
        return _read_png
    if data.startswith(b"\xff\xd8\xff"):
        from osteo_edge.images.jpeg import read_jpeg  # what is not needed for a picture is not loaded

        return read_jpeg
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        from osteo_edge.images.tiff import read_tiff

        return read_tiff
    if data.startswith(b"BM"):
        return _read_bmp
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        from osteo_edge.images.webp import read_webp

        return read_webp
    raise _unsupported(data)


def _read_dicom(data: bytes) -> ImageHeader:
    from osteo_edge.images.dicom import read_dicom

    return read_dicom(data)


def _unsupported(data: bytes) -> InputError:
    found = next((name for start, name in _OTHER_FORMATS if data.lstrip()[: len(start)] == start), None)
    what = f"this is {found}" if found else "this is not a picture"
    return UnsupportedImageError(f"{what}; PNG, JPEG, TIFF, BMP, WebP and DICOM are read", code="unsupported_format")


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise UnreadableImageError("the PNG file is damaged (no header)", code="damaged")
    width, height, bits, colour_type = struct.unpack_from(">IIBB", data, 16)
    if colour_type not in _PNG_CHANNELS:
        raise UnreadableImageError("the PNG file is damaged (no such colour type)", code="damaged")
    may_be_transparent = colour_type in (4, 6)
    offset, kind = len(_PNG_SIGNATURE), b""
    view = memoryview(data)
    for _ in range(MAX_CHUNKS):
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
            raise several_pictures("an animated PNG")
        if kind == b"IEND":
            memory_bytes = 2 * width * height * _PNG_CHANNELS[colour_type] * (2 if bits == 16 else 1)  # OpenCV keeps a copy
            return ImageHeader("PNG", width, height, memory_bytes, may_be_transparent, bool(colour_type & 2))
        may_be_transparent |= kind == b"tRNS"
        offset = end + 4
    raise ImageTooLargeError(f"the PNG has more than {MAX_CHUNKS} chunks", code=TOO_MANY_PARTS)


def _read_bmp(data: bytes) -> ImageHeader:
    pixels_at, header_size = struct.unpack_from("<II", data, 10)
    if header_size not in _BMP_HEADER_SIZES:
        raise UnreadableImageError("this is not a BMP file, or a damaged one", code="damaged")
    if header_size == 12:  # the OS/2 form has 16-bit sizes
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        compression, entry_size = _BMP_RGB, 3
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
        entry_size = 4
    height = abs(height)
    if compression not in (_BMP_RGB, _BMP_MASKS):
        raise UnsupportedImageError("this is a compressed BMP; export it as PNG", code="unsupported_format")
    if bits not in (1, 4, 8, 16, 24, 32):
        raise unsupported_pixels(f"a BMP of {bits} bit", "export it as PNG")
    if width < 1:
        raise UnreadableImageError("the file's header gives no size", code="damaged")
    if pixels_at + -(-width * bits // 32) * 4 * height > len(data):
        raise UnreadableImageError("the BMP file is truncated", code="truncated")
    has_alpha = bits == 32 and header_size >= 56 and struct.unpack_from("<I", data, 66)[0] != 0
    palette = data[14 + header_size : min(pixels_at, 14 + header_size + (entry_size << bits))] if bits <= 8 else b""
    is_coloured = bits > 8 or not palette[::entry_size] == palette[1::entry_size] == palette[2::entry_size]
    memory_bytes = width * height * (4 + 1 if has_alpha else 3 + 1 if is_coloured else 1)
    return ImageHeader("BMP", width, height, memory_bytes, has_alpha, is_coloured)
