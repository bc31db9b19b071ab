"""Where the weights that a run started from come from: what the model card and the licence say of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from train.config import IMAGENET_DOWNLOAD, PROJECT, RANDOM_WEIGHTS, from_project
from train.run import CONFIG_FILE, RUN_FILE, read_json

if TYPE_CHECKING:
    from export.data_card import DataCard
    from train.run import Run

_PUBLISHED = {
    "mobilenet_v2": "MobileNetV2 weights trained on ImageNet, by Google (Apache License 2.0; Sandler et al., CVPR 2018)",
    "mobilenet_v3": "MobileNetV3 weights trained on ImageNet, by Google (Apache License 2.0; Howard et al., ICCV 2019)",
    "efficientnet_lite": "EfficientNet-Lite weights trained on ImageNet, by Google (Apache License 2.0; Tan and Le, ICML 2019)",
    "resnet50v2": "ResNet50V2 weights trained on ImageNet, of TF-Slim (Apache License 2.0; He et al., ECCV 2016)",
}
_CONFIGURATIONS = "train/configs"


@dataclass(frozen=True)
class Origin:
    """Starting weights.

    Attributes:
        told: as in "It started from ...".
        command: of this project, that makes them; None where they come from elsewhere.
    """

    told: str
    command: str | None = None


def origin_of(run: Run, data_card: DataCard) -> Origin:
    """What ``config.toml`` of a run names as its weights.

    Raises:
        ExportError: the file is not what training writes.
        RunError: the weights were made here, and the record of that cannot be read.
    """
    weights = _weights_of(run)
    if weights == RANDOM_WEIGHTS:
        return Origin("random weights")
    if weights == IMAGENET_DOWNLOAD:
        return Origin(f"the ImageNet weights of {run.backbone} that Keras downloads")
    record = from_project(weights).parent / RUN_FILE
    if not record.is_file():
        return Origin(_published(run.backbone))
    try:
        return _made_here(read_json(record), data_card)
    except (KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{record}: does not tell how its weights were made ({error!r})") from error


def _weights_of(run: Run) -> str:
    path = run.folder / CONFIG_FILE
    try:
        return str(tomllib.loads(path.read_text(encoding="utf-8"))["weights"])
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); let the training finish") from error
    except (ValueError, KeyError) as error:
        raise ExportError(f"{path}: is not the configuration of a run ({error!r})") from error


def _published(backbone: str) -> str:
    for prefix, source in _PUBLISHED.items():
        if backbone.startswith(prefix):
            return source
    return f"the weights that the training record of {backbone} names"


def _made_here(record: Mapping[str, Any], data_card: DataCard) -> Origin:
    """Weights of ``train distil``, which names a teacher, or of ``train pretrain``."""
    config = record["config"]
    pictures = f"{record['knees']['training']} knees without a bone status ({data_card.unlabelled_source or config['data']})"
    if "teacher" in config:
        told = (
            f"random weights of {config['student']} that were taught the features of another network on {pictures}; that "
            f"teacher had {_published(config['teacher'])}"
        )
        return Origin(told, f"python -m train distil --config {_configuration(record['name'])}")
    told = f"{_published(config['backbone'])}, which then were taught the grade of osteoarthritis on {pictures}"
    return Origin(told, f"python -m train pretrain --config {_configuration(record['name'])}")


def _configuration(name: str) -> str:
    """Path, seen from the project's root, of the configuration that bears ``name``.

    Raises:
        ExportError: none does.
    """
    for path in sorted((PROJECT / _CONFIGURATIONS).glob("*.toml")):
        if tomllib.loads(path.read_text(encoding="utf-8")).get("name") == name:
            return f"{_CONFIGURATIONS}/{path.name}"
    raise ExportError(f"no configuration in {_CONFIGURATIONS} is of the name {name}")
