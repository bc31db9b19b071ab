"""TIFFs: what is read is right, what is compressed is whole, and all else is refused by name."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from osteo_edge.errors import InputError
from osteo_edge.images import reader, strips, tiff
from osteo_edge.images.formats import read_header
from tests import pictures
from tests.pictures import Tags, encoded

HEIGHT, WIDTH = 90, 70
_NOISE = np.random.default_rng(4).integers(-4, 5, (HEIGHT, WIDTH))
GREYS = np.clip(np.cumsum(_NOISE, axis=1) + 120, 20, 250).astype(np.uint8)
PALETTE = [level * 257 for level in range(256)] * 3


def file(pixels: np.ndarray, tags: Tags | None = None, order: str = "<") -> bytes:
    bits = {258: (3, [8 * pixels.itemsize] * (pixels.shape[2] if pixels.ndim == 3 else 1))}
    if pixels.ndim == 3:
        bits |= {277: (3, [pixels.shape[2]]), 262: (3, [2])}
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    return pictures.tiff([stored], WIDTH, HEIGHT, bits | dict(tags or {}), order)


def refusal(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        reader.read(data)
    return caught.value


@pytest.mark.parametrize("order", ["<", ">"])
def test_greys_and_grey_colours_of_either_depth_and_byte_order_are_read(order: str) -> None:
    for pixels in (GREYS, GREYS.astype(np.uint16) * 250):
        np.testing.assert_array_equal(reader.read(file(pixels, order=order)).pixels, pixels)
        np.testing.assert_array_equal(reader.read(file(np.dstack([pixels] * 3), order=order)).pixels, pixels)
    np.testing.assert_array_equal(reader.read(file(GREYS, {262: (3, [0])}, order)).pixels, 255 - GREYS)
    np.testing.assert_array_equal(reader.read(file(GREYS, {262: (3, [3]), 320: (3, PALETTE)}, order)).pixels, GREYS)


@pytest.mark.parametrize(
    ("pixels", "tags", "code", "said"),
    [
        (GREYS, {262: (3, [3])}, "damaged", "no palette"),
        (GREYS, {262: (3, [3]), 320: (3, PALETTE[:-1])}, "damaged", "no palette"),
        (GREYS.astype(np.uint16), {262: (3, [0])}, "unsupported_pixels", "white as zero"),
        (np.dstack([GREYS] * 3), {284: (3, [2])}, "unsupported_pixels", "planes"),
        (GREYS, {339: (3, [2])}, "unsupported_pixels", "signed"),
        (GREYS.astype(np.float32), {339: (3, [3])}, "unsupported_pixels", "fractions"),
        (GREYS.astype(np.uint32), {}, "unsupported_pixels", "32 bit"),
        (GREYS, {258: (3, [2])}, "unsupported_pixels", "2 bit"),
        (np.dstack([GREYS] * 4), {262: (3, [5])}, "unsupported_pixels", "CMYK"),
        (np.dstack([GREYS] * 3), {262: (3, [6])}, "unsupported_pixels", "YCbCr"),
        (np.dstack([GREYS] * 3), {262: (3, [8])}, "unsupported_pixels", "Lab"),
        (np.dstack([GREYS] * 3), {262: (3, [1])}, "unsupported_pixels", "3 x 8 bit"),
        (GREYS, {277: (3, [65535])}, "unsupported_pixels", "65535 x 8 bit"),
        (np.dstack([GREYS] * 3), {258: (3, [8, 16, 8])}, "unsupported_pixels", "bit"),
        (GREYS, {273: None}, "damaged", "where its pixels are"),
        (GREYS, {279: None}, "damaged", "where its pixels are"),
        (GREYS, {278: (4, [1])}, "damaged", "where its pixels are"),
        (GREYS, {278: (4, [0])}, "damaged", "where its pixels are"),
        (GREYS, {279: (4, [GREYS.size - 1])}, "truncated", "truncated"),
        (GREYS, {279: (4, [GREYS.size + 1])}, "truncated", "truncated"),
        (GREYS, {273: (4, [1 << 31])}, "truncated", "truncated"),
        (GREYS, {256: (4, [1 << 31])}, "too_many_pixels", "megapixels"),
        (GREYS, {259: (3, [8]), 266: (3, [2])}, "unsupported_format", "compression"),
        *(
            (GREYS, {259: (3, [number])}, "unsupported_format", name)
            for number, name in {7: "JPEG", 34712: "JPEG 2000", 50002: "JPEG XL", 50001: "WebP", 4: "fax", 9999: "9999"}.items()
        ),
    ],
)  # fmt: skip
def test_what_is_not_read_is_refused_by_name(
    pixels: np.ndarray, tags: Tags, code: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    error = refusal(file(pixels, tags))
    assert error.code == code
    assert said in str(error)


def test_alpha_must_be_opaque() -> None:
    opaque = np.dstack([GREYS] * 3 + [np.full_like(GREYS, 255)])
    np.testing.assert_array_equal(reader.read(file(opaque, {338: (3, [2])})).pixels, GREYS)
    opaque[2, 2, 3] = 0
    assert refusal(file(opaque, {338: (3, [2])})).code == "transparent"


def test_strips_and_tiles_much_larger_than_the_picture_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder takes a whole one, and four bytes for each pixel of it."""
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    tiles = {322: (4, [16_384]), 323: (4, [16_384]), 324: (4, [8]), 325: (4, [100]), 273: None, 278: None, 279: None}
    for tags in ({278: (4, [1_000_000])}, tiles):
        assert refusal(file(GREYS, tags)).code == "too_many_bytes"
    header = read_header(file(GREYS))
    assert header.memory_bytes == 5 * header.pixels


