"""TIFF: what its directory says (TIFF 6.0), and whether its compressed strips hold what they should.

OpenCV prints what libtiff finds wrong with compressed data and answers with whatever was decoded until then, so that
each strip is measured here first. EXIF blocks and the index of multi-picture JPEGs are TIFF directories too.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.errors import ImageTooLargeError, UnreadableImageError, UnsupportedImageError
from osteo_edge.findings import TOO_MANY_PARTS
from osteo_edge.images.header import ImageHeader, several_pictures, unsupported_pixels
from osteo_edge.images.strips import MEASURES

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_A_STRIP, _STRIP_BYTES, _PLANAR = 273, 274, 277, 278, 279, 284
_PALETTE, _TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_BYTES = 320, 322, 323, 324, 325
_EXTRA, _SAMPLE_FORMAT = 338, 339
_IMAGES_OF_MPO = 0xB001  # CIPA DC-007, 5.2.3.2

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE_NUMBERS = 0, 1, 2, 3
_PIXEL_KINDS = {
    4: "a mask",
    5: "print colours (CMYK)",
    6: "YCbCr",
    8: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "raw data",
}
_UNCOMPRESSED = 1
_COMPRESSIONS = {
    2: "fax", 3: "fax", 4: "fax", 6: "JPEG", 7: "JPEG", 9: "JBIG", 10: "JBIG", 32809: "ThunderScan", 34661: "JBIG",
    33003: "JPEG 2000", 33004: "JPEG 2000", 33005: "JPEG 2000", 34712: "JPEG 2000", 34887: "LERC", 34892: "JPEG",
    34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL",
}  # fmt: skip
_BITS_READ = (1, 4, 8, 10, 12, 14, 16)
_SAMPLES_READ = {_WHITE_IS_ZERO: (1, 2), _BLACK_IS_ZERO: (1, 2), _RGB: (3, 4), _PALETTE_NUMBERS: (1,)}
_NO_LIMIT = 0xFFFFFFFF  # the default of RowsPerStrip: all rows in one
# One a row, or tiles of 32 x 32 at 40 megapixels, are fewer.
MAX_STRIPS = 50_000
_VALUE_TYPES = {1: "u1", 3: "u2", 4: "u4"}
_INSTEAD = "export it as a grey PNG, or as a TIFF without compression"


@dataclass(frozen=True)
class Directory:
    """One directory (TIFF 6.0, section 2).

    Attributes:
        entries: tag -> (type, number of values, where they are).
        following: where the next directory is; 0 for the last.
    """

    data: bytes
    order: str
    entries: dict[int, tuple[int, int, int]]
    following: int

    def values(self, tag: int) -> NDArray[np.uint32]:
        """Whole numbers of a tag, none where it is absent or of another type.

        Raises:
            struct.error: they lie outside of the file.
        """
        kind, count, offset = self.entries.get(tag, (1, 0, 0))
        if kind not in _VALUE_TYPES:
            return np.empty(0, np.uint32)
        type_of_values = np.dtype(self.order + _VALUE_TYPES[kind])
        if offset + count * type_of_values.itemsize > len(self.data):
            raise struct.error("a tag's values lie outside of the file")
        return np.frombuffer(self.data, type_of_values, count, offset).astype(np.uint32)

    def first(self, tag: int, default: int) -> int:
        values = self.values(tag)
        return int(values[0]) if len(values) else default


def read_directory(data: bytes) -> Directory:
    """The first directory of a TIFF file or block.

    Raises:
        struct.error: it lies outside of the data.
    """
    order = "<" if data[:2] == b"II" else ">"
    (start,) = struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + "H", data, start)
    entries = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from(order + "HHI", data, place)
        size = np.dtype(_VALUE_TYPES.get(kind, "u8")).itemsize * number
        entries[tag] = (kind, number, place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0])
    (following,) = struct.unpack_from(order + "I", data, start + 2 + 12 * count)
    return Directory(data, order, entries, following)


def exif_orientation(segment: bytes) -> int:
    """1 to 8 from the content of a JPEG's APP1 segment; 1, as stored, where it says nothing that can be understood."""
    orientation = _from_block(segment, b"Exif\x00\x00", _ORIENTATION)
    return orientation if 1 <= orientation <= 8 else 1


def images_of_mpo(segment: bytes) -> int:
    """How many pictures the content of a JPEG's APP2 segment announces; 1 where it says nothing of it."""
    return _from_block(segment, b"MPF\x00", _IMAGES_OF_MPO)


def _from_block(segment: bytes, start: bytes, tag: int) -> int:
    block = segment[len(start) :]
    if not segment.startswith(start) or block[:4] not in (b"II*\x00", b"MM\x00*"):
        return 1
    try:
        return read_directory(block).first(tag, 1)
    except struct.error:
        return 1


