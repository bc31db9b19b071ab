"""DICOM files: every syntax gives the same pixels, greys follow the standard, and what is no sound radiograph is refused."""

from __future__ import annotations

import builtins
import io
import random
import struct
import sys
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from osteo_edge.errors import InputError
from osteo_edge.images import dicom, reader
from osteo_edge.images.formats import begins_as_picture, read_header
from tests import dicoms, pictures

# Of what is made wrong on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

_NOISE = np.random.default_rng(4).integers(-9, 10, (90, 71))
GREYS = np.clip(np.cumsum(_NOISE, axis=1) + 2000, 1, 4095).astype(np.uint16)
BYTES = (GREYS >> 4).astype(np.uint8)
SIGNED = GREYS.astype(np.int16) - 2048
KNEE = dicoms.OF_A_KNEE


def read(pixels: np.ndarray = GREYS, syntax: str = dicoms.EXPLICIT, **elements: object) -> np.ndarray:
    return reader.read(dicoms.file(pixels, syntax, **{"bits": 12 if pixels.itemsize == 2 else 8, **elements})).pixels


def refusal(data: bytes) -> InputError:
    with pytest.raises(InputError) as caught:
        reader.read(data)
    assert "\n" not in str(caught.value)
    return caught.value


def refused(pixels: np.ndarray = GREYS, syntax: str = dicoms.EXPLICIT, **elements: object) -> InputError:
    return refusal(dicoms.file(pixels, syntax, **{"bits": 12 if pixels.itemsize == 2 else 8, **elements}))


# Pixels


@pytest.mark.parametrize("syntax", [*dicoms.NATIVE, *dicoms.LOSSLESS])
def test_every_lossless_syntax_gives_the_stored_greys(syntax: str) -> None:
    np.testing.assert_array_equal(read(BYTES, syntax), BYTES)
    np.testing.assert_array_equal(read(GREYS, syntax), GREYS)
    np.testing.assert_array_equal(read(GREYS * 16, syntax, bits=16), GREYS * 16)
    np.testing.assert_array_equal(read(SIGNED, syntax), GREYS)


@pytest.mark.parametrize(
    ("syntax", "pixels", "most"),
    [
        *((dicoms.JPEG, BYTES, 4), (dicoms.JPEG_EXTENDED, BYTES, 4), (dicoms.JPEG_EXTENDED, GREYS, 16)),
        *((dicoms.JPEG_LS_LOSSY, BYTES, 2), (dicoms.JPEG_LS_LOSSY, GREYS, 2), (dicoms.J2K, BYTES, 4), (dicoms.J2K, GREYS, 40)),
    ],
)
def test_every_lossy_syntax_comes_near_them(syntax: str, pixels: np.ndarray, most: int) -> None:
    assert np.abs(read(pixels, syntax).astype(int) - pixels).max() <= most


def test_a_picture_in_several_pieces_and_odd_sizes_are_read() -> None:
    made = dicoms.dataset(GREYS, bits=12)
    code = dicoms.encode(GREYS, dicoms.JPEG_LS, made)
    made.add_new(0x7FE00010, "OB", dicoms.encapsulated(code[:1000], code[1000:2000], code[2000:]))
    made["PixelData"].is_undefined_length = True
    np.testing.assert_array_equal(reader.read(dicoms.written(made, dicoms.JPEG_LS)).pixels, GREYS)
    odd = np.ascontiguousarray(BYTES[:33, :31])
    for syntax in (*dicoms.NATIVE, *dicoms.LOSSLESS):
        np.testing.assert_array_equal(read(odd, syntax), odd)


def test_bytes_in_big_endian_words_are_put_in_order() -> None:
    made = dicoms.dataset(BYTES)
    made.add_new(0x7FE00010, "OW", BYTES.tobytes())
    data = dicoms.written(made, dicoms.BIG_ENDIAN)
    at = data.index(BYTES.tobytes()[:64])
    swapped = BYTES.reshape(-1, 2)[:, ::-1].tobytes()
    np.testing.assert_array_equal(reader.read(data[:at] + swapped + data[at + len(swapped) :]).pixels, BYTES)


