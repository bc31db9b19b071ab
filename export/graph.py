"""From the trained network to its inference form: the one network that every exported file is compared with.

Three changes are made before any converter sees the network, so that all engines run the same arithmetic:

* BatchNorm that follows a convolution is folded into the convolution's kernel and bias;
* zero padding that only spells out what ``padding="same"`` pads is replaced by it;
* kernels are rounded to values of half precision. They stay float32 files, but compress to about half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError

if TYPE_CHECKING:
    import keras

INPUT_NAME = "image"
LOGITS = "logits"
FEATURES = "features"

Weights = list[NDArray[np.float32]]


@dataclass(frozen=True)
class Layout:
    """What changes on the way to the inference form, by layer name.

    Attributes:
        norms: convolution -> the BatchNorm folded into it.
        pads: padding layers that become ``padding="same"`` of the convolution after them.
        padded: those convolutions.
    """

    norms: Mapping[str, str]
    pads: frozenset[str]
    padded: frozenset[str]

    @property
    def dropped(self) -> frozenset[str]:
        return self.pads | frozenset(self.norms.values())


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

    def clone(layer: keras.Layer) -> keras.Layer:
        if isinstance(layer, keras.Model):
            raise ExportError(f"the network holds another network, {layer.name}; build it as one flat functional model")
        if layer.name in layout.dropped or _passes_through(layer):
            return keras.layers.Identity(name=names[layer.name])
        return type(layer).from_config({**_inference_config(layer, layout), "name": names[layer.name]})

    def call(layer: keras.Layer, *args: Any, **kwargs: Any) -> Any:
        return args[0] if isinstance(layer, keras.layers.Identity) else layer(*args, **kwargs)

    form = keras.models.clone_model(network, clone_function=clone, call_function=call)
    _copy_weights(network, form, layout, names)
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


def head_weights(form: keras.Model) -> NDArray[np.float32]:
    """Kernel of the linear head, (C, labels) float32."""
    return np.asarray(find_head(form).kernel, np.float32)


def _read_layout(network: keras.Model) -> Layout:
    norms: dict[str, str] = {}
    pads, padded = set(), set()
    for layer in network.layers:
        following = _only_consumer(layer)
        if following is None:
            continue
        if _is_linear_convolution(layer) and type(following).__name__ == "BatchNormalization":
            norms[layer.name] = following.name
        if type(layer).__name__ == "ZeroPadding2D" and _pads_like_same(layer, following):
            pads.add(layer.name)
            padded.add(following.name)
    return Layout(norms, frozenset(pads), frozenset(padded))


def _only_consumer(layer: keras.Layer) -> keras.Layer | None:
    consumers = [node.operation for node in layer._outbound_nodes]
    return consumers[0] if len(consumers) == 1 else None


def _is_convolution(layer: keras.Layer) -> bool:
    return type(layer).__name__ in ("Conv2D", "DepthwiseConv2D")


def _is_linear_convolution(layer: keras.Layer) -> bool:
    return _is_convolution(layer) and getattr(layer.activation, "__name__", "") == "linear"


def _passes_through(layer: keras.Layer) -> bool:
    kind = type(layer).__name__
    return kind in ("Dropout", "SpatialDropout2D") or (kind == "Activation" and layer.activation.__name__ == "linear")


def _pads_like_same(pad: keras.Layer, following: keras.Layer) -> bool:
    if not _is_convolution(following) or following.padding != "valid":
        return False
    sides = pad.input.shape[1:3]
    geometry = zip(sides, following.kernel_size, following.strides, following.dilation_rate, strict=True)
    return tuple(map(tuple, pad.padding)) == tuple(_same_padding(*side) for side in geometry)


def _same_padding(side: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's padding before and after one side; the odd pixel goes to the end."""
    total = max((-(-side // stride) - 1) * stride + (kernel - 1) * dilation + 1 - side, 0)
    return total // 2, total - total // 2


def _inference_config(layer: keras.Layer, layout: Layout) -> dict[str, Any]:
    config = dict(layer.get_config())
    if layer.name in layout.norms:
        config["use_bias"] = True
    if layer.name in layout.padded:
        config["padding"] = "same"
    return config


def _copy_weights(network: keras.Model, form: keras.Model, layout: Layout, names: Mapping[str, str]) -> None:
    kept = {layer.name for layer in form.layers}
    for layer in network.layers:
        if names[layer.name] not in kept or not layer.weights:
            continue
        weights = _inference_weights(layer, network, layout)
        form.get_layer(names[layer.name]).set_weights([_round_kernel(array) for array in weights])


def _inference_weights(layer: keras.Layer, network: keras.Model, layout: Layout) -> Weights:
    weights: Weights = layer.get_weights()
    if layer.name not in layout.norms:
        return weights
    return _fold(weights, network.get_layer(layout.norms[layer.name]), depthwise=type(layer).__name__ == "DepthwiseConv2D")


def _fold(weights: Weights, norm: keras.Layer, *, depthwise: bool) -> Weights:
    """Kernel (h, w, in, out), or (h, w, in, multiplier) when depthwise, and bias (out,), as if the norm came after them."""
    variance = np.asarray(norm.moving_variance, np.float64)
    gamma = np.asarray(norm.gamma, np.float64) if norm.scale else np.ones_like(variance)
    beta = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(variance)
    factor = gamma / np.sqrt(variance + norm.epsilon)
    bias = weights[1] if len(weights) == 2 else np.zeros(len(factor), np.float32)
    kernel = weights[0] * (factor.reshape(weights[0].shape[2:]) if depthwise else factor)
    return [kernel.astype(np.float32), (beta + (bias - np.asarray(norm.moving_mean)) * factor).astype(np.float32)]


def _round_kernel(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Kernels to values of half precision; vectors, which are small, as they are."""
    if array.ndim < 2:
        return array
    rounded = array.astype(np.float16).astype(np.float32)
    if not np.isfinite(rounded).all():
        raise ExportError("a kernel of the network has values beyond the range of half precision; train it with weight decay")
    return rounded
