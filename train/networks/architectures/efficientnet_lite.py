"""EfficientNet-Lite0: EfficientNet-B0 (Tan and Le, ICML 2019) without squeeze-and-excitation, with ReLU6 (Google, 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from train.networks.architectures.files import Convolution, Weights, read_tflite, weights_by_layer, with_folded_norms
from train.networks.architectures.layers import KerasTensor

_STEM_WIDTH, _LAST_WIDTH, _EXPANSION = 32, 1280, 6
# Blocks, kernel side, stride of the first, channels.
_STAGES = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
_STORED_SCALE = 128
_DONOR_SIDE_PX = 64


def build(channels: KerasTensor) -> KerasTensor:
    """The feature map (batch, rows, columns, 1280) of scaled channels."""
    features = _convolution(channels, _STEM_WIDTH, 3, 2, name="stem")
    for stage, (blocks, side_px, first_stride, width) in enumerate(_STAGES):
        for block in range(blocks):
            stride = 1 if block else first_stride
            features = _block(features, width, side_px, stride, expands=bool(stage), name=f"stage_{stage}_block_{block}")
    return _convolution(features, _LAST_WIDTH, 1, 1, name="last")


def _block(features: KerasTensor, width: int, side_px: int, stride: int, *, expands: bool, name: str) -> KerasTensor:
    branch = features
    if expands:
        branch = _convolution(branch, _EXPANSION * features.shape[-1], 1, 1, name=f"{name}_expand")
    depthwise = layers.DepthwiseConv2D(side_px, strides=stride, padding="same", use_bias=False, name=f"{name}_depthwise_conv")
    branch = _norm_and_relu(depthwise(branch), name=f"{name}_depthwise")
    branch = _convolution(branch, width, 1, 1, name=f"{name}_project", has_relu=False)
    if stride > 1 or features.shape[-1] != width:
        return branch
    return layers.Add(name=f"{name}_add")([features, branch])


def _convolution(
    features: KerasTensor, width: int, side_px: int, stride: int, *, name: str, has_relu: bool = True
) -> KerasTensor:
    convolution = layers.Conv2D(width, side_px, strides=stride, padding="same", use_bias=False, name=f"{name}_conv")
    return _norm_and_relu(convolution(features), name=name, has_relu=has_relu)


def _norm_and_relu(features: KerasTensor, *, name: str, has_relu: bool = True) -> KerasTensor:
    features = layers.BatchNormalization(name=f"{name}_norm")(features)
    return layers.ReLU(6.0, name=f"{name}_relu")(features) if has_relu else features


def read_weights(source: Path | str, **_: Any) -> Weights:
    """Weights by layer name, from Google's int8 ``.tflite``, from its tensors as an ``.npz`` in graph order, or from a file
    that ``keras.Model.save_weights`` wrote of ``build`` on three channels.

    The stem of the first two takes ``x - 127``; here it takes an 128th of this.

    Raises:
        ValueError, OSError, KeyError: the source does not hold them.
    """
    channels = keras.Input((_DONOR_SIDE_PX, _DONOR_SIDE_PX, 3))
    donor = keras.Model(channels, build(channels))
    suffix = Path(source).suffix
    if suffix not in (".tflite", ".npz"):
        donor.load_weights(source)
        return weights_by_layer(donor)
    convolutions = read_tflite(source) if suffix == ".tflite" else list(_read_npz(Path(source)))
    (stem, bias), *others = convolutions
    return with_folded_norms(donor, [(_STORED_SCALE * stem, bias), *others])


def _read_npz(source: Path) -> Iterator[Convolution]:
    with np.load(source, allow_pickle=False) as stored:
        for name in stored.files:
            place, kind = name.split("/")
            if kind == "kernel" and place.endswith("CONV_2D"):
                yield stored[name].transpose(1, 2, 3, 0), stored[f"{place}/bias"]
