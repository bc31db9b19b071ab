from __future__ import annotations

from pathlib import Path

import pytest

from train.runs.config import PROJECT, ConfigError, read_config

SHIPPED = PROJECT / "train" / "configs" / "knee-mobilenet_v2.toml"


def test_shipped_configuration_is_read() -> None:
    config = read_config(SHIPPED)
    assert config.candidate("joint").input.height_px == 224
    assert not any(Path(path).is_absolute() for path in (config.data, config.finder, config.output, config.weights))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 1", "seed = 1\nspeed = 2", "unknown key 'speed'"),
        ("patience = 3", "patients = 3", "unknown key 'patients'"),
        ("patience = 3\n", "", "the field 'patience' is missing"),
        ("folds = 5", "folds = 1", "folds must be at least 2"),
        ("folds = 5", 'folds = "5"', "folds must be int"),
        ("width_px = 192", "width_px = 200", "multiples of 32"),
        ('name = "leg"', 'name = "knee"', "holds one name twice"),
        ("[training]", "[training", "is not valid TOML"),
        ('name = "leg"', 'name = "Leg/1"', r"candidates\[2\]\.name may hold a to z"),
        ('name = "leg"', 'name = ""', r"candidates\[2\]\.name may hold a to z"),
        ('name = "leg"', 'name = "owner"', r"candidates\[2\]\.name must not be 'owner'"),
        ("half_width = 0.65", "half_width = 0.0", r"candidates\[1\]\.half_width must be above 0"),
        ("above = 1.1", "above = -1.1", r"candidates\[0\]\.above must be above 0"),
        ("below = 2.2", "below = 0", r"candidates\[2\]\.below must be above 0"),
        ("seed = 1", "seed = -1", "seed must lie between 0 and"),
        ("inverse_penalties = [1e-5,", "inverse_penalties = [-1e-5,", "linear.inverse_penalties must be above 0"),
        ("scale = 0.08", "scale = 1.0", "augmentation.scale must be at least 0 and below 1"),
        ("scale = 0.08", "scale = -0.1", "augmentation.scale must be at least 0 and below 1"),
        ("noise = 3.0", "noise = -3.0", "augmentation.noise must not be negative"),
        ("learning_rate = 5e-5", "learning_rate = 0.0", "training.learning_rate must be above 0"),
        ("resamples = 2000", "resamples = 99", "evaluation.resamples must be at least 100"),
        ("permutations = 20", "permutations = -1", "evaluation.permutations must not be negative"),
        ("coverages = [0.9, 0.8]", "coverages = []", "evaluation.coverages is empty"),
        ("coverages = [0.9, 0.8]", "coverages = [80]", "evaluation.coverages must lie between 0 and 1"),
        ('start = "privileged"', 'start = "two_classes"', "start must be one of"),
        ('columns = ["age_years", "sex"]', 'columns = ["age"]', "fusion.columns names 'age'"),
        ('required = ["age_years", "sex"]', 'required = ["bmi"]', "fusion.required names a column that is not in"),
        ("validation_parts = 4", "validation_parts = 3", "fusion needs training.validation_parts"),
        ("dropout = 0.2", "dropout = 0.2\nt_score_weight = -1.0", "training.t_score_weight must not be negative"),
    ],
)
def test_refuses(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(SHIPPED.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        read_config(path)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / "absent.toml")