def read_tiff(data: bytes) -> ImageHeader:
    """Size and kind of pixels.

    Raises:
        UnsupportedImageError: several pages, or pixels or a compression that are not read here.
        UnreadableImageError: strips that are cut, or are not there.
        ImageTooLargeError: more strips than any writer has a use for.
        struct.error: the directory is cut.
    """
    directory = read_directory(data)
    if directory.following:
        raise several_pictures("a TIFF with several pages")
    bits, samples = _bits(directory), directory.first(_SAMPLES, 1)
    photometric = directory.first(_PHOTOMETRIC, _BLACK_IS_ZERO)
    _refuse_pixels(directory, bits, samples, photometric)
    _refuse_compression(directory)
    width, height = directory.first(_WIDTH, 0), directory.first(_HEIGHT, 0)
    has_alpha, is_coloured = _EXTRA in directory.entries or samples in (2, 4), photometric in (_RGB, _PALETTE_NUMBERS)
    if width < 1 or height < 1:
        return ImageHeader("TIFF", width, height, 0)
    blocks = _blocks(directory, width, height)
    channels = 4 + 1 if has_alpha else 3 + 1 if is_coloured else 1  # the grey one is made of the others
    # One strip or tile at a time is decoded apart, 8-bit ones as four channels.
    of_block = blocks.width_px * blocks.height_px * max(4, samples * -(-bits // 8))
    memory_bytes = width * height * channels * (2 if bits > 8 else 1) + of_block
    return ImageHeader("TIFF", width, height, memory_bytes, has_alpha, is_coloured)


def require_whole_strips(data: bytes) -> None:
    """Measure what the strips or tiles of a file that ``read_tiff`` accepted decompress to.

    Raises:
        UnreadableImageError: one is damaged, or holds more or less than its part of the picture.
    """
    directory = read_directory(data)
    compression = directory.first(_COMPRESSION, _UNCOMPRESSED)
    blocks = _blocks(directory, directory.first(_WIDTH, 0), directory.first(_HEIGHT, 0))
    row_bytes = -(-blocks.width_px * _bits(directory) * directory.first(_SAMPLES, 1) // 8)
    whole, last = row_bytes * blocks.height_px, row_bytes * blocks.last_rows
    if compression == _UNCOMPRESSED:
        if (blocks.counts[:-1] < whole).any() or blocks.counts[-1] < last:
            raise UnreadableImageError("the TIFF file is truncated", code="truncated")
        return
    measure = MEASURES[compression]
    for number, (offset, count) in enumerate(zip(blocks.offsets.tolist(), blocks.counts.tolist(), strict=True), start=1):
        expected = (whole, last) if number == len(blocks.offsets) else (whole,)  # the last may be filled up
        if measure(data[offset : offset + count], whole) not in expected:
            raise UnreadableImageError("the TIFF's compressed data is damaged", code="damaged")


@dataclass(frozen=True)
class _Blocks:
    """The strips or tiles: size of each in pixels, rows of the last, and where they are in the file."""

    width_px: int
    height_px: int
    last_rows: int
    offsets: NDArray[np.uint32]
    counts: NDArray[np.uint32]


def _blocks(directory: Directory, width: int, height: int) -> _Blocks:
    if _TILE_WIDTH in directory.entries:
        across, down = directory.first(_TILE_WIDTH, 0), directory.first(_TILE_HEIGHT, 0)
        places, last_rows, tags = -(-width // max(across, 1)), down, (_TILE_OFFSETS, _TILE_BYTES)
    else:
        rows = directory.first(_ROWS_A_STRIP, _NO_LIMIT)
        across, down = width, height if rows == _NO_LIMIT else rows
        places, last_rows, tags = 1, (height - 1) % max(down, 1) + 1, (_STRIP_OFFSETS, _STRIP_BYTES)
    number = places * -(-height // max(down, 1))
    if number > MAX_STRIPS:
        raise ImageTooLargeError(f"the TIFF has more than {MAX_STRIPS} strips", code=TOO_MANY_PARTS)
    offsets, counts = (directory.values(tag)[:number] for tag in tags)
    if across < 1 or down < 1 or len(offsets) != number or len(counts) != number:
        raise UnreadableImageError("the TIFF's directory does not say where its pixels are", code="damaged")
    if (offsets.astype(np.int64) + counts > len(directory.data)).any():
        raise UnreadableImageError("the TIFF file is truncated", code="truncated")
    return _Blocks(across, down, last_rows, offsets, counts)


def _bits(directory: Directory) -> int:
    """Bits a sample, 0 where they differ."""
    bits = directory.values(_BITS)
    return 1 if not len(bits) else int(bits[0]) if (bits == bits[0]).all() else 0


def _refuse_pixels(directory: Directory, bits: int, samples: int, photometric: int) -> None:
    """What OpenCV decodes to other pixels without a word, or does not decode."""
    if photometric in _PIXEL_KINDS:
        raise unsupported_pixels(f"a TIFF of {_PIXEL_KINDS[photometric]}", _INSTEAD)
    if photometric == _PALETTE_NUMBERS and len(directory.values(_PALETTE)) < 3 << bits:
        raise UnreadableImageError("the TIFF has numbers of a palette, and no palette", code="damaged")
    if photometric == _WHITE_IS_ZERO and bits > 8:
        raise unsupported_pixels("a TIFF of more than 8 bit with white as zero", "export it with black as zero")
    if directory.first(_PLANAR, 1) != 1 and samples > 1:
        raise unsupported_pixels("a TIFF with separate colour planes", "export it as one grey plane")
    if (directory.values(_SAMPLE_FORMAT) != 1).any():
        raise unsupported_pixels("a TIFF of signed numbers or fractions", "export it as 8 or 16 bit greys")
    if bits not in _BITS_READ or samples not in _SAMPLES_READ.get(photometric, ()):
        raise unsupported_pixels(f"a TIFF of {samples} x {bits} bit", "export it as 8 or 16 bit greys")


def _refuse_compression(directory: Directory) -> None:
    compression = directory.first(_COMPRESSION, _UNCOMPRESSED)
    if compression != _UNCOMPRESSED and (compression not in MEASURES or directory.first(_FILL_ORDER, 1) != 1):
        name = _COMPRESSIONS.get(compression, f"kind {compression}")
        raise UnsupportedImageError(f"this is a TIFF with {name} compression; {_INSTEAD}", code="unsupported_format")
