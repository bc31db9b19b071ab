"""Why no knee was found: the picture turned, or dark and bright exchanged, is told as such."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from osteo_edge import OsteoPredictor, Status, open_bundle
from osteo_edge.errors import InputError
from osteo_edge.finder import orientation
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.orientation import why_no_knee
from osteo_edge.images.preprocess import negative
from osteo_edge.images.reader import read
from osteo_edge.reports.text import to_text
from tests.bundles import DENSITY

Pixels = NDArray[Any]
TURNED: dict[str, tuple[str, Callable[[Pixels], Pixels]]] = {
    "half a turn": ("upside_down", lambda pixels: pixels[::-1, ::-1]),
    "clockwise": ("sideways", lambda pixels: np.rot90(pixels, -1)),
    "counter-clockwise": ("sideways", np.rot90),
    "negative": ("inverted", lambda pixels: np.iinfo(pixels.dtype).max - pixels),
}
ENDINGS = (".png", ".jpg", ".jpeg")


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor(DENSITY, threads=1) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def finder() -> JointFinder:
    bundle = open_bundle(DENSITY)
    return JointFinder.from_bytes(bundle.read(bundle.manifest.finder))


@pytest.mark.parametrize("turn", TURNED)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_picture_the_wrong_way_up_is_told_and_stays_rejected(
    predictor: OsteoPredictor, example: Path, turn: str, depth: type[np.unsignedinteger[Any]]
) -> None:
    code, make = TURNED[turn]
    pixels = np.ascontiguousarray(make(read(example).pixels)).astype(depth) * depth(np.iinfo(depth).max // 255)
    prediction = predictor.predict(pixels)
    assert (prediction.status, [finding.code for finding in prediction.findings]) == (Status.REJECTED, [code])
    assert (prediction.label, prediction.likeliest, prediction.knees) == (None, None, ())
    assert "cannot be read" not in prediction.message


def test_the_way_to_turn_it_is_told(predictor: OsteoPredictor, example: Path) -> None:
    pixels = read(example).pixels
    assert "180 degrees" in predictor.predict(pixels[::-1, ::-1]).message
    assert "90 degrees clockwise" in predictor.predict(np.rot90(pixels)).message
    assert "90 degrees counter-clockwise" in predictor.predict(np.rot90(pixels, -1)).message


def test_the_second_look_is_taken_only_where_no_knee_was_found(
    predictor: OsteoPredictor, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[object] = []
    again = orientation.why_no_knee
    monkeypatch.setattr(orientation, "why_no_knee", lambda *given: looked.append(given) or again(*given))
    assert predictor.predict(example).knees
    assert looked == []
    predictor.predict(read(example).pixels[::-1, ::-1])
    assert len(looked) == 1


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_joint_that_fills_a_negative_is_answered_for_as_in_the_picture(
    predictor: OsteoPredictor, example: Path, depth: type[np.unsignedinteger[Any]]
) -> None:
    """And a note tells it; a whole film is refused."""
    (joint,) = predictor.predict(example).joints
    side, left, top = (round(value) for value in (joint.width_px / 0.8, joint.x_px, joint.y_px))
    crop = read(example).pixels[top - side * 6 // 10 : top + side * 4 // 10, left - side // 2 : left + side // 2]
    crop = crop.astype(depth) * depth(np.iinfo(depth).max // 255)
    upright, inverted = predictor.predict(crop), predictor.predict(negative(crop))
    assert dict(inverted.probabilities) == dict(upright.probabilities) != {}
    assert [note.code for note in inverted.notes] == ["taken_as_negative"]
    assert "dark and bright exchanged" in to_text(inverted)
    assert upright.notes == ()
    assert [joint.is_negative for prediction in (upright, inverted) for joint in prediction.joints] == [False, True]
    assert negative(negative(crop)).tolist() == crop.tolist()


def test_what_shows_no_knee_in_any_view_stays_no_knee(finder: JointFinder) -> None:
    noise = np.random.default_rng(5).integers(0, 255, (700, 600), np.uint8)
    strip = np.tile(np.arange(300, dtype=np.uint8) % 251, (260, 1))
    for pixels in (noise, strip):
        assert why_no_knee(finder, pixels).code == "no_knee"


@pytest.mark.slow
def test_radiographs_the_wrong_way_up_are_nearly_all_told(finder: JointFinder, data_folder: Path) -> None:
    """Those in which the finder sees a knee all the same are not looked at again: 3 of 146 upside down, 29 of 292 sideways."""
    files = sorted(path for path in (data_folder / "knee").rglob("*") if path.suffix.lower() in ENDINGS)
    for code, make in TURNED.values():
        found: Counter[str] = Counter()
        for path in files:
            pixels = np.ascontiguousarray(make(read(path).pixels))
            if not finder.find(pixels):
                found[why_no_knee(finder, pixels).code] += 1
        assert set(found) <= {code, "no_knee"}
        assert found[code] >= 0.97 * found.total() >= 0.85 * len(files)


def test_pictures_of_something_else_get_no_silly_finding(finder: JointFinder, data_folder: Path) -> None:
    for path in sorted(path for path in (data_folder / "not_a_knee").iterdir() if path.suffix.lower() in ENDINGS):
        try:
            pixels = read(path).pixels
        except InputError:
            continue
        assert not finder.find(pixels)
        assert why_no_knee(finder, pixels).code == "no_knee", path.name