def test_bits_above_those_in_use_are_no_part_of_the_picture() -> None:
    np.testing.assert_array_equal(read(GREYS | np.uint16(0x5000)), GREYS)
    garbage = (SIGNED.view(np.uint16) & np.uint16(0x0FFF) | np.uint16(0x7000)).view(np.int16)
    np.testing.assert_array_equal(read(garbage), GREYS)


def test_overlays_are_ignored() -> None:
    made = dicoms.dataset(GREYS, bits=12)
    for element, (kind, value) in {
        0x10: ("US", 90),
        0x11: ("US", 71),
        0x40: ("CS", "G"),
        0x100: ("US", 1),
        0x102: ("US", 0),
    }.items():
        made.add_new(0x60000000 | element, kind, value)
    made.add_new(0x60003000, "OW", b"\xff" * 800)
    made.add_new(0x7FE00010, "OW", GREYS.tobytes())
    np.testing.assert_array_equal(reader.read(dicoms.written(made)).pixels, GREYS)


def test_colours_of_a_secondary_capture_are_judged_as_those_of_other_files() -> None:
    red = np.dstack([BYTES, BYTES // 4, BYTES // 5])
    grey = np.dstack([BYTES] * 3)
    for syntax in (dicoms.EXPLICIT, dicoms.IMPLICIT, dicoms.RLE, dicoms.JPEG_LS):
        coloured = reader.read(dicoms.file(red, syntax, kind=dicoms.SC))
        np.testing.assert_array_equal(coloured.pixels, cv2.cvtColor(red, cv2.COLOR_RGB2GRAY))
        assert coloured.coloured_share > 0.5
        np.testing.assert_array_equal(reader.read(dicoms.file(grey, syntax, kind=dicoms.SC)).pixels, BYTES)
    planes = dicoms.dataset(red, kind=dicoms.SC, PlanarConfiguration=1)
    planes.add_new(0x7FE00010, "OW", red.transpose(2, 0, 1).tobytes())
    np.testing.assert_array_equal(reader.read(dicoms.written(planes)).pixels, cv2.cvtColor(red, cv2.COLOR_RGB2GRAY))


# Greys


def linear(values: np.ndarray, center: float, width: float, top: int) -> np.ndarray:
    """PS3.3 C.11.2.1.2.1, written down again."""
    low, high = center - 0.5 - (width - 1) / 2, center - 0.5 + (width - 1) / 2
    between = ((values - (center - 0.5)) / (width - 1) + 0.5) * top
    return np.where(values <= low, 0, np.where(values > high, top, between))


def exact(values: np.ndarray, center: float, width: float, top: int) -> np.ndarray:
    return np.clip(((values - center) / width + 0.5) * top, 0, top)


def sigmoid(values: np.ndarray, center: float, width: float, top: int) -> np.ndarray:
    return top / (1 + np.exp(-4 * (values - center) / width))


@pytest.mark.parametrize(
    ("function", "formula"), [("LINEAR", linear), ("LINEAR_EXACT", exact), ("SIGMOID", sigmoid), (None, linear)]
)
def test_windows_follow_their_function(function: str | None, formula) -> None:  # type: ignore[no-untyped-def]
    found = read(WindowCenter="1900", WindowWidth="700", VOILUTFunction=function)
    assert np.abs(found - formula(GREYS.astype(float), 1900, 700, 4095)).max() <= 0.5001


def test_a_window_over_all_numbers_and_a_rescaling_change_no_grey() -> None:
    np.testing.assert_array_equal(read(WindowCenter="2048", WindowWidth="4096"), GREYS)
    np.testing.assert_array_equal(read(RescaleSlope="0.25", RescaleIntercept="-1000"), GREYS)
    rescaled = {"RescaleSlope": "0.25", "RescaleIntercept": "-1000"}
    whole = {"WindowCenter": str(-1000 + 511.875 + 0.0), "WindowWidth": "1023.75", "VOILUTFunction": "LINEAR_EXACT"}
    np.testing.assert_array_equal(read(**rescaled, **whole), GREYS)
    np.testing.assert_array_equal(read(SIGNED, WindowCenter="0", WindowWidth="4096"), GREYS)


def test_windows_are_in_the_units_after_rescaling() -> None:
    found = read(RescaleSlope="2", RescaleIntercept="-500", WindowCenter="3300", WindowWidth="1400")
    assert np.abs(found - linear(2.0 * GREYS - 500, 3300, 1400, 4095)).max() <= 0.5001


def test_a_falling_rescaling_turns_dark_and_bright() -> None:
    np.testing.assert_array_equal(read(RescaleSlope="-1", RescaleIntercept="4095"), 4095 - GREYS)


def test_a_window_wider_than_all_numbers_melts_no_greys_together() -> None:
    found = read(WindowCenter="32768", WindowWidth="65536")
    assert len(np.unique(found)) == len(np.unique(GREYS))


def lut(first: int, values: np.ndarray, bits: int, words: bool = True) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(values) % 65536, first % 65536, bits])
    data = values.astype("<u2" if words else np.uint8).tobytes()
    item.add_new(0x00283006, "OW", data + bytes(len(data) % 2))
    return item


