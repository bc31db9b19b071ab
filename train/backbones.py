"""The backbones that can be trained: one frozen record each."""

from __future__ import annotations

from dataclasses import dataclass

from train.config import ConfigError


@dataclass(frozen=True)
class Backbone:
    """A network of ``keras.applications`` without its top.

    Attributes:
        name: the name in configurations and bundles.
        builder: the function of ``keras.applications`` that builds it.
        width: its width multiplier (alpha).
        stem: the layer whose kernel meets the picture's channels.
        input_scale, input_offset: the ImageNet scaling of grey levels 0 to 255: ``x * scale + offset``.
        source: where it is described.
    """

    name: str
    builder: str
    width: float
    stem: str
    input_scale: float
    input_offset: float
    source: str


def _mobilenet_v2(width: float) -> Backbone:
    return Backbone(
        name=f"mobilenet_v2_{width}",
        builder="MobileNetV2",
        width=width,
        stem="Conv1",
        input_scale=1 / 127.5,
        input_offset=-1.0,
        source="Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018",
    )


BACKBONES: tuple[Backbone, ...] = (_mobilenet_v2(1.0), _mobilenet_v2(0.35))


def find_backbone(name: str) -> Backbone:
    """The record of that name.

    Raises:
        ConfigError: there is none.
    """
    for backbone in BACKBONES:
        if backbone.name == name:
            return backbone
    known = ", ".join(backbone.name for backbone in BACKBONES)
    raise ConfigError(f"unknown backbone {name[:40]!r}; known are {known}")
