"""The network: one grey channel in, class scores and the feature map out. Plain Keras, for any of its backends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import keras
import numpy as np
from numpy.typing import NDArray

from train.backbones import Backbone, find_backbone
from train.config import IMAGENET_DOWNLOAD, ConfigError

INPUT = "image"
LOGITS = "logits"
FEATURES = "features"
HEAD = "head"

_DONOR_SIDE_PX = 224


def build_network(
    backbone: str,
    *,
    height_px: int,
    width_px: int,
    labels: int,
    dropout: float = 0.0,
    imagenet_weights: Path | Literal["imagenet"] | None = None,
) -> keras.Model:
    """Backbone, mean over the map, dropout and a linear head.

    The head is linear on the mean of the map, hence class activation maps are exact (Zhou et al., CVPR 2016).

    Args:
        backbone: a name of ``train.backbones``.
        labels: number of classes.
        imagenet_weights: a file of ``keras.applications`` weights without top, ``"imagenet"`` for Keras' own
            download, or None for random weights.

    Returns:
        A functional model from ``image`` (batch, height_px, width_px, 1) float32 in 0 to 255 to
        ``{"logits": (batch, labels), "features": (batch, rows, columns, features)}``, both float32.

    Raises:
        ConfigError: an unknown backbone, or weights of another network.
    """
    record = find_backbone(backbone)
    image = keras.Input((height_px, width_px, 1), name=INPUT)
    # A layer, not a change of the first kernel: the zeros that the first convolution pads with mean mid-grey.
    scaled = keras.layers.Rescaling(record.input_scale, record.input_offset, name="input_scaling")(image)
    features = _build_backbone(record, input_tensor=scaled).output
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling")(features)
    logits = keras.layers.Dense(labels, name=HEAD)(keras.layers.Dropout(dropout, name="dropout")(pooled))
    network = keras.Model(image, {LOGITS: logits, FEATURES: features}, name="osteo_edge")
    if imagenet_weights is not None:
        _copy_imagenet_weights(network, record, imagenet_weights)
    return network


def _build_backbone(record: Backbone, **arguments: object) -> keras.Model:
    build = getattr(keras.applications, record.builder)
    return build(**{"include_top": False, "weights": None, "alpha": record.width, **arguments})


def _copy_imagenet_weights(network: keras.Model, record: Backbone, source: Path | Literal["imagenet"]) -> None:
    """Copy by layer; the first kernel is summed over its three channels, which is exact for grey pictures."""
    for layer in _open_donor(record, source).layers:
        weights = [variable.numpy() for variable in layer.weights]
        if not weights:
            continue
        if layer.name == record.stem:
            weights[0] = weights[0].sum(axis=2, keepdims=True)
        network.get_layer(layer.name).set_weights(weights)


def _open_donor(record: Backbone, source: Path | Literal["imagenet"]) -> keras.Model:
    shape = (_DONOR_SIDE_PX, _DONOR_SIDE_PX, 3)
    if source == IMAGENET_DOWNLOAD:
        return _build_backbone(record, input_shape=shape, weights=IMAGENET_DOWNLOAD)
    donor = _build_backbone(record, input_shape=shape)
    try:
        donor.load_weights(source)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{source}: does not hold the weights of {record.name}") from error
    return donor


def cut(network: keras.Model, trainable_from: str) -> tuple[keras.Model, keras.Model]:
    """The network in two parts that share its weights: what stays frozen, and what is trained.

    BatchNorm is never trained: it stays in inference mode, as its statistics belong to ImageNet's batches.

    Returns:
        ``trunk`` from the image to the activations that enter ``trainable_from``; ``upper`` from these to logits.

    Raises:
        ConfigError: no such layer, or the network cannot be cut before it.
    """
    try:
        border = network.get_layer(trainable_from).input
        trunk = keras.Model(network.input, border, name="trunk")
        upper = keras.Model(border, network.output[LOGITS], name="upper")
    except ValueError as error:
        raise ConfigError(f"training.trainable_from: the network cannot be cut before {trainable_from!r}") from error
    for layer in network.layers:
        in_upper = any(layer is other for other in upper.layers)
        layer.trainable = in_upper and not isinstance(layer, keras.layers.BatchNormalization)
    return trunk, upper


def bag_of_two(upper: keras.Model) -> keras.Model:
    """A picture of two knees: from two activations to the mean of their logits, as the runtime does."""
    slots = [keras.Input(upper.input_shape[1:], name=f"knee_{place}") for place in ("first", "second")]
    return keras.Model(slots, keras.layers.Average(name="mean_of_knees")([upper(slot) for slot in slots]), name="bag")


def apply(model: keras.Model, inputs: NDArray[np.floating], *, batch_size: int = 16) -> NDArray[np.float32]:
    """A model's output on (any number, ...) inputs, in inference mode, batch by batch.

    Called directly: a run makes many short-lived models, and compiling each would cost more than it saves.
    """
    starts = range(0, len(inputs), batch_size)
    batches = (inputs[start : start + batch_size].astype(np.float32) for start in starts)
    return np.concatenate([keras.ops.convert_to_numpy(model(batch, training=False)) for batch in batches])


def set_head(network: keras.Model, kernel: NDArray[np.floating], bias: NDArray[np.floating]) -> None:
    """Set the head's weights: kernel (features, labels), bias (labels,)."""
    network.get_layer(HEAD).set_weights([kernel, bias])


def randomise(network: keras.Model, *, seed: int) -> None:
    """Draw every kernel from He et al.'s normal distribution (ICCV 2015): without BatchNorm, Keras' own would fade out."""
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            shape = layer.kernel.shape
            inputs = math.prod(shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[:3])
            layer.kernel.assign(rng.normal(0, math.sqrt(2 / inputs), shape))


def round_to_float16(network: keras.Model) -> None:
    """Round every weight to the precision that it is stored in, so that what is measured is what is stored.

    Raises:
        ConfigError: a weight does not fit.
    """
    for variable in network.weights:
        variable.assign(_as_stored(variable).astype(np.float32))


def _as_stored(variable: keras.Variable) -> NDArray[np.floating]:
    """Half precision, but for BatchNorm's few frozen statistics: their rounding would scale every layer, and the
    folded convolutions of the inference form would not have half-precision kernels any more."""
    whole = keras.ops.convert_to_numpy(variable)
    if variable.path.endswith(("moving_mean", "moving_variance")):
        return whole  # type: ignore[no-any-return]
    if not np.abs(whole).max() <= np.finfo(np.float16).max:
        raise ConfigError(f"the weight {variable.path} does not fit half precision; the training diverged")
    return whole.astype(np.float16)  # type: ignore[no-any-return]


def weights_of(network: keras.Model) -> dict[str, NDArray[np.floating]]:
    """Every weight by its Keras path: float16, BatchNorm's statistics float32."""
    return {variable.path: _as_stored(variable) for variable in network.weights}


def assign_weights(network: keras.Model, weights: Mapping[str, NDArray[np.floating]]) -> None:
    """The inverse of ``weights_of``.

    Raises:
        ConfigError: they are of another network.
    """
    paths = [variable.path for variable in network.weights]
    if sorted(paths) != sorted(weights):
        raise ConfigError("the stored weights are of another network")
    for variable in network.weights:
        variable.assign(weights[variable.path].astype(np.float32))
