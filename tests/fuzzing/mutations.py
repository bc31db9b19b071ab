"""Damage and ill will: a sound file made another one, the same again from the same number."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Sequence
from random import Random

# One is seen to get farther than many.
_CHANGES_A_FILE = (1, 1, 1, 1, 2, 2, 3, 6)
_LONGEST_PIECE = 64
# What programs count wrongly with.
_EDGES = (0, 1, 2, 7, 8, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_PNG = b"\x89PNG\r\n\x1a\n"
# How many PNG files keep right checksums: else hardly one would be decoded.
_SEALED = 0.8


def mutated(files: Sequence[bytes], *, seed: int, name: str, number: int) -> bytes:
    """One of the files, changed in one to six ways."""
    random = Random(f"{seed}/{name}/{number}")
    data = bytearray(random.choice(files))
    for _ in range(random.choice(_CHANGES_A_FILE)):
        random.choice(_CHANGES)(data, random, files)
    return _sealed(bytes(data)) if data.startswith(_PNG) and random.random() < _SEALED else bytes(data)


def _flip(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    if data:
        data[random.randrange(len(data))] ^= 1 << random.randrange(8)


def _overwrite(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    """A number of one, two or four bytes, in either order."""
    width, order = random.choice((1, 2, 4)), random.choice("<>")
    value = random.choice(_EDGES) & ((1 << 8 * width) - 1)
    place = _place(data, random)
    data[place : place + width] = struct.pack(order + {1: "B", 2: "H", 4: "I"}[width], value)


def _overwrite_near_the_start(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    """Headers stand there."""
    head = data[: min(len(data), 400)]
    _overwrite(head, random, files)
    data[: min(len(data), 400)] = head


def _cut(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    del data[_place(data, random) :]


def _leave_out(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    place = _place(data, random)
    del data[place : place + random.randint(1, _LONGEST_PIECE)]


def _insert(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    place = _place(data, random)
    data[place:place] = random.randbytes(random.randint(1, _LONGEST_PIECE))


def _repeat(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    place = _place(data, random)
    piece = data[place : place + random.randint(1, _LONGEST_PIECE)]
    data[place:place] = piece * random.randint(1, 40)


def _zeros(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    place, length = _place(data, random), random.randint(1, 4 * _LONGEST_PIECE)
    data[place : place + length] = bytes(len(data[place : place + length]))


def _splice(data: bytearray, random: Random, files: Sequence[bytes]) -> None:
    """The start of this file and the end of another."""
    other = random.choice(files)
    place = _place(data, random)
    data[place:] = other[min(place, len(other)) :]


_CHANGES: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _overwrite, _overwrite_near_the_start, _overwrite_near_the_start),
    *(_cut, _leave_out, _insert, _repeat, _zeros, _splice),
)


def _place(data: bytearray, random: Random) -> int:
    return random.randrange(len(data)) if data else 0


def _sealed(data: bytes) -> bytes:
    """With the checksums of its chunks put right, as far as they can be followed."""
    sealed, offset = bytearray(data), len(_PNG)
    while offset + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, offset)
        end = offset + 8 + length
        if end + 4 > len(data):
            break
        struct.pack_into(">I", sealed, end, zlib.crc32(data[offset + 4 : end]))
        offset = end + 4
    return bytes(sealed)
