"""The few layers that Keras does not have in a form that trains, folds and exports everywhere."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

KerasTensor = Any

_PACKAGE = "osteo_edge"


@keras.saving.register_keras_serializable(package=_PACKAGE)
class Gelu(keras.layers.Layer):  # type: ignore[misc]
    """The exact Gaussian error linear unit, ``0.5 x (1 + erf(x / sqrt 2))`` (Hendrycks and Gimpel, 2016).

    Keras' own lowers to ``Erfc`` on TensorFlow, which ONNX lacks; engines know this spelling and run it as one operator.
    """

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return 0.5 * inputs * (1.0 + ops.erf(inputs / math.sqrt(2.0)))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable(package=_PACKAGE)
class LayerScale(keras.layers.Layer):  # type: ignore[misc]
    """One learned factor a channel at the end of a residual branch (Touvron et al., ICCV 2021)."""

    def __init__(self, initial_value: float = 1e-6, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial_value = initial_value

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        initializer = keras.initializers.Constant(self.initial_value)
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer=initializer, name="gamma")

    def call(self, inputs: KerasTensor) -> KerasTensor:
        return inputs * self.gamma

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "initial_value": self.initial_value}


def drop_path(features: KerasTensor, rate: float, *, name: str) -> KerasTensor:
    """Leave a residual branch out for whole pictures while training (Huang et al., Deep Networks with Stochastic Depth,
    ECCV 2016); nothing at all when ``rate`` is 0."""
    if not rate:
        return features
    return keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1), name=name)(features)
