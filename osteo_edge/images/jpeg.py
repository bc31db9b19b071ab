"""JPEG: what its markers say (ITU-T T.81, annex B), from the first to the end of the picture."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.errors import ImageTooLargeError, InputError, UnreadableImageError, UnsupportedImageError
from osteo_edge.findings import TOO_MANY_PARTS
from osteo_edge.images.header import ImageHeader, several_pictures, unsupported_pixels
from osteo_edge.images.tiff import exif_orientation, images_of_mpo

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Bytes

# An encoder writes about ten; each costs a pass over all blocks, 19 ms at 40 megapixels, however few bytes it has.
MAX_SCANS = 100
# Segments hold at most 64 KiB: a large colour profile and notes are a few hundred.
MAX_SEGMENTS = 2_000

_SOI, _EOI, SOS, _DQT, DRI, _APP1, _APP2 = 0xD8, 0xD9, 0xDA, 0xDB, 0xDD, 0xE1, 0xE2
_FIRST_RESTART, _LAST_RESTART = 0xD0, 0xD7
_RESTARTS = bytes(range(_FIRST_RESTART, _LAST_RESTART + 1))
PROGRESSIVE = 0xC2
# Start of frame markers (T.81, table B.1), without DHT (C4), JPG (C8) and DAC (CC); and those that are not read.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CODINGS = {
    0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "hierarchical", 0xC9: "arithmetic",
    0xCA: "arithmetic", 0xCB: "arithmetic", 0xCD: "hierarchical", 0xCE: "hierarchical", 0xCF: "hierarchical",
}  # fmt: skip
# Markers without a length (T.81, table B.1): none of them stands between segments, and a reader that took one for
# a segment would jump to another place than the decoder does.
_BARE = frozenset({0x00, 0x01, *_RESTARTS, _SOI})
# The coarsest ten steps of the table for luminance that encoders scale by their quality (T.81, table K.1), in order of storing.
_FIRST_STEPS = 10
_SUM_OF_FIRST_STEPS = 16 + 11 + 12 + 14 + 12 + 10 + 16 + 14 + 13 + 14
_FILL = re.compile(rb"\xff*")  # any number of them comes before a marker, T.81 B.1.1.2
_SAVE_AGAIN = "save it again as an 8-bit grey JPEG or PNG"


@dataclass(frozen=True)
class Segment:
    """A marker and its content; of a scan also the restart markers in it. `end` is where the next segment begins."""

    marker: int
    content: bytes
    end: int
    restarts: bytes = b""


@dataclass(frozen=True)
class Frame:
    """The frame header (T.81, B.2.2): kind, size, and how often each component is sampled, by its identifier.

    Attributes:
        table: number of the first component's quantization table.
    """

    marker: int
    width_px: int
    height_px: int
    sampling: Mapping[int, tuple[int, int]]
    table: int

    def groups(self, components: bytes) -> int:
        """Of how many groups of blocks a scan of these components consists (T.81, A.2)."""
        across, down = (max(sides[axis] for sides in self.sampling.values()) for axis in (0, 1))
        if len(components) > 1:
            return -(-self.width_px // (8 * across)) * -(-self.height_px // (8 * down))
        sampled_across, sampled_down = self.sampling[components[0]]
        columns, rows = -(-self.width_px * sampled_across // across), -(-self.height_px * sampled_down // down)
        return -(-columns // 8) * -(-rows // 8)  # a single component's blocks follow one another

    @property
    def row_px(self) -> int:
        """Height of a row of groups."""
        return 8 * max(down for _, down in self.sampling.values()) if len(self.sampling) > 1 else 8

    @property
    def samples(self) -> int:
        """Of all components, in whole groups."""
        return 64 * self.groups(bytes(2)) * sum(across * down for across, down in self.sampling.values())


def read_jpeg(data: bytes) -> ImageHeader:
    """Walk all markers to the end of the picture.

    Raises:
        UnsupportedImageError: arithmetic, lossless or hierarchical coding, not 8 bit, not one or three components, or
            several pictures.
        UnreadableImageError: it ends early, or its markers are not where and what they must be.
        ImageTooLargeError: more scans or segments than any encoder has a use for.
        struct.error, IndexError: a segment is cut.
    """
    frame: Frame | None = None
    scans, restart_interval, orientation = 0, 0, 1
    qualities: dict[int, int] = {}
    for segment in _segments(data):
        if segment.marker in FRAMES:
            if frame:
                raise damaged("two frames")
            frame = read_frame(segment)
        elif segment.marker == _DQT:
            qualities |= _qualities(segment.content)
        elif segment.marker == DRI:
            (restart_interval,) = struct.unpack_from(">H", segment.content)
        elif segment.marker == _APP1 and orientation == 1:
            orientation = exif_orientation(segment.content)
        elif segment.marker == _APP2 and images_of_mpo(segment.content) > 1:
            raise several_pictures("a JPEG with several pictures (MPO)")
        elif segment.marker == SOS:
            scans += 1
            _check_scan(segment, frame, restart_interval)
        elif segment.marker == _EOI and data[segment.end :].lstrip(b"\x00").startswith(b"\xff\xd8\xff"):
            raise several_pictures("a JPEG with another picture after it")
        if scans > MAX_SCANS:
            raise ImageTooLargeError(f"the JPEG has more than {MAX_SCANS} scans", code=TOO_MANY_PARTS)
    if frame is None or not scans:
        raise damaged("no frame found")
    kept = 2 * frame.samples if scans > 1 or frame.marker == PROGRESSIVE else 0  # until the last scan is read
    pixels, is_coloured = frame.width_px * frame.height_px, len(frame.sampling) > 1
    return ImageHeader(
        "JPEG",
        frame.width_px,
        frame.height_px,
        pixels + kept,
        may_be_coloured=is_coloured,
        orientation=orientation,
        jpeg_quality=qualities.get(frame.table),
    )


def _qualities(content: bytes) -> dict[int, int]:
    """Number of a quantization table -> the quality, 1 to 100, by which libjpeg would have made its first steps."""
    found, place = {}, 0
    while place < len(content):
        is_wide, number = divmod(content[place], 16)
        steps = struct.unpack_from(f">{_FIRST_STEPS}{'H' if is_wide else 'B'}", content, place + 1)
        scale = 100 * sum(steps) / _SUM_OF_FIRST_STEPS
        found[number] = round(5000 / scale if scale > 100 else (200 - scale) / 2) if scale else 100
        place += 1 + 64 * (1 + bool(is_wide))
    return found


def segment_at(data: bytes, offset: int) -> Segment:
    """The segment that begins here; of a scan its header alone.

    Raises:
        UnreadableImageError: there is none, or it is cut.
        struct.error, IndexError: it is cut within its length.
    """
    start = _FILL.match(data, offset).end()  # type: ignore[union-attr]  # it matches anything
    marker = data[start]
    if start == offset or marker in _BARE:
        raise damaged("no segment where one must be")
    if marker == _EOI:
        return Segment(marker, b"", start + 1)
    (length,) = struct.unpack_from(">H", data, start + 1)
    end = start + 1 + length
    if end > len(data):
        raise UnreadableImageError("the JPEG file is truncated", code="truncated")
    return Segment(marker, data[start + 3 : end], end)


def _segments(data: bytes) -> Iterator[Segment]:
    """From the first one to the end of the picture."""
    offset, markers = 2, _Markers(data)
    for _ in range(MAX_SEGMENTS):
        segment = segment_at(data, offset)
        if segment.marker == SOS:
            restarts, end = markers.scan_from(segment.end)
            segment = replace(segment, restarts=restarts, end=end)
        yield segment
        if segment.marker == _EOI:
            return
        offset = segment.end
    raise ImageTooLargeError(f"the JPEG has more than {MAX_SEGMENTS} segments", code=TOO_MANY_PARTS)


class _Markers:
    """All places in the file that read as a marker, found once a scan asks for them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def scan_from(self, start: int) -> tuple[bytes, int]:
        """The restart markers of the scan that begins here, and where the marker after it is."""
        first = int(np.searchsorted(self._places, start))
        after = int(np.searchsorted(self._ends, first))
        if after == len(self._ends):
            raise UnreadableImageError("the JPEG file is truncated", code="truncated")
        end = int(self._ends[after])
        return self._codes[first:end].tobytes(), int(self._places[end])

    @cached_property
    def _places(self) -> NDArray[np.intp]:
        codes = np.frombuffer(self._data, np.uint8)
        places = np.flatnonzero(codes[:-1] == 0xFF)
        after = codes[places + 1]
        markers: NDArray[np.intp] = places[(after != 0) & (after != 0xFF)]
        return markers

    @cached_property
    def _codes(self) -> Bytes:
        return np.frombuffer(self._data, np.uint8)[self._places + 1]

    @cached_property
    def _ends(self) -> NDArray[np.intp]:
        """Which of the places are no restart markers: a scan ends there."""
        return np.flatnonzero((self._codes < _FIRST_RESTART) | (self._codes > _LAST_RESTART))


