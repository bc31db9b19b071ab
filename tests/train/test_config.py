from __future__ import annotations

from pathlib import Path

import pytest

from train.config import PROJECT, ConfigError, read_config

SHIPPED = PROJECT / "train" / "configs" / "knee-mobilenet_v2.toml"


def test_shipped_configuration_is_read() -> None:
    config = read_config(SHIPPED)
    assert config.candidate("joint").input.height_px == 224
    assert not any(Path(path).is_absolute() for path in (config.data, config.finder, config.output, config.weights))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seed = 1", "seed = 1\nspeed = 2", "unknown key 'speed'"),
        ("patience = 6", "patients = 6", "unknown key 'patients'"),
        ("patience = 6\n", "", "the field 'patience' is missing"),
        ("folds = 5", "folds = 1", "folds must be at least 2"),
        ("folds = 5", 'folds = "5"', "folds must be int"),
        ("width_px = 192", "width_px = 200", "multiples of 32"),
        ('name = "leg"', 'name = "knee"', "holds one name twice"),
        ("[training]", "[training", "is not valid TOML"),
        ("coverages = [0.8, 0.9]", "coverages = [80]", "coverages must lie between 0 and 1"),
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
