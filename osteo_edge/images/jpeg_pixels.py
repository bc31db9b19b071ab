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

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.images.colour import coloured_share
from osteo_edge.images.jpeg import DRI, FRAMES, PROGRESSIVE, SOS, Frame, Segment, damaged, read_frame, segment_at

_DHT, _APP14 = 0xC4, 0xEE
_MOST_GROUPS = 0xFFFF
# Orientation -> what to mirror, after rows and columns were exchanged from 5 on: 1 left and right, 0 up and down, -1 both.
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}


def decode(data: bytes, *, may_be_coloured: bool) -> tuple[NDArray[np.uint8], float]:
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
    if may_be_coloured:
        colourless = _if_colourless(data)
        if colourless is not None:
            return colourless, 0.0
        return _decode(data, "GRAY")[..., 0], coloured_share(_decode(data, "RGB", reduction=8))
    return _decode(data, "GRAY")[..., 0], 0.0


def upright(pixels: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """Turn and mirror pixels as stored, as an EXIF orientation asks for."""
    if orientation >= 5:
        pixels = cv2.transpose(pixels)  # type: ignore[assignment]
    flip = _FLIPS.get(orientation)
    return pixels if flip is None else cv2.flip(pixels, flip)  # type: ignore[return-value]


def without_colour(data: bytes) -> bytes | None:
    """The same picture with colour tables that know no colour; None where the file's form does not allow it.

    libjpeg passes over unknown codes where it decodes fastest, and warns of them where restarts may come: so one is announced
    after more blocks than there are.
    """
    segments: list[Segment] = []
    offset = 2
    while not segments or segments[-1].marker != SOS:
        segments.append(segment_at(data, offset))
        offset = segments[-1].end
    tables = _colour_tables(segments)
    if not tables:
        return None
    announced = any(segment.marker == DRI for segment in segments)
    start = b"" if announced else _packed(Segment(DRI, struct.pack(">H", _MOST_GROUPS), 0))
    kept = [_without_colours(segment, tables) if segment.marker == _DHT else segment for segment in segments]
    return data[:2] + start + b"".join(map(_packed, kept)) + data[offset:]


def _if_colourless(data: bytes) -> NDArray[np.uint8] | None:
    from simplejpeg import decode_jpeg

    narrowed = without_colour(data)
    if narrowed is None:
        return None
    try:
        pixels: NDArray[np.uint8] = decode_jpeg(narrowed, "GRAY")
    except ValueError:
        return None
    return pixels[..., 0]


def _decode(data: bytes, colours: str, *, reduction: int = 1) -> NDArray[np.uint8]:
    from simplejpeg import decode_jpeg

    least = 1 if reduction > 1 else 0
    try:
        pixels: NDArray[np.uint8] = decode_jpeg(data, colours, min_height=least, min_width=least, min_factor=reduction)
    except ValueError as error:
        raise damaged("its picture data is not whole") from error
    return pixels


def _decode_unheard(data: bytes, may_be_coloured: bool) -> tuple[NDArray[np.uint8], float]:
    def by_opencv(mode: int) -> NDArray[np.uint8]:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), mode | cv2.IMREAD_IGNORE_ORIENTATION)
        if pixels is None:
            raise damaged("its picture data is not whole")
        return pixels  # type: ignore[return-value]

    share = coloured_share(by_opencv(cv2.IMREAD_REDUCED_COLOR_8)) if may_be_coloured else 0.0
    return by_opencv(cv2.IMREAD_GRAYSCALE), share


def _colour_tables(segments: list[Segment]) -> set[int]:
    """The tables that the colour channels alone use for their blocks' means; none where that cannot be told.

    Sequential coding with all three channels in the one scan, as luminance and two colours, and few enough blocks.
    """
    frame = next((read_frame(segment) for segment in segments if segment.marker in FRAMES), None)
    scan = segments[-1].content
    if frame is None or frame.marker == PROGRESSIVE or scan[0] != 3 or not _is_luminance_first(frame, segments):
        return set()
    if frame.groups(scan[1:7:2]) > _MOST_GROUPS:
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