def test_luts_are_looked_up_beyond_their_ends_and_with_more_entries_than_levels() -> None:
    curve = (np.arange(2000) * 255 // 1999).astype(np.uint16)
    expected = curve[np.clip(GREYS.astype(int) - 1000, 0, 1999)]
    for words in (True, False):
        found = read(VOILUTSequence=Sequence([lut(1000, curve, 8, words)]), WindowCenter="5", WindowWidth="7")
        np.testing.assert_array_equal(found, expected)  # the LUT counts for more than the window
        assert found.dtype == np.uint8
    modality = read(ModalityLUTSequence=Sequence([lut(1000, curve * 257, 16)]))
    np.testing.assert_array_equal(modality, expected.astype(np.uint16) * 257)
    signed = read(SIGNED, VOILUTSequence=Sequence([lut(-1048, curve, 8)]))
    np.testing.assert_array_equal(signed, expected)
    big = reader.read(dicoms.file(GREYS, dicoms.IMPLICIT, bits=12, VOILUTSequence=Sequence([lut(1000, curve, 8)]))).pixels
    np.testing.assert_array_equal(big, expected)


def test_dark_and_bright_are_exchanged_once_whoever_asks_for_it() -> None:
    upside = 4095 - GREYS
    for asked in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PresentationLUTShape": "INVERSE"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
    ):
        np.testing.assert_array_equal(read(upside, **asked), GREYS)
        np.testing.assert_array_equal(read(upside, WindowCenter="2048", WindowWidth="4096", **asked), GREYS)
    np.testing.assert_array_equal(read(PresentationLUTShape="IDENTITY"), GREYS)
    curve = np.linspace(0, 1023, 4096).astype(np.uint16)
    np.testing.assert_array_equal(read(PresentationLUTSequence=Sequence([lut(0, curve, 10)])), curve[GREYS])


