"""The network: one grey channel in, class scores and the feature map out. Plain Keras, for any of its backends."""

from __future__ import annotations

import math
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Literal, cast

import keras
import numpy as np

from train.networks.architectures.applications import with_lasting_names
from train.networks.architectures.files import Weights
from train.networks.architectures.layers import LayerScale
from train.networks.backbones import Backbone, Scaling, find_backbone
from train.networks.heads import keras_target
from train.networks.norms import fold
from train.runs.arrays import Floats, Reals
from train.runs.config import IMAGENET_DOWNLOAD, ConfigError

INPUT = "image"
LOGITS = "logits"
FEATURES = "features"
HEAD = "head"
LINEAR_TARGET = "classes"

_PATCH_SIDES_PX = (1, 2, 4, 8)
_PICTURES_A_SIDE = 2


def build_network(
    backbone: str,
    *,
    height_px: int,
    width_px: int,
    labels: int,
    dropout: float = 0.0,
    imagenet_weights: Path | Literal["imagenet"] | None = None,
    target: str = LINEAR_TARGET,
) -> keras.Model:
    """Backbone, mean over the map, dropout and a head.

    The head is linear on the mean of the map, hence class activation maps are exact (Zhou et al., CVPR 2016). With another
    target its raw outputs become logits by that target's rule, and the maps are of the raw outputs.

    Args:
        backbone: a name of ``train.networks.backbones``, or ``name@layer`` for the part of it that ends after that layer.
        labels: number of classes.
        imagenet_weights: a file of pretrained weights without top, as the backbone's family reads it or as ``weights_of``
            gave it; ``"imagenet"`` for Keras' download; or None for random weights.
        target: ``"classes"``, or of three labels ``"hierarchical"`` or ``"ordinal"``; see ``train.networks.heads``.

    Returns:
        A functional model from ``image`` (batch, height_px, width_px, 1) float32 in 0 to 255 to
        ``{"logits": (batch, labels), "features": (batch, rows, columns, features)}``, both float32.

    Raises:
        ConfigError: an unknown backbone or layer, a picture that is too small for it, or weights of another network.
    """
    record = find_backbone(backbone)
    if min(height_px, width_px) < record.min_side_px:
        raise ConfigError(f"{record.name} needs at least {record.min_side_px} pixels a side, not {height_px} x {width_px}")
    image = keras.Input((height_px, width_px, 1), name=INPUT)
    whole = keras.Model(image, _family(record).build(_scale(image, record.scaling), **record.options))
    trunk = _ended(with_lasting_names(whole), record)
    pooled = keras.layers.GlobalAveragePooling2D(name="pooling")(trunk.output)
    logits = _head(target, labels, keras.layers.Dropout(dropout, name="dropout")(pooled))
    network = keras.Model(trunk.input, {LOGITS: logits, FEATURES: trunk.output}, name="osteo_edge")
    if imagenet_weights is not None:
        _copy_weights(network, record, imagenet_weights)
    return network


def _head(target: str, labels: int, pooled: keras.KerasTensor) -> keras.KerasTensor:
    if target == LINEAR_TARGET:
        return keras.layers.Dense(labels, name=HEAD)(pooled)
    taught = keras_target(target)
    return taught.to_logits(taught.head(HEAD)(pooled))


def _family(record: Backbone) -> ModuleType:
    return import_module(f"train.networks.architectures.{record.family}")


def _scale(image: keras.KerasTensor, scaling: Scaling) -> keras.KerasTensor:
    """A layer, not a change of the first kernel: the zeros that the first convolution pads with are zeros after scaling."""
    if scaling.channels == 1:
        return keras.layers.Rescaling(scaling.scale[0], scaling.offset[0], name="input_scaling")(image)
    channels = keras.layers.Concatenate(name="input_channels")([image] * scaling.channels)
    return keras.layers.Rescaling(list(scaling.scale), list(scaling.offset), name="input_scaling")(channels)


def _ended(whole: keras.Model, record: Backbone) -> keras.Model:
    """The network up to the record's own last layer."""
    if record.features_layer is None:
        return whole
    try:
        features = whole.get_layer(record.features_layer).output
    except ValueError as error:
        raise ConfigError(f"{record.name}: the network has no layer {record.features_layer!r}") from error
    return keras.Model(whole.input, features)


