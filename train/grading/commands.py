"""``python -m train fit`` for a configuration of grades."""

from __future__ import annotations

from pathlib import Path

from train.data.places import open_configured
from train.grading.config import read_grading_config
from train.grading.knees import read_index
from train.runs.command_line import quieten_tensorflow
from train.runs.config import from_project


def fit_grades(config_file: Path, data: Path | None, output: Path | None, finder: Path | None, *, keep_cache: bool) -> None:
    """Train and judge a network that grades knees; a stopped run goes on where it was."""
    config = read_grading_config(config_file)
    opened, digest = open_configured(config.finder, finder)
    # Here already: a faulty table is refused before TensorFlow takes its seconds to start.
    knees = read_index(data or from_project(config.data))

    quieten_tensorflow()
    from train.grading.run import grade
    from train.runs import cache

    folder = output or from_project(config.output)
    grade(config, knees, opened, digest, output=folder, config_text=config_file.read_text(encoding="utf-8"))
    if not keep_cache:
        cache.remove_cache(folder)
