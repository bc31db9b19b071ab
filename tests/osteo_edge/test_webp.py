"""WebP: one picture a file is read as OpenCV decodes it, what is damaged is refused, and so is what moves."""

from __future__ import annotations

import csv
import random
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from osteo_edge import OsteoPredictor
from osteo_edge.errors import InputError
from osteo_edge.images import quality, reader, webp
from osteo_edge.images.formats import begins_as_picture, read_header
from osteo_edge.manifest import QualityLimits
from tests import pictures
from tests.bundles import DENSITY
from tests.pictures import Chunk

HEIGHT, WIDTH = 90, 71
_NOISE = np.random.default_rng(4).integers(-4, 5, (HEIGHT, WIDTH))
GREYS = np.clip(np.cumsum(_NOISE, axis=1) + 120, 20, 250).astype(np.uint8)
LARGE = np.tile(GREYS, (4, 4))
ALPHA, EXIF, ICC, ANIMATION = 0x10, 0x08, 0x20, 0x02
_ORIENTED = {1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud, 5: np.transpose, 6: np.rot90}
ORIENTED = {**_ORIENTED, 7: lambda a: np.rot90(a.T, 2), 8: lambda a: np.rot90(a, -1)}
"""EXIF orientation -> how such a picture is stored."""


def encoded(pixels: np.ndarray, quality: int) -> bytes:
    return pictures.encoded(".webp", pixels, cv2.IMWRITE_WEBP_QUALITY, quality)


def lossy(pixels: np.ndarray = GREYS, quality: int = 74) -> bytes:
    return encoded(pixels, quality)


def lossless(pixels: np.ndarray = GREYS) -> bytes:
    return encoded(pixels, 101)


def picture_of(data: bytes) -> Chunk:
    return next(chunk for chunk in pictures.webp_chunks(data) if chunk[0] in (b"VP8 ", b"VP8L"))


def extended(
    data: bytes, flags: int, *after: Chunk, before: Sequence[Chunk] = (), shape: tuple[int, int] = GREYS.shape
) -> bytes:
    return pictures.webp_extended(picture_of(data), shape, flags, *after, before=before)


def by_opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)


def refusal(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        reader.read(data)
    return caught.value


def exif(orientation: int) -> bytes:
    return b"II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHII", 0x0112, 3, 1, orientation) + bytes(4)


def test_lossless_greys_are_kept_and_lossy_ones_are_opencv_s() -> None:
    np.testing.assert_array_equal(reader.read(lossless()).pixels, GREYS)
    np.testing.assert_array_equal(reader.read(lossy()).pixels, by_opencv(lossy()))
    assert np.abs(reader.read(lossy()).pixels.astype(int) - GREYS).mean() < 6
    assert [reader.read(data).bit_depth for data in (lossy(), lossless())] == [8, 8]


def test_graded_knees_are_read_to_the_bit_as_training_reads_them(data_folder: Path) -> None:
    with (data_folder / "knee_oa" / "index.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    for name in names[::41]:
        path = data_folder / "knee_oa" / name
        radiograph = reader.read(path)
        np.testing.assert_array_equal(radiograph.pixels, by_opencv(path.read_bytes()))
        assert (radiograph.pixels.shape, radiograph.coloured_share) == ((224, 224), 0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (16, 16), (33, 17), (300, 100)])
