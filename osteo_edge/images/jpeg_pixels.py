"""A JPEG's grey pixels, with the decoder's warnings heard, and how much of it is coloured.

OpenCV lets libjpeg print its warnings to standard error and answers all the same; simplejpeg's strict mode raises them.

Most grey JPEGs have two colour channels that hold nothing. To look at them would cost a second pass over the file, or a
fifth more in the same one. So libjpeg is given tables by which a colour channel can say nothing but "the mean colour of
this block is none": any other code is unknown to it, and it warns. What it decodes without a warning has no colour, and its
grey pixels are what they would have been.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np

from osteo_edge.images.colour import coloured_share
from osteo_edge.images.jpeg import DRI, FRAMES, PROGRESSIVE, SOS, Frame, Segment, damaged, read_frame, segment_at
from osteo_edge.images.staircase import require_no_staircase

if TYPE_CHECKING:
    from osteo_edge.arrays import Bytes

_DHT, _APP14 = 0xC4, 0xEE
_MOST_GROUPS = 0xFFFF


def decode(data: bytes, *, may_be_coloured: bool) -> tuple[Bytes, float]:
    """Grey pixels (height, width) as stored, the luminance of a colour picture, and the share of coloured pixels.

    Args:
        data: a file that ``read_jpeg`` accepted.
        may_be_coloured: it has three components.

    Raises:
        UnreadableImageError: damaged, also where libjpeg only warns of it. Where simplejpeg is not installed, for which
            no wheel exists on 32-bit ARM, such warnings are not heard.
    """
    try:
        import simplejpeg  # noqa: F401  here, since most pictures are no JPEG
    except ImportError:
        return _decode_unheard(data, may_be_coloured)
    segments, scans = _taken_apart(data)
    grey = _if_colourless(segments, scans) if may_be_coloured else None
    share = 0.0
    if grey is None:
        heard = _joined(segments, scans)
        grey = _decode(heard, "GRAY")[..., 0]
        share = coloured_share(_decode(heard, "RGB", reduction=8)) if may_be_coloured else 0.0
    require_no_staircase(grey, _frame(segments).row_px)
    return grey, share


def _without_colour(segments: list[Segment], scans: bytes) -> bytes | None:
    """The same picture with colour tables that know no colour; None where the file's form does not allow it."""
    tables = _colour_tables(segments)
    if not tables or segments[0].marker != DRI:
        return None
    return _joined([_without_colours(segment, tables) if segment.marker == _DHT else segment for segment in segments], scans)


def _if_colourless(segments: list[Segment], scans: bytes) -> Bytes | None:
    from simplejpeg import decode_jpeg

    narrowed = _without_colour(segments, scans)
    if narrowed is None:
        return None
    try:
        pixels: Bytes = decode_jpeg(narrowed, "GRAY")
    except ValueError:
        return None
    return pixels[..., 0]


def _taken_apart(data: bytes) -> tuple[list[Segment], bytes]:
    """The segments to the first scan's header, and what follows.

    Where it can be, a restart interval is put first. libjpeg passes over unknown codes where it decodes fastest, and warns of
    them where restarts may come; so one is announced after more blocks than there are.
    """
    segments: list[Segment] = []
    offset = 2
    while not segments or segments[-1].marker != SOS:
        segments.append(segment_at(data, offset))
        offset = segments[-1].end
    intervals = [segment for segment in segments if segment.marker == DRI]
    others = [segment for segment in segments if segment.marker != DRI]
    is_used = bool(intervals) and any(intervals[-1].content)  # an interval of 0 says that there are none
    return (intervals[-1:] if is_used else _interval(others)) + others, data[offset:]


def _interval(segments: list[Segment]) -> list[Segment]:
    """One that is never reached, where all channels are in the one scan of few enough blocks."""
    frame = _frame(segments)
    components = segments[-1].content[1 : 1 + 2 * len(frame.sampling) : 2]
    is_whole = frame.marker != PROGRESSIVE and segments[-1].content[0] == len(frame.sampling)
    fits = is_whole and frame.groups(components) <= _MOST_GROUPS
    return [Segment(DRI, struct.pack(">H", _MOST_GROUPS), 0)] if fits else []


def _frame(segments: list[Segment]) -> Frame:
    return next(read_frame(segment) for segment in segments if segment.marker in FRAMES)


def _joined(segments: list[Segment], scans: bytes) -> bytes:
    return b"\xff\xd8" + b"".join(map(_packed, segments)) + scans


def _decode(data: bytes, colours: str, *, reduction: int = 1) -> Bytes:
    from simplejpeg import decode_jpeg

    least = 1 if reduction > 1 else 0
    try:
        pixels: Bytes = decode_jpeg(data, colours, min_height=least, min_width=least, min_factor=reduction)
    except ValueError as error:
        raise damaged("its picture data is not whole") from error
    return pixels


def _decode_unheard(data: bytes, may_be_coloured: bool) -> tuple[Bytes, float]:
    def by_opencv(mode: int) -> Bytes:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise damaged("its picture data is not whole")
        return pixels  # type: ignore[return-value]

    share = coloured_share(by_opencv(cv2.IMREAD_REDUCED_COLOR_8)) if may_be_coloured else 0.0
    return by_opencv(cv2.IMREAD_GRAYSCALE), share


def _colour_tables(segments: list[Segment]) -> set[int]:
    """The tables that the colour channels alone use for their blocks' means; none where that cannot be told.

    Sequential coding with all three channels in the one scan, as luminance and two colours.
    """
    frame, scan = _frame(segments), segments[-1].content
    if frame.marker == PROGRESSIVE or scan[0] != 3 or not _is_luminance_first(frame, segments):
        return set()
    luminance, *colours = (selectors >> 4 for selectors in scan[2:7:2])
    return set(colours) - {luminance} if luminance not in colours else set()


def _is_luminance_first(frame: Frame, segments: list[Segment]) -> bool:
    """Not red, green and blue, which libjpeg takes from the names of the channels or from Adobe's note."""
    notes = (segment.content for segment in segments if segment.marker == _APP14)
    return bytes(frame.sampling) != b"RGB" and not any(note[:5] == b"Adobe" and note[11:12] == b"\x00" for note in notes)


def _without_colours(segment: Segment, tables: set[int]) -> Segment:
    """Tables of codes (T.81, B.2.4.2), those for means of these channels cut before the first that is a difference."""
    content, place = b"", 0
    while place < len(segment.content):
        kind, counts = segment.content[place], segment.content[place + 1 : place + 17]
        values = segment.content[place + 17 : place + 17 + sum(counts)]
        place += 17 + len(values)
        if kind in tables:  # of class 0, for means
            values = values[: len(values) - len(values.lstrip(b"\x00"))]
            ends = np.minimum(np.cumsum(np.frombuffer(counts, np.uint8), dtype=int), len(values))
            counts = np.diff(ends, prepend=0).astype(np.uint8).tobytes()
        content += bytes([kind]) + counts + values
    return replace(segment, content=content)


def _packed(segment: Segment) -> bytes:
    return b"\xff" + bytes([segment.marker]) + struct.pack(">H", len(segment.content) + 2) + segment.content
