"""Which way up a picture is: turned films are turned back, and the turn is said; negatives are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from osteo_edge import OsteoPredictor, Status, open_bundle
from osteo_edge.answered import Knee
from osteo_edge.errors import InputError
from osteo_edge.finder import orientation
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.orientation import Seen, look
from osteo_edge.finder.poses import Hit, Pose
from osteo_edge.gates import joints as gated
from osteo_edge.gates.knee import KneeGate, embedded_gate
from osteo_edge.images.preprocess import cut, negative
from osteo_edge.images.reader import read
from osteo_edge.reports.text import to_text
from tests import dicoms
from tests.bundles import DENSITY

# Degrees clockwise that put it right -> how that is said, of a picture that was turned the other way.
TURNS = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees counter-clockwise"}


def _shares(knee: Knee) -> tuple[float, float]:
    """Where the joint's middle lies in its box."""
    return (knee.joint.x_px - knee.box.x0) / knee.box.width, (knee.joint.y_px - knee.box.y0) / knee.box.height


# The same in the turned picture.
SHARE_OF: dict[int, Callable[[Knee], tuple[float, float]]] = {
    90: lambda knee: (_shares(knee)[1], 1 - _shares(knee)[0]),
    180: lambda knee: (1 - _shares(knee)[0], 1 - _shares(knee)[1]),
    270: lambda knee: (1 - _shares(knee)[1], _shares(knee)[0]),
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


@pytest.mark.parametrize("degrees", TURNS)
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_turned_film_is_answered_as_the_upright_one_and_the_turn_is_said(
    predictor: OsteoPredictor, example: Path, degrees: int, depth: type[np.unsignedinteger[Any]]
) -> None:
    """By 90, 180 and 270 degrees clockwise it is turned back; every place is one of the picture as it was given."""
    pixels = read(example).pixels.astype(depth) * depth(np.iinfo(depth).max // 255)
    upright = predictor.predict(pixels, explain=True)
    given = np.ascontiguousarray(np.rot90(pixels, degrees // 90))
    prediction = predictor.predict(given, explain=True)
    assert prediction.turned_degrees == degrees
    assert dict(prediction.probabilities) == dict(upright.probabilities)
    (note,) = [note for note in prediction.notes if note.code == "turned"]
    assert TURNS[degrees] in note.message
    assert "turned by" in to_text(prediction)
    (knee,), (plain,) = prediction.knees, upright.knees
    assert (knee.joint, knee.joint.width_px) == (prediction.joints[0], plain.joint.width_px)
    assert np.array_equal(cut(given, knee.box), np.rot90(cut(pixels, plain.box), degrees // 90))
    assert knee.saliency is not None
    assert plain.saliency is not None
    assert np.array_equal(knee.saliency, np.rot90(plain.saliency, degrees // 90))
    # The joint's middle lies where it did in its box.
    assert (knee.joint.x_px - knee.box.x0) / knee.box.width == pytest.approx(SHARE_OF[degrees](plain)[0])
    assert (knee.joint.y_px - knee.box.y0) / knee.box.height == pytest.approx(SHARE_OF[degrees](plain)[1])
    record = prediction.to_dict()
    assert (record["turned_degrees"], upright.to_dict()["turned_degrees"]) == (degrees, 0)


def test_the_overlay_of_a_turned_film_is_of_the_film_as_it_was_given(
    predictor: OsteoPredictor, example: Path, tmp_path: Path
) -> None:
    pixels = read(example).pixels
    tall = pixels[:, pixels.shape[1] // 6 : -pixels.shape[1] // 6]
    upright, lying = (
        predictor.predict(one, explain=True).save_overlay(tmp_path / f"{number}.png")
        for number, one in enumerate((tall, np.rot90(tall)))
    )
    assert cv2.imread(str(lying)).shape[0] < cv2.imread(str(upright)).shape[0]


def test_a_negative_film_is_told_and_stays_rejected(predictor: OsteoPredictor, example: Path) -> None:
    prediction = predictor.predict(negative(read(example).pixels))
    assert (prediction.status, [finding.code for finding in prediction.findings]) == (Status.REJECTED, ["inverted"])
    assert (prediction.label, prediction.likeliest, prediction.knees) == (None, None, ())


def test_no_other_view_is_looked_at_of_a_clear_knee(
    predictor: OsteoPredictor, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_again(*_: object) -> None:
        pytest.fail("looked again")

    monkeypatch.setattr(orientation, "turned", not_again)
    monkeypatch.setattr(orientation, "inverted", not_again)
    assert predictor.predict(example).knees


@pytest.mark.parametrize(("likeness", "is_sure"), [(gated.SURE_LIKENESS, True), (gated.SURE_LIKENESS - 0.01, False)])
def test_what_looks_enough_like_a_knee_is_upright_whatever_its_score(
    example: Path, monkeypatch: pytest.MonkeyPatch, likeness: float, is_sure: bool
) -> None:
    finder = JointFinder.from_bytes(open_bundle(DENSITY).read("region/finder.npz"))
    monkeypatch.setattr("osteo_edge.finder.joint_finder.SURE_SCORE", 9.0)
    monkeypatch.setattr(KneeGate, "likenesses", lambda _, pyramid, hits: [likeness] * len(hits))
    looked: list[int] = []
    turn = orientation.turned
    monkeypatch.setattr(orientation, "turned", lambda *given: looked.append(1) or turn(*given))
    assert gated.look_for_joints(finder, embedded_gate(), read(example).pixels).joints
    assert bool(looked) is not is_sure


def test_where_two_views_are_as_clear_nothing_is_reported(
    predictor: OsteoPredictor, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the sentence says why and what to do."""
    monkeypatch.setattr(gated._GatedFinder, "is_sure", lambda *_: False)
    monkeypatch.setattr(orientation, "CLEAR_KNEE", 9.0)
    monkeypatch.setattr(orientation, "_best", lambda *_: Hit(Pose(0, 0, 1), 5.0))
    prediction = predictor.predict(example)
    assert prediction.status is Status.REFERRED
    assert prediction.findings[0].code == "way_up_unsure"
    assert prediction.knees[0].answer is None
    assert "another view" in prediction.message
    assert "Look which way up it is" in prediction.message


def test_the_side_is_assumed_unless_the_file_says_it(predictor: OsteoPredictor, example: Path) -> None:
    """A mirrored film shows the other side, and nothing in it tells."""
    pixels = read(example).pixels
    side = predictor.predict(pixels).joints[0].laterality
    assert side is not None
    mirrored = predictor.predict(np.ascontiguousarray(pixels[:, ::-1]))
    assert mirrored.joints[0].laterality not in (side, None)
    assert (mirrored.side, mirrored.to_dict()["side"]) == ("assumed", "assumed")
    said = dicoms.OF_A_KNEE | {"ImageLaterality": side.value[0].upper()}
    assert predictor.predict(dicoms.file(pixels, **said)).side == "by_tag"
    contradicted = predictor.predict(dicoms.file(np.ascontiguousarray(pixels[:, ::-1]), **said))
    assert contradicted.side == "assumed"
    assert "side_contradicted" in [note.code for note in contradicted.notes]


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
        assert code_of(look(finder, pixels)) == "no_knee"


@pytest.mark.slow
def test_turned_radiographs_are_turned_back_or_refused(finder: JointFinder, data_folder: Path) -> None:
    """Of 146 whole films: none is answered as it lies. `python -m benchmarks turned` has every folder."""
    files = sorted(path for path in (data_folder / "knee").rglob("*") if path.suffix.lower() in ENDINGS)
    for degrees in (0, *TURNS):
        found: Counter[str | int] = Counter()
        for path in files:
            seen = look(finder, np.ascontiguousarray(np.rot90(read(path).pixels, degrees // 90)))
            found[seen.degrees if seen.joints else code_of(seen)] += 1
        assert set(found) <= {degrees, "no_knee", "inverted"}
        assert found[degrees] >= 0.97 * len(files)


@pytest.mark.slow
def test_negatives_are_told_and_never_answered_as_they_are(finder: JointFinder, data_folder: Path) -> None:
    files = sorted(path for path in (data_folder / "knee").rglob("*") if path.suffix.lower() in ENDINGS)
    seen = [look(finder, negative(read(path).pixels)) for path in files]
    assert all(joint.is_negative for one in seen for joint in one.joints)
    assert sum(code_of(one) == "inverted" for one in seen) >= 0.95 * len(files)


def test_pictures_of_something_else_get_no_silly_finding(finder: JointFinder, data_folder: Path) -> None:
    for path in sorted(path for path in (data_folder / "not_a_knee").iterdir() if path.suffix.lower() in ENDINGS):
        try:
            pixels = read(path).pixels
        except InputError:
            continue
        assert code_of(look(finder, pixels)) == "no_knee", path.name


def code_of(seen: Seen) -> str:
    return seen.finding.code if seen.finding else ""
