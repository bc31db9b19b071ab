"""A plain chain of convolutions, such as VGG, written for ncnn: its ``.param`` text and its ``.bin`` of weights.

The format is ncnn's own (docs/developer-guide/param-and-model-file-structure.md and operation-param-weight-table.md there).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from export.graph import LOGITS

if TYPE_CHECKING:
    import keras

_MAGIC = 7767517
_FLOAT32 = struct.pack("<I", 0)
_RELU = 1
_VALID = 1


def write_ncnn(form: keras.Model, folder: Path) -> Path:
    """Write ``model.param`` and ``model.bin``, which takes "image" and gives "logits"; the path of the former.

    Raises:
        ClickException: a layer that a plain chain does not have.
    """
    _, height, width, channels = form.inputs[0].shape
    chain = _Chain([f"Input image 0 1 image 0={width} 1={height} 2={channels}"])
    for layer in form.layers:
        chain.add(layer)
    if form.output[LOGITS] is not form.layers[-1].output:
        raise click.ClickException("the network does not end with its logits, so it is no plain chain")
    lines = [str(_MAGIC), f"{len(chain.lines)} {len(chain.lines)}", *chain.lines]
    lines[-1] = lines[-1].replace(f" {chain.last} ", f" {LOGITS} ")
    path = folder / "model.param"
    path.write_text("\n".join(lines) + "\n", encoding="ascii")
    path.with_suffix(".bin").write_bytes(b"".join(chain.weights))
    return path


class _Chain:
    """Lines and weights so far; ``last`` is the tensor that the next layer takes."""

    def __init__(self, lines: list[str]) -> None:
        self.lines, self.weights, self.last = lines, list[bytes](), "image"

    def add(self, layer: keras.Layer) -> None:
        kind = type(layer).__name__
        if kind in ("InputLayer", "Concatenate"):
            return  # a grey picture repeated is made by the rescaling after it
        if kind == "Activation" and layer.activation.__name__ == "relu":
            self.lines[-1] += f" 9={_RELU}"
        elif kind == "Rescaling":
            self._rescaling(layer)
        elif kind == "Conv2D":
            self._convolution(layer)
        elif kind == "MaxPooling2D" and layer.padding == "valid":
            self._add("Pooling", layer.name, {0: 0, 1: layer.pool_size[0], 2: layer.strides[0], 5: _VALID})
        elif kind == "GlobalAveragePooling2D":
            self._add("Pooling", layer.name, {0: 1, 4: 1})
        elif kind == "Dense":
            kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias)
            self._add("InnerProduct", layer.name, {0: len(bias), 1: 1, 2: kernel.size}, kernel.T, bias)
        else:
            raise click.ClickException(f"{layer.name} is a {kind}, which a plain chain of convolutions does not have")

    def _rescaling(self, layer: keras.Layer) -> None:
        """One convolution of one pixel, from the grey channel to all."""
        scale, offset = np.asarray(layer.scale, np.float32), np.asarray(layer.offset, np.float32)
        self._add("Convolution", layer.name, {0: scale.size, 1: 1, 5: 1, 6: scale.size}, scale, offset)

    def _convolution(self, layer: keras.Layer) -> None:
        kernel, bias = np.asarray(layer.kernel), np.asarray(layer.bias)
        if layer.padding != "same" or tuple(layer.strides) != (1, 1) or layer.groups != 1 or not layer.use_bias:
            raise click.ClickException(f"{layer.name} is no plain convolution with a step of one")
        settings = {0: kernel.shape[3], 1: kernel.shape[1], 11: kernel.shape[0], 4: kernel.shape[0] // 2, 5: 1, 6: kernel.size}
        self._add("Convolution", layer.name, settings, kernel.transpose(3, 2, 0, 1), bias)

    def _add(self, kind: str, name: str, settings: dict[int, int], kernel: Any = None, bias: Any = None) -> None:
        values = " ".join(f"{key}={value}" for key, value in sorted(settings.items()))
        self.lines.append(f"{kind} {name} 1 1 {self.last} {name} {values}")
        self.last = name
        if kernel is not None:
            self.weights += [_FLOAT32, np.asarray(kernel, "<f4", order="C").tobytes(), np.asarray(bias, "<f4").tobytes()]
