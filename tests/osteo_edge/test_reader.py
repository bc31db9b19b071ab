"""Every way into a Radiograph gives the same pixels; what cannot be read says why."""

from __future__ import annotations

import hashlib
import io
import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteo_edge.errors import ImageTooLargeError, InputError, UnsupportedImageError
from osteo_edge.images import reader

GREYS = np.arange(60 * 50, dtype=np.uint16).reshape(60, 50) * 21
EXIF_ORIENTATIONS = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, 1),
    7: lambda a: np.rot90(a.T, 2),
    8: lambda a: np.rot90(a, -1),
}


def encoded(ending: str, pixels: np.ndarray) -> bytes:
    done, data = cv2.imencode(ending, pixels)
    assert done
    return data.tobytes()


def exif(orientation: int) -> bytes:
    """A little-endian TIFF header with one directory of one tag."""
    return b"II*\x00\x08\x00\x00\x00\x01\x00" + struct.pack("<HHII", 0x0112, 3, 1, orientation) + bytes(4)


def with_exif(data: bytes, orientation: int) -> bytes:
    block = exif(orientation)
    if data.startswith(b"\xff\xd8"):
        content = b"Exif\x00\x00" + block
        return data[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + data[2:]
    chunk = struct.pack(">I", len(block)) + b"eXIf" + block + struct.pack(">I", zlib.crc32(b"eXIf" + block))
    return data[:33] + chunk + data[33:]


def oriented_tiff(pixels: np.ndarray, orientation: int) -> bytes:
    height, width = pixels.shape
    strip = 8 + 2 + 12 * 9 + 4
    values = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, strip), (274, 3, orientation)]
    values += [(278, 4, height), (279, 4, pixels.size)]
    tags = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in values)
    return b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", len(values)) + tags + bytes(4) + pixels.tobytes()


@pytest.mark.parametrize("ending", [".png", ".tiff"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_lossless_formats_keep_every_grey(tmp_path: Path, ending: str, dtype: type) -> None:
    pixels = (GREYS >> (8 if dtype is np.uint8 else 0)).astype(dtype)
    data = encoded(ending, pixels)
    path = tmp_path / "picture.dat"  # the name says nothing of the format
    path.write_bytes(data)
    for source in (data, path, str(path)):
        radiograph = reader.read(source)
        assert radiograph.pixels.dtype == dtype
        np.testing.assert_array_equal(radiograph.pixels, pixels)
        assert radiograph.bit_depth == np.dtype(dtype).itemsize * 8
    assert reader.read(data).digest == reader.read(path).digest
    assert reader.read(path).source == str(path)


def test_bmp_and_jpeg_and_colour_are_read_as_grey() -> None:
    grey = (GREYS >> 8).astype(np.uint8)
    np.testing.assert_array_equal(reader.read(encoded(".bmp", grey)).pixels, grey)
    np.testing.assert_array_equal(reader.read(encoded(".png", np.dstack([grey] * 3))).pixels, grey)
    assert np.abs(reader.read(encoded(".jpg", grey)).pixels.astype(int) - grey).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_orientations_come_out_upright(orientation: int) -> None:
    upright = (GREYS >> 8).astype(np.uint8)
    stored = np.ascontiguousarray(EXIF_ORIENTATIONS[orientation](upright))
    np.testing.assert_array_equal(reader.read(with_exif(encoded(".png", stored), orientation)).pixels, upright)
    np.testing.assert_array_equal(reader.read(oriented_tiff(stored, orientation)).pixels, upright)
    jpeg = reader.read(with_exif(encoded(".jpg", stored), orientation)).pixels
    assert jpeg.shape == upright.shape
    assert np.abs(jpeg.astype(int) - upright).mean() < 3


def test_arrays_are_taken_as_they_are_and_copied() -> None:
    pixels = GREYS.copy()
    radiograph = reader.read(pixels)
    pixels[:] = 0
    np.testing.assert_array_equal(radiograph.pixels, GREYS)
    assert not radiograph.pixels.flags.writeable
    colour = np.dstack([(GREYS >> 8).astype(np.uint8)] * 3)
    np.testing.assert_array_equal(reader.read(colour).pixels, colour[..., 0])


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((5, 5), np.float32),
        np.zeros((5, 5), bool),
        np.zeros((5,), np.uint8),
        np.zeros((0, 5), np.uint8),
        np.zeros((5, 5, 2), np.uint8),
        np.zeros((5, 5, 4), np.uint8),  # wholly transparent
        np.zeros((5, 5), np.int16),
        np.zeros((5, 5), np.uint32),
        np.zeros((5, 5), complex),
        np.zeros((5, 5), object),
        np.zeros((1, 5, 5), np.uint8),
    ],
)
def test_other_arrays_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(UnsupportedImageError):
        reader.read(bad)


