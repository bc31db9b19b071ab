"""What a network is taught: its head, its loss, and the way back to three classes.

The same targets as ``train.networks.targets``, for fine-tuning. Raw outputs are (batch, outputs). Plain Keras, for any of its
backends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from train.data.dataset import LABELS, DatasetError
from train.judging.evaluate import NORMAL
from train.networks.targets import OSTEOPOROSIS, low_shares, require_every_label
from train.runs.arrays import Doubles, Floats, Integers, Reals
from train.runs.config import ConfigError

LOWEST_PROBABILITY = 1e-7


_Tensor = Any


@dataclass(frozen=True)
class KerasTarget:
    """What a network is taught.

    Attributes:
        outputs: number of raw values of the head.
        loss: from labels (batch,) or (batch, 1) and raw outputs to the loss of each picture (batch,); ready for
            ``Model.compile``, which applies sample weights.
        to_logits: from raw outputs (..., outputs) to (..., labels), whose softmax are the class probabilities.
        is_linear: whether ``to_logits`` is linear, so that the head and the saliency stay so.
    """

    kind: str
    outputs: int
    loss: Callable[[_Tensor, _Tensor], _Tensor]
    to_logits: Callable[[_Tensor], _Tensor]
    is_linear: bool

    def head(self, name: str) -> keras.layers.Layer:
        """The layer from pooled features to raw outputs."""
        if self.kind == "ordinal":
            return SharedKernelDense(self.outputs, name=name)
        return keras.layers.Dense(self.outputs, name=name)


@dataclass(frozen=True)
class Auxiliary:
    """A second head that is thrown away after training.

    Attributes:
        weight: of its loss, beside 1 for the classes.
        loss: from standardised targets (batch,) or (batch, 1), NaN where unknown, and raw outputs (batch, 1) to (batch,).
    """

    name: str
    weight: float
    loss: Callable[[_Tensor, _Tensor], _Tensor]
    outputs: int = 1


@keras.saving.register_keras_serializable("osteo_edge")
class SharedKernelDense(keras.layers.Layer):  # type: ignore[misc]
    """One score and a bias for each threshold: CORAL's head, whose ranks cannot cross (Cao, Mirjalili and Raschka,
    Pattern Recognition Letters 2020)."""

    def __init__(self, units: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.units = units

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(input_shape[-1], 1), initializer="glorot_uniform")
        # Spread from the start: with equal biases the middle class would begin with probability 0.
        start = keras.initializers.Constant(np.linspace(0.7, -0.7, self.units).tolist())
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer=start)

    def call(self, inputs: _Tensor) -> _Tensor:
        return ops.matmul(inputs, self.kernel) + self.bias

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}


def keras_target(kind: str, *, labels: Integers | None = None) -> KerasTarget:
    """The head of a network for a kind of target.

    The kinds are ``classes``, ``two_classes``, ``hierarchical`` and ``ordinal``, as in ``fit_target``, but that the
    ordinal one is CORAL. The loss of ``hierarchical`` is the cross-entropy of its three classes.

    Args:
        labels: of the training part; ``two_classes`` takes the shares of the low classes from them.

    Raises:
        ConfigError: an unknown kind, or ``two_classes`` without labels. T-scores are an ``Auxiliary``.
        DatasetError: ``two_classes``, and a class is missing from ``labels``.
    """
    if kind == "two_classes":
        if labels is None:
            raise ConfigError("the target 'two_classes' needs the training labels, for the shares of the low classes")
        require_every_label(labels)
        return KerasTarget(kind, 1, _two_classes_loss, _spread(low_shares(labels)), True)
    if kind not in _KERAS_TARGETS:
        known = ", ".join((*_KERAS_TARGETS, "two_classes"))
        raise ConfigError(f"there is no target {kind[:40]!r} for networks; known are {known}")
    return _KERAS_TARGETS[kind]


def t_score_auxiliary(weight: float) -> Auxiliary:
    """Squared error of the standardised T-score as an auxiliary task; a picture without one adds nothing.

    Raises:
        ConfigError: a weight that is not above 0.
    """
    if not 0 < weight < np.inf:
        raise ConfigError(f"the weight of the auxiliary T-score must be above 0, not {weight}")
    return Auxiliary("t_score", weight, _squared_error_where_known)


def standardise(values: Reals, training: Integers) -> Floats:
    """Targets less their mean over the pictures ``training``, in their deviations; NaN where unknown.

    Raises:
        DatasetError: fewer than 2 known values in the training part, or they are all alike.
    """
    known = values[training][np.isfinite(values[training])]
    if len(known) < 2 or known.std() == 0:
        raise DatasetError("the auxiliary target needs at least 2 different known values in every training part")
    return ((values - known.mean()) / known.std()).astype(np.float32)  # type: ignore[no-any-return]


def _as_places(labels: _Tensor) -> _Tensor:
    return ops.cast(ops.reshape(labels, (-1,)), "int32")


def _binary_cross_entropy(truth: _Tensor, raw: _Tensor) -> _Tensor:
    return -(truth * ops.log_sigmoid(raw) + (1 - truth) * ops.log_sigmoid(-raw))


def _classes_loss(labels: _Tensor, raw: _Tensor) -> _Tensor:
    return keras.losses.sparse_categorical_crossentropy(_as_places(labels), raw, from_logits=True)


def _two_classes_loss(labels: _Tensor, raw: _Tensor) -> _Tensor:
    low = ops.cast(_as_places(labels) != NORMAL, raw.dtype)
    return _binary_cross_entropy(low, raw[:, 0])


def _hierarchical_loss(labels: _Tensor, raw: _Tensor) -> _Tensor:
    places = _as_places(labels)
    low, porous = ops.cast(places != NORMAL, raw.dtype), ops.cast(places == OSTEOPOROSIS, raw.dtype)
    return _binary_cross_entropy(low, raw[:, 0]) + low * _binary_cross_entropy(porous, raw[:, 1])


def _coral_loss(labels: _Tensor, raw: _Tensor) -> _Tensor:
    """Sum of the cross-entropies of the questions "above threshold k?"."""
    thresholds = ops.arange(len(LABELS) - 1, dtype="int32")
    above = ops.cast(ops.expand_dims(_as_places(labels), 1) > thresholds, raw.dtype)
    return ops.sum(_binary_cross_entropy(above, raw), axis=1)


def _squared_error_where_known(values: _Tensor, raw: _Tensor) -> _Tensor:
    wanted = ops.cast(ops.reshape(values, (-1,)), raw.dtype)
    known = ops.logical_not(ops.isnan(wanted))
    # The unknown is replaced before the difference: a NaN would pass into the gradient through a mask.
    error = raw[:, 0] - ops.where(known, wanted, ops.zeros_like(wanted))
    return ops.where(known, error, ops.zeros_like(error)) ** 2


def _spread(shares: Doubles) -> Callable[[_Tensor], _Tensor]:
    osteopenia, osteoporosis = (float(value) for value in np.log(shares))

    def to_logits(raw: _Tensor) -> _Tensor:
        return ops.concatenate([ops.zeros_like(raw), raw + osteopenia, raw + osteoporosis], axis=-1)

    return to_logits


def _hierarchical_logits(raw: _Tensor) -> _Tensor:
    low, porous = raw[..., 0], raw[..., 1]
    is_low = ops.log_sigmoid(low)
    shares = [ops.log_sigmoid(-low), is_low + ops.log_sigmoid(-porous), is_low + ops.log_sigmoid(porous)]
    return ops.stack(shares, axis=-1)


def _coral_logits(raw: _Tensor) -> _Tensor:
    """Differences of the cumulative probabilities; a network that lets them cross gives the middle class the least."""
    above = ops.sigmoid(raw)
    shares = ops.stack([1 - above[..., 0], above[..., 0] - above[..., 1], above[..., 1]], axis=-1)
    return ops.log(ops.maximum(shares, LOWEST_PROBABILITY))


def _unchanged(raw: _Tensor) -> _Tensor:
    return raw


_KERAS_TARGETS = {
    "classes": KerasTarget("classes", len(LABELS), _classes_loss, _unchanged, True),
    "hierarchical": KerasTarget("hierarchical", 2, _hierarchical_loss, _hierarchical_logits, False),
    "ordinal": KerasTarget("ordinal", len(LABELS) - 1, _coral_loss, _coral_logits, False),
}