def test_padding_is_black_whatever_it_was() -> None:
    padded = GREYS.copy()
    padded[:20] = 4095
    padded[20:25] = 4000
    expected = np.where(padded == 4095, 0, padded)
    np.testing.assert_array_equal(read(padded, PixelPaddingValue=4095), expected)
    assert not read(padded, PixelPaddingValue=4095, PixelPaddingRangeLimit=4000)[:25].any()
    inverse = read(4095 - padded, PixelPaddingValue=0, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(inverse, expected)
    below = SIGNED.copy()
    below[:20] = -2048
    assert not read(below, PixelPaddingValue=-2048, PhotometricInterpretation="MONOCHROME1")[:20].any()


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({}, "no_window"),
        ({"WindowCenter": "5", "WindowWidth": "0"}, "window_ignored"),
        ({"WindowCenter": "5", "WindowWidth": "-5"}, "window_ignored"),
        ({"WindowCenter": "5", "WindowWidth": None}, "window_ignored"),
        ({"WindowCenter": "5", "WindowWidth": "100", "VOILUTFunction": "CUBIC"}, "window_ignored"),
        ({"WindowCenter": ["2048", "100"], "WindowWidth": ["4096", "50"]}, "several_windows"),
    ],
)
def test_what_is_odd_of_a_window_is_told_and_the_greys_stay(elements: dict[str, object], code: str) -> None:
    radiograph = reader.read(dicoms.file(GREYS, bits=12, **KNEE, **elements))
    np.testing.assert_array_equal(radiograph.pixels, GREYS)
    assert radiograph.tags is not None
    assert code in [note.code for note in radiograph.tags.notes]


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"RescaleSlope": "0", "RescaleIntercept": "0"}, "bad_rescale"),
        ({"RescaleSlope": "1", "RescaleIntercept": None}, "bad_rescale"),
        ({"RescaleSlope": "1e308", "RescaleIntercept": "0"}, "bad_rescale"),
    ],
)
def test_rescaling_that_makes_no_sense_is_refused(elements: dict[str, object], code: str) -> None:
    assert refused(**elements).code == code


@pytest.mark.parametrize("number", [b"nan ", b"inf ", b"1,5 ", b"abc "])
def test_numbers_that_are_none_are_refused_where_they_matter(number: bytes) -> None:
    data = dicoms.file(GREYS, bits=12, RescaleSlope="1.25", RescaleIntercept="0", WindowCenter="2048", WindowWidth="4.25")
    assert refusal(data.replace(b"1.25", number)).code == "bad_rescale"
    tags = reader.read(data.replace(b"4.25", number)).tags
    assert tags is not None
    assert (tags.greys, tags.notes[0].code) == ("stored", "window_ignored")


@pytest.mark.parametrize("descriptor", [[100, 0, 17], [100, 0, 7], [101, 0, 16], [0, 0, 16], [100, 0]])
def test_a_lut_that_is_not_as_long_as_it_says_is_refused(descriptor: list[int]) -> None:
    item = lut(0, np.arange(100), 16)
    item["LUTDescriptor"].value = descriptor
    for keyword in ("ModalityLUTSequence", "VOILUTSequence", "PresentationLUTSequence"):
        assert refused(**{keyword: Sequence([item])}).code == "damaged"


# Refusals