@pytest.mark.parametrize("quality", [1, 30, 75, 100, 101])
def test_whole_pictures_of_many_contents_are_never_taken_for_damaged(shape: tuple[int, int], quality: int) -> None:
    rows = np.arange(shape[0])[:, None]
    noise = np.random.default_rng(1).integers(0, 255, shape)
    for pixels in (
        np.zeros(shape),
        np.full(shape, 255),
        noise,
        noise * (rows < shape[0] // 3),
        rows * 255 // shape[0] + np.zeros(shape),
    ):
        for form in (pixels.astype(np.uint8), np.dstack([pixels.astype(np.uint8)] * 3 + [np.full(shape, 255, np.uint8)])):
            assert reader.read(encoded(form, quality)).pixels.shape == shape


def test_the_header_tells_size_and_memory_before_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    opaque = np.dstack([GREYS] * 3 + [np.full_like(GREYS, 254)])
    for data, a_pixel in ((lossy(), 6), (lossless(), 7), (lossy(opaque), 8), (lossless(opaque), 8)):
        header = read_header(data)
        assert (header.format, header.width_px, header.height_px) == ("WebP", WIDTH, HEIGHT)
        assert a_pixel * HEIGHT * WIDTH < header.memory_bytes <= a_pixel * HEIGHT * WIDTH + len(data)
        assert header.may_be_transparent == (a_pixel == 8)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    giant = lossless(np.zeros((8, 8), np.uint8))
    giant = giant[:21] + struct.pack("<I", 0x3FFF | 0x3FFF << 14) + giant[25:]
    assert refusal(giant).code == "too_many_pixels"
    taken: list[int] = []
    monkeypatch.undo()
    reader.read(lossy(), take=taken.append)
    assert taken == [read_header(lossy()).memory_bytes]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("start", [b"", b"Exif\x00\x00"])
def test_all_eight_orientations_come_out_upright(orientation: int, start: bytes) -> None:
    stored_pixels = np.ascontiguousarray(ORIENTED[orientation](GREYS))
    stored = lossless(stored_pixels)
    shape = stored_pixels.shape
    data = extended(stored, EXIF | ICC, (b"EXIF", start + exif(orientation)), before=((b"ICCP", b"a profile"),), shape=shape)
    np.testing.assert_array_equal(reader.read(data).pixels, GREYS)
    unannounced = extended(stored, 0, (b"EXIF", exif(orientation)), shape=shape)
    np.testing.assert_array_equal(reader.read(unannounced).pixels, stored_pixels)


def test_transparency_is_refused_but_an_opaque_alpha_channel_is_not() -> None:
    clear = np.dstack([GREYS] * 3 + [np.full_like(GREYS, 255)])
    clear[5:9, 5:9, 3] = 0
    opaque = np.dstack([GREYS] * 3 + [np.full_like(GREYS, 255)])
    for number in (80, 101):
        assert refusal(encoded(clear, number)).code == "transparent"
        np.testing.assert_array_equal(reader.read(encoded(opaque, number)).pixels, by_opencv(encoded(GREYS, number)))
    of_clear = next(content for kind, content in pictures.webp_chunks(encoded(clear, 80)) if kind == b"ALPH")
    assert refusal(extended(lossy(), ALPHA, before=((b"ALPH", of_clear),))).code == "transparent"
    assert refusal(extended(lossy(), 0, before=((b"ALPH", of_clear),))).code == "transparent"


def test_colours_are_seen() -> None:
    limits = QualityLimits(min_side_px=32, min_dynamic_range=0.05)
    red = np.dstack([GREYS // 5, GREYS // 4, GREYS])
    for quality_of_file in (74, 101):
        data = encoded(red, quality_of_file)
        assert [finding.code for finding in quality.assess(reader.read(data), limits)] == ["colour"]
        np.testing.assert_array_equal(reader.read(data).pixels, by_opencv(data))


def test_animations_and_several_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    moving = cv2.Animation()
    moving.frames, moving.durations = [np.dstack([GREYS] * 3), np.dstack([255 - GREYS] * 3)], np.array([40, 40])
    done, two = cv2.imencodeanimation(".webp", moving)
    assert done
    single = extended(lossy(), ANIMATION)
    unannounced = extended(lossy(), 0, (b"ANMF", bytes(40)))
    for data in (two.tobytes(), single, unannounced, pictures.webp(picture_of(lossy()), picture_of(lossless()))):
        assert refusal(data).code == "multi_frame"


def test_what_is_not_as_it_must_be_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    small, none = lossy(), lossless()
    kind, content = pictures.webp_chunks(small)[0]
    whole = extended(small, 0)
    wrong = {
        small[:11]: "unsupported_format",  # "WEB"
        small[:14]: "truncated",
        small[:-1]: "truncated",
        small[: len(small) // 2]: "truncated",
        small[:16] + struct.pack("<I", len(small)) + small[20:]: "damaged",  # the chunk runs over the RIFF
        small[:16] + struct.pack("<I", 0xFFFFFFFF) + small[20:]: "damaged",
        small[:4] + struct.pack("<I", 0xFFFFFFF0) + small[8:]: "truncated",
        small[:4] + struct.pack("<I", 4) + small[8:]: "damaged",
        pictures.webp((b"EXIF", exif(1)), (kind, content)): "damaged",
        pictures.webp((b"VP8X", bytes(10))): "damaged",
        pictures.webp((b"VP8X", b"\0\0")): "damaged",
        whole[:24] + b"\0" + whole[25:]: "damaged",  # another width
        pictures.webp((kind, content[:9])): "truncated",
        pictures.webp((kind, bytes([content[0] | 1]) + content[1:])): "damaged",  # no key frame
        pictures.webp((kind, bytes([content[0] & 0xEF]) + content[1:])): "damaged",  # not shown
        pictures.webp((kind, bytes([content[0] | 0x0E]) + content[1:])): "unsupported_format",  # profile 7
        pictures.webp((kind, content[:3] + b"\0" + content[4:])): "damaged",
        pictures.webp((kind, content[:2] + b"\xff" + content[3:])): "damaged",  # a first part of half a megabyte
        pictures.webp((kind, content[:6] + bytes(2) + content[8:])): "damaged",  # no width
        none[:20] + b"\0" + none[21:]: "damaged",
        none[:24] + bytes([none[24] | 0x20]) + none[25:]: "unsupported_format",  # version 1
        pictures.webp((b"VP8X", bytes(10)), *[(b"XXXX", b"")] * webp.MAX_CHUNKS): "too_many_parts",
        b"RIFF\x24\0\0\0WAVEfmt ": "unsupported_format",
    }
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert {data: refusal(data).code for data in wrong} == wrong
    assert all("\n" not in str(refusal(data)) for data in wrong)


@pytest.mark.parametrize("make", [lossy, lossless])
def test_a_picture_that_ends_early_is_refused_at_every_place(make: Callable[[], bytes]) -> None:
    """Also where sizes were mended, and where libwebp would read on in what follows."""
    whole = make()
    kind, content = pictures.webp_chunks(whole)[0]
    for length in [*range(0, len(content) - 8, 29), *range(len(content) - 40, len(content) - 8)]:
        with pytest.raises(InputError):
            reader.read(pictures.webp((kind, content[:length])))
        with pytest.raises(InputError):
            reader.read(pictures.webp((kind, content[:length]), (b"XMP ", content[length:] + bytes(500))))
        with pytest.raises(InputError):
            reader.read(whole[: 20 + length])


Damage = Callable[[bytes, random.Random], bytes]


def _flip(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(30, len(data) - 1)
    return data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]


def _overwrite(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(30, len(data) - 8)
    return data[:place] + rng.randbytes(8) + data[place + 8 :]


def _empty_tail(data: bytes, rng: random.Random) -> bytes:
    kept = rng.randrange(30, len(data) - 32)
    return data[:kept] + bytes(len(data) - kept)


def _shift(data: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(30, len(data) - 32)
    return data[:place] + data[place + 16 :] + bytes(16)


@pytest.mark.parametrize(
    ("make", "damage", "least"),
    [
        (lossy, _flip, 0.9),
        (lossy, _overwrite, 0.9),
        (lossy, _empty_tail, 1.0),
        (lossy, _shift, 0.8),
        (lossless, _flip, 0.1),  # most codes stand for a grey, as in a picture without compression
        (lossless, _overwrite, 0.3),
        (lossless, _empty_tail, 0.9),
        (lossless, _shift, 0.9),
    ],
)
def test_damage_that_libwebp_decodes_is_noticed(make: Callable[[np.ndarray], bytes], damage: Damage, least: float) -> None:
    """A sound picture needs its last bytes; damage has the decoder stop before them, or run out."""
    data, rng = make(LARGE), random.Random(8)
    expected = by_opencv(data)
    assert sum(is_noticed(damage(data, rng), expected) for _ in range(120)) / 120 >= least


@pytest.mark.slow
@pytest.mark.parametrize(
    ("is_lossless", "damage", "expected"),
    [
        *zip([False] * 4, (_flip, _overwrite, _empty_tail, _shift), (194, 196, 200, 194), strict=True),
        *zip([True] * 4, (_flip, _overwrite, _empty_tail, _shift), (15, 43, 200, 176), strict=True),
    ],
)
def test_damage_to_graded_knees_is_noticed_as_often_as_the_docs_say(
    data_folder: Path, is_lossless: bool, damage: Damage, expected: int
) -> None:
    files = sorted((data_folder / "knee_oa").rglob("*.webp"))
    rng, seen = random.Random(0), 0
    for _ in range(200):
        data = rng.choice(files).read_bytes()
        greys = by_opencv(data)
        seen += is_noticed(damage(lossless(greys) if is_lossless else data, rng), greys)
    assert seen == pytest.approx(expected, abs=3)  # other encoders write other bytes


def is_noticed(damaged: bytes, expected: np.ndarray) -> bool:
    """Or was none."""
    try:
        return np.array_equal(reader.read(damaged).pixels, expected)
    except InputError:
        return True


@pytest.mark.parametrize("make", [lossy, lossless])
def test_no_damage_anywhere_ends_in_anything_but_a_picture_or_an_input_error(make: Callable[[], bytes]) -> None:
    notes = ((b"EXIF", exif(6)), (b"XMP ", b"<x/>"))
    data, rng = extended(make(), EXIF, *notes, before=((b"ICCP", b"profile"),)), random.Random(3)
    read, errors = 0, []
    for number in range(600):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):  # half of the time among the headers
            damaged[rng.randrange(60 if number % 2 else len(data))] = rng.randrange(256)
        if number % 5 == 0:
            del damaged[rng.randrange(len(damaged)) :]
        try:
            read += reader.read(bytes(damaged)).pixels.size > 0
        except InputError as error:
            errors.append(error)
    assert 0 < read < 600
    assert {error.code for error in errors} >= {"damaged", "truncated"}
    assert not any("\n" in str(error) for error in errors)


def test_files_without_a_webp_s_name_are_known_by_their_beginning(tmp_path: Path) -> None:
    assert begins_as_picture(lossy()[:132])
    assert not begins_as_picture(b"RIFF\x24\0\0\0WAVEfmt " + bytes(120))
    path = tmp_path / "picture.png"
    path.write_bytes(lossy())
    np.testing.assert_array_equal(reader.read(path).pixels, by_opencv(lossy()))
    with path.open("rb") as file:
        assert reader.read(file).digest == reader.read(lossy()).digest


def test_a_webp_is_answered_as_the_png_of_its_pixels(example: Path) -> None:
    pixels = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    with OsteoPredictor(DENSITY) as predictor:
        of_webp, of_png = predictor.predict(lossless(pixels)), predictor.predict(pictures.encoded(".png", pixels))
    assert of_webp.answers == of_png.answers
    assert of_webp.joints
