"""Is it a knee, from the front, alone? What the finder takes for one is asked again, and what is refused gets no answer."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from osteo_edge import OsteoPredictor, Status, open_bundle
from osteo_edge.errors import ManifestError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.poses import Hit, Pose
from osteo_edge.gates import knee
from osteo_edge.gates.joints import FAINTER_BY, look_for_joints
from osteo_edge.gates.knee import LAYOUT, KneeGate, embedded_gate
from osteo_edge.images.reader import read
from tests.bundles import DENSITY
from tests.osteo_edge.test_structured import SCHEMA


@pytest.fixture(scope="module")
def finder() -> JointFinder:
    bundle = open_bundle(DENSITY)
    return JointFinder.from_bytes(bundle.read(bundle.manifest.finder))


@pytest.fixture(scope="module")
def predictor() -> Iterator[OsteoPredictor]:
    with OsteoPredictor(DENSITY, threads=1) as predictor:
        yield predictor


@pytest.fixture(scope="module")
def page() -> np.ndarray:
    """A page of text, which has edges in every direction."""
    page = np.full((320, 320), 250, np.uint8)
    for line in range(12):
        cv2.putText(page, "The knee is a joint.", (10, 25 + 25 * line), cv2.FONT_HERSHEY_SIMPLEX, 0.8, 20, 2)
    return page


@pytest.fixture
def hits(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the finder hit these places and no others, or changes what it hits."""

    def make(change: Callable[[list[Hit]], list[Hit]]) -> None:
        real = JointFinder.examine
        monkeypatch.setattr(JointFinder, "examine", lambda self, *given: change(real(self, *given)))

    return make


def sure_hits(*poses: Pose) -> Callable[[list[Hit]], list[Hit]]:
    return lambda _: [Hit(pose, 0.5) for pose in poses]


def stored(**changes: np.ndarray) -> bytes:
    arrays: dict[str, Any] = {name: np.zeros(shape, dtype) for name, (shape, dtype) in LAYOUT.items()}
    file = io.BytesIO()
    np.savez(file, **(arrays | changes))
    return file.getvalue()


class TestWhatIsNoKnee:
    def test_is_refused_though_the_finder_is_sure(
        self, predictor: OsteoPredictor, page: np.ndarray, hits: Callable[..., None]
    ) -> None:
        hits(sure_hits(Pose(160, 160, 200)))
        prediction = predictor.predict(page)
        assert prediction.status is Status.REJECTED
        (finding,) = prediction.findings
        assert finding.code == "not_a_knee"
        limit = f"at least {embedded_gate().limit:.2f} is needed"
        assert finding.message.startswith("what was found does not look like a knee (likeness 0.0")
        assert limit in finding.message
        assert prediction.message.startswith("What this picture shows does not look like a knee from the front.")
        assert "Give a radiograph of a whole knee" in prediction.message
        jsonschema.validate(prediction.to_dict(), SCHEMA)

    def test_gets_no_label_whatever_is_known_of_the_person(self, page: np.ndarray, hits: Callable[..., None]) -> None:
        hits(sure_hits(Pose(160, 160, 200)))
        with OsteoPredictor(DENSITY, threads=1) as predictor:
            prediction = predictor.predict(page, age_years=72, sex="female", covariates={"weight_kg": 60})
        for answer in prediction.answers:
            assert (answer.status, answer.label_set, dict(answer.probabilities), answer.knees) == (Status.REJECTED, (), {}, ())
        assert (prediction.label, prediction.likeliest) == (None, None)

    def test_beside_a_knee_is_left_out_and_told(self, finder: JointFinder, example: Path, hits: Callable[..., None]) -> None:
        pixels = read(example).pixels
        (knee_alone,) = look_for_joints(finder, embedded_gate(), pixels).joints

        def with_a_neighbour(found: list[Hit]) -> list[Hit]:
            best = found[0]
            return [best, Hit(replace(best.pose, x=best.pose.x - 1.2 * best.pose.width), best.score / 2)]

        hits(with_a_neighbour)
        assert len(finder.find(pixels)) == 2
        seen = look_for_joints(finder, embedded_gate(), pixels)
        assert seen.joints == (knee_alone,)
        assert [note.code for note in seen.notes] == ["one_left_out"]

    def test_of_another_part_of_the_body_the_gate_is_not_asked(
        self, finder: JointFinder, page: np.ndarray, hits: Callable[..., None]
    ) -> None:
        hits(sure_hits(Pose(160, 160, 200)))
        assert len(look_for_joints(finder, None, page).joints) == 1

    def test_pictures_of_something_else_are_refused(self, finder: JointFinder, data_folder: Path) -> None:
        """Photographs, pages, chests; hip and ankle; in grey, so that colour does not tell. None of these was fitted on."""
        from train.gates.pictures import others_at_hand

        pictures = [picture for picture in others_at_hand(data_folder, None, "judge") if not picture.is_drawn]
        assert len(pictures) > 20
        for picture in pictures:
            assert look_for_joints(finder, embedded_gate(), picture.work.astype(np.uint8)).joints == (), picture.name

    @pytest.mark.parametrize("seed", range(3))
    def test_noise_is_refused(self, finder: JointFinder, seed: int) -> None:
        rng = np.random.default_rng(seed)
        for grains in (rng.integers(0, 255, (300, 260)), np.clip(rng.normal(128, 40, (300, 260)), 0, 255)):
            assert look_for_joints(finder, embedded_gate(), grains.astype(np.uint8)).joints == ()

    def test_a_slice_of_a_head_is_refused(self, predictor: OsteoPredictor) -> None:
        """As pydicom brings one along; as a picture, of which no tag tells what it is."""
        pydicom = pytest.importorskip("pydicom")
        slices = pydicom.dcmread(pydicom.data.get_testdata_file("CT_small.dcm")).pixel_array.astype(np.float32)
        bright = 255 * (slices - slices.min()) / np.ptp(slices)
        picture = cv2.resize(bright, (512, 512)).astype(np.uint8)
        assert predictor.predict(picture).status is Status.REJECTED