@pytest.mark.parametrize(
    ("uid", "code", "said"),
    [
        ("1.2.840.10008.5.1.4.1.1.1.1.1", "for_processing", "for presentation"),
        ("1.2.840.10008.5.1.4.1.1.2", "not_a_radiograph", "CT Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.4", "not_a_radiograph", "MR Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.12.2", "not_a_radiograph", "X-Ray Radiofluoroscopic Image Storage"),
        ("1.2.840.10008.5.1.4.1.1.1.2", "not_a_radiograph", "Digital Mammography"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "not_an_image", "Encapsulated PDF Storage"),
        ("1.2.840.10008.5.1.4.1.1.88.11", "not_an_image", "Basic Text SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "not_an_image", "Segmentation Storage"),
        ("1.2.840.10008.1.3.10", "not_an_image", "DICOMDIR"),
        ("1.2.3.4.5.6", "not_an_image", "1.2.3.4.5.6"),
    ],
)
def test_other_kinds_of_objects_are_refused_by_name(uid: str, code: str, said: str) -> None:
    error = refused(kind=uid)
    assert error.code == code
    assert said in str(error)


def test_what_the_data_set_says_counts_as_well_as_the_file_s_head() -> None:
    for_processing = refused(kind=dicoms.DX, PresentationIntentType="FOR PROCESSING")
    assert for_processing.code == "for_processing"
    of_magnets = refused(BYTES, kind=dicoms.SC, Modality="MR")
    assert (of_magnets.code, "(MR)" in str(of_magnets)) == ("not_a_radiograph", True)
    made = dicoms.dataset(GREYS, bits=12)
    made.add_new(0x7FE00010, "OW", GREYS.tobytes())
    data = dicoms.written(made)
    start, end = data.index(b"1.2.840.10008.5.1.4.1.1.1\0"), data.rindex(b"1.2.840.10008.5.1.4.1.1.1\0")
    assert start < end
    assert refusal(data[:end] + b"1.2.840.10008.5.1.4.1.1.7\0" + data[end + 26 :]).code == "damaged"


@pytest.mark.parametrize(
    ("elements", "code"),
    [
        ({"NumberOfFrames": 2}, "multi_frame"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "unsupported_pixels"),
        ({"PhotometricInterpretation": None}, "damaged"),
        ({"BitsStored": 17}, "damaged"),
        ({"BitsStored": 20, "BitsAllocated": 32}, "unsupported_pixels"),
        ({"HighBit": 15}, "unsupported_pixels"),
        ({"SamplesPerPixel": 3}, "damaged"),
        ({"Rows": None}, "damaged"),
        ({"Rows": 0}, "damaged"),
        ({"Rows": 900}, "damaged"),
        ({"Rows": 65535, "Columns": 65535}, "damaged"),
        ({"PixelRepresentation": 2}, "damaged"),
    ],
)
def test_pixels_that_are_not_read_are_refused_before_memory_is_taken(elements: dict[str, object], code: str) -> None:
    data = dicoms.file(GREYS, **{"bits": 12, **elements})
    taken: list[int] = []
    with pytest.raises(InputError) as caught:
        reader.read(data, take=taken.append)
    assert (caught.value.code, taken) == (code, [])


def test_a_colour_radiograph_and_wide_rows_are_refused() -> None:
    assert refused(np.dstack([BYTES] * 3), kind=dicoms.DX).code == "unsupported_pixels"
    made = dicoms.dataset(GREYS, bits=12)
    made.add_new(0x7FE00010, "OW", GREYS.tobytes())
    del made.Rows
    made.add_new(0x00280010, "UL", 90)  # four bytes where there must be two
    assert refusal(dicoms.written(made)).code == "damaged"


def test_fractions_films_and_pixels_that_are_missing_are_refused_by_name() -> None:
    made = dicoms.dataset(GREYS, bits=12)
    nothing = refusal(dicoms.written(made))
    assert (nothing.code, "holds no picture" in str(nothing)) == ("not_an_image", True)
    made.add_new(0x7FE00008, "OF", GREYS.astype("<f4").tobytes())
    assert refusal(dicoms.written(made)).code == "unsupported_pixels"
    moving = dicoms.dataset(BYTES)
    moving.add_new(0x7FE00010, "OB", dicoms.encapsulated(b"\0\0\1\xb3"))
    moving["PixelData"].is_undefined_length = True
    named = refusal(dicoms.written(moving, "1.2.840.10008.1.2.4.100"))
    assert (named.code, "MPEG2" in str(named)) == ("unsupported_format", True)


@pytest.mark.parametrize("syntax", [*dicoms.LOSSLESS, *dicoms.LOSSY])
def test_a_codestream_of_another_size_than_the_header_is_refused(syntax: str) -> None:
    pixels = BYTES if syntax == dicoms.JPEG else GREYS
    bits = 8 * pixels.itemsize - 4 * (pixels.itemsize - 1)
    small = np.ascontiguousarray(pixels[:40, :50])
    made = dicoms.dataset(pixels, bits=bits)
    made.add_new(0x7FE00010, "OB", dicoms.encapsulated(dicoms.encode(small, syntax, dicoms.dataset(small, bits=bits))))
    made["PixelData"].is_undefined_length = True
    assert refusal(dicoms.written(made, syntax)).code == "damaged"


@pytest.mark.parametrize("syntax", [*dicoms.NATIVE, *dicoms.LOSSLESS, *dicoms.LOSSY])
def test_a_file_that_ends_early_is_refused_at_every_place(syntax: str) -> None:
    data = dicoms.file(
        BYTES if syntax == dicoms.JPEG else GREYS, syntax, **{"bits": 8 if syntax == dicoms.JPEG else 12, **KNEE}
    )
    end = len(data) - 1 - (syntax == dicoms.DEFLATED)
    for length in [*range(132, 800, 7), *range(800, end, 997), *range(end - 40, end)]:
        assert refusal(data[:length]).code in ("truncated", "damaged", "not_an_image"), length


def test_a_copy_that_broke_off_in_zeros_is_refused() -> None:
    data = dicoms.file(GREYS, bits=12)
    cut = data.index(GREYS.tobytes()[:64]) + 71 * 2 * 50 + 30
    assert refusal(data[:cut] + bytes(len(data) - cut)).code == "truncated"
    for syntax in dicoms.LOSSLESS:
        data = dicoms.file(GREYS, syntax, bits=12)
        assert refusal(data[:-2000] + bytes(2000)).code == "damaged"


def test_a_deflated_file_is_measured_before_memory_is_taken_for_it() -> None:
    whole = dicoms.file(BYTES, dicoms.EXPLICIT)
    meta_end = whole.index(b"\x08\x00\x16\x00")
    deflated = dicoms.file(BYTES, dicoms.DEFLATED)
    start = dicom._read_meta(deflated).end
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(whole[meta_end:]) + packer.compress(bytes(80 << 20)) + packer.flush()
    taken: list[int] = []
    with pytest.raises(InputError) as caught:
        reader.read(deflated[:start] + bomb, take=taken.append)
    assert (caught.value.code, taken) == ("too_many_bytes", [])
    reader.read(deflated, take=taken.append)
    assert taken[0] >= BYTES.size


def test_sequences_without_end_are_too_deep() -> None:
    made = dicoms.dataset(GREYS, bits=12)
    made.add_new(0x7FE00010, "OW", GREYS.tobytes())
    data = dicoms.written(made)
    at = data.index(b"\x28\x00\x02\x00")
    opened = struct.pack("<HH2sHI", 0x0008, 0x2218, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    for depth in (300, 20_000):
        assert refusal(data[:at] + opened * depth + data[at:]).code in ("too_deep", "damaged", "truncated")


def test_text_without_end_and_private_elements_are_passed_over() -> None:
    made = dicoms.dataset(GREYS, bits=12, **KNEE, PatientName="X" * 64_000)
    made.add_new(0x00091010, "UN", bytes(2 << 20))
    made.add_new(0x7FE00010, "OW", GREYS.tobytes())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = dicoms.written(made)
    np.testing.assert_array_equal(reader.read(data).pixels, GREYS)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (bytes(128) + b"DICM", "damaged"),
        (bytes(128) + b"DICM" + b"\2\0\0\0UL\4\0", "truncated"),
        (bytes(132), "unsupported_format"),
        (dicoms.file(GREYS)[132:], "unsupported_format"),  # no preamble: nothing is forced
        (dicoms.file(GREYS).replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"), "unsupported_format"),
        (dicoms.file(GREYS).replace(b"1.2.840.10008.1.2.1\0", b"../../../etc/passwd\0"), "unsupported_format"),
    ],
)
def test_what_is_no_dicom_or_of_an_unknown_syntax_is_refused(data: bytes, code: str) -> None:
    assert refusal(data).code == code


def test_the_header_alone_tells_size_and_format() -> None:
    header = read_header(dicoms.file(GREYS, dicoms.J2K_LOSSLESS, bits=12))
    assert (header.format, header.width_px, header.height_px) == ("DICOM", 71, 90)
    assert header.memory_bytes > 2 * GREYS.nbytes
    assert begins_as_picture(dicoms.file(GREYS)[:512])


def test_size_and_memory_are_limited_by_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom.Picture, "decode", lambda *_: pytest.fail("decoded"))
    for limit, value, code in (
        ("MAX_PIXELS", GREYS.size - 1, "too_many_pixels"),
        ("MAX_MEMORY_BYTES", 9_000, "too_many_bytes"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(reader, limit, value)
            assert refusal(dicoms.file(GREYS, bits=12)).code == code


@pytest.mark.parametrize("syntax", [*dicoms.NATIVE, *dicoms.LOSSLESS, *dicoms.LOSSY])
def test_no_damage_anywhere_ends_in_anything_but_a_picture_or_an_input_error(syntax: str) -> None:
    pixels, bits = (BYTES, 8) if syntax == dicoms.JPEG else (GREYS, 12)
    data = dicoms.file(pixels, syntax, **{"bits": bits, **KNEE, "WindowCenter": "2000", "WindowWidth": "900"})
    rng, errors = random.Random(syntax), []
    for number in range(150):
        damaged = bytearray(data)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(132, 800 if number % 2 else len(data))] = rng.randrange(256)
        try:
            reader.read(bytes(damaged))
        except InputError as error:
            errors.append(str(error))
    assert errors
    assert not any("\n" in error for error in errors)


@pytest.mark.parametrize("syntax", [dicoms.EXPLICIT, dicoms.BIG_ENDIAN, dicoms.IMPLICIT])
def test_no_byte_of_the_header_can_end_in_anything_else(syntax: str) -> None:
    """Each byte before the pixels in turn, to two values."""
    data = dicoms.file(BYTES[:8, :8], syntax, **KNEE, WindowCenter="2000", WindowWidth="900", PatientAge="045Y", PatientSex="F")
    outcomes = set()
    for place in range(132, len(data) - 64):
        for value in (0xFF, data[place] ^ 0x01):
            damaged = data[:place] + bytes([value]) + data[place + 1 :]
            try:
                reader.read(damaged)
            except InputError as error:
                outcomes.add(error.code)
    assert outcomes >= {"damaged", "truncated", "not_an_image", "unsupported_format"}


def test_of_the_strict_codings_most_damage_is_noticed() -> None:
    """JPEG-LS, and JPEG of 8 bit, whose warnings are heard. JPEG lossless, JPEG 2000 and uncompressed files tell nothing."""
    rng = random.Random(5)
    for syntax, pixels, least in ((dicoms.JPEG_LS, np.tile(GREYS, (4, 4)), 0.9), (dicoms.JPEG, np.tile(BYTES, (4, 4)), 0.75)):
        data = dicoms.file(pixels, syntax, bits=12 if pixels.itemsize == 2 else 8)
        whole, noticed = reader.read(data).pixels, 0
        for _ in range(60):
            place = rng.randrange(1_500, len(data) - 60)
            try:
                noticed += np.array_equal(reader.read(data[:place] + rng.randbytes(8) + data[place + 8 :]).pixels, whole)
            except InputError:
                noticed += 1
        assert noticed / 60 >= least, syntax


# Files of others


def test_files_that_come_with_pydicom_are_read_or_refused_by_name() -> None:
    folder = Path(pydicom.__file__).parent / "data" / "test_files"
    found = {}
    for path in sorted(folder.glob("*.dcm")):
        try:
            radiograph = reader.read(path)
            found[path.name] = "x".join(map(str, radiograph.pixels.shape))
        except InputError as error:
            found[path.name] = error.code
    expected = {
        "JPEGLSNearLossless_08.dcm": "45x10",
        "JPEGLSNearLossless_16.dcm": "50x10",
        "SC_rgb_jpeg_gdcm.dcm": "100x100",
        "SC_rgb_gdcm_KY.dcm": "100x100",
        "SC_rgb_rle.dcm": "100x100",
        "SC_rgb_small_odd_big_endian.dcm": "3x3",
        "image_dfl.dcm": "512x512",
        "CT_small.dcm": "not_a_radiograph",
        "MR_truncated.dcm": "not_a_radiograph",
        "JPGExtended.dcm": "not_a_radiograph",
        "SC_rgb_rle_2frame.dcm": "multi_frame",
        "SC_rgb_rle_16bit.dcm": "unsupported_pixels",
        "badVR.dcm": "not_an_image",
        "reportsi.dcm": "not_an_image",
        "rtplan.dcm": "not_an_image",
        "meta_missing_tsyntax.dcm": "damaged",
        "no_meta.dcm": "unsupported_format",
    }
    assert {name: found[name] for name in expected} == expected
    assert set(found.values()) - set(expected.values()) <= {"256x256", "400x400"}


def test_real_radiographs_are_read_and_agree_whatever_their_coding(data_folder: Path) -> None:
    folder = data_folder / "dicom"
    lossless, near = (reader.read(folder / f"hip_mono2_{name}.dcm") for name in ("jpeg_lossless", "jpegls"))
    extended = reader.read(folder / "hip_mono2_jpeg_extended.dcm")
    np.testing.assert_array_equal(lossless.pixels, near.pixels)
    assert lossless.pixels.shape == extended.pixels.shape == (2140, 1760)
    assert np.abs(lossless.pixels.astype(int) - extended.pixels).mean() < 5
    ankle = reader.read(folder / "ankle_mono1_j2k_lossless.dcm")
    assert ankle.tags is not None
    assert lossless.tags is not None
    assert (ankle.tags.kind, ankle.tags.body_part, ankle.tags.view_position, ankle.tags.sex) == ("CR", None, "ap", "female")
    assert (lossless.tags.body_part, lossless.tags.pixel_spacing_mm) == ("hip", (0.2, 0.2))
    air, bone = ankle.pixels[800:900, 500:560], ankle.pixels[800:900, 820:860]
    assert air.mean() < 200 < 500 < bone.mean()  # of a MONOCHROME1


def test_the_same_film_in_every_form_has_the_same_pixels() -> None:
    forms = [
        pictures.encoded(".png", GREYS),
        pictures.encoded(".tiff", GREYS),
        GREYS,
        dicoms.file(GREYS, bits=12),
        dicoms.file(GREYS, dicoms.BIG_ENDIAN, bits=12, WindowCenter="2048", WindowWidth="4096"),
        dicoms.file(4095 - GREYS, dicoms.JPEG_LOSSLESS_FIRST, bits=12, PhotometricInterpretation="MONOCHROME1"),
        io.BytesIO(dicoms.file(GREYS, dicoms.JPEG_LS, kind=dicoms.DX, bits=12)),
    ]
    for form in forms:
        np.testing.assert_array_equal(reader.read(form).pixels, GREYS)


# What is not installed


def test_without_the_extra_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydicom", None)
    error = refusal(dicoms.file(GREYS))
    assert error.code == "needs_extra"
    assert 'pip install "osteo-edge[dicom]"' in str(error)


def test_an_extra_that_cannot_be_imported_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """pydicom imports every decoder that it finds, and one of them fails where the working folder holds a folder named dl."""

    def broken(name: str, *arguments: object) -> object:
        if name == "pydicom":
            raise AttributeError("module 'dl' has no attribute 'RTLD_NOW'")
        return imported(name, *arguments)  # type: ignore[arg-type]

    imported = builtins.__import__
    data = dicoms.file(GREYS)
    monkeypatch.setattr(builtins, "__import__", broken)
    error = refusal(data)
    assert (error.code, "RTLD_NOW" in str(error)) == ("needs_extra", True)


def test_a_missing_decoder_is_named_and_other_files_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {syntax: dicoms.file(GREYS, syntax, bits=12) for syntax in (dicoms.EXPLICIT, dicoms.JPEG_LS)}
    eight = dicoms.file(BYTES, dicoms.JPEG)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    np.testing.assert_array_equal(reader.read(files[dicoms.EXPLICIT]).pixels, GREYS)
    assert reader.read(eight).pixels.shape == BYTES.shape
    error = refusal(files[dicoms.JPEG_LS])
    assert error.code == "needs_decoder"
    assert "JPEG-LS" in str(error)
    assert "osteo-edge[dicom]" in str(error)
