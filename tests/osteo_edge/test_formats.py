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


def test_jpeg_segments_that_hide_another_frame_are_refused() -> None:
    small, giant = encoded(".jpg"), b"\xff\xc0\x00\x0b\x08" + struct.pack(">HH", 30_000, 30_000) + b"\x01\x01\x11\x00"
    for marker in (0xD0, 0xD8, 0x01):
        hidden = b"\xff\xd8" + bytes([0xFF, marker]) + struct.pack(">H", len(giant) + 2) + giant + small[2:]
        with pytest.raises(InputError) as caught:
            read_header(hidden)
        assert caught.value.code in ("damaged", "unsupported_format")


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({258: 16, 262: 0}, "unsupported_pixels"),
        ({258: 8, 277: 3, 284: 2}, "unsupported_pixels"),
        ({258: 16, 262: 1}, None),
        ({258: 8, 262: 0}, None),
    ],
)
def test_tiffs_that_the_decoder_misreads_are_refused(tags: dict[int, int], code: str | None) -> None:
    entries = sorted(({256: 30, 257: 40} | tags).items())
    directory = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in entries)
    data = b"II*\x00" + struct.pack("<IH", 8, len(entries)) + directory + bytes(4)
    if code is None:
        assert read_header(data).pixels == 1200
        return
    with pytest.raises(InputError) as caught:
        read_header(data)
    assert caught.value.code == code


def test_text_that_starts_like_a_bmp_is_no_picture() -> None:
    with pytest.raises(InputError) as caught:
        read_header(b"BMW is a car maker, and this is a text file about it")
    assert caught.value.code == "damaged"


def test_knows_the_size_of_a_bomb_without_decoding() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert read_header(data).pixels == 2_500_000_000