@pytest.mark.parametrize("kind", [float, bool, np.int16])
def test_arrays_of_other_numbers_are_told_how_to_become_one(kind: type) -> None:
    with pytest.raises(UnsupportedImageError, match=r"astype\(np\.uint") as caught:
        reader.read(np.zeros((5, 5), kind))
    assert caught.value.code == "unsupported_pixels"


class Pixels:
    """What a picture of Pillow, or a tensor, has in common."""

    __array_interface__ = None


@pytest.mark.parametrize("bad", [12, None, ["a.png"], {"a": 1}, 3.5, Pixels(), io.StringIO("text")])
def test_what_is_no_picture_at_all_is_a_type_error_that_says_what_is_one(bad: object) -> None:
    with pytest.raises(TypeError, match="bytes"):
        reader.read(bad)  # type: ignore[arg-type]
    if isinstance(bad, Pixels):
        with pytest.raises(TypeError, match=r"np\.asarray\(image\)"):
            reader.read(bad)  # type: ignore[arg-type]


def test_paths_files_and_bytes_of_any_kind_give_one_picture(tmp_path: Path) -> None:
    data = encoded(".png", GREYS)
    path = tmp_path / "knee ü.png"
    path.write_bytes(data)
    (entry,) = os.scandir(os.fsencode(tmp_path))
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        sources = [
            (path, str(path)),
            (str(path), str(path)),
            (entry, str(path)),
            (file, str(path)),
            (raw, str(path)),
            (io.BytesIO(data), "<file>"),
            (data, "<bytes>"),
            (bytearray(data), "<bytes>"),
            (memoryview(data), "<bytes>"),
            (memoryview(data[::-1])[::-1], "<bytes>"),
        ]
        for source, name in sources:
            radiograph = reader.read(source)  # type: ignore[arg-type]
            np.testing.assert_array_equal(radiograph.pixels, GREYS)
            assert radiograph.source == name
            assert radiograph.digest == hashlib.sha256(data).hexdigest()
            assert reader.is_picture(source)


def test_file_objects_are_read_with_a_cap_and_their_faults_are_told() -> None:
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            return len(buffer)

    class Failing(io.RawIOBase):
        def read(self, size: int = -1) -> bytes | None:
            raise OSError(5, "Input/output error")

    class Waiting(io.RawIOBase):
        def read(self, size: int = -1) -> bytes | None:
            return None

    closed = io.BytesIO(b"x")
    closed.close()
    for file, code in (
        (Endless(), "too_many_bytes"),
        (Failing(), "unreadable"),
        (Waiting(), "unreadable"),
        (closed, "unreadable"),
    ):
        with pytest.raises(InputError) as caught:
            reader.read(file)
        assert caught.value.code == code


def test_a_file_object_that_gives_little_at_a_time_is_read_whole() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 1, 7))

    np.testing.assert_array_equal(reader.read(Slow(encoded(".png", GREYS))).pixels, GREYS)


def test_arrays_with_a_channel_axis_and_other_byte_orders_are_the_same_picture() -> None:
    grey = (GREYS >> 8).astype(np.uint8)
    for array in (grey[..., None], np.dstack([grey] * 3), np.dstack([grey] * 3 + [np.full_like(grey, 255)])):
        np.testing.assert_array_equal(reader.read(array).pixels, grey)
        assert reader.read(array).digest == reader.read(grey).digest
    swapped = reader.read(GREYS.astype(">u2"))
    np.testing.assert_array_equal(swapped.pixels, GREYS)
    assert swapped.digest == reader.read(GREYS).digest
    opaque = np.dstack([GREYS] * 3 + [np.full_like(GREYS, 65535)])
    np.testing.assert_array_equal(reader.read(opaque).pixels, GREYS)
    opaque[3, 3, 3] = 65534
    with pytest.raises(UnsupportedImageError) as caught:
        reader.read(opaque)
    assert caught.value.code == "transparent"


