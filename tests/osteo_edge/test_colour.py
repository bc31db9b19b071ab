"""True colours are refused as colour in every form; a grey picture pays nothing for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from osteo_edge import OsteoPredictor
from osteo_edge.images import jpeg_pixels, quality, reader
from osteo_edge.manifest import QualityLimits
from tests.bundles import DENSITY
from tests.pictures import encoded, jpeg_segment

LIMITS = QualityLimits(min_side_px=32, min_dynamic_range=0.05)
ENDINGS = (".png", ".jpg", ".tiff", ".bmp")
FORMS = {
    "plain": (),
    "restarts": (cv2.IMWRITE_JPEG_RST_INTERVAL, 7),
    "optimized": (cv2.IMWRITE_JPEG_OPTIMIZE, 1),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "full": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111),
    "halves": (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x211111),
}


@pytest.fixture(scope="session")
def grey(example: Path) -> np.ndarray:
    return cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)[100:500, 150:600]


def red(grey: np.ndarray) -> np.ndarray:
    """As OpenCV orders colours."""
    return np.dstack([grey // 5, grey // 4, grey])


def without_colour(data: bytes) -> bytes | None:
    return jpeg_pixels._without_colour(*jpeg_pixels._taken_apart(data))


def if_colourless(data: bytes) -> np.ndarray | None:
    return jpeg_pixels._if_colourless(*jpeg_pixels._taken_apart(data))


def codes(image: reader.ImageSource) -> list[str]:
    return [finding.code for finding in quality.assess(reader.read(image), LIMITS)]


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_red_photograph_is_refused_and_a_slight_tint_is_not(grey: np.ndarray, ending: str) -> None:
    assert codes(encoded(ending, red(grey))) == ["colour"]
    assert codes(encoded(ending, np.dstack([grey] * 3))) == []
    tinted = np.dstack([np.clip(grey.astype(int) + 25, 0, 255).astype(np.uint8), grey, grey])
    assert codes(encoded(ending, tinted)) == []


def test_arrays_and_sixteen_bits_are_judged_alike(grey: np.ndarray) -> None:
    deep = red(grey).astype(np.uint16) * 257
    for image in (red(grey), deep, np.dstack([red(grey), np.full_like(grey, 255)]), encoded(".png", deep)):
        assert codes(image) == ["colour"]
    small = np.dstack([grey] * 3)
    small[200:240, 200:250] = (250, 30, 30)  # a coloured label
    assert codes(small) == []
    assert 0 < reader.read(small).coloured_share < 0.02


@pytest.mark.parametrize("form", FORMS)
def test_one_coloured_block_anywhere_in_a_jpeg_is_noticed(grey: np.ndarray, form: str) -> None:
    """The tables without colours must be heard, whatever the version of libjpeg: else the pixels after it would be wrong."""
    for row, column in ((0, 0), (192, 0), (16, 432), (208, 224), (384, 432)):
        colours = np.dstack([grey] * 3)
        colours[row : row + 16, column : column + 16, 2] ^= 0x60
        data = encoded(".jpg", colours, *FORMS[form])
        narrowed = without_colour(data)
        assert (narrowed is None) == (form == "progressive")
        assert if_colourless(data) is None
        np.testing.assert_array_equal(reader.read(data).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), 0))


def test_an_interval_of_no_restarts_is_none(grey: np.ndarray) -> None:
    colours = np.dstack([grey] * 3)
    colours[16:32, 432:448, 2] ^= 0x60
    data = encoded(".jpg", colours)
    data = data[:2] + jpeg_segment(0xDD, b"\0\0") + data[2:]
    assert if_colourless(data) is None
    np.testing.assert_array_equal(reader.read(data).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), 0))


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"progressive"}))
def test_a_grey_jpeg_with_colour_channels_is_decoded_once(grey: np.ndarray, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(".jpg", np.dstack([grey] * 3), *FORMS[form])
    monkeypatch.setattr(jpeg_pixels, "_decode", lambda *_, **__: pytest.fail("decoded again"))
    np.testing.assert_array_equal(reader.read(data).pixels, cv2.imdecode(np.frombuffer(data, np.uint8), 0))


def test_channels_that_are_no_luminance_and_colours_are_not_narrowed(grey: np.ndarray) -> None:
    data = encoded(".jpg", np.dstack([grey] * 3), *FORMS["full"])
    adobe = jpeg_segment(0xEE, b"Adobe\x00\x64\x00\x00\x00\x00\x00")
    assert without_colour(data[:2] + adobe + data[2:]) is None
    assert without_colour(data) is not None


def test_a_single_channel_pays_nothing(grey: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "coloured_share", lambda *_: pytest.fail("looked for colours"))
    monkeypatch.setattr(jpeg_pixels, "coloured_share", lambda *_: pytest.fail("looked for colours"))
    for ending in ENDINGS:
        assert codes(encoded(ending, grey)) == []


def test_the_predictor_answers_a_colour_picture_with_a_rejection(grey: np.ndarray) -> None:
    with OsteoPredictor(DENSITY) as predictor:
        prediction = predictor.predict(encoded(".jpg", red(np.tile(grey, (2, 2)))))
    assert (prediction.status, prediction.label) == ("rejected", None)
    assert [finding.code for finding in prediction.findings] == ["colour"]
    assert "colour" in prediction.message


def test_all_radiographs_are_grey_and_all_photographs_are_not(data_folder: Path) -> None:
    for folder, step in (("knee", 6), ("knee_unlabelled", 20)):
        files = sorted(path for path in (data_folder / folder).rglob("*") if path.is_file() and path.suffix != ".csv")
        assert max(reader.read(path).coloured_share for path in files[::step]) < 0.001
    for name in ("49a98fbf62e2.png", "03a1f617085c.png"):  # tinted films
        assert reader.read(data_folder / "knee_unlabelled" / name).coloured_share == 0
    photographs = sorted((data_folder / "not_a_knee").glob("natural_photo_*"))
    assert min(reader.read(path).coloured_share for path in photographs) > 0.04
