"""Grading networks: the table of knees, what the network is shown, its loss, its figures, and a training that goes on."""

from __future__ import annotations

import csv
import inspect
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from osteo_edge.images.preprocess import prepare
from osteo_edge.integrity import sha256_hex
from osteo_edge.joints import Joint, box_around
from osteo_edge.labels import Laterality
from train.__main__ import main
from train.data.dataset import DatasetError
from train.grading.config import Fitting, GradingConfig, Stage, Variation, is_grading_config, read_grading_config
from train.grading.judgement import differences, figures_of, resampled_weights, with_intervals
from train.grading.knees import read_index, read_part
from train.grading.stacking import read_stacking_config
from train.grading.views import Place, find_places, negative, plain_views, random_view
from train.runs.cache import open_cache
from train.runs.checkpoint import read_state
from train.runs.config import Candidate

SIDE_PX = 80
REGION = Candidate("joint_line", 0.5, 0.5, 0.4, 64, 64, "right")
STILL = Variation(0, 0, 0, 0, 0, 1, 100, 0)
JOINT = Joint(x_px=38.0, y_px=44.0, width_px=60.0, score=1.0, laterality=Laterality.LEFT)
CONFIGS = sorted((Path(__file__).parents[3] / "train" / "configs").glob("knee-osteoarthritis-*.toml"))