def _copy_weights(network: keras.Model, record: Backbone, source: Path | Literal["imagenet"]) -> None:
    """Copy by layer, up to where the network ends; the head keeps what it has."""
    if not isinstance(source, Path):
        weights = _download(record)
    elif (own := _read_own(network, source)) is not None:
        _assign(_without_head(network), own)
        return
    else:
        weights = _read_pretrained(record, source)
    try:
        for layer in network.layers:
            if layer.weights and layer.name != HEAD:
                layer.set_weights(_for_grey(weights[layer.name], layer.name, record))
    except (ValueError, KeyError) as error:
        raise ConfigError(f"{source}: does not hold the weights of {record.name}") from error


def _download(record: Backbone) -> Weights:
    if not record.has_download:
        raise ConfigError(f"nobody offers weights of {record.name} for download; name a file of them, or use random ones")
    try:
        return cast(Weights, _family(record).read_weights(IMAGENET_DOWNLOAD, **record.weights_options))
    except Exception as error:  # Keras raises a bare Exception where there is no network
        raise ConfigError(
            f"the weights of {record.name} cannot be downloaded; name a file of them, or use random ones"
        ) from error


def _read_pretrained(record: Backbone, source: Path) -> Weights:
    if not source.is_file():
        raise ConfigError(f"{source}: there is no such file of weights of {record.name}")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Skipping")  # Keras warns where a file lacks some of the weights
            return cast(Weights, _family(record).read_weights(source, **record.weights_options))
    except (UserWarning, OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{source}: does not hold the weights of {record.name}") from error


def _read_own(network: keras.Model, source: Path) -> dict[str, Reals] | None:
    """What ``weights_of`` gave of this backbone, with any head; None where the file is of another kind."""
    if source.suffix != ".npz" or not zipfile.is_zipfile(source):
        return None
    with np.load(source, allow_pickle=False) as stored:
        paths = [variable.path for variable in _without_head(network)]
        return {path: stored[path] for path in paths} if set(paths) <= set(stored.files) else None


def _without_head(network: keras.Model) -> list[keras.Variable]:
    return [variable for layer in network.layers if layer.name != HEAD for variable in layer.weights]


def _for_grey(weights: list[Reals], layer: str, record: Backbone) -> list[Reals]:
    """Where the colour channels of a grey picture are equal, the first kernel is summed over them, which is exact."""
    if layer != record.stem or record.scaling.channels > 1:
        return weights
    return [weights[0].sum(axis=2, keepdims=True), *weights[1:]]


def cut(network: keras.Model, trainable_from: str, *, trains_batch_norm: bool = False) -> tuple[keras.Model, keras.Model]:
    """The network in two parts that share its weights: what stays frozen, and what is trained.

    Args:
        trains_batch_norm: for networks of random weights, which need it. In pretrained ones BatchNorm stays in inference
            mode, as its statistics belong to ImageNet's batches.

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
        layer.trainable = in_upper and (trains_batch_norm or not isinstance(layer, keras.layers.BatchNormalization))
    return trunk, upper


def set_batch_norm_training(network: keras.Model, trains: bool) -> None:
    """Whether every BatchNorm learns and uses the statistics of its batches in training: yes for networks that start from
    random weights, no for pretrained ones, whose norms are folded or belong to ImageNet's batches."""
    for norm in _batch_norms(network):
        norm.trainable = trains


def bag_of_two(upper: keras.Model) -> keras.Model:
    """A picture of two knees: from two activations to the mean of their logits, as the runtime does; of every output."""
    slots = [keras.Input(upper.input_shape[1:], name=f"knee_{place}") for place in ("first", "second")]
    each = zip(*(keras.tree.flatten(upper(slot)) for slot in slots), strict=True)
    means = [keras.layers.Average(name=f"mean_of_knees_{place}")(list(pair)) for place, pair in enumerate(each)]
    return keras.Model(slots, means if len(means) > 1 else means[0], name="bag")


def with_auxiliary(network: keras.Model, trainable_from: str, outputs: int) -> keras.Model:
    """What is trained, with a second head beside the first for a task of training alone.

    Returns:
        As ``cut``'s second part, sharing its weights, but to logits and raw values (batch, outputs).
    """
    border = network.get_layer(trainable_from).input
    second = keras.layers.Dense(outputs, name="auxiliary")(network.get_layer("dropout").output)
    return keras.Model(border, [network.output[LOGITS], second], name="upper_with_auxiliary")


def apply(model: keras.Model, inputs: Reals, *, batch_size: int = 16) -> Floats:
    """A model's output on (any number, ...) inputs, in inference mode, batch by batch.

    Called directly: a run makes many short-lived models, and compiling each would cost more than it saves.
    """
    starts = range(0, len(inputs), batch_size)
    batches = (inputs[start : start + batch_size].astype(np.float32) for start in starts)
    return np.concatenate([keras.ops.convert_to_numpy(model(batch, training=False)) for batch in batches])


def set_head(network: keras.Model, kernel: Reals, bias: Reals) -> None:
    """Set the head's weights: kernel (features, outputs), bias (outputs,); the ordinal head has one column and two biases."""
    network.get_layer(HEAD).set_weights([kernel, bias])


def scale_head(network: keras.Model, factor: float) -> None:
    """Multiply the logits by ``factor``: kernel and bias of the head, which is linear."""
    set_head(network, *(factor * weight for weight in network.get_layer(HEAD).get_weights()))


def randomise(network: keras.Model, *, seed: int) -> None:
    """Draw every kernel from He et al.'s normal distribution (ICCV 2015): without BatchNorm, Keras' own would fade out.

    The factors of residual branches are set to one half, as their usual start near zero leaves a network of no blocks, and
    BatchNorm's statistics to those of random patches, without which residual networks of random weights overflow.
    """
    rng = np.random.default_rng(seed)
    for layer in network.layers:
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D)):
            shape = layer.kernel.shape
            inputs = math.prod(shape[:2] if isinstance(layer, keras.layers.DepthwiseConv2D) else shape[:3])
            layer.kernel.assign(rng.normal(0, math.sqrt(2 / inputs), shape))
        if isinstance(layer, LayerScale):
            layer.gamma.assign(np.full(layer.gamma.shape, 0.5))
    settle_batch_norm(network, [_random_patches(network, rng)])