def test_very_many_strips_are_refused() -> None:
    many = {256: (4, [1]), 257: (4, [tiff.MAX_STRIPS + 1]), 278: (4, [1])}
    assert refusal(file(GREYS, many)).code == "too_many_parts"


def packed(row: bytes) -> bytes:
    """PackBits, with runs where there are some."""
    out, place = b"", 0
    while place < len(row):
        run = next((end for end in range(place + 1, min(place + 128, len(row))) if row[end] != row[place]), None)
        run = min(place + 128, len(row)) if run is None else run
        if run - place > 1:
            out += bytes([257 - (run - place), row[place]])
        else:
            out += bytes([0, row[place]])
        place = run
    return out


def by_opencv(compression: int) -> bytes:
    rows = (cv2.IMWRITE_TIFF_ROWSPERSTRIP, 40)
    return encoded(".tiff", np.tile(GREYS, (8, 9)), cv2.IMWRITE_TIFF_COMPRESSION, compression, *rows)


COMPRESSED = {name: by_opencv(number) for name, number in (("lzw", 5), ("deflate", 8), ("packbits", 32773))}


@pytest.mark.parametrize("name", COMPRESSED)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("rows", [1, 7, 40, 720])
def test_whole_compressed_files_of_many_contents_are_read(name: str, kind: type, rows: int) -> None:
    number = {"lzw": 5, "deflate": 8, "packbits": 32773}[name]
    rng = np.random.default_rng(rows)
    large = np.tile(GREYS, (8, 9)).astype(kind) * (257 if kind is np.uint16 else 1)
    for pixels in (large, np.zeros_like(large), rng.integers(0, np.iinfo(kind).max, large.shape).astype(kind)):
        options = (cv2.IMWRITE_TIFF_COMPRESSION, number, cv2.IMWRITE_TIFF_ROWSPERSTRIP, rows)
        np.testing.assert_array_equal(reader.read(encoded(".tiff", pixels, *options)).pixels, pixels)


def test_a_last_strip_that_is_filled_up_and_packbits_of_another_writer_are_read() -> None:
    full = np.vstack([GREYS, GREYS[:6]]).tobytes()
    halves = [full[: 48 * WIDTH], full[48 * WIDTH :]]
    for number, pack in ((8, zlib.compress), (32773, packed)):
        data = pictures.tiff([pack(half) for half in halves], WIDTH, HEIGHT, {259: (3, [number]), 278: (4, [48])})
        np.testing.assert_array_equal(reader.read(data).pixels, GREYS)


Damage = Callable[[bytes, random.Random], bytes]


def _overwrite(strip: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(strip) - 8)
    return strip[:place] + rng.randbytes(8) + strip[place + 8 :]


