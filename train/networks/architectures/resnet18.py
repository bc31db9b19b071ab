"""ResNet18 (He et al., Deep Residual Learning for Image Recognition, CVPR 2016)."""

from __future__ import annotations

from keras import layers

from train.networks.architectures.files import own_weights_reader
from train.networks.architectures.layers import KerasTensor

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = 2


def build(channels: KerasTensor) -> KerasTensor:
    """The feature map (batch, rows, columns, 512) of scaled channels.

    Padding is symmetric, as in the publishers' own network, not TensorFlow's "same".
    """
    features = _convolution(channels, 64, 7, 2, name="stem")
    features = layers.ReLU(name="stem_relu")(features)
    features = layers.MaxPooling2D(3, 2, name="stem_pool")(layers.ZeroPadding2D(1, name="stem_pool_pad")(features))
    for stage, width in enumerate(_WIDTHS):
        for block in range(_BLOCKS):
            stride = 2 if stage and not block else 1
            features = _block(features, width, stride, name=f"stage_{stage}_block_{block}")
    return features


def _block(features: KerasTensor, width: int, stride: int, *, name: str) -> KerasTensor:
    branch = _convolution(features, width, 3, stride, name=f"{name}_1")
    branch = layers.ReLU(name=f"{name}_1_relu")(branch)
    branch = _convolution(branch, width, 3, 1, name=f"{name}_2")
    if features.shape[-1] != width:
        features = _convolution(features, width, 1, stride, name=f"{name}_shortcut")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([features, branch]))


def _convolution(features: KerasTensor, width: int, side_px: int, stride: int, *, name: str) -> KerasTensor:
    if side_px > 1:
        features = layers.ZeroPadding2D(side_px // 2, name=f"{name}_pad")(features)
    convolution = layers.Conv2D(
        width, side_px, strides=stride, use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )
    return layers.BatchNormalization(epsilon=1e-5, momentum=0.9, name=f"{name}_norm")(convolution(features))


read_weights = own_weights_reader(build)
