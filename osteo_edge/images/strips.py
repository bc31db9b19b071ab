"""How many bytes a compressed strip of a TIFF holds, found without keeping them; damage shows as a wrong number.

Deflate carries a checksum besides. LZW and PackBits have none: what damage leaves the number right is not seen.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from osteo_edge.arrays import Bytes

Measure = Callable[[bytes, int], int]
DAMAGED = -1

# LZW as TIFF 6.0, section 13, has it: codes below 256 are bytes, 256 empties the table, 257 ends the strip.
_CLEAR, _END, _FIRST_ENTRY = 256, 257, 258
_TABLE_SIZE = 5119  # as far as libtiff lets a table grow before it is emptied
_LEAST_BYTES_A_TABLE = 2048
_PLACES = np.arange(_TABLE_SIZE - _FIRST_ENTRY)
# Codes become wider when entries 511, 1023 and 2047 are next, one early; they have 12 bits at most.
_WIDTHS = 9 + np.searchsorted((511 - 257, 1023 - 257, 2047 - 257), _PLACES, side="right")
_OFFSETS = np.concatenate([[0], np.cumsum(_WIDTHS)])


def measure_deflate(strip: bytes, most: int) -> int:
    """Bytes that it inflates to, `most` + 1 if more; ``DAMAGED`` where zlib or its checksum says so."""
    stream = zlib.decompressobj()
    try:
        length = len(stream.decompress(strip, most + 1))
    except zlib.error:
        return DAMAGED
    return length if stream.eof or length > most else DAMAGED


def measure_packbits(strip: bytes, most: int) -> int:
    """Bytes that the runs give (TIFF 6.0, section 9), more than `most` if more; ``DAMAGED`` where a run is cut."""
    place, length, end = 0, 0, len(strip)
    while place < end and length <= most:
        count = strip[place]
        if count < 128:
            length += count + 1
            place += count + 2
        else:
            length += 257 - count if count > 128 else 0
            place += 2 if count > 128 else 1
    return length if place <= end else DAMAGED


def measure_lzw(strip: bytes, most: int) -> int:
    """Bytes that the codes give, more than `most` if more; ``DAMAGED`` where a code is not in the table yet."""
    data = np.frombuffer(strip + b"\x00\x00\x00", np.uint8)
    bits, place, length = 8 * len(strip), 9, 0
    if bits < 9 or _codes(data, 0, 1)[0] != _CLEAR:
        return DAMAGED
    # A table is emptied when it is full, after 5 KiB or so; one that is emptied all the time would cost minutes.
    for _ in range(2 + len(strip) // _LEAST_BYTES_A_TABLE):
        if length > most:
            return length
        codes = _codes(data, place, int(np.searchsorted(_OFFSETS, bits - place, side="right")) - 1)
        ends = np.flatnonzero((codes == _CLEAR) | (codes == _END))
        known = codes[: ends[0]] if len(ends) else codes
        if (known > _PLACES[: len(known)] + 257).any():
            return DAMAGED
        length += int(_lengths(known).sum())
        if not len(ends) or codes[ends[0]] == _END:
            return length
        place += int(_OFFSETS[ends[0] + 1])
    return DAMAGED


def _codes(data: Bytes, place: int, count: int) -> NDArray[np.int64]:
    """The codes from a bit on, as wide as they are after the table was emptied."""
    count = min(count, len(_WIDTHS))
    starts = place + _OFFSETS[:count]
    byte = starts >> 3
    three = (data[byte].astype(np.int64) << 16) | (data[byte + 1].astype(np.int64) << 8) | data[byte + 2]
    codes: NDArray[np.int64] = (three >> (24 - (starts & 7) - _WIDTHS[:count])) & ((1 << _WIDTHS[:count]) - 1)
    return codes


def _lengths(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bytes each code stands for.

    Entry 258 + i is the string of code i and one byte more. So the entries form trees, and the depth of all is found by
    following twice as many steps in each round.
    """
    nothing = len(codes)  # an entry that adds nothing, after the last one
    parents = np.append(np.where(codes < _CLEAR, nothing, codes - _FIRST_ENTRY), nothing)
    steps = np.append(np.ones(nothing, np.int64), 0)
    while (parents[:-1] != nothing).any():
        steps += steps[parents]
        parents = parents[parents]
    return steps[:-1]


MEASURES: Mapping[int, Measure] = {
    5: measure_lzw,
    8: measure_deflate,
    32773: measure_packbits,
    32946: measure_deflate,
}
"""Compression, as the directory numbers it -> its measure."""
