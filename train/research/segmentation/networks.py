"""The two segmenters, in plain Keras. Both are free of any fixed position, so that one set of weights serves every size.

Each takes (batch, height, width, 1) float32 in 0 to 255, a knee being ``pictures.PX_PER_KNEE`` wide, and gives a logit for
every bone and pixel, (batch, height, width, bones). Bones may cover each other: every one is a yes or no of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops

from train.networks.network import apply, assign_weights
from train.research.segmentation.annotations import BONES
from train.runs.arrays import Booleans, Floats, Reals
from train.runs.config import ConfigError

# Heights and widths must be multiples of this.
SIDE_MULTIPLE_PX = 32

_UNET_FILTERS = (8, 16, 32, 48, 64)

_TRANSFORMER_WIDTHS = (24, 48, 96)
_TRANSFORMER_HEADS = (1, 2, 4)
_TRANSFORMER_BLOCKS = (2, 2, 3)
# Keys and values of the first stages are taken from a map that is coarser by these factors.
_TRANSFORMER_REDUCTIONS = (8, 4, 2)
_TRANSFORMER_EXPANSION = 3
_TRANSFORMER_DECODER = 64


def build_segmenter(name: str, *, height_px: int, width_px: int) -> keras.Model:
    """One of ``SEGMENTERS`` with random weights.

    Raises:
        ConfigError: an unknown name or a size that it cannot take.
    """
    if name not in SEGMENTERS:
        raise ConfigError(f"unknown segmenter {name!r}; known are {', '.join(SEGMENTERS)}")
    if height_px % SIDE_MULTIPLE_PX or width_px % SIDE_MULTIPLE_PX or min(height_px, width_px) < SIDE_MULTIPLE_PX:
        raise ConfigError(f"{name} takes sides that are multiples of {SIDE_MULTIPLE_PX} px, not {height_px} x {width_px}")
    image = keras.Input((height_px, width_px, 1), name="image")
    scaled = layers.Rescaling(1 / 127.5, -1.0, name="scaled")(image)
    return keras.Model(image, SEGMENTERS[name](scaled), name=name)


def attention_unet(x: keras.KerasTensor) -> keras.KerasTensor:
    """U-Net (Ronneberger et al., MICCAI 2015) whose skips pass additive attention gates (Oktay et al., MIDL 2018)."""
    skips = []
    for level, filters in enumerate(_UNET_FILTERS[:-1]):
        x = _two_convolutions(x, filters, f"down_{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"down_{level}_pool")(x)
    x = _two_convolutions(x, _UNET_FILTERS[-1], "bottom")
    for level in reversed(range(len(skips))):
        filters = _UNET_FILTERS[level]
        skip = _gated(skips[level], x, max(filters // 2, 4), f"gate_{level}")
        # Halved before it is enlarged: the same result for a quarter of the work.
        x = layers.Conv2D(filters, 1, name=f"up_{level}_narrow")(x)
        x = layers.UpSampling2D(interpolation="bilinear", name=f"up_{level}_enlarge")(x)
        x = _two_convolutions(layers.Concatenate(name=f"up_{level}_join")([skip, x]), filters, f"up_{level}")
    return layers.Conv2D(len(BONES), 1, name="logits")(x)


def _gated(skip: keras.KerasTensor, gating: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    """The skip times a coefficient for every place, found from itself and the coarser features below it."""
    query = layers.Conv2D(filters, 2, strides=2, padding="same", use_bias=False, name=f"{name}_skip")(skip)
    joined = layers.Add(name=f"{name}_sum")([query, layers.Conv2D(filters, 1, name=f"{name}_gating")(gating)])
    weight = layers.Conv2D(1, 1, activation="sigmoid", name=f"{name}_weight")(layers.ReLU(name=f"{name}_relu")(joined))
    wide = layers.UpSampling2D(interpolation="bilinear", name=f"{name}_enlarge")(weight)
    return layers.Multiply(name=f"{name}_gated")([skip, wide])


def _two_convolutions(x: keras.KerasTensor, filters: int, name: str) -> keras.KerasTensor:
    for step in ("a", "b"):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_{step}")(x)
        x = layers.BatchNormalization(momentum=0.95, name=f"{name}_{step}_norm")(x)
        x = layers.ReLU(name=f"{name}_{step}_relu")(x)
    return x


def small_transformer(x: keras.KerasTensor) -> keras.KerasTensor:
    """A small SegFormer (Xie et al., NeurIPS 2021): overlapping patches, attention with coarser keys, a light decoder."""
    maps = []
    stages = zip(_TRANSFORMER_WIDTHS, _TRANSFORMER_HEADS, _TRANSFORMER_BLOCKS, _TRANSFORMER_REDUCTIONS, strict=True)
    for stage, (width, heads, blocks, reduction) in enumerate(stages):
        kernel, stride = (7, 4) if stage == 0 else (3, 2)
        x = layers.Conv2D(width, kernel, strides=stride, padding="same", name=f"stage_{stage}_patches")(x)
        x = layers.LayerNormalization(epsilon=1e-6, name=f"stage_{stage}_norm")(x)
        for block in range(blocks):
            x = _transformer_block(x, width, heads, reduction, f"stage_{stage}_block_{block}")
        maps.append(x)
    enlarged = []
    for stage, one in enumerate(maps):
        one = layers.Conv2D(_TRANSFORMER_DECODER, 1, name=f"decoder_{stage}")(one)
        factor = 2**stage
        if factor > 1:
            one = layers.UpSampling2D(factor, interpolation="bilinear", name=f"decoder_{stage}_enlarge")(one)
        enlarged.append(one)
    x = layers.Conv2D(_TRANSFORMER_DECODER, 1, use_bias=False, name="fuse")(layers.Concatenate(name="join")(enlarged))
    x = layers.ReLU(name="fuse_relu")(layers.BatchNormalization(momentum=0.95, name="fuse_norm")(x))
    x = layers.Conv2D(len(BONES), 1, name="logits")(x)
    return layers.UpSampling2D(4, interpolation="bilinear", name="enlarge")(x)


def _transformer_block(x: keras.KerasTensor, width: int, heads: int, reduction: int, name: str) -> keras.KerasTensor:
    normed = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_a")(x)
    x = layers.Add(name=f"{name}_add_a")([x, _attended(normed, width, heads, reduction, f"{name}_attention")])
    inner = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm_b")(x)
    inner = layers.Conv2D(width * _TRANSFORMER_EXPANSION, 1, name=f"{name}_widen")(inner)
    # This convolution's zero padding tells every place where it is; the network needs no position of its own.
    inner = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_place")(inner)
    inner = layers.Activation("gelu", name=f"{name}_gelu")(inner)
    return layers.Add(name=f"{name}_add_b")([x, layers.Conv2D(width, 1, name=f"{name}_narrow")(inner)])


def _attended(x: keras.KerasTensor, width: int, heads: int, reduction: int, name: str) -> keras.KerasTensor:
    _, rows, columns, _ = x.shape
    coarse = x
    if reduction > 1:
        coarse = layers.Conv2D(width, reduction, strides=reduction, padding="same", name=f"{name}_coarser")(x)
        coarse = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_coarser_norm")(coarse)
    tokens = layers.Reshape((rows * columns, width), name=f"{name}_tokens")(x)
    keys = layers.Reshape((math.prod(coarse.shape[1:3]), width), name=f"{name}_keys")(coarse)
    attended = layers.MultiHeadAttention(heads, width // heads, name=name)(tokens, keys)
    return layers.Reshape((rows, columns, width), name=f"{name}_map")(attended)


SEGMENTERS: Mapping[str, Callable[[keras.KerasTensor], keras.KerasTensor]] = {
    "attention_unet": attention_unet,
    "small_transformer": small_transformer,
}


def segmentation_loss(truth: keras.KerasTensor, logits: keras.KerasTensor) -> keras.KerasTensor:
    """Binary cross-entropy and soft Dice (Milletari et al., 3DV 2016), both where the truth is known.

    Args:
        truth: (batch, height, width, bones + 1); the last channel is 1 where the bones are known.
    """
    bones, known = truth[..., :-1], truth[..., -1:]
    entropy = ops.maximum(logits, 0) - logits * bones + ops.log1p(ops.exp(-ops.abs(logits)))
    likely = ops.sigmoid(logits) * known
    both = ops.sum(likely * bones, axis=(0, 1, 2))
    total = ops.sum(likely + bones * known, axis=(0, 1, 2))
    dice = (2 * both + 1) / (total + 1)
    return ops.sum(entropy * known) / (ops.sum(known) * len(BONES) + 1) + 1 - ops.mean(dice)


class Segmenter:
    """A trained network for crops of any size.

    Attributes:
        name: of ``SEGMENTERS``.
    """

    def __init__(self, name: str, weights: Mapping[str, Reals]) -> None:
        self.name = name
        self._weights = dict(weights)
        self._built: dict[tuple[int, int], keras.Model] = {}

    def probabilities(self, images: Floats) -> Floats:
        """How likely each pixel is of each bone.

        Args:
            images: (pictures, height, width) float32 in 0 to 255, a knee ``pictures.PX_PER_KNEE`` wide, any height and width.

        Returns:
            (pictures, height, width, bones) float32.
        """
        height, width = images.shape[1:]
        below, right = -height % SIDE_MULTIPLE_PX, -width % SIDE_MULTIPLE_PX
        padded = np.pad(images, ((0, 0), (0, below), (0, right)))[..., np.newaxis]
        network = self._network(height + below, width + right)
        logits = apply(network, padded, batch_size=8)[:, :height, :width]
        return (1 / (1 + np.exp(-np.clip(logits, -30, 30)))).astype(np.float32)

    def masks(self, images: Floats) -> Booleans:
        """(pictures, height, width, bones): where a bone is likelier than not."""
        return self.probabilities(images) > 0.5

    def _network(self, height_px: int, width_px: int) -> keras.Model:
        size = height_px, width_px
        if size not in self._built:
            network = build_segmenter(self.name, height_px=height_px, width_px=width_px)
            assign_weights(network, self._weights)
            self._built[size] = network
        return self._built[size]


def read_segmenter(path: Path) -> Segmenter:
    """The weights that ``python -m train research segmentation fit`` has written.

    Raises:
        ConfigError: the file cannot be read or holds no segmenter.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            weights = {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a segmenter's weights ({error})") from error
    name = str(weights.pop("segmenter", ""))
    segmenter = Segmenter(name, weights)
    segmenter._network(SIDE_MULTIPLE_PX, SIDE_MULTIPLE_PX)  # a faulty file is refused here, not at its first use
    return segmenter


def save_segmenter(path: Path, segmenter: str, weights: Mapping[str, Reals]) -> None:
    np.savez_compressed(path, segmenter=np.array(segmenter), **weights)  # type: ignore[arg-type]
