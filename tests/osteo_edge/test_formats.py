"""Formats are known by content; sizes are known before decoding."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
import pytest

from osteo_edge.errors import InputError
from osteo_edge.images.formats import read_header

PIXELS = (np.arange(40 * 30) % 251).astype(np.uint8).reshape(40, 30)


def encoded(ending: str, pixels: np.ndarray = PIXELS) -> bytes:
    done, data = cv2.imencode(ending, pixels)
    assert done
    return data.tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize(("ending", "name"), [(".png", "PNG"), (".jpg", "JPEG"), (".tiff", "TIFF"), (".bmp", "BMP")])
def test_reads_format_and_size(ending: str, name: str) -> None:
    header = read_header(encoded(ending))
    assert (header.format, header.width_px, header.height_px, header.pixels) == (name, 30, 40, 1200)


def test_reads_big_endian_tiff() -> None:
    tags = [(256, 3, 1, struct.pack(">HH", 30, 0)), (257, 4, 1, struct.pack(">I", 40))]
    directory = b"".join(struct.pack(">HHI", tag, kind, count) + value for tag, kind, count, value in tags)
    data = b"MM\x00*" + struct.pack(">I", 8) + struct.pack(">H", 2) + directory + bytes(4)
    assert read_header(data).pixels == 1200


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello, this is text", "unsupported_format"),
        (b"<svg></svg>", "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"GIF89a" + bytes(20), "unsupported_format"),
        (b"RIFF\x00\x00\x00\x00WEBP", "unsupported_format"),
        (b"PK\x03\x04" + bytes(30), "unsupported_format"),
        (bytes(128) + b"DICM", "unsupported_format"),
        (encoded(".png")[:20], "truncated"),
        (encoded(".png")[:-1], "truncated"),
        (encoded(".png")[:100], "truncated"),
        (encoded(".jpg")[:20], "truncated"),
        (encoded(".bmp")[:16], "truncated"),
        (encoded(".tiff")[:9], "truncated"),
        (b"\xff\xd8\xff\xd9", "damaged"),
    ],
)
def test_names_what_is_wrong(data: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_header(data)
    assert caught.value.code == code


def test_finds_a_damaged_png_by_its_checksum() -> None:
    data = bytearray(encoded(".png"))
    data[len(data) // 2] ^= 1
    with pytest.raises(InputError) as caught:
        read_header(bytes(data))
    assert caught.value.code == "damaged"


def test_refuses_several_pictures_in_one_file() -> None:
    png = encoded(".png")
    animated = png[:33] + png_chunk(b"acTL", struct.pack(">II", 2, 0)) + png[33:]
    done, pages = cv2.imencodemulti(".tiff", [PIXELS, PIXELS])
    assert done
    for data in (animated, pages.tobytes()):
        with pytest.raises(InputError) as caught:
            read_header(data)
        assert caught.value.code == "multi_frame"


def test_knows_the_size_of_a_bomb_without_decoding() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert read_header(data).pixels == 2_500_000_000
