"""The card and the licence name where the starting weights come from."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export import origin
from export.card_commands import commands_section
from export.data_card import read_data_card
from export.errors import ExportError
from export.origin import Origin, origin_of

CARD = read_data_card(Path(__file__).resolve().parents[2] / "export/data_cards/knee-xray-osteoporosis-database.toml")


@pytest.fixture
def run(material: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run whose ``config.toml`` and record of weights a test writes; the project's root is an empty folder."""
    monkeypatch.setattr(origin, "PROJECT", tmp_path)
    monkeypatch.setattr(origin, "from_project", lambda path: tmp_path / path)
    return replace(material.source.runs[0], folder=tmp_path)


def write(folder: Path, weights: str, **record: Any) -> None:
    (folder / "config.toml").write_text(f'name = "knee"\nweights = "{weights}"\n')
    if record:
        (folder / "made").mkdir()
        (folder / "made" / "run.json").write_text(json.dumps(record))
        (folder / "train/configs").mkdir(parents=True)
        (folder / "train/configs/other.toml").write_text('name = "other"\n')
        (folder / "train/configs/make.toml").write_text('name = "made"\n')


@pytest.mark.parametrize(
    ("backbone", "weights", "told"),
    [
        ("mobilenet_v2_1.0@block_6_expand_relu", "elsewhere/weights.h5", "MobileNetV2 weights trained on ImageNet"),
        ("resnet50v2_conv4", "elsewhere/weights.h5", "ResNet50V2 weights trained on ImageNet"),
        ("efficientnet_lite0", "elsewhere/weights.npz", "EfficientNet-Lite weights trained on ImageNet"),
        ("vgg16", "elsewhere/weights.npz", "the weights that the training record of vgg16 names"),
        ("vgg16", "imagenet", "the ImageNet weights of vgg16 that Keras downloads"),
        ("vgg16", "random", "random weights"),
    ],
)
def test_published_weights_are_named_with_their_licence(run: Any, backbone: str, weights: str, told: str) -> None:
    write(run.folder, weights)
    found = origin_of(replace(run, backbone=backbone), CARD)
    assert found.told.startswith(told)
    assert ("Apache License" in found.told) is ("trained on ImageNet" in told)
    assert not found.commands


def test_distilled_weights_name_their_teacher_and_pictures(run: Any) -> None:
    config = {"student": "convnext_tiny", "teacher": "mobilenet_v2_1.0", "data": "x"}
    write(run.folder, "made/weights.npz", name="made", config=config, knees={"training": 525})
    found = origin_of(replace(run, backbone="convnext_tiny"), CARD)
    for part in ("random weights of convnext_tiny", "525 knees", CARD.unlabelled_source, "teacher had MobileNetV2 weights"):
        assert part in found.told
    assert found.commands == ("python -m train distil --config train/configs/make.toml",)


def test_pretrained_weights_name_what_they_were_taught(run: Any) -> None:
    config = {"backbone": "mobilenet_v2_1.0", "data": "x"}
    write(run.folder, "made/weights.npz", name="made", config=config, knees={"training": 400})
    found = origin_of(run, replace(CARD, unlabelled_source=""))
    assert found.told.startswith("MobileNetV2 weights trained on ImageNet")
    assert found.told.endswith("which then were taught the grade of osteoarthritis on 400 knees without a bone status (x)")
    assert found.commands == ("python -m train pretrain --config train/configs/make.toml",)


@pytest.mark.parametrize(
    "record", [{"name": "made"}, {"name": "gone", "config": {"teacher": "a", "student": "b", "data": "x"}}]
)
def test_weights_without_a_whole_record_are_an_error(run: Any, record: dict[str, Any]) -> None:
    write(run.folder, "made/weights.npz", knees={"training": 1}, **record)
    with pytest.raises(ExportError, match=r"how its weights were made|no configuration in"):
        origin_of(run, CARD)


@pytest.mark.parametrize("text", [None, "no toml", "name = 'knee'"])
def test_a_run_without_its_configuration_is_an_error(run: Any, text: str | None) -> None:
    if text is not None:
        (run.folder / "config.toml").write_text(text)
    with pytest.raises(ExportError, match=r"config\.toml"):
        origin_of(run, CARD)


def test_the_documents_repeat_it(exported: Any) -> None:
    assert "It started from random weights." in exported.bundle.read("MODEL_CARD.md").decode()
    assert "starting weights: random weights" in exported.bundle.read("LICENSE").decode()


def test_the_card_gives_the_command_that_makes_the_weights(exported: Any, material: Any) -> None:
    made = Origin("weights", ("python -m train distil --config a.toml",))
    commands = commands_section(exported.bundle.manifest, material.source, [made, made])
    assert commands[3:5] == [*made.commands, "python -m train fit --config train/configs/knee-tiny.toml"]
    assert any("--output dist/knee-tiny --zip --force" in line for line in commands)
