"""Formats are known by content; sizes are known before decoding."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from osteo_edge.errors import InputError
from osteo_edge.images import formats
from osteo_edge.images.formats import read_header
from tests import pictures
from tests.pictures import png_chunk, tiff

PIXELS = (np.arange(40 * 30) % 251).astype(np.uint8).reshape(40, 30)


def encoded(ending: str) -> bytes:
    return pictures.encoded(ending, PIXELS)


@pytest.mark.parametrize(
    ("ending", "name"), [(".png", "PNG"), (".jpg", "JPEG"), (".tiff", "TIFF"), (".bmp", "BMP"), (".webp", "WebP")]
)
def test_reads_format_and_size(ending: str, name: str) -> None:
    header = read_header(encoded(ending))
    assert (header.format, header.width_px, header.height_px, header.pixels) == (name, 30, 40, 1200)


def test_reads_big_endian_tiff() -> None:
    assert read_header(tiff([PIXELS.tobytes()], 30, 40, order=">")).pixels == 1200


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty"),
        (b"hello, this is text", "unsupported_format"),
        (b"<svg></svg>", "unsupported_format"),
        (b"%PDF-1.7", "unsupported_format"),
        (b"GIF89a" + bytes(20), "unsupported_format"),
        (b"RIFF\x00\x00\x00\x00WEBP", "truncated"),
        (b"PK\x03\x04" + bytes(30), "unsupported_format"),
        (bytes(128) + b"DICM", "damaged"),
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
    ("bits", "colour_type", "a_pixel"),
    [(1, 0, 2), (8, 0, 2), (16, 0, 4), (8, 2, 6), (16, 2, 12), (8, 3, 6), (16, 4, 16), (16, 6, 16)],
)
def test_what_a_png_takes_counts_its_channels_and_depth(bits: int, colour_type: int, a_pixel: int) -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 1000, 2000, bits, colour_type, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IEND", b"")
    assert read_header(data).memory_bytes == 2_000_000 * a_pixel


def test_a_png_of_very_many_chunks_is_refused() -> None:
    png = encoded(".png")
    with pytest.raises(InputError) as caught:
        read_header(png[:33] + png_chunk(b"tEXt", b"") * formats.MAX_CHUNKS + png[33:])
    assert caught.value.code == "too_many_parts"


def bmp(pixels: bytes, bits: int, *, compression: int = 0, palette: bytes = b"", header: bytes = b"") -> bytes:
    """30 x 40; `header` replaces what follows the 40 bytes that all have."""
    size = 40 + len(header)
    at = 14 + size + len(palette)
    start = b"BM" + struct.pack("<IHHI", at + len(pixels), 0, 0, at)
    return start + struct.pack("<IiiHHIIiiII", size, 30, 40, 1, bits, compression, 0, 0, 0, 0, 0) + header + palette + pixels


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bmp(bytes(32 * 40), 8, compression=1), "unsupported_format"),
        (bmp(bytes(32 * 40), 4, compression=2), "unsupported_format"),
        (bmp(bytes(32 * 40), 24, compression=5), "unsupported_format"),
        (bmp(bytes(32 * 40), 2), "unsupported_pixels"),
        (bmp(bytes(32 * 40), 64), "unsupported_pixels"),
        (bmp(bytes(32 * 40 - 1), 8), "truncated"),
        (bmp(bytes(92 * 40 - 1), 24), "truncated"),
    ],
)
def test_bmps_that_are_compressed_odd_or_cut_are_refused(data: bytes, code: str) -> None:
    with pytest.raises(InputError) as caught:
        read_header(data)
    assert caught.value.code == code


def test_a_bmp_s_palette_and_alpha_are_seen() -> None:
    greys = b"".join(bytes([level, level, level, 0]) for level in range(256))
    assert not read_header(bmp(bytes(32 * 40), 8, palette=greys)).may_be_coloured
    assert read_header(bmp(bytes(32 * 40), 8, palette=greys[:100] + b"\x07" + greys[101:])).may_be_coloured
    assert read_header(bmp(bytes(92 * 40), 24)).may_be_coloured
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    assert read_header(bmp(bytes(120 * 40), 32, compression=3, header=masks)).may_be_transparent
    assert not read_header(bmp(bytes(120 * 40), 32)).may_be_transparent


def test_text_that_starts_like_a_bmp_is_no_picture() -> None:
    with pytest.raises(InputError) as caught:
        read_header(b"BMW is a car maker, and this is a text file about it")
    assert caught.value.code == "damaged"


def test_knows_the_size_of_a_bomb_without_decoding() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    assert read_header(data).pixels == 2_500_000_000
