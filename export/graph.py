"""From the trained network to its inference form: the one network that every exported file is compared with.

Some changes are made before any converter sees the network, so that all engines run the same arithmetic:

* BatchNorm and LayerScale that follow a convolution are folded into its kernel and bias, and the factor and offset of a
  LayerNorm into the convolution that alone reads it, where that pads nothing (``train.networks.norms``);
* the activation of a convolution becomes a layer of its own, so that rounding sees what the convolution itself gives;
* zero padding that only spells out what ``padding="same"`` pads is replaced by it;
* kernels that hold values of half precision, but for the last digit that folding cost, are rounded back to them. They stay
  float32 files, but compress to about half. Training stores folded kernels in half precision; only those are rounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from export.errors import ExportError
from train.runs.arrays import Floats

if TYPE_CHECKING:
    import keras

INPUT_NAME = "image"
LOGITS = "logits"
FEATURES = "features"

_LAST_DIGITS = 1e-6

Weights = list[Floats]


@dataclass(frozen=True)
class Layout:
    """What changes on the way to the inference form, by layer name.

    Attributes:
        norms: convolution -> the BatchNorm folded into it.
        scales: the LayerScales folded into the convolutions before them.
        bare: the LayerNorms whose factor and offset went into the convolutions after them.
        pads: padding layers that become ``padding="same"`` of the convolution after them.
        padded: those convolutions.
    """

    norms: Mapping[str, str]
    scales: frozenset[str]
    bare: frozenset[str]
    pads: frozenset[str]
    padded: frozenset[str]

    @property
    def dropped(self) -> frozenset[str]:
        return self.pads | self.scales | frozenset(self.norms.values())


def inference_form(network: keras.Model) -> keras.Model:
    """The same function as ``network`` outside training, with fewer layers and half-precision values in its kernels.

    Args:
        network: functional, "image" (N, H, W, 1) float32 -> {"logits": (N, labels), "features": (N, h, w, C)}.

    Returns:
        A new functional model with the same input and outputs; its layers are named after their place alone.
    """
    import keras

    layout = _read_layout(network)
    names = {layer.name: f"layer_{index:03d}" for index, layer in enumerate(network.layers)}
    activations = {names[layer.name]: activation for layer in network.layers if (activation := _inner_activation(layer))}

    def clone(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            raise ExportError(f"the network holds another network, {layer.name}; build it as one flat functional model")
        if layer.name in layout.dropped or _passes_through(layer):
            return keras.layers.Identity(name=names[layer.name])
        return type(layer).from_config({**_inference_config(layer, layout), "name": names[layer.name]})

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        if isinstance(layer, keras.layers.Identity):
            return args[0]
        output = layer(*args, **kwargs)
        if layer.name not in activations:
            return output
        return keras.layers.Activation(activations[layer.name], name=f"{layer.name}_activation")(output)

    form = keras.models.clone_model(network, clone_function=clone, call_function=call)
    _copy_weights(_folded(network), form, layout, names)
    form.trainable = False
    return form


def find_head(form: keras.Model) -> keras.layers.Dense:
    """The linear head.

    Raises:
        ExportError: the network does not hold exactly one dense layer.
    """
    heads = [layer for layer in form.layers if type(layer).__name__ == "Dense"]
    if len(heads) != 1:
        raise ExportError(f"the network must hold one dense layer, its head; it holds {len(heads)}")
    return heads[0]


def head_weights(form: keras.Model) -> Floats:
    """Kernel of the linear head, (C, labels) float32."""
    return np.asarray(find_head(form).kernel, np.float32)


def _folded(network: keras.Model) -> keras.Model:
    """A copy with the same layers."""
    import keras

    from train.networks.norms import fold

    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    fold(copy)
    return copy


def _read_layout(network: keras.Model) -> Layout:
    from train.networks.norms import norms_after, norms_before, readers_of, scales_after

    pads, padded = set(), set()
    readers = readers_of(network)
    for layer in network.layers:
        following = readers[layer.name]
        if type(layer).__name__ == "ZeroPadding2D" and len(following) == 1 and _pads_like_same(layer, following[0]):
            pads.add(layer.name)
            padded.add(following[0].name)
    return Layout(
        norms={convolution.name: norm.name for convolution, norm in norms_after(network)},
        scales=frozenset(scale.name for _, scale in scales_after(network)),
        bare=frozenset(norm.name for norm, _ in norms_before(network)),
        pads=frozenset(pads),
        padded=frozenset(padded),
    )


def _passes_through(layer: keras.Layer) -> bool:
    kind = type(layer).__name__
    return kind in ("Dropout", "SpatialDropout2D") or (kind == "Activation" and layer.activation.__name__ == "linear")


def _inner_activation(layer: keras.Layer) -> Any:
    """The activation that a convolution applies itself, if any."""
    from train.networks.norms import is_convolution

    if not is_convolution(layer) or layer.activation.__name__ == "linear":
        return None
    return layer.get_config()["activation"]


def _pads_like_same(pad: keras.Layer, following: keras.Layer) -> bool:
    from train.networks.norms import is_convolution

    if not is_convolution(following) or following.padding != "valid":
        return False
    sides = pad.input.shape[1:3]
    geometry = zip(sides, following.kernel_size, following.strides, following.dilation_rate, strict=True)
    return tuple(map(tuple, pad.padding)) == tuple(same_padding(*side) for side in geometry)


def same_padding(side: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's padding before and after one side; the odd pixel goes to the end."""
    total = max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
    return total // 2, total - total // 2


def _inference_config(layer: keras.Layer, layout: Layout) -> dict[str, Any]:
    config = dict(layer.get_config())
    if layer.name in layout.norms:
        config["use_bias"] = True
    if _inner_activation(layer):
        config["activation"] = "linear"
    if layer.name in layout.bare:
        config |= {"center": False, "scale": False}
    if layer.name in layout.padded:
        config["padding"] = "same"
    return config


def _copy_weights(folded: keras.Model, form: keras.Model, layout: Layout, names: Mapping[str, str]) -> None:
    kept = {layer.name: layer for layer in form.layers}
    for layer in folded.layers:
        target = kept.get(names[layer.name])
        if target is not None and target.weights:
            weights = _inference_weights(layer, folded, layout)
            target.set_weights([_settle_kernel(np.asarray(array, np.float32)) for array in weights])


def _inference_weights(layer: keras.Layer, folded: keras.Model, layout: Layout) -> Weights:
    from train.networks.norms import factor_and_offset, scaled_kernel

    if layer.name not in layout.norms:
        return list(layer.get_weights())
    factor, offset = factor_and_offset(folded.get_layer(layout.norms[layer.name]))
    bias = np.asarray(layer.bias) * factor if layer.use_bias else 0.0
    return [scaled_kernel(layer, factor).astype(np.float32), (offset + bias).astype(np.float32)]


def _settle_kernel(array: Floats) -> Floats:
    """A kernel of values of half precision but for their last digits, as just these; others, and vectors, as they are."""
    if array.ndim < 2:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16).astype(np.float32)
    return rounded if np.allclose(rounded, array, rtol=_LAST_DIGITS, atol=0) else array
