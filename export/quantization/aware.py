"""Quantization-aware fine-tuning: the network learns to give its own fp32 answers through rounded weights and activations.

Kernels and activations are rounded on the way forward as the recipe's file will round them, and not on the way back
(Bengio et al., straight-through estimator, 2013; Jacob et al., CVPR 2018). The targets are the fp32 network's own logits and
features, so no label is seen: knees of training patients and knees without labels serve, held-back ones never.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from export.errors import ExportError
from export.graph import FEATURES, LOGITS, find_head
from export.plans import Ranges, Recipe
from export.quantization import integers, litert
from export.quantization.groups import quantizable
from export.quantization.ranges import BINS, LEVELS, Histogram
from export.quantization.records import Exact, Limits
from export.quantization.rounding import layers_of
from train.runs.arrays import Floats

if TYPE_CHECKING:
    import keras

RATE = 1e-4
BATCH = 8
SEED = 0
_PARTS = 8


@dataclass(frozen=True)
class _Rounding:
    """How one layer is rounded; limits are None where the range is measured while running or nothing is rounded."""

    limit: int
    taken: Limits | None
    given: Limits | None
    is_dynamic: bool


def fine_tune(exact: Exact, recipe: Recipe, knees: Floats, *, epochs: int, rate: float = RATE) -> keras.Model:
    """A copy of the inference form whose kernels and biases bear the recipe's rounding better.

    Its file is then made by the same recipe. Training's sums depend on the number of processors, so the last digits of the
    weights do too; the weights, once tuned, give the same bytes everywhere.

    Args:
        knees: (N, H, W, 1) float32 of training patients or without labels; each is shown mirrored too.
        epochs: passes through the knees.
        rate: of Adam, falling to nought along a cosine.

    Raises:
        ExportError: there is no knee, or the recipe leaves nothing to quantize.
    """
    import keras

    if not len(knees):
        raise ExportError("fine-tuning needs knees of training patients or without labels; none were given")
    knees = knees.astype(np.float32)
    layers = _layers(exact, recipe)
    if not layers:
        raise ExportError(f"the recipe ({recipe.name}) leaves no layer to quantize, so there is nothing to fine-tune for")
    student, inner = _imitation(exact.form, _roundings(exact, recipe, layers, knees))
    shown = np.concatenate([knees, knees[:, :, ::-1]])
    targets = exact.form.predict(shown, batch_size=BATCH, verbose=0)
    steps = epochs * -(-len(shown) // BATCH)
    keras.utils.set_random_seed(SEED)
    student.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps), clipnorm=1.0),
        loss={LOGITS: "mse", FEATURES: "mse"},
        loss_weights={name: 1 / max(float(targets[name].var()), 1e-9) for name in (LOGITS, FEATURES)},
    )
    student.fit(shown, {name: targets[name] for name in (LOGITS, FEATURES)}, batch_size=BATCH, epochs=epochs, verbose=0)
    return _tuned(exact.form, inner)


def _layers(exact: Exact, recipe: Recipe) -> frozenset[str]:
    """Names of the Keras layers that the recipe quantizes."""
    by_node = layers_of(exact.form, onnx.load_from_string(exact.onnx))
    if recipe.engine == "litert":
        return frozenset(by_node.values()) - {find_head(exact.form).name}
    groups = quantizable(onnx.load_from_string(exact.onnx), recipe.method)
    nodes = [node for group, names in groups.items() if group not in recipe.float_groups for node in names]
    return frozenset(by_node[node] for node in nodes if node in by_node)


def _roundings(exact: Exact, recipe: Recipe, layers: frozenset[str], knees: Floats) -> Mapping[str, _Rounding]:
    limit = integers.MAX_WEIGHT if recipe.engine == "onnxruntime" else litert.MAX_WEIGHT
    if recipe.method == "dynamic":
        return {name: _Rounding(limit, None, None, is_dynamic=True) for name in layers}
    taken = {name: exact.form.get_layer(name).input for name in layers}
    summed = {id(tensor) for layer in exact.form.layers if type(layer).__name__ == "Add" for tensor in layer.input}
    given = {name: layer.output for name in layers if id((layer := exact.form.get_layer(name)).output) in summed}
    seen = _limits(exact.form, [*taken.values(), *given.values()], knees, recipe.ranges)
    return {
        name: _Rounding(limit, seen[id(taken[name])], seen[id(given[name])] if name in given else None, is_dynamic=False)
        for name in layers
    }


def _limits(form: keras.Model, tensors: list[Any], knees: Floats, ranges: Ranges) -> Mapping[int, Limits]:
    """Limits of inner tensors of ``form``, by identity."""
    import keras

    unique = list({id(tensor): tensor for tensor in tensors}.values())
    shown = keras.Model(form.inputs, unique)
    parts = [knees[start : start + _PARTS] for start in range(0, len(knees), _PARTS)]
    lows, highs = np.full(len(unique), np.inf), np.full(len(unique), -np.inf)
    for part in parts:
        values = _values(shown, part)
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    highs = np.maximum(highs, lows + 1e-6)
    counts = np.zeros((len(unique), BINS), np.int64)
    for part in parts:
        for index, value in enumerate(_values(shown, part)):
            counts[index] += np.histogram(value, BINS, (lows[index], highs[index]))[0]
    found = [Histogram(float(low), float(high), count) for low, high, count in zip(lows, highs, counts, strict=True)]
    return {id(tensor): histogram.limits(ranges) for tensor, histogram in zip(unique, found, strict=True)}


def _values(shown: keras.Model, part: Floats) -> list[Floats]:
    values = shown(part, training=False)
    return [np.asarray(value) for value in (values if isinstance(values, (list, tuple)) else [values])]


def _imitation(form: keras.Model, roundings: Mapping[str, _Rounding]) -> tuple[keras.Model, Mapping[str, keras.Layer]]:
    """A trainable network that answers as the integer file will, and by name the layers that hold its weights."""
    import keras

    inner: dict[str, keras.Layer] = {}

    def clone(layer: keras.Layer) -> keras.Layer:
        copy = type(layer).from_config(layer.get_config())
        copy.trainable = True
        inner[layer.name] = copy
        if layer.name not in roundings:
            return copy
        return _rounded_layer()(copy, roundings[layer.name], name=f"{layer.name}_rounded")

    student = keras.models.clone_model(form, clone_function=clone)
    for name, layer in inner.items():
        layer.set_weights(form.get_layer(name).get_weights())
    return student, inner


def _tuned(form: keras.Model, inner: Mapping[str, keras.Layer]) -> keras.Model:
    import keras

    tuned = keras.models.clone_model(form)
    for layer in (layer for layer in tuned.layers if layer.weights):
        layer.set_weights(inner[layer.name].get_weights())
    tuned.trainable = False
    return tuned


@cache
def _rounded_layer() -> Any:
    """The class of layers that round another's kernel and activations; made late, for Keras is slow to load."""
    import keras
    from keras import ops

    def through(exact: Any, rounded: Any) -> Any:
        """``rounded`` forward, the gradient of ``exact`` backward."""
        return exact + ops.stop_gradient(rounded - exact)

    def rounded_kernel(kernel: Any, limit: int, is_depthwise: bool) -> Any:
        rank = len(kernel.shape)
        outputs = (rank - 2, rank - 1) if is_depthwise else (rank - 1,)
        axes = tuple(axis for axis in range(rank) if axis not in outputs)
        scale = ops.stop_gradient(ops.max(ops.abs(kernel), axis=axes, keepdims=True)) / limit
        scale = ops.where(scale == 0, 1.0, scale)
        return through(kernel, ops.round(kernel / scale) * scale)

    def rounded_activation(values: Any, low: Any, high: Any) -> Any:
        scale = ops.maximum((high - low) / LEVELS, 1e-12)
        zero = ops.round(-low / scale)
        # Cut off with a gradient of its own, so that values beyond the limits learn nothing from there.
        inside = ops.clip(values, -zero * scale, (LEVELS - zero) * scale)
        return through(inside, ops.round(inside / scale) * scale)

    def measured(values: Any) -> tuple[Any, Any]:
        axes = tuple(range(1, len(values.shape)))
        low = ops.minimum(ops.min(values, axis=axes, keepdims=True), 0.0)
        high = ops.maximum(ops.max(values, axis=axes, keepdims=True), 0.0)
        return ops.stop_gradient(low), ops.stop_gradient(high)

    class RoundedLayer(keras.layers.Layer):  # type: ignore[misc]
        """A convolution or dense layer that meets rounded values with a rounded kernel."""

        def __init__(self, inner: keras.Layer, rounding: _Rounding, **options: Any) -> None:
            super().__init__(**options)
            self.inner = inner
            self._rounding = rounding

        def build(self, input_shape: Any) -> None:
            self.inner.build(input_shape)
            self.built = True

        def compute_output_shape(self, input_shape: Any) -> Any:
            return self.inner.compute_output_shape(input_shape)

        def call(self, inputs: Any) -> Any:
            rounding, values = self._rounding, inputs
            if rounding.is_dynamic:
                values = rounded_activation(values, *measured(values))
            elif rounding.taken is not None:
                values = rounded_activation(values, *(ops.cast(one, "float32") for one in rounding.taken))
            is_depthwise = type(self.inner).__name__ == "DepthwiseConv2D"
            kernel, *rest = self.inner.trainable_variables
            weights = [rounded_kernel(ops.convert_to_tensor(kernel), rounding.limit, is_depthwise), *rest]
            outputs, _ = self.inner.stateless_call(weights, [], values)
            if rounding.given is None:
                return outputs
            return rounded_activation(outputs, *(ops.cast(one, "float32") for one in rounding.given))

    return RoundedLayer