def settle_batch_norm(network: keras.Model, batches: Iterable[Floats]) -> None:
    """Set BatchNorm's statistics to their mean over these batches: after a short training, the running ones lag behind."""
    norms = _batch_norms(network)
    if not norms:
        return
    before = [(norm.momentum, norm.trainable) for norm in norms]
    for number, batch in enumerate(batches):
        for norm in norms:
            norm.momentum, norm.trainable = number / (number + 1), True
        network(batch, training=True)
    for norm, (momentum, trainable) in zip(norms, before, strict=True):
        norm.momentum, norm.trainable = momentum, trainable


def _random_patches(network: keras.Model, rng: np.random.Generator) -> Floats:
    """Pictures of squares of random grey, of several sizes: noise of single pixels alone would average out."""
    height, width, channels = network.input_shape[1:]
    pictures = []
    for side in _PATCH_SIDES_PX:
        coarse = rng.uniform(0, 255, (_PICTURES_A_SIDE, -(-height // side), -(-width // side), 1))
        pictures.append(coarse.repeat(side, axis=1).repeat(side, axis=2)[:, :height, :width])
    return np.concatenate(pictures).astype(np.float32).repeat(channels, axis=3)


def _batch_norms(network: keras.Model) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in network.layers if isinstance(layer, keras.layers.BatchNormalization)]


def round_to_float16(network: keras.Model) -> None:
    """Fold what can be folded and round every weight to the precision that it is stored in, so that what is measured is what
    is stored, and what is exported.

    Raises:
        ConfigError: a weight does not fit.
    """
    fold(network)
    for variable in network.weights:
        variable.assign(_as_stored(variable).astype(np.float32))


def _as_stored(variable: keras.Variable) -> Reals:
    """Half precision, but for BatchNorm's few frozen statistics: their rounding would scale every layer, and the
    folded convolutions of the inference form would not have half-precision kernels any more."""
    whole = keras.ops.convert_to_numpy(variable)
    if variable.path.endswith(("moving_mean", "moving_variance")):
        return whole  # type: ignore[no-any-return]
    if not np.abs(whole).max() <= np.finfo(np.float16).max:
        raise ConfigError(f"the weight {variable.path} does not fit half precision; the training diverged")
    return whole.astype(np.float16)  # type: ignore[no-any-return]


def weights_of(network: keras.Model) -> dict[str, Reals]:
    """Every weight by its Keras path: float16, BatchNorm's statistics float32."""
    return {variable.path: _as_stored(variable) for variable in network.weights}


def assign_weights(network: keras.Model, weights: Mapping[str, Reals]) -> None:
    """The inverse of ``weights_of``.

    Raises:
        ConfigError: they are of another network.
    """
    paths = [variable.path for variable in network.weights]
    if sorted(paths) != sorted(weights):
        raise ConfigError("the stored weights are of another network")
    _assign(network.weights, weights)


def _assign(variables: Iterable[keras.Variable], weights: Mapping[str, Reals]) -> None:
    for variable in variables:
        if tuple(variable.shape) != weights[variable.path].shape:
            raise ConfigError(f"the stored weight {variable.path} has another shape")
        variable.assign(weights[variable.path].astype(np.float32))
