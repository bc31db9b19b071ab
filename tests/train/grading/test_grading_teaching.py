"""What a student is told beside the grades: by teachers, by mixed views; and a training in half precision."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.train.grading.test_grading import REGION, STILL, OneJoint, folder, small_config  # noqa: F401 (a fixture)
from train.grading.config import GradingConfig
from train.grading.knees import read_index, read_part
from train.grading.views import find_places
from train.runs.config import ConfigError

GRADES = np.array([0, 3])
TAUGHT = np.array([[0.1, 0.8, 0.1, 0, 0], [0, 0, 0, 0.5, 0.5]], np.float32)


def taught_by(config: GradingConfig, weight: float) -> GradingConfig:
    return replace(config, fitting=replace(config.fitting, teacher_weight=weight, teachers=("somewhere",)))


def parts_of(folder: Path) -> list:  # noqa: F811
    from train.grading.fitting import PlacedPart

    knees = read_index(folder)
    read = [read_part(knees, part) for part in ("train", "val")]  # type: ignore[arg-type]
    return [PlacedPart(part, find_places(part.pictures, [knee.side for knee in part.knees], OneJoint())) for part in read]


def test_targets_are_the_grade_and_the_teachers_by_their_weight(tmp_path: Path) -> None:
    from train.grading.fitting import soft_targets, targets_of

    config = small_config(tmp_path, epochs=(1, 0))
    own = soft_targets(GRADES, config.fitting.spread)
    np.testing.assert_array_equal(targets_of(GRADES, config.fitting, None), own)
    alone = targets_of(GRADES, taught_by(config, 1.0).fitting, TAUGHT)
    np.testing.assert_allclose(alone[:, :5], TAUGHT)
    np.testing.assert_allclose(alone[:, 5], [1.0, 3.5], rtol=1e-6)
    half = targets_of(GRADES, taught_by(config, 0.5).fitting, TAUGHT)
    np.testing.assert_allclose(half, (own + alone) / 2, rtol=1e-6)


def test_mixed_views_and_targets_are_mixed_alike(folder: Path) -> None:  # noqa: F811
    from train.grading.fitting import _Batches, soft_targets

    config = small_config(folder, epochs=(1, 0))
    config = replace(config, variation=STILL, fitting=replace(config.fitting, mixing=0.4))
    training = parts_of(folder)[0]
    targets = soft_targets(training.part.grades, 0.0)
    plain = _Batches(replace(config, fitting=replace(config.fitting, mixing=0.0)), training, targets, 64, 1)[0]
    mixed = _Batches(config, training, targets, 64, 1)[0]
    again = _Batches(config, training, targets, 64, 1)[0]
    np.testing.assert_array_equal(mixed[0], again[0])
    np.testing.assert_allclose(mixed[1][:, :5].sum(axis=1), 1, rtol=1e-6)
    for view, target in zip(*mixed, strict=True):
        # Each mixed pair lies on the line between two of the batch, at the same place of it in pixels and in targets.
        shares = np.linalg.lstsq(plain[0].reshape(4, -1).T, view.ravel(), rcond=None)[0]
        np.testing.assert_allclose(shares @ plain[1], target, atol=1e-3)
        assert shares.max() >= 0.5 - 1e-3


def test_a_teacher_needs_a_weight_and_a_folder(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    from train.grading.config import _rules
    from train.grading.teachers import taught_shares

    config = small_config(folder, epochs=(1, 0))
    assert taught_shares(config, parts_of(folder)[0], tmp_path) is None
    half_said = replace(config, fitting=replace(config.fitting, teachers=("somewhere",)))
    assert [name for holds, name, _ in _rules(half_said) if not holds] == ["fitting.teachers"]
    with pytest.raises(ConfigError, match="cannot be read"):
        taught_shares(taught_by(config, 0.5), parts_of(folder)[0], tmp_path)


@pytest.mark.slow
def test_a_finished_run_teaches_the_next(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """In half precision, with mixed views; what the teacher tells is kept, and the student's checkpoint depends on it."""
    import train.grading.run as run
    from train.grading import teachers
    from train.grading.fitting import GradingTrainer
    from train.networks.network import weights_of

    config = small_config(folder, epochs=(1, 0))
    config = replace(config, fitting=replace(config.fitting, precision="bfloat16", mixing=0.3))
    training, validation = parts_of(folder)
    (tmp_path / "cache").mkdir()
    network = GradingTrainer(config, training, validation, tmp_path / "cache").run()
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}, "what is judged and exported"
    teacher = tmp_path / "teacher"
    teacher.mkdir()
    np.savez(teacher / run.WEIGHTS_FILE, **weights_of(network))
    monkeypatch.setattr(teachers, "read_grading_config", lambda file: config)
    student = replace(config, fitting=replace(config.fitting, teachers=(str(teacher),), teacher_weight=0.5))
    shares = teachers.taught_shares(student, training, tmp_path / "cache")
    assert shares is not None
    assert shares.shape == (10, 5)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(shares, teachers.taught_shares(student, training, tmp_path / "cache"))
    taught = GradingTrainer(student, training, validation, tmp_path / "cache", taught=shares)
    taught._train_once(1)
    other = GradingTrainer(student, training, validation, tmp_path / "cache", taught=shares[::-1].copy())
    other._resume()
    assert other.history == [], "what another teacher told"


def test_an_epoch_goes_on_where_the_last_one_was_not_at_the_average(folder: Path, tmp_path: Path) -> None:  # noqa: F811
    """``fit`` ends by putting the moving average in the weights' place; here it hardly moves, the weights must."""
    from train.grading.fitting import GradingTrainer

    config = small_config(folder, epochs=(2, 0))
    config = replace(config, fitting=replace(config.fitting, average=0.9999, warm_up=1))
    trainer = GradingTrainer(config, *parts_of(folder), tmp_path)
    before = trainer.network.get_layer("head").kernel.numpy()
    trainer._train_once(1)
    own = trainer.network.get_layer("head").kernel.numpy()
    assert np.abs(own - before).max() > 1e-3
    with np.load(next(tmp_path.glob("best-*.npz"))) as judged:
        places = [place for place, one in enumerate(trainer.network.weights) if one.path.endswith("head/kernel")]
        assert np.abs(judged[f"variable_{places[0]}"] - before).max() < 1e-3
