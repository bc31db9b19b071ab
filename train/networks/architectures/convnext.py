"""ConvNeXt (Liu et al., A ConvNet for the 2020s, CVPR 2022), with depthwise convolutions as such.

Keras' own writes them as grouped convolutions, which run several times slower on a CPU and cannot be exported to ONNX. The
functions are the same, and so are the weights but for the order of two axes. Pointwise layers are convolutions of one pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from train.networks.architectures.files import Weights
from train.networks.architectures.layers import Gelu, KerasTensor, LayerScale, drop_path
from train.runs.arrays import Floats

STEM = "stem_conv"

_EPSILON = 1e-6
_KERNEL_PX = 7
_DONOR_SHAPE = (224, 224, 3)


def build(
    channels: KerasTensor,
    *,
    depths: Sequence[int],
    widths: Sequence[int],
    drop_path_rate: float = 0.0,
    layer_scale: float = 1e-6,
) -> KerasTensor:
    """The feature map (batch, rows, columns, widths[-1]), after the last norm, of scaled channels.

    Args:
        depths: blocks of each stage.
        widths: channels of each stage.
        drop_path_rate: of the last block; earlier ones have proportionally less.
        layer_scale: the factors that residual branches start with.
    """
    features = _convolution(widths[0], 4, name=STEM)(channels)
    features = _norm("stem_norm")(features)
    rates = iter(np.linspace(0.0, drop_path_rate, sum(depths)).tolist())
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if stage:
            features = _norm(f"downsampling_{stage}_norm")(features)
            features = _convolution(width, 2, name=f"downsampling_{stage}_conv")(features)
        for block in range(depth):
            features = _block(features, width, next(rates), layer_scale, name=f"stage_{stage}_block_{block}")
    return _norm("last_norm")(features)


def _block(features: KerasTensor, width: int, rate: float, layer_scale: float, *, name: str) -> KerasTensor:
    branch = layers.DepthwiseConv2D(
        _KERNEL_PX, padding="same", depthwise_initializer=_initializer(), name=f"{name}_depthwise_conv"
    )(features)
    branch = _norm(f"{name}_norm")(branch)
    branch = _convolution(4 * width, 1, name=f"{name}_pointwise_conv_1")(branch)
    branch = Gelu(name=f"{name}_gelu")(branch)
    branch = _convolution(width, 1, name=f"{name}_pointwise_conv_2")(branch)
    branch = LayerScale(layer_scale, name=f"{name}_layer_scale")(branch)
    branch = drop_path(branch, rate, name=f"{name}_drop_path")
    return layers.Add(name=f"{name}_add")([features, branch])


def _convolution(width: int, side_px: int, *, name: str) -> layers.Conv2D:
    """Patches that touch and do not overlap."""
    return layers.Conv2D(width, side_px, strides=side_px, kernel_initializer=_initializer(), name=name)


def _norm(name: str) -> layers.LayerNormalization:
    return layers.LayerNormalization(epsilon=_EPSILON, name=name)


def _initializer() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)


def read_weights(source: Path | str, *, keras_name: str | None, **_: Any) -> Weights:
    """Weights by layer name, from Keras' own ConvNeXt without top.

    Args:
        source: a file that Keras' own network loads, or "imagenet" for its download.
        keras_name: the function of ``keras.applications``; None where Keras has no such size.

    Raises:
        ValueError, OSError: the source does not hold them.
    """
    if keras_name is None:
        raise ValueError("Keras has no weights of this size")
    build_donor = getattr(keras.applications, keras_name)
    download = source == "imagenet"
    donor = build_donor(include_top=False, input_shape=_DONOR_SHAPE, weights="imagenet" if download else None)
    if not download:
        donor.load_weights(source)
    return dict(_from_keras(donor))


def _from_keras(donor: keras.Model) -> Iterator[tuple[str, list[Floats]]]:
    for layer in donor._flatten_layers(include_self=False):
        if isinstance(layer, keras.Model) or not layer.weights:
            continue
        weights = [keras.ops.convert_to_numpy(variable) for variable in layer.weights]
        name = own_name(layer.name, prefix=donor.name)
        if name.endswith("depthwise_conv"):  # (7, 7, 1, channels) when grouped
            weights[0] = weights[0].transpose(0, 1, 3, 2)
        elif weights[0].ndim == 2:  # a dense layer
            weights[0] = weights[0][np.newaxis, np.newaxis]
        yield name, weights


def own_name(theirs: str, *, prefix: str) -> str:
    if not theirs.startswith(prefix):  # the norm after the last block bears no name of its own
        return "last_norm"
    name = theirs.removeprefix(f"{prefix}_").replace("layernorm", "norm")
    for stage in range(3):
        for kind in ("norm", "conv"):
            name = name.replace(f"downsampling_{kind}_{stage}", f"downsampling_{stage + 1}_{kind}")
    return name
