"""Ranges of activations, measured on the representative set and narrowed by rules of our own.

ONNX Runtime's entropy calibration has as many bins as levels by default and so always keeps the full range: it writes the
same file as MinMax. Here every tensor has a histogram of 2,048 bins over all knees.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime as ort

from export.graph import INPUT_NAME
from export.plans import Ranges
from export.quantization.records import Limits
from export.quantization.wiring import Wiring
from train.runs.arrays import Doubles, Floats, Integers

BINS = 2048
LEVELS = 255
_SHARES: Mapping[str, float] = {"p99.99": 0.9999, "p99.9": 0.999}
_NARROWEST = 0.2
_DIGITS = 4  # so that a kernel's last digits, which depend on the processor, leave the file's bytes alone


@dataclass(frozen=True)
class Histogram:
    """Values of one tensor over all knees: their least and largest, and counts in 2,048 even bins between."""

    low: float
    high: float
    counts: Integers = field(repr=False)

    def limits(self, ranges: Ranges) -> Limits:
        """Lowest and highest value that gets a level of its own; zero always does."""
        if ranges == "least_error":
            low, high = self._least_error()
        elif ranges == "minmax":
            low, high = self.low, self.high
        else:
            low, high = self._share(_SHARES[ranges])
        return _shortened(min(low, 0.0)), _shortened(max(high, 0.0))

    def _centres(self) -> Doubles:
        edges = np.linspace(self.low, self.high, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2

    def _share(self, share: float) -> Limits:
        """At most ``1 - share`` of the values lie beyond either limit."""
        up = np.cumsum(self.counts) / self.counts.sum()
        edges = np.linspace(self.low, self.high, BINS + 1)
        return float(edges[np.searchsorted(up, 1 - share)]), float(edges[min(int(np.searchsorted(up, share)) + 1, BINS)])

    def _least_error(self) -> Limits:
        centres, weights = self._centres(), self.counts / self.counts.sum()
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        best = (np.inf, low, high)
        for part in np.linspace(_NARROWEST, 1.0, 81):
            bottom, top = low * part, high * part
            beyond = centres - np.clip(centres, bottom, top)
            rounding = np.where(beyond == 0, ((top - bottom) / LEVELS) ** 2 / 12, 0.0)
            best = min(best, (float(weights @ (beyond**2 + rounding)), bottom, top))
        return best[1:]


def measure(model: onnx.ModelProto, tensors: Sequence[str], knees: Iterable[Floats]) -> Mapping[str, Histogram]:
    """Histograms of inner tensors of ``model`` over knees (1, H, W, 1), the same for any number of processors."""
    names, pictures = list(dict.fromkeys(tensors)), list(knees)
    session = one_thread_session(_showing(model, names))
    lows, highs = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for picture in pictures:
        values = session.run(names, {INPUT_NAME: picture})
        lows = np.minimum(lows, [value.min() for value in values])
        highs = np.maximum(highs, [value.max() for value in values])
    counts = np.zeros((len(names), BINS), np.int64)
    spans = [(low, high) if high > low else (low, low + 1e-6) for low, high in zip(lows, highs, strict=True)]
    for picture in pictures:
        for index, value in enumerate(session.run(names, {INPUT_NAME: picture})):
            counts[index] += np.histogram(value, BINS, spans[index])[0]
    return {name: Histogram(float(spans[i][0]), float(spans[i][1]), counts[i]) for i, name in enumerate(names)}


def one_thread_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """A session whose sums are the same whatever the number of processors, with nothing fused."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _showing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy that gives the tensors ``names``."""
    shapes = Wiring.of(model).shapes
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shapes[name]) for name in names)
    return copy


def _shortened(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
