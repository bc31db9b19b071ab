"""Finding joints: the pieces on made-up input, the finder on drawn knees, and its promise on real ones."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from osteo_edge.errors import ManifestError
from osteo_edge.finder.borders import inside_black_border
from osteo_edge.finder.copies import WORK_SIDE_PX, cut_out, halvings, pixel_size, shrink
from osteo_edge.finder.edges import LinearFunctions, close_up, describe, mirrored
from osteo_edge.finder.joint_finder import LAYOUT, JointFinder
from osteo_edge.finder.poses import CLOSE_UP, MAX_HITS, Hit, Pose, choose, strongest
from osteo_edge.finder.search import levels, padded_by_half, search
from osteo_edge.joints import Box, Joint, box_around
from osteo_edge.manifest import RegionProfile
from train.finder.judgement import GRADED_KNEES, judge_finder, passed, pyramid_of, summary
from train.finder.pictures import read_half
from train.grading.knees import VALIDATION, read_index, read_part
from train.synthetic import render, sample_case

ROOT = Path(__file__).parents[2]
CV2_RESIZE = cv2.resize
ALONG = ((slice(None), None), (None, slice(None)))
FINDER = ROOT / "train" / "results" / "knee-finder" / "finder.npz"


@pytest.fixture(scope="module")
def finder() -> JointFinder:
    return JointFinder.from_bytes(FINDER.read_bytes())


def archive(**changes: object) -> bytes:
    """A finder's file of zeros; a change of None leaves that array out."""
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in LAYOUT.items()} | changes
    file = io.BytesIO()
    np.savez(file, **{name: array for name, array in arrays.items() if array is not None})
    return file.getvalue()


def noise(height: int = 300, width: int = 400) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)


class TestFromBytes:
    def test_reads_what_the_layout_says(self) -> None:
        finder = JointFinder.from_bytes(archive(threshold=np.float32(0.5)))
        assert finder.threshold == 0.5
        assert finder.template.dtype == finder.descent.dtype == np.float32

    @pytest.mark.parametrize(
        ("data", "words"),
        [
            (b"", "readable"),
            (b"PK\x03\x04 and no more", "readable"),
            (archive()[:-200], "readable"),
            (archive().replace(b"\x93NUMPY", b"\x93DUMPY"), "readable|is"),
            (archive(knee=np.array([{}], dtype=object)), "readable"),
            (archive(side=None), "holds descent, knee, template, template_constant, threshold where"),
            (archive(extra=np.zeros(3)), "extra"),
            (archive(knee=np.zeros(7, np.float16)), r"knee is float16 \(7,\)"),
            (archive(threshold=np.float64(0)), "threshold is float64"),
            (archive(threshold=np.float32("nan")), "threshold holds numbers that are not finite"),
        ],
        ids=["empty", "cut", "tail", "magic", "pickle", "missing", "extra", "shape", "dtype", "nan"],
    )
    def test_refuses_in_one_line(self, data: bytes, words: str) -> None:
        with pytest.raises(ManifestError, match=words) as caught:
            JointFinder.from_bytes(data)
        assert "\n" not in str(caught.value)

    def test_refuses_a_plain_array(self) -> None:
        file = io.BytesIO()
        np.save(file, np.zeros(3))
        with pytest.raises(ManifestError, match="readable"):
            JointFinder.from_bytes(file.getvalue())


class TestBoxAround:
    profile = RegionProfile(name="joint", half_width=0.75, above=0.5, below=1.0)

    def test_counts_in_knee_widths_from_the_centre(self) -> None:
        box = box_around(Joint(300.0, 400.0, 200.0, 1.0, None), self.profile)
        assert box == Box(150, 300, 450, 600)
        assert (box.width, box.height) == (300, 300)

    def test_may_reach_beyond_the_picture(self) -> None:
        assert box_around(Joint(10.0, 10.0, 100.0, 1.0, None), self.profile) == Box(-65, -40, 85, 110)