def _empty_tail(strip: bytes, rng: random.Random) -> bytes:
    kept = rng.randrange(len(strip) - 32)
    return strip[:kept] + bytes(len(strip) - kept)


def _shift(strip: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(len(strip) - 32)
    return strip[:place] + strip[place + 16 :] + bytes(16)


@pytest.mark.parametrize(
    ("name", "damage", "least"),
    [
        *(("deflate", damage, 1.0) for damage in (_overwrite, _empty_tail, _shift)),
        *(("lzw", damage, 0.95) for damage in (_overwrite, _empty_tail, _shift)),
        *(("packbits", damage, 0.95) for damage in (_empty_tail, _shift)),
        ("packbits", _overwrite, 0.1),  # most bytes of noise are greys, not lengths
    ],
)
def test_damaged_strips_are_refused(name: str, damage: Damage, least: float) -> None:
    """All of Deflate, which has a checksum; of the others what changes the number of bytes that come out."""
    data = COMPRESSED[name]
    directory = tiff.read_directory(data)
    places = list(zip(directory.values(273).tolist(), directory.values(279).tolist(), strict=True))
    rng = random.Random(8)
    seen = same = 0
    for _ in range(150):
        offset, count = rng.choice(places)
        strip = damage(data[offset : offset + count], rng)
        damaged = data[:offset] + strip + data[offset + count :]
        try:
            tiff.require_whole_strips(damaged)
            same += strip == data[offset : offset + count]
        except InputError:
            seen += 1
    assert (seen + same) / 150 >= least


@pytest.mark.parametrize("measure", set(strips.MEASURES.values()))
def test_no_bytes_whatever_hang_or_break_a_measure(measure: strips.Measure) -> None:
    rng = random.Random(1)
    for start in (b"", b"\x80\x00", b"\x78\x9c"):
        for _ in range(300):
            assert strips.DAMAGED <= measure(start + rng.randbytes(rng.randrange(40)), 10_000) <= 10_000 + 5_120 * 4_096
    assert measure(zlib.compress(bytes(50_000_000)), 1_000) in (strips.DAMAGED, 1_001) or measure is not strips.measure_deflate


def test_an_lzw_table_that_is_emptied_after_each_code_is_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = []
    codes = strips._codes
    monkeypatch.setattr(strips, "_codes", lambda *arguments: looks.append(1) or codes(*arguments))
    emptied = int("100000000" * 8 * 100_000, 2).to_bytes(900_000, "big")
    assert strips.measure_lzw(emptied, 1 << 20) == strips.DAMAGED
    assert len(looks) < 500


def test_a_tail_of_zeros_that_begins_within_a_row_is_seen() -> None:
    for pixels in (GREYS, GREYS.astype(np.uint16) * 250):
        for ending in (".bmp", ".tiff"):
            if ending == ".bmp" and pixels.dtype == np.uint16:
                continue
            data = encoded(ending, pixels, *((cv2.IMWRITE_TIFF_COMPRESSION, 1) if ending == ".tiff" else ()))
            whole = pixels.tobytes()
            if ending == ".tiff":
                start = data.index(whole)
                cut = start + 50 * WIDTH * pixels.itemsize + 30 * pixels.itemsize
                broken = data[:cut] + bytes(start + len(whole) - cut) + data[start + len(whole) :]
            else:
                cut = len(data) - 40 * 72 + 30
                broken = data[:cut] + bytes(len(data) - cut)
            assert refusal(broken).code == "truncated"
    bordered = GREYS.copy()
    bordered[60:] = 0
    np.testing.assert_array_equal(reader.read(file(bordered)).pixels, bordered)
    slanted = GREYS.copy()
    slanted[np.arange(HEIGHT)[:, None] * 3 + np.arange(WIDTH) > 200] = 0
    np.testing.assert_array_equal(reader.read(file(slanted)).pixels, slanted)


def test_a_directory_that_points_outside_is_truncated() -> None:
    data = file(np.dstack([GREYS] * 3))
    for cut in (4, 9, 40, 120):
        assert refusal(data[:cut]).code in ("truncated", "unsupported_format")
    assert refusal(data[:4] + struct.pack("<I", 1 << 31) + data[8:]).code == "truncated"
