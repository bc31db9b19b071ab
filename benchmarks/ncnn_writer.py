"""A convolutional network written for ncnn: its ``.param`` text and its ``.bin`` of weights.

The format is ncnn's own (docs/developer-guide/param-and-model-file-structure.md and operation-param-weight-table.md there).
Every tensor there has one reader, so one with several goes through a Split; and it normalises over the innermost axis, so
a LayerNormalization over the channels stands between two Permutes.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from export.graph import LOGITS, same_padding

if TYPE_CHECKING:
    import keras

_MAGIC = 7767517
_FLOAT32 = struct.pack("<I", 0)
_RELU, _CLIP = "9=1", "9=3 -23310=2,0.0,{top}"
_VALID = 1
_CHANNELS_FIRST_TO_LAST, _BACK = 3, 4
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise")

Settings = Mapping[int, int | float]


def write_ncnn(form: keras.Model, folder: Path) -> Path:
    """Write ``model.param`` and ``model.bin``, which takes "image" and gives "logits"; the path of the former.

    Args:
        form: the inference form.

    Raises:
        ClickException: a layer that ncnn is not told of here.
    """
    graph = _Graph(form)
    for layer in form.layers:
        graph.add(layer)
    if form.output[LOGITS] is not form.layers[-1].output:
        raise click.ClickException("the network does not end with its logits")
    path = folder / "model.param"
    lines = [str(_MAGIC), f"{len(graph.lines)} {graph.tensors}", *graph.lines]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    path.with_suffix(".bin").write_bytes(b"".join(graph.weights))
    return path


class _Graph:
    """Lines and weights so far."""

    def __init__(self, form: keras.Model) -> None:
        self.lines: list[str] = []
        self.weights: list[bytes] = []
        self.tensors = 0
        self._holders: dict[int, str] = {}  # Keras' tensor -> the one here that holds it
        self._left: dict[str, list[str]] = {}  # tensor -> names under which it can still be read
        self._readers = Counter(id(tensor) for layer in form.layers for tensor in _distinct_inputs(layer))

    def add(self, layer: keras.Layer) -> None:
        kind, inputs = type(layer).__name__, _distinct_inputs(layer)
        if kind == "InputLayer":
            _, height, width, channels = layer.output.shape
            self._emit("Input", "image", [], {0: width, 1: height, 2: channels}, layer)
        elif kind == "Concatenate" and len(inputs) == 1:
            # A grey picture repeated is made by the rescaling after it.
            self._holders[id(layer.output)] = self._holders[id(inputs[0])]
        elif activation := _activation(layer):
            self._activate(layer, activation)
        elif kind == "Rescaling":
            self._rescale(layer)
        elif kind == "Conv2D" and layer.groups == 1:
            self._convolve("Convolution", layer, np.asarray(layer.kernel).transpose(3, 2, 0, 1), {})
        elif kind == "DepthwiseConv2D" and layer.depth_multiplier == 1:
            kernel = np.asarray(layer.kernel).transpose(2, 3, 0, 1)
            self._convolve("ConvolutionDepthWise", layer, kernel, {7: len(kernel)})
        elif kind == "LayerNormalization":
            self._normalise(layer)
        elif kind == "Gelu":
            self._emit("GELU", layer.name, inputs, {0: 0}, layer)
        elif kind == "Add":
            self._emit("BinaryOp", layer.name, inputs, {0: 0}, layer)
        elif kind == "MaxPooling2D" and layer.padding == "valid":
            self._emit("Pooling", layer.name, inputs, {0: 0, 1: layer.pool_size[0], 2: layer.strides[0], 5: _VALID}, layer)
        elif kind == "GlobalAveragePooling2D":
            self._emit("Pooling", layer.name, inputs, {0: 1, 4: 1}, layer)
        elif kind == "Dense":
            kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias)
            settings = {0: len(bias), 1: 1, 2: kernel.size}
            self._write("InnerProduct", layer.name, [self._take(layer.input)], settings, LOGITS)
            self._weigh(kernel.T, bias)
        else:
            raise click.ClickException(f"{layer.name} is a {kind}, which is not written for ncnn")

    def _activate(self, layer: keras.Layer, activation: str) -> None:
        """By the convolution itself, which must stand right before and have no other reader."""
        before = self._holders[id(layer.input)]
        if not self.lines[-1].startswith(_CONVOLUTIONS) or self._left[before] != [before]:
            raise click.ClickException(f"{layer.name} does not follow a convolution, which is not written for ncnn")
        self.lines[-1] += f" {activation}"
        self._holders[id(layer.output)] = before
        self._offer(before, self._readers[id(layer.output)])

    def _rescale(self, layer: keras.Layer) -> None:
        """One convolution of one pixel, from the grey channel to all."""
        scale = np.asarray(layer.scale, np.float32).reshape(-1)
        offset = np.broadcast_to(np.asarray(layer.offset, np.float32), scale.shape)
        settings = {0: scale.size, 1: 1, 5: 1, 6: scale.size}
        self._emit("Convolution", layer.name, _distinct_inputs(layer), settings, layer)
        self._weigh(scale, offset)

    def _convolve(self, kind: str, layer: keras.Layer, kernel: Any, more: Settings) -> None:
        """``kernel``: (out, in or 1, rows, columns)."""
        if not layer.use_bias or tuple(layer.dilation_rate) != (1, 1):
            raise click.ClickException(f"{layer.name} has no bias or has gaps, which is not written for ncnn")
        rows, columns = kernel.shape[2:]
        (down, right), sides = layer.strides, layer.input.shape[1:3]
        pads = [(0, 0), (0, 0)]
        if layer.padding == "same":
            pads = [same_padding(*one, 1) for one in zip(sides, (rows, columns), (down, right), strict=True)]
        settings = {
            0: len(kernel), 1: columns, 11: rows, 3: right, 13: down, 5: 1, 6: kernel.size,
            4: pads[1][0], 14: pads[0][0], 15: pads[1][1], 16: pads[0][1],
        }  # fmt: skip
        self._emit(kind, layer.name, [layer.input], {**settings, **more}, layer)
        self._weigh(kernel, np.asarray(layer.bias))

    def _normalise(self, layer: keras.Layer) -> None:
        channels = layer.output.shape[-1]
        factor = np.asarray(layer.gamma) if layer.scale else np.ones(channels)
        offset = np.asarray(layer.beta) if layer.center else np.zeros(channels)
        turned, normed = f"{layer.name}_turned", f"{layer.name}_normed"
        self._write("Permute", turned, [self._take(layer.input)], {0: _CHANNELS_FIRST_TO_LAST}, turned)
        self._write("LayerNorm", normed, [turned], {0: channels, 1: layer.epsilon, 2: 1}, normed)
        self.weights += [_bytes(factor), _bytes(offset)]
        self._write("Permute", layer.name, [normed], {0: _BACK}, layer.name)
        self._hold(layer)

    def _emit(self, kind: str, name: str, inputs: Sequence[Any], settings: Settings, layer: keras.Layer) -> None:
        self._write(kind, name, [self._take(tensor) for tensor in inputs], settings, name)
        self._hold(layer)

    def _write(self, kind: str, name: str, inputs: Sequence[str], settings: Settings, output: str) -> None:
        values = " ".join(f"{key}={value}" for key, value in sorted(settings.items()))
        self.lines.append(f"{kind} {name} {len(inputs)} 1 {' '.join([*inputs, output])} {values}")
        self.tensors += 1

    def _hold(self, layer: keras.Layer) -> None:
        name = "image" if type(layer).__name__ == "InputLayer" else layer.name
        self._holders[id(layer.output)] = name
        self._offer(name, self._readers[id(layer.output)])

    def _offer(self, name: str, readers: int) -> None:
        """Names for all readers of a tensor; those of several are written when the first reads."""
        self._left[name] = [name] if readers < 2 else [f"{name}_{number}" for number in range(readers)]

    def _take(self, tensor: Any) -> str:
        holder = self._holders[id(tensor)]
        names = self._left[holder]
        if names[0] == f"{holder}_0":
            self.lines.append(f"Split {holder}_split 1 {len(names)} {holder} {' '.join(names)}")
            self.tensors += len(names)
        return names.pop(0)

    def _weigh(self, kernel: Any, bias: Any) -> None:
        self.weights += [_FLOAT32, _bytes(kernel), _bytes(bias)]


def _distinct_inputs(layer: keras.Layer) -> list[Any]:
    if type(layer).__name__ == "InputLayer":
        return []
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return list({id(tensor): tensor for tensor in inputs}.values())


def _activation(layer: keras.Layer) -> str | None:
    """How a convolution writes it; None where it is none that it can apply."""
    kind = type(layer).__name__
    if kind == "Activation" and layer.activation.__name__ in ("relu", "relu6"):
        return _RELU if layer.activation.__name__ == "relu" else _CLIP.format(top=6.0)
    if kind == "ReLU" and not layer.negative_slope and not layer.threshold:
        return _RELU if layer.max_value is None else _CLIP.format(top=float(layer.max_value))
    return None


def _bytes(array: Any) -> bytes:
    return np.asarray(array, "<f4", order="C").tobytes()
