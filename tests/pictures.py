"""Picture files made byte by byte, as no encoder at hand would write them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

Tags = Mapping[int, tuple[int, Sequence[int]] | None]
"""TIFF tag -> type and values; None removes it."""
Chunk = tuple[bytes, bytes]
"""Kind and content of a WebP's chunk."""


def encoded(ending: str, pixels: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(ending, pixels, options)
    assert done
    return data.tobytes()


def jpeg_segment(marker: int, content: bytes) -> bytes:
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content


def scan_bounds(jpeg: bytes) -> tuple[int, int]:
    """Where the data of a JPEG's only scan begins and ends."""
    start = jpeg.index(b"\xff\xda")
    return start + 2 + int.from_bytes(jpeg[start + 2 : start + 4], "big"), len(jpeg) - 2


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def tiff(strips: Sequence[bytes], width: int, height: int, tags: Tags | None = None, order: str = "<") -> bytes:
    """A TIFF of 8-bit greys in one or more strips of equal rows; `tags` change, add or remove some."""
    types = {1: "B", 3: "H", 4: "I"}
    rows = -(-height // len(strips))
    entries = {256: (4, [width]), 257: (4, [height]), 258: (3, [8]), 259: (3, [1]), 262: (3, [1]), 273: (4, [0] * len(strips))}
    entries |= {277: (3, [1]), 278: (4, [rows]), 279: (4, [len(strip) for strip in strips])}
    for tag, entry in (tags or {}).items():
        entries.pop(tag, None)
        entries |= {tag: entry} if entry else {}
    packed = {tag: struct.pack(f"{order}{len(values)}{types[kind]}", *values) for tag, (kind, values) in entries.items()}
    place = 8 + 2 + 12 * len(entries) + 4
    pixels = place + sum(len(value) for value in packed.values() if len(value) > 4)
    offsets = [pixels + sum(map(len, strips[:number])) for number in range(len(strips))]
    if 273 in entries and not any(entries[273][1]):
        packed[273] = struct.pack(f"{order}{len(strips)}I", *offsets)
    directory, elsewhere = struct.pack(order + "H", len(entries)), b""
    for tag in sorted(entries):
        kind, values = entries[tag]
        value = packed[tag]
        if len(value) > 4:
            value, elsewhere = struct.pack(order + "I", place + len(elsewhere)), elsewhere + value
        directory += struct.pack(order + "HHI", tag, kind, len(values)) + value.ljust(4, b"\0")
    start = (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(order + "I", 8)
    return start + directory + bytes(4) + elsewhere + b"".join(strips)


def webp(*chunks: Chunk) -> bytes:
    """A RIFF file of these kinds and contents."""
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content + bytes(len(content) % 2) for kind, content in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_chunks(data: bytes) -> list[Chunk]:
    """The kinds and contents of a WebP's chunks."""
    chunks, place = [], 12
    while place < len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        chunks.append((data[place : place + 4], data[place + 8 : place + 8 + size]))
        place += 8 + size + size % 2
    return chunks


def webp_extended(picture: Chunk, shape: tuple[int, int], flags: int, *after: Chunk, before: Sequence[Chunk] = ()) -> bytes:
    """A WebP of this picture's chunk with a header of its own; `before` and `after` stand beside the picture."""
    height, width = shape
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    return webp((b"VP8X", bytes([flags, 0, 0, 0]) + canvas), *before, picture, *after)
