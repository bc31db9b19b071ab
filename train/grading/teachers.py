"""What finished runs tell of the training knees: a student's targets beside the readers' grades.

The mean over teachers, and over a plain and a random view, is surer than any one, and says of a knee between two grades that
it is between them (Hinton et al., Distilling the Knowledge in a Neural Network, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from numpy.typing import NDArray

from osteo_edge.decision.scores import softmax
from train.fitting.material import say, weights_digest
from train.grading.config import GradingConfig, read_grading_config
from train.grading.fitting import PlacedPart, computing_in
from train.grading.knees import GRADES
from train.grading.views import plain_views, random_view
from train.networks.network import LOGITS, apply, assign_weights, build_network
from train.runs import cache
from train.runs.config import ConfigError, from_project
from train.runs.folder import CONFIG_FILE, WEIGHTS_FILE

Shares = NDArray[np.float32]

_RANDOM_VIEWS = 1


def taught_shares(config: GradingConfig, training: PlacedPart, folder: Path) -> Shares | None:
    """(knees, grades), the teachers' mean probabilities; None where the configuration names no teacher.

    Raises:
        ConfigError: a teacher's folder is not that of a finished grading run.
    """
    if not config.fitting.teachers:
        return None
    return np.mean([_cached(from_project(teacher), training, folder) for teacher in config.fitting.teachers], axis=0)  # type: ignore[no-any-return]


def _cached(teacher: Path, training: PlacedPart, folder: Path) -> Shares:
    digest = weights_digest(str(teacher / WEIGHTS_FILE))
    shown = [(place, knee.sha256) for place, knee in zip(training.places, training.part.knees, strict=True)]
    file = folder / f"taught-{cache.key(digest, shown, _RANDOM_VIEWS)}.npz"
    if not file.exists():
        say(f"  {teacher.name} looks at {len(training.part.knees)} knees")
        cache.save_arrays(file, {"shares": _shares(teacher, training)})
    with np.load(file, allow_pickle=False) as stored:
        return stored["shares"]  # type: ignore[no-any-return]


def _shares(teacher: Path, training: PlacedPart) -> Shares:
    config, to_logits = open_teacher(teacher)
    plain = plain_views(training.part.pictures, training.places, config.region)
    random = (_random_views(config, training, number) for number in range(_RANDOM_VIEWS))
    told = [softmax(apply(to_logits, views[..., np.newaxis]).astype(np.float32)) for views in (plain, *random)]
    return np.mean(told, axis=0).astype(np.float32)  # type: ignore[no-any-return]


def open_teacher(teacher: Path) -> tuple[GradingConfig, keras.Model]:
    """The settings of a finished grading run, and its network, computing as it was trained: ``image`` to logits.

    Raises:
        ConfigError: it is none.
    """
    config = read_grading_config(teacher / CONFIG_FILE)
    region = config.region
    with computing_in(config.fitting.precision):
        network = build_network(config.backbone, height_px=region.height_px, width_px=region.width_px, labels=GRADES)
    try:
        with np.load(teacher / WEIGHTS_FILE, allow_pickle=False) as weights:
            assign_weights(network, dict(weights))
    except (OSError, ValueError) as error:
        raise ConfigError(f"fitting.teachers: {teacher}: its {WEIGHTS_FILE} cannot be loaded ({error})") from error
    return config, keras.Model(network.input, network.output[LOGITS])


def _random_views(config: GradingConfig, training: PlacedPart, number: int) -> Shares:
    rows: Sequence[Shares] = [
        random_view(
            picture, place, config.region, config.region.height_px, config.variation, np.random.default_rng([number, knee])
        )
        for knee, (picture, place) in enumerate(zip(training.part.pictures, training.places, strict=True))
    ]
    return np.stack(rows)
