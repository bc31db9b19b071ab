"""A small network of one's own, as studies of few radiographs train from nothing: convolutions, dropout and an L2 penalty.

The paper that this stands for gives no table of layers, only these means against overfitting.
"""

from __future__ import annotations

from collections.abc import Sequence

import keras
from keras import layers

from train.networks.architectures.files import own_weights_reader
from train.networks.architectures.layers import KerasTensor


def build(channels: KerasTensor, *, widths: Sequence[int], dropout: float, l2: float) -> KerasTensor:
    """The feature map (batch, rows, columns, widths[-1]) of scaled channels.

    Args:
        widths: channels of each block, every one of which halves the map.
        dropout: share of channels left out after each block while training.
        l2: penalty on the kernels.
    """
    features = channels
    for place, width in enumerate(widths, start=1):
        features = layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(l2),
            name=f"block_{place}_conv",
        )(features)
        features = layers.BatchNormalization(momentum=0.9, name=f"block_{place}_norm")(features)
        features = layers.ReLU(name=f"block_{place}_relu")(features)
        features = layers.MaxPooling2D(2, name=f"block_{place}_pool")(features)
        features = layers.SpatialDropout2D(dropout, name=f"block_{place}_dropout")(features)
    return features


read_weights = own_weights_reader(build)
