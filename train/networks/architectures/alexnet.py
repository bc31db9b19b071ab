"""AlexNet in one tower (Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014).

Its five convolutions; the three dense layers after them give way to the head that all backbones share.
"""

from __future__ import annotations

from keras import layers

from train.networks.architectures.files import own_weights_reader
from train.networks.architectures.layers import KerasTensor

# Channels, kernel side, stride, padding, and whether a pooling follows.
_CONVOLUTIONS = ((64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False), (256, 3, 1, 1, True))


def build(channels: KerasTensor) -> KerasTensor:
    """The feature map (batch, rows, columns, 256) of scaled channels."""
    features = channels
    for place, (width, side_px, stride, padding, has_pooling) in enumerate(_CONVOLUTIONS, start=1):
        features = layers.ZeroPadding2D(padding, name=f"conv_{place}_pad")(features)
        features = layers.Conv2D(
            width, side_px, strides=stride, activation="relu", kernel_initializer="he_normal", name=f"conv_{place}"
        )(features)
        if has_pooling:
            features = layers.MaxPooling2D(3, 2, name=f"conv_{place}_pool")(features)
    return features


read_weights = own_weights_reader(build)
