"""Does an exported file answer as the trained network does? Every file is loaded and run; no converter is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from export.errors import ExportError
from export.graph import FEATURES, INPUT_NAME, LOGITS
from osteo_edge.decision.scores import softmax
from osteo_edge.errors import OsteoEdgeError
from train.runs.arrays import Doubles, Floats

if TYPE_CHECKING:
    import keras

    from osteo_edge.engines.base import Engine
    from osteo_edge.manifest import EngineName, InputSpec

EXACT_TOLERANCE = 1e-4
INFERENCE_FORM_TOLERANCE = 1e-5
MIN_MARGIN = 0.02
_BATCH = 8


@dataclass(frozen=True)
class Comparison:
    """How far the probabilities of one network lie from the reference's, over all knees.

    Attributes:
        max_difference, mean_difference: of a probability, absolute.
        label_agreement: share of knees with the same likeliest class.
        clear_knees: number of knees whose two likeliest classes lie more than 0.02 apart in the reference.
        clear_label_agreement: ``label_agreement`` among those.
    """

    knees: int
    max_difference: float
    mean_difference: float
    label_agreement: float
    clear_knees: int
    clear_label_agreement: float


@dataclass(frozen=True)
class Answers:
    """What a network says of N knees: probabilities (N, labels) float64 and the mean feature map (N, C) float32."""

    probabilities: Doubles
    pooled: Floats
    logits: Floats


def compare(reference: Doubles, answers: Doubles) -> Comparison:
    """Compare two arrays of probabilities, (N, labels) each.

    Raises:
        ExportError: a probability is not a number.
    """
    if not np.isfinite(answers).all():
        raise ExportError("an exported network gives scores that are not numbers; its weights or its graph were lost")
    difference = np.abs(answers - reference)
    same = answers.argmax(axis=1) == reference.argmax(axis=1)
    ordered = np.sort(reference, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > MIN_MARGIN
    return Comparison(
        knees=len(reference),
        max_difference=_rounded_up(difference.max()),
        mean_difference=_rounded(difference.mean()),
        label_agreement=round(float(same.mean()), 4),
        clear_knees=int(clear.sum()),
        clear_label_agreement=round(float(same[clear].mean()), 4) if clear.any() else 1.0,
    )


def run_network(network: keras.Model, knees: Floats) -> Answers:
    """The Keras network's answers for knees (N, H, W, 1)."""
    batches = [network(knees[start : start + _BATCH], training=False) for start in range(0, len(knees), _BATCH)]
    logits = np.concatenate([np.asarray(batch[LOGITS]) for batch in batches])
    pooled = np.concatenate([np.asarray(batch[FEATURES]).mean(axis=(1, 2)) for batch in batches])
    return Answers(softmax(logits), pooled, logits)


def run_file(engine_name: EngineName, model: bytes, knees: Floats, *, spec: InputSpec, what: str) -> Answers:
    """An exported file's answers for knees (N, H, W, 1), through the runtime's own engine.

    Raises:
        ExportError: the engine does not take the file, or its tensors are not those of the contract.
    """
    try:
        engine = _open(engine_name, model)
        _require_contract(engine, spec, what)
        outputs = [engine.run({INPUT_NAME: knee[np.newaxis]}) for knee in knees]
        engine.close()
    except OsteoEdgeError as error:
        raise ExportError(f"{what} cannot be run: {error}") from error
    logits = np.concatenate([output[LOGITS] for output in outputs])
    pooled = np.concatenate([output[FEATURES].mean(axis=(1, 2)) for output in outputs])
    return Answers(softmax(logits), pooled, logits)


def require_parity(comparison: Comparison, *, tolerance: float, what: str) -> Comparison:
    """Return ``comparison`` when every probability is within ``tolerance``.

    Raises:
        ExportError: names what is off, and by how much.
    """
    if not comparison.max_difference <= tolerance:
        raise ExportError(
            f"{what} does not answer as the trained network does: a probability is off by "
            f"{comparison.max_difference:.2g}, {tolerance:g} allowed; nothing was written"
        )
    return comparison


def require_linear_head(answers: Answers, head: Floats, *, what: str) -> None:
    """Check logits = mean over the map of features @ head + bias, on which the runtime's saliency stands.

    Raises:
        ExportError: the difference is no constant.
    """
    bias = answers.logits - answers.pooled @ head
    if np.abs(bias - bias[0]).max() > 1e-3 * max(1.0, float(np.abs(answers.logits).max())):
        raise ExportError(f"{what}: logits are not the mean feature map times the head's weights; saliency would be wrong")


def _open(name: EngineName, model: bytes) -> Engine:
    from osteo_edge.engines.select import available_threads

    if name == "onnxruntime":
        from osteo_edge.engines.onnx import OnnxEngine

        return OnnxEngine(model, threads=available_threads())
    from osteo_edge.engines.litert import LitertEngine

    return LitertEngine(model, threads=available_threads())


def _require_contract(engine: Engine, spec: InputSpec, what: str) -> None:
    inputs = {tensor.name: tensor.shape for tensor in engine.inputs}
    outputs = {tensor.name: len(tensor.shape) for tensor in engine.outputs}
    if inputs != {INPUT_NAME: (1, spec.height_px, spec.width_px, 1)} or outputs != {LOGITS: 2, FEATURES: 4}:
        raise ExportError(f"{what} has other tensors than the runtime asks for: {inputs}, {sorted(outputs)}")


def _rounded_up(value: float) -> float:
    """Two digits and never less than was measured, so that no tolerance is met by rounding."""
    shown = _rounded(value)
    return shown if shown >= value else _rounded(shown * 1.05)


def _rounded(value: float) -> float:
    """Two digits: more would only tell the machine on which it was measured."""
    return float(f"{value:.2g}")
