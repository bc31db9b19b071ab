"""Where the weights that a run started from come from: what the model card and the licence say of them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from osteo_edge.printable import enumerate_words
from train.runs.config import IMAGENET_DOWNLOAD, PROJECT, RANDOM_WEIGHTS, from_project
from train.runs.folder import CONFIG_FILE, RUN_FILE, read_json

if TYPE_CHECKING:
    from export.data_card import DataCard
    from export.source import Source
    from train.runs.folder import Run

_PUBLISHED = {
    "mobilenet_v2": "MobileNetV2 weights trained on ImageNet, by Google (Apache License 2.0; Sandler et al., CVPR 2018)",
    "mobilenet_v3": "MobileNetV3 weights trained on ImageNet, by Google (Apache License 2.0; Howard et al., ICCV 2019)",
    "efficientnet_lite": "EfficientNet-Lite weights trained on ImageNet, by Google (Apache License 2.0; Tan and Le, ICML 2019)",
    "resnet50v2": "ResNet50V2 weights trained on ImageNet, of TF-Slim (Apache License 2.0; He et al., ECCV 2016)",
}
_CONFIGURATIONS = "train/configs"
_DATA = "../shared/data/knee"


@dataclass(frozen=True)
class Origin:
    """Starting weights.

    Attributes:
        told: as in "It started from ...".
        commands: of this project, that make them, in order; none where they come from elsewhere.
    """

    told: str
    commands: tuple[str, ...] = ()


def origin_of(run: Run, data_card: DataCard) -> Origin:
    """What ``config.toml`` of a run names as its weights, and as its teachers.

    Raises:
        ExportError: the file is not what training writes.
        RunError: the weights were made here, and the record of that cannot be read.
    """
    return _origin(run.folder, run.backbone, data_card)


def data_of(source: Source) -> str:
    """The folder of radiographs, seen from the project's root, that ``config.toml`` of a source's first run names.

    Raises:
        ExportError: the file is not what training writes.
    """
    return str(_read_config(source.runs[0].folder).get("data", _DATA))


def _origin(folder: Path, backbone: str, data_card: DataCard) -> Origin:
    config = _read_config(folder)
    own = _origin_of_weights(str(config["weights"]), backbone, data_card)
    teachers = [from_project(teacher) for teacher in config.get("fitting", {}).get("teachers", ())]
    if not teachers:
        return own
    names = enumerate_words([teacher.name for teacher in teachers])
    told = f"{own.told}; beside the grades it was told what these networks of this project say: {names}"
    return Origin(told, (*(command for teacher in teachers for command in _commands_of(teacher, data_card)), *own.commands))


def _origin_of_weights(weights: str, backbone: str, data_card: DataCard) -> Origin:
    if weights == RANDOM_WEIGHTS:
        return Origin("random weights")
    if weights == IMAGENET_DOWNLOAD:
        return Origin(f"the ImageNet weights of {backbone} that Keras downloads")
    folder = from_project(weights).parent
    if not (folder / RUN_FILE).is_file():
        return Origin(_published(backbone))
    record = read_json(folder / RUN_FILE)
    try:
        return _of_grades(folder, record, data_card) if record.get("kind") == "grades" else _made_here(record, data_card)
    except (KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{folder / RUN_FILE}: does not tell how its weights were made ({error!r})") from error


def _of_grades(folder: Path, record: Mapping[str, Any], data_card: DataCard) -> Origin:
    """Weights of an earlier run of grades."""
    earlier = _origin(folder, record["backbone"], data_card)
    return Origin(f"{earlier.told}, which the run {record['name']} had taught the grades", _commands_of(folder, data_card))


def _commands_of(folder: Path, data_card: DataCard) -> tuple[str, ...]:
    """What makes a run of grades, its own starting weights and teachers first."""
    record = read_json(folder / RUN_FILE)
    earlier = _origin(folder, record["backbone"], data_card)
    return (*earlier.commands, f"python -m train fit --config {_configuration(record['name'])}")


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); let the training finish") from error
    except ValueError as error:
        raise ExportError(f"{path}: is not the configuration of a run ({error!r})") from error
    if "weights" not in config:
        raise ExportError(f"{path}: is not the configuration of a run (it names no weights)")
    return config


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
        return Origin(told, (f"python -m train distil --config {_configuration(record['name'])}",))
    told = f"{_published(config['backbone'])}, which then were taught the grade of osteoarthritis on {pictures}"
    return Origin(told, (f"python -m train pretrain --config {_configuration(record['name'])}",))


def _configuration(name: str) -> str:
    """Path, seen from the project's root, of the configuration that bears ``name``.

    Raises:
        ExportError: none does.
    """
    for path in sorted((PROJECT / _CONFIGURATIONS).glob("*.toml")):
        if tomllib.loads(path.read_text(encoding="utf-8")).get("name") == name:
            return f"{_CONFIGURATIONS}/{path.name}"
    raise ExportError(f"no configuration in {_CONFIGURATIONS} is of the name {name}")