def test_transparency_is_refused_but_an_opaque_alpha_channel_is_not() -> None:
    grey = (GREYS >> 8).astype(np.uint8)
    opaque = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    np.testing.assert_array_equal(reader.read(encoded(".png", opaque)).pixels, grey)
    opaque[0, 0, 3] = 0
    with pytest.raises(InputError) as caught:
        reader.read(encoded(".png", opaque))
    assert caught.value.code == "transparent"
    invisible = np.dstack([grey, grey, grey, np.zeros_like(grey)])
    with pytest.raises(InputError):
        reader.read(encoded(".png", invisible))


def test_a_transparent_colour_after_a_long_text_is_seen() -> None:
    png = encoded(".png", (GREYS >> 8).astype(np.uint8))

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    marked = png[:33] + chunk(b"tEXt", b"note\x00" + b"x" * 6000) + chunk(b"tRNS", b"\x00\x05") + png[33:]
    with pytest.raises(InputError) as caught:
        reader.read(marked)
    assert caught.value.code == "transparent"


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tiff", ".bmp", ".webp"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
def test_truncated_files_are_refused(ending: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (300, 280), np.uint8)
    data = encoded(ending, noise)
    with pytest.raises(InputError):
        reader.read(data[: int(len(data) * share)])


def test_float_tiff_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        reader.read(encoded(".tiff", GREYS.astype(np.float32)))
    assert caught.value.code == "unsupported_pixels"


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: None, "not_found"),
        (lambda path: path.write_bytes(b""), "empty"),
        (lambda path: path.mkdir(), "not_regular"),
        (lambda path: os.mkfifo(path), "not_regular"),
        (lambda path: path.symlink_to(path.parent / "nothing"), "not_found"),
        (lambda path: path.write_text("not a picture"), "unsupported_format"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, make, code: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "picture.png"
    make(path)
    with pytest.raises(InputError) as caught:
        reader.read(path)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def test_device_files_and_odd_names_are_refused(tmp_path: Path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    for path, code in (
        ("/dev/zero", "not_regular"),
        ("a\0b.png", "unreadable"),
        ("x" * 5000, "unreadable"),
        ("\udcff\ud800.png", "unreadable"),
        (loop, "unreadable"),
        ("", "not_found"),
    ):
        with pytest.raises(InputError) as caught:
            reader.read(path)
        assert caught.value.code == code, path
        assert "\n" not in str(caught.value)


def test_a_file_that_grows_while_it_is_read_is_read_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing.png"
    data = encoded(".png", GREYS)
    path.write_bytes(data)
    measured = os.fstat

    def grow(descriptor: int) -> os.stat_result:
        status = measured(descriptor)
        with path.open("ab") as file:
            file.truncate(reader.MAX_FILE_BYTES + 1)
        return status

    monkeypatch.setattr(os, "fstat", grow)
    with pytest.raises(ImageTooLargeError):
        reader.read(path)


def test_limits_hold_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sparse = tmp_path / "large.png"
    with sparse.open("wb") as file:
        file.truncate(reader.MAX_FILE_BYTES + 1)
    with pytest.raises(ImageTooLargeError) as caught:
        reader.read(sparse)
    assert caught.value.code == "too_many_bytes"
    monkeypatch.setattr(reader, "MAX_PIXELS", GREYS.size - 1)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    for image in (encoded(".png", GREYS), GREYS):
        with pytest.raises(ImageTooLargeError) as caught:
            reader.read(image)
        assert caught.value.code == "too_many_pixels"


@given(
    st.binary(max_size=400),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"II*\x00", b"MM\x00*", b"BM", b"RIFF\x20\0\0\0WEBPVP8"]),
)
def test_no_bytes_whatever_end_in_anything_but_an_input_error(data: bytes, start: bytes) -> None:
    with pytest.raises(InputError):
        reader.read(start + data)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_a_file_that_holds_more_than_its_size_says_is_read_whole() -> None:
    with pytest.raises(UnsupportedImageError, match="not a picture"):  # its size says 0, which would be an empty file
        reader.read("/proc/self/status")