def read_frame(segment: Segment) -> Frame:
    precision, height, width, number = struct.unpack_from(">BHHB", segment.content)
    name = _CODINGS.get(segment.marker)
    if name:
        raise UnsupportedImageError(f"this is a JPEG with {name} coding; {_SAVE_AGAIN}", code="unsupported_format")
    if precision != 8:
        raise unsupported_pixels(f"a JPEG of {precision} bit", _SAVE_AGAIN)
    if number not in (1, 3):
        what = "print colours (CMYK)" if number == 4 else f"{number} channels"
        raise unsupported_pixels(f"a JPEG of {what}", _SAVE_AGAIN)
    places = range(6, 6 + 3 * number, 3)
    sampling = {segment.content[place]: divmod(segment.content[place + 1], 16) for place in places}
    if len(sampling) != number or not all(1 <= side <= 4 for sides in sampling.values() for side in sides):
        raise damaged("its frame makes no sense")
    return Frame(segment.marker, width, height, sampling, segment.content[8])


def _check_scan(segment: Segment, frame: Frame | None, restart_interval: int) -> None:
    number = segment.content[0]
    components = segment.content[1 : 2 * number : 2]
    if frame is None or not components or not set(components) <= frame.sampling.keys():
        raise damaged("a scan of what is not there")
    expected = (frame.groups(components) - 1) // restart_interval if restart_interval else 0
    if segment.restarts != (_RESTARTS * (expected // 8 + 1))[:expected]:
        raise damaged("a part of its picture data is missing")


def damaged(what: str) -> InputError:
    return UnreadableImageError(f"the JPEG file is damaged ({what})", code="damaged")