class OneJoint:
    """Finds the joint of bright pictures, and on its left half brighter ones says which knee it is."""

    def find(self, pixels: np.ndarray) -> tuple[Joint, ...]:
        if pixels.mean() < 100:
            return ()
        is_right = pixels[:, : SIDE_PX // 2].mean() > pixels[:, SIDE_PX // 2 :].mean()
        return (replace(JOINT, laterality=Laterality.RIGHT if is_right else Laterality.LEFT),)


def smooth_picture(seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (10, 10), dtype=np.uint8)
    return cv2.resize(noise, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten knees of each part, two a patient, of every grade."""
    rows = []
    for part, start in (("train", 0), ("val", 100)):
        for number in range(10):
            file = tmp_path / f"{part}{number}.png"
            file.write_bytes(cv2.imencode(".png", smooth_picture(start + number))[1].tobytes())
            rows.append(
                {
                    "file": file.name,
                    "split": part,
                    "kl_grade": str(number % 5),
                    "patient": str(start + number // 2),
                    "side": ("left", "right")[number % 2],
                    "sha256": sha256_hex(file.read_bytes()),
                }
            )
    write_index(tmp_path, rows)
    return tmp_path


def write_index(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "index.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def changed_index(folder: Path, row: int, **cells: str) -> None:
    with (folder / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[row] |= cells
    write_index(folder, rows)


def test_the_index_and_its_pictures_are_read(folder: Path) -> None:
    part = read_part(read_index(folder), "val")
    assert part.pictures.shape == (10, SIDE_PX, SIDE_PX)
    assert part.grades.tolist() == [0, 1, 2, 3, 4] * 2
    assert len(set(part.patients)) == 5
    np.testing.assert_array_equal(part.pictures[3], smooth_picture(103))


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"kl_grade": "5"}, "grade must be 0 to 4"),
        ({"kl_grade": ""}, "a cell is empty"),
        ({"split": "test"}, "split must be"),
        ({"side": "both"}, "side must be"),
        ({"patient": "104"}, "'104' stands on both sides"),
    ],
)
def test_a_faulty_row_is_named(folder: Path, cells: dict[str, str], message: str) -> None:
    changed_index(folder, 0, **cells)
    with pytest.raises(DatasetError, match=message):
        read_index(folder)


def test_one_file_stands_once(folder: Path) -> None:
    knees = read_index(folder)
    changed_index(folder, 1, sha256=knees[0].sha256)
    with pytest.raises(DatasetError, match="stands 2 times"):
        read_index(folder)


def test_a_changed_truncated_or_larger_picture_is_named(folder: Path) -> None:
    knees = read_index(folder)
    whole = knees[2].path.read_bytes()
    knees[2].path.write_bytes(whole[:-20])
    with pytest.raises(DatasetError, match="another SHA-256"):
        read_part(knees, "train")
    changed_index(folder, 2, sha256=sha256_hex(b"GIF89a"))
    knees[2].path.write_bytes(b"GIF89a")
    with pytest.raises(DatasetError, match="no picture"):
        read_part(read_index(folder), "train")
    truncated = cv2.imencode(".webp", smooth_picture(2))[1].tobytes()[:-1]
    changed_index(folder, 2, sha256=sha256_hex(truncated))
    knees[2].path.write_bytes(truncated)
    with pytest.raises(DatasetError, match="not a whole one"):
        read_part(read_index(folder), "train")
    larger = cv2.imencode(".png", np.zeros((90, 80), np.uint8))[1].tobytes()
    changed_index(folder, 2, sha256=sha256_hex(larger))
    knees[2].path.write_bytes(larger)
    with pytest.raises(DatasetError, match="is 80 x 90 px, the first 80 x 80"):
        read_part(read_index(folder), "train")


def test_a_mirrored_knee_is_shown_as_the_same_picture() -> None:
    """The finder tells the side, so that a knee and its mirror image give one tensor, but for the rounding of the box."""
    picture = smooth_picture(1)
    mirrored_joint = replace(JOINT, x_px=SIDE_PX - JOINT.x_px, laterality=Laterality.RIGHT)
    places = (Place(JOINT, True), Place(mirrored_joint, True))
    views = plain_views(np.stack([picture, picture[:, ::-1]]), places, REGION)
    np.testing.assert_array_equal(views[0], views[1])


def test_a_plain_view_is_what_the_runtime_prepares() -> None:
    picture = smooth_picture(2)
    view = plain_views(picture[np.newaxis], (Place(JOINT, True),), REGION)[0]
    np.testing.assert_array_equal(view, prepare(picture, box_around(JOINT, REGION.region), REGION.input)[0, :, :, 0])


def test_a_negative_is_turned_back_and_a_missed_knee_lies_in_the_middle() -> None:
    bright = np.full((SIDE_PX, SIDE_PX), 200, np.uint8)
    bright[:, :10] = 250
    grey = np.full((SIDE_PX, SIDE_PX), 99, np.uint8)
    grey_whose_negative_is_dark = np.where(np.arange(SIDE_PX) % 3 < 1, 20, 99).astype(np.uint8)[np.newaxis].repeat(SIDE_PX, 0)
    dark_too = np.where(np.arange(SIDE_PX)[:, np.newaxis] % 2, 0, 199).astype(np.uint8).repeat(SIDE_PX, 1)
    places = find_places(np.stack([bright, negative(bright), grey]), ("left", "left", "left"), OneJoint())
    assert [place.was_found for place in places] == [True, True, True]
    assert [place.is_inverted for place in places] == [False, True, True]
    assert grey_whose_negative_is_dark.mean() < 100
    missed = find_places(np.stack([bright, dark_too]), ("left", "right"), _Never(bright))[1]
    assert not missed.was_found
    assert missed.joint.laterality is Laterality.RIGHT
    assert missed.joint.x_px == JOINT.x_px


def test_pictures_without_any_knee_are_told() -> None:
    with pytest.raises(DatasetError, match="none of 3 pictures"):
        find_places(np.zeros((3, SIDE_PX, SIDE_PX), np.uint8), ("left",) * 3, _Never(smooth_picture(1)))


class _Never:
    """Finds a knee on one picture alone."""

    def __init__(self, picture: np.ndarray) -> None:
        self._picture = picture

    def find(self, pixels: np.ndarray) -> tuple[Joint, ...]:
        return (replace(JOINT, laterality=None),) if np.array_equal(pixels, self._picture) else ()


def test_without_changes_a_random_view_is_the_plain_one() -> None:
    picture, place = smooth_picture(3), Place(replace(JOINT, laterality=Laterality.RIGHT), True)
    plain = plain_views(picture[np.newaxis], (place,), REGION)[0]
    random = random_view(picture, place, REGION, 64, STILL, np.random.default_rng(0))
    assert np.abs(random - plain)[4:-4, 4:-4].mean() < 6  # the runtime rounds the box to whole pixels


def test_random_views_differ_and_stay_in_range() -> None:
    limits = Variation(10, 0.1, 0.05, 0.3, 5, 0.5, 50, 0.5)
    rng = np.random.default_rng(0)
    views = [random_view(smooth_picture(4), Place(JOINT, True), REGION, 96, limits, rng) for _ in range(4)]
    assert all(view.shape == (96, 96) and view.dtype == np.float32 for view in views)
    assert min(view.min() for view in views) >= 0
    assert max(view.max() for view in views) <= 255
    assert all(np.abs(views[0] - view).mean() > 1 for view in views[1:])


def test_figures_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(5)
    grades = rng.integers(0, 5, 300)
    probabilities = rng.dirichlet(np.ones(5), 300)
    probabilities[np.arange(300), grades] += 0.4
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    figures = figures_of(grades, probabilities)
    middle = (probabilities.cumsum(axis=1) < 0.5).sum(axis=1)
    assert figures["median_kappa"] == pytest.approx(cohen_kappa_score(grades, middle, weights="quadratic"))
    assert figures["median_accuracy"] == pytest.approx((grades == middle).mean())
    assert figures["quadratic_kappa"] == pytest.approx(
        cohen_kappa_score(grades, probabilities.argmax(axis=1), weights="quadratic")
    )
    assert figures["auc_definite"] == pytest.approx(roc_auc_score(grades >= 2, probabilities[:, 2:].sum(axis=1)))
    assert figures["accuracy"] == pytest.approx((grades == probabilities.argmax(axis=1)).mean())


def test_intervals_hold_the_value_and_a_system_does_not_differ_from_itself() -> None:
    rng = np.random.default_rng(6)
    grades, patients = np.tile(np.arange(5), 40), np.repeat(np.arange(100), 2).astype(str)
    probabilities = rng.dirichlet(np.ones(5), 200)
    weights = resampled_weights(patients, count=200, seed=1)
    assert (weights[:, 0::2] == weights[:, 1::2]).all()  # both knees of a patient are drawn together
    assert (weights.sum(axis=1) == 200).all()
    for figure in with_intervals(grades, probabilities, weights).values():
        assert figure["low"] <= figure["value"] <= figure["high"]
    for figure in differences(grades, probabilities, probabilities, weights).values():
        assert figure == {"value": 0, "low": 0, "high": 0}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_committed_configurations_are_read(file: Path) -> None:
    read = read_grading_config if is_grading_config(file) else read_stacking_config
    assert read(file).name == file.stem


def test_fit_trains_grades_where_the_configuration_says_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from train.grading import run

    parameters, calls = inspect.signature(run.grade), []

    def noted(*given: object, **named: object) -> None:
        calls.append(parameters.bind(*given, **named))
        open_cache(tmp_path / "run")

    monkeypatch.setattr(run, "grade", noted)
    options = ["--config", str(CONFIGS[0]), "--data", str(folder), "--output", str(tmp_path / "run")]
    result = CliRunner().invoke(main, ["fit", *options], catch_exceptions=False)
    assert result.exit_code == 0
    (call,) = calls
    assert call.arguments["config"] == read_grading_config(CONFIGS[0])
    assert call.arguments["knees"] == read_index(folder)
    assert call.arguments["output"] == tmp_path / "run"
    assert not list((tmp_path / "run").iterdir()), "the cache is removed"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--finder", "absent.npz"], "absent.npz: the knee finder cannot be read"),
        (["--data", "absent"], "absent/index.csv: cannot be read"),
    ],
)
def test_fit_tells_what_grades_lack_in_one_line(options: list[str], message: str) -> None:
    result = CliRunner().invoke(main, ["fit", "--config", str(CONFIGS[0]), *options])
    assert result.exit_code == 2
    assert message in result.output
    assert result.output.count("\n") == 1


def small_config(folder: Path, *, epochs: tuple[int, int]) -> GradingConfig:
    stages = tuple(Stage(side, count) for side, count in zip((64, 96), epochs, strict=True) if count)
    fitting = Fitting(stages, 4, 1e-3, 0.01, 0.1, 0.5, 0.2, 0.9, 2, 5, 1.0)
    return GradingConfig(
        name="small",
        data=str(folder),
        finder="",
        output="",
        backbone="small_cnn",
        weights="random",
        seed=3,
        region=replace(REGION, height_px=stages[-1].side_px, width_px=stages[-1].side_px),
        variation=Variation(5, 0.05, 0.05, 0.2, 3, 0.7, 60, 0.1),
        fitting=fitting,
        resamples=100,
    )


@pytest.mark.slow
def test_a_stopped_training_goes_on_as_an_unbroken_one(folder: Path, tmp_path: Path) -> None:
    from train.grading.fitting import GradingTrainer, PlacedPart

    knees = read_index(folder)
    parts = []
    for part in ("train", "val"):
        read = read_part(knees, part)  # type: ignore[arg-type]
        parts.append(PlacedPart(read, find_places(read.pictures, [knee.side for knee in read.knees], OneJoint())))
    config = small_config(folder, epochs=(2, 2))
    for name in ("unbroken", "stopped"):
        (tmp_path / name).mkdir()
    unbroken = GradingTrainer(config, *parts, tmp_path / "unbroken")
    weights = [variable.numpy() for variable in unbroken.run().weights]
    for done in (1, 2, 3):  # a stop after each epoch: within a stage, between stages, and in the last
        stopped = GradingTrainer(config, *parts, tmp_path / "stopped")
        stopped._resume()
        stopped._train_once(done)
    resumed = GradingTrainer(config, *parts, tmp_path / "stopped")
    again = [variable.numpy() for variable in resumed.run().weights]
    assert [line.validation_loss for line in resumed.history] == [line.validation_loss for line in unbroken.history]
    for one, other in zip(weights, again, strict=True):
        np.testing.assert_array_equal(one, other)
    (kept,) = (tmp_path / "stopped").glob("training-*.npz")
    assert len(read_state(kept)) == 4
    others = replace(config, fitting=replace(config.fitting, learning_rate=2e-3))
    other = GradingTrainer(others, *parts, tmp_path / "stopped")
    other._resume()
    assert other.history == [], "a checkpoint of other settings"


def test_soft_targets_and_the_loss_punish_distance() -> None:
    from keras import ops

    from train.grading.fitting import ordinal_loss, soft_targets

    targets = soft_targets(np.array([2, 0]), 0.5)
    np.testing.assert_allclose(targets[:, :5].sum(axis=1), 1, rtol=1e-6)
    assert targets[0, 2] == targets[0, :5].max()
    assert targets[:, 5].tolist() == [2, 0]
    np.testing.assert_array_equal(soft_targets(np.array([4]), 0)[0, :5], [0, 0, 0, 0, 1])
    near, far = (np.full((1, 5), -5, np.float32) for _ in range(2))
    near[0, 1], far[0, 4] = 5, 5
    loss = ordinal_loss(0.2)
    truth = soft_targets(np.array([0]), 0.5)
    assert float(ops.convert_to_numpy(loss(truth, near))[0]) < float(ops.convert_to_numpy(loss(truth, far))[0])