class TestKnees:
    def test_pass(self, finder: JointFinder, example: Path) -> None:
        seen = look_for_joints(finder, embedded_gate(), read(example).pixels)
        assert (len(seen.joints), seen.finding, seen.notes) == (1, None, ())
        assert seen.joints == finder.find(read(example).pixels), "the gate moves nothing"

    def test_that_the_finder_hits_faintly_pass_where_the_gate_is_sure(
        self, finder: JointFinder, example: Path, hits: Callable[..., None]
    ) -> None:
        pixels, sure = read(example).pixels, replace(embedded_gate(), by_score=0.0)
        (clear,) = finder.find(pixels)
        hits(lambda found: [replace(hit, score=hit.score - clear.score + finder.threshold - FAINTER_BY + 0.1) for hit in found])
        assert finder.find(pixels) == ()
        (faint,) = look_for_joints(finder, sure, pixels).joints
        assert (faint.x_px, faint.width_px) == (clear.x_px, clear.width_px)
        hits(lambda found: [replace(hit, score=hit.score - 0.2) for hit in found])
        assert look_for_joints(finder, sure, pixels).joints == ()

    def test_upside_down_are_turned_though_the_gate_would_let_them_pass_as_they_are(
        self, finder: JointFinder, example: Path
    ) -> None:
        turned = np.ascontiguousarray(read(example).pixels[::-1, ::-1])
        seen = look_for_joints(finder, replace(embedded_gate(), limit=0.0), turned)
        assert (seen.degrees, len(seen.joints)) == (180, 1)

    def test_other_clinics_films_pass(self, finder: JointFinder, data_folder: Path) -> None:
        """Of those that were not fitted on; `train/results/knee-gate/evaluation.json` and docs/gates.md tell of all."""
        from train.gates.pictures import knees

        films = list(knees(data_folder, "judge", most=30))
        works = [np.clip(np.rint(film.work), 0, 255).astype(np.uint8) for film in films]
        refused = [
            film.name
            for film, pixels in zip(films, works, strict=True)
            if not look_for_joints(finder, embedded_gate(), pixels).joints
        ]
        assert len(refused) <= 0.05 * len(films)


class TestItsFile:
    def test_is_read_once(self) -> None:
        assert embedded_gate() is embedded_gate()
        assert 0 < embedded_gate().limit < 1

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (b"no archive", "The gate for knees is no readable .npz file; install osteo-edge again."),
            (stored(limit=np.zeros(2, np.float32)), "The gate for knees"),
            (stored(second=np.full(LAYOUT["second"][0], np.nan, np.float32)), "holds numbers that are not finite"),
            (stored(more=np.zeros(2)), "The gate for knees holds"),
        ],
        ids=["text", "shape", "not finite", "more"],
    )
    def test_is_refused_where_it_is_damaged(self, data: bytes, message: str) -> None:
        with pytest.raises(ManifestError, match=message.replace(".", r"\.")):
            KneeGate.from_bytes(data)

    def test_cannot_be_done_without(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(knee, "_FILE", tmp_path / "missing.npz")
        embedded_gate.cache_clear()
        with pytest.raises(ManifestError, match=r"cannot be read .*install osteo-edge again"):
            embedded_gate()
        embedded_gate.cache_clear()

    def test_nothing_is_asked_of_it_where_nothing_was_hit(self) -> None:
        assert embedded_gate().likenesses([np.zeros((64, 64), np.float32)], []) == []