class TestDescribe:
    def test_ignores_exposure(self) -> None:
        picture = noise().astype(np.float32)
        np.testing.assert_allclose(describe(picture, 4), describe(picture * 31 + 500, 4), atol=1e-4)

    def test_of_the_mirror_image_is_mirrored(self) -> None:
        picture = noise(48, 64).astype(np.float32)
        seen = describe(np.ascontiguousarray(picture[:, ::-1]), 4)
        np.testing.assert_allclose(seen, mirrored(describe(picture, 4)), atol=1e-5)

    @pytest.mark.parametrize(("shape", "cell_px"), [((185, 143), 4), ((66, 66), 6), ((9, 8), 4)])
    def test_is_the_share_of_each_direction(self, shape: tuple[int, int], cell_px: int) -> None:
        picture = noise(*shape).astype(np.float32)
        np.testing.assert_allclose(describe(picture, cell_px), described_plainly(picture, cell_px), atol=1e-6)

    def test_of_a_flat_picture_is_nothing(self) -> None:
        assert not describe(np.full((40, 40), 7, np.float32), 4).any()


def described_plainly(picture: np.ndarray, cell_px: int) -> np.ndarray:
    """`describe` as its words say it, in double precision."""
    rows, columns = (side // cell_px for side in picture.shape)
    framed = np.pad(picture[: rows * cell_px, : columns * cell_px].astype(float), 1, mode="edge")
    dx, dy = framed[1:-1, 2:] - framed[1:-1, :-2], framed[2:, 1:-1] - framed[:-2, 1:-1]
    angles = np.arange(8) * np.pi / 4
    parts = np.maximum(dx[..., None] * np.cos(angles) + dy[..., None] * np.sin(angles), 0)
    cells = parts.reshape(rows, cell_px, columns, cell_px, 8).mean(axis=(1, 3))
    strength = np.pad(cells.sum(axis=2), 1, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(strength, (3, 3)).mean(axis=(2, 3))
    return cells / (around + 0.3 * cells.sum(axis=2).mean() + 1e-6)[..., None]


def test_linear_functions_of_close_ups_are_those_of_each_ones_features(finder: JointFinder) -> None:
    pyramid = halvings(shrink(drawn_pair()))
    poses = [Pose(180.0, 200.0, 90.0), Pose(-30.0, 600.0, 300.0), Pose(250.0, 250.0, 30.0)]
    each = np.stack([close_up(pyramid, pose).ravel() for pose in poses])
    stage = finder.descent[0]
    answers = LinearFunctions.of(stage).answers(pyramid, poses)
    np.testing.assert_allclose(answers, each @ stage[:-1] + stage[-1], atol=1e-5)
    assert LinearFunctions.of(stage).answers(pyramid, []).shape == (0, 3)


class TestShrink:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
    @pytest.mark.parametrize("shape", [(2660, 2180), (2049, 1801), (4801, 2403), (3000, 70), (70, 9000), (600, 300), (40, 30)])
    def test_a_pixel_is_the_mean_over_its_own_place(self, shape: tuple[int, int], dtype: type) -> None:
        """And tells where that is: a picture whose grey is the place shows the place."""
        down, across = (np.arange(side, dtype=np.float64)[order] + 0.5 for side, order in zip(shape, ALONG, strict=True))
        for axis, place in enumerate((down, across)):
            pixels = np.broadcast_to(place / shape[axis] * np.iinfo(dtype).max, shape).round().astype(dtype)
            work = shrink(pixels)
            assert max(work.shape) == min(max(shape), WORK_SIDE_PX)
            size = pixel_size(shape, work.shape)[1 - axis]
            shown = work.mean(axis=1 - axis) / np.iinfo(dtype).max * shape[axis]
            expected = (np.arange(work.shape[axis]) + 0.5) * size
            # Rounding of grey levels, and never a pixel of the picture by its geometry.
            assert np.abs(shown - expected).max() < 1.6 * shape[axis] / np.iinfo(dtype).max + 0.6

    def test_large_films_are_halved_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A mean over whole pixels takes a sixth of the time of one over broken ones, which only a small copy goes through."""
        broken: list[int] = []

        def resize(picture: np.ndarray, size: tuple[int, int], interpolation: int) -> np.ndarray:
            if (2 * size[1], 2 * size[0]) != picture.shape:
                broken.append(max(picture.shape))
            return CV2_RESIZE(picture, size, interpolation=interpolation)

        monkeypatch.setattr(cv2, "resize", resize)
        for shape in ((2660, 2180), (6001, 5003), (2149, 1025)):
            shrink(np.zeros(shape, np.uint8))
        assert len(broken) == 3
        assert max(broken) < 4 * WORK_SIDE_PX


def test_more_hits_are_asked_for_by_number(finder: JointFinder) -> None:
    pyramid = halvings(shrink(drawn_pair()))
    few, many = (search(pyramid, finder.template, 0.0, count) for count in (MAX_HITS, 6))
    assert len(many) == 6
    assert many[: len(few)] == few
    assert len(finder.examine(pyramid, 6)) > len(finder.examine(pyramid)) > 0


def test_search_gives_the_strongest_places_of_either_template(finder: JointFinder) -> None:
    pyramid = halvings(shrink(drawn_pair()))
    best = -np.inf
    for features, _ in levels(pyramid):
        windows = np.lib.stride_tricks.sliding_window_view(padded_by_half(features), (11, 11), axis=(0, 1))
        for template in (finder.template, mirrored(finder.template)):
            best = max(best, np.einsum("rcdij,ijd->rc", windows, template, dtype=float).max())
    hits = search(pyramid, finder.template, 0.25)
    assert hits[0].score == pytest.approx(best + 0.25, abs=1e-4)
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    assert strongest(hits, MAX_HITS) == hits
    assert len(hits) == MAX_HITS


class TestChoose:
    first = Hit(Pose(300, 200, 100), 0.9)

    def second(self, x: float = 100, y: float = 210, width: float = 95, score: float = 0.5) -> Hit:
        return Hit(Pose(x, y, width), score)

    def test_gives_a_plausible_pair_left_to_right(self) -> None:
        assert choose([self.first, self.second()], 0.1) == [self.second(), self.first]

    @pytest.mark.parametrize(
        "change",
        [{"x": 230}, {"y": 300}, {"width": 60}, {"width": 150}, {"score": 0.05}],
        ids=["too near", "too low", "too narrow", "too wide", "too weak"],
    )
    def test_leaves_out_an_implausible_second(self, change: dict[str, float]) -> None:
        assert choose([self.first, self.second(**change)], 0.1) == [self.first]

    def test_skips_to_the_first_plausible_second(self) -> None:
        assert choose([self.first, self.second(y=400), self.second()], 0.1) == [self.second(), self.first]

    def test_gives_nothing_below_the_threshold(self) -> None:
        assert choose([self.first], 0.95) == []


class TestAJointThatFillsThePicture:
    """A weak hit will do where the picture shows this joint and nothing else, and no other view of it fits as well."""

    weak = Hit(Pose(112.0, 130.0, 185.0), 0.0)

    @pytest.fixture
    def found(self, finder: JointFinder, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Hit]]:
        work = np.zeros((224, 224), np.float32)

        def find(*hits: Hit, elsewhere: float = -0.5) -> list[Hit]:
            def examine(_: JointFinder, pyramid: list[np.ndarray]) -> list[Hit]:
                return list(hits) if pyramid[0] is work else [Hit(self.weak.pose, elsewhere)]

            monkeypatch.setattr(JointFinder, "examine", examine)
            return finder.knees_in([work])

        return find

    def test_is_found(self, found: Callable[..., list[Hit]], finder: JointFinder) -> None:
        assert self.weak.score < finder.threshold
        assert found(self.weak, Hit(Pose(20.0, 20.0, 30.0), -0.5)) == [self.weak]

    @pytest.mark.parametrize(
        "pose",
        [Pose(80.0, 130.0, 185.0), Pose(112.0, 60.0, 185.0), Pose(112.0, 170.0, 185.0), Pose(112.0, 130.0, 120.0)],
        ids=["beside", "above", "below", "small"],
    )
    def test_is_none_elsewhere(self, found: Callable[..., list[Hit]], pose: Pose) -> None:
        assert found(Hit(pose, 0.0)) == []

    def test_is_none_where_it_is_too_weak_or_another_view_fits_as_well(self, found: Callable[..., list[Hit]]) -> None:
        assert found(Hit(self.weak.pose, -0.25)) == []
        assert found(self.weak, elsewhere=0.0) == []

    def test_a_clear_knee_needs_no_second_look(self, found: Callable[..., list[Hit]]) -> None:
        clear = Hit(Pose(60.0, 100.0, 60.0), 0.9)
        assert found(clear, self.weak, elsewhere=1.0) == [clear]

    def test_knees_of_the_gravest_grade_are_found(self, finder: JointFinder, data_folder: Path) -> None:
        """Deformed joints; as `joint_crops` in the finder's evaluation counts them."""
        if not (data_folder / GRADED_KNEES).is_dir():
            pytest.skip(f"no graded knees at {data_folder}")
        part = read_part([knee for knee in read_index(data_folder / GRADED_KNEES) if knee.grade == 4], VALIDATION)
        counts = passed(finder, map(pyramid_of, part.pictures))
        recorded = json.loads(FINDER.with_name("evaluation.json").read_text())["joint_crops"]["by_grade"]["4"]
        assert {"n": len(part.pictures), **counts} == recorded
        assert sum(counts.values()) >= 0.85 * len(part.pictures)
        assert choose([], 0.1) == []


def test_strongest_keeps_one_hit_a_joint() -> None:
    best, same, other = (Hit(Pose(x, 50, 40), score) for x, score in ((50, 0.9), (60, 0.8), (150, 0.7)))
    assert strongest([other, same, best], 5) == [best, other]
    assert strongest([other, same, best], 1) == [best]


def test_cut_out_has_the_joint_in_its_middle() -> None:
    picture = np.zeros((512, 512), np.float32)
    picture[300:320, 200:220] = 1
    cut = cut_out(halvings(picture), Pose(210.0, 310.0, 96.0), CLOSE_UP)
    rows, columns = np.nonzero(cut > 0.5)
    middle = (CLOSE_UP.side_px - 1) / 2
    assert rows.mean() == pytest.approx(middle, abs=0.01)
    assert columns.mean() == pytest.approx(middle, abs=0.01)


@pytest.mark.parametrize("shape", [(256, 256), (600, 300), (300, 3000), (1, 400), (40, 40)])
@pytest.mark.parametrize("value", [0, 255])
def test_finds_nothing_in_empty_pictures(finder: JointFinder, shape: tuple[int, int], value: int) -> None:
    assert finder.find(np.full(shape, value, np.uint8)) == ()


def test_a_knee_wider_than_its_picture_is_none(finder: JointFinder) -> None:
    bar = np.full((503, 1890), 255, np.uint8)
    bar[136:366, 385:1613] = 0
    assert finder.find(bar) == ()


def test_finds_nothing_in_noise(finder: JointFinder) -> None:
    assert finder.find(noise()) == ()


class TestDrawnKnees:
    """On pictures of `train/synthetic`, which had no part in the fitting."""

    @pytest.mark.parametrize("layout", ["one_knee", "two_knees", "long_legs"])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_are_found(self, finder: JointFinder, layout: str, seed: int) -> None:
        anatomies, acquisition = sample_case(np.random.default_rng(seed), layout=layout)
        drawn = render(anatomies, acquisition, seed=seed)
        truths = sorted(drawn.knees, key=lambda knee: knee.joint_centre_px)
        found = finder.find(drawn.pixels)
        assert len(found) == len(truths)
        for joint, truth in zip(found, truths, strict=True):
            x, y = truth.joint_centre_px
            assert np.hypot(joint.x_px - x, joint.y_px - y) < 0.1 * truth.width_px
            assert joint.width_px == pytest.approx(truth.width_px, rel=0.1)

    def test_do_not_depend_on_depth(self, finder: JointFinder) -> None:
        pixels = drawn_pair()
        assert_same(finder.find(pixels), finder.find(pixels.astype(np.uint16) * 257))

    def test_do_not_depend_on_brightness(self, finder: JointFinder) -> None:
        pixels = drawn_pair().astype(np.uint16)
        assert_same(finder.find(pixels), finder.find(pixels * 40 + 700))

    def test_are_the_same_again(self, finder: JointFinder) -> None:
        pixels = drawn_pair()
        assert finder.find(pixels) == finder.find(pixels)

    @pytest.mark.parametrize("share", [0.05, 0.2, 0.6])
    @pytest.mark.parametrize("margins", [(1, 1, 1, 1), (0, 2, 1, 0)])
    def test_are_where_they_were_in_a_black_border(
        self, finder: JointFinder, share: float, margins: tuple[int, int, int, int]
    ) -> None:
        pixels = drawn_pair() // 2 + 60
        above, below, left, right = (round(share * margin * pixels.shape[0]) for margin in margins)
        bordered = np.pad(pixels, ((above, below), (left, right)))
        joints = finder.find(pixels)
        assert len(joints) == 2
        for joint, seen in zip(joints, finder.find(bordered), strict=True):
            assert (seen.x_px - left, seen.y_px - above) == pytest.approx((joint.x_px, joint.y_px), abs=0.01 * joint.width_px)
            assert seen.score > joint.score - 0.1

    def test_change_sides_in_a_mirror(self, finder: JointFinder) -> None:
        pixels = drawn_pair()
        seen = finder.find(np.ascontiguousarray(pixels[:, ::-1]))
        for joint, other in zip(finder.find(pixels), reversed(seen), strict=True):
            assert joint.x_px == pytest.approx(pixels.shape[1] - other.x_px, abs=0.03 * joint.width_px)
            named = {joint.laterality, other.laterality} - {None}
            assert None in (joint.laterality, other.laterality) or len(named) == 2
        assert any(joint.laterality for joint in seen)


class TestRealKnees:
    def test_of_the_report_half_are_found(self, finder: JointFinder, data_folder: Path) -> None:
        figures = summary(judge_finder(finder, read_half(data_folder, "report")))
        assert figures["found_rate"] >= 0.97
        assert figures["false_positives"] == 0
        assert figures["centre_error"]["median"] < 0.02


class TestBlackBorder:
    def test_of_a_picture_that_is_dark_all_over_is_none(self) -> None:
        for picture in (np.zeros((80, 90), np.float32), np.full((80, 90), 7, np.float32)):
            assert inside_black_border(picture, picture.shape) is None

    def test_is_what_is_as_dark_as_the_darkest_after_jpeg_too(self) -> None:
        picture = np.zeros((100, 120), np.float32)
        picture[20:70, 30:100] = 200
        noisy = picture + np.random.default_rng(1).uniform(0, 4, picture.shape).astype(np.float32)
        for one in (picture, noisy):
            assert inside_black_border(one, (1000, 1200)) == (slice(200, 700), slice(300, 1000))

    def test_bright_margins_and_narrow_ones_stay(self) -> None:
        picture = np.full((100, 120), 200, np.float32)
        picture[20:70, 30:100] = 10
        assert inside_black_border(picture, picture.shape) is None
        assert inside_black_border(np.pad(picture, 1), (102, 122)) is None


def drawn_pair() -> np.ndarray:
    anatomies, acquisition = sample_case(np.random.default_rng(9), layout="two_knees")
    return render(anatomies, replace(acquisition, bit_depth=8), seed=9).pixels


def assert_same(joints: tuple[Joint, ...], others: tuple[Joint, ...]) -> None:
    assert len(joints) == len(others) > 0
    for joint, other in zip(joints, others, strict=True):
        assert joint.laterality is other.laterality
        assert (joint.x_px, joint.y_px, joint.width_px) == pytest.approx((other.x_px, other.y_px, other.width_px), rel=1e-3)
