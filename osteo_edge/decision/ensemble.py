"""Members' scores to one: seven ways, each from logits (members, labels) to logits (labels,).

Training judges ensembles with these same functions, so that what was measured is what is shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import DenseLayer, Ensemble, Tree

if TYPE_CHECKING:
    from osteo_edge.arrays import Doubles, Reals


LOWEST_PROBABILITY = 1e-7
_ACTIVATIONS: dict[str, Callable[[Doubles], Doubles]] = {
    "linear": lambda values: values,
    "relu": lambda values: np.maximum(values, 0.0),
    "tanh": np.tanh,
}


def combine(ensemble: Ensemble, logits: Reals) -> Doubles:
    """One member's logits each row to the logits of all together; one member alone stays as it is.

    Args:
        logits: (members, labels); for a cascade those of the members that were run.

    Returns:
        (labels,) float64. Their softmax are the probabilities.
    """
    scores = np.asarray(logits, np.float64)
    if ensemble.kind == "stacking":
        return stack(ensemble.layers, scores)
    if ensemble.kind == "forest":
        return _as_logits(forest(ensemble.trees, scores))
    if len(scores) == 1:
        return scores[0]  # type: ignore[no-any-return]
    probabilities = softmax(scores)
    if ensemble.kind == "vote":
        return _as_logits(vote(probabilities))
    if ensemble.kind == "gompertz":
        return _as_logits(gompertz(probabilities))
    weights = np.asarray(ensemble.weights) if ensemble.kind == "weighted" else np.full(len(scores), 1 / len(scores))
    return _as_logits(weights @ probabilities)


def is_sure(ensemble: Ensemble, logits: Sequence[Reals]) -> bool:
    """Whether a cascade stops after the members that were run."""
    done = len(logits)
    if ensemble.kind != "cascade" or done > len(ensemble.exits):
        return False
    return bool(softmax(np.asarray(logits, np.float64)).mean(axis=0).max() >= ensemble.exits[done - 1])


def shares(ensemble: Ensemble, members: int) -> tuple[float, ...]:
    """What each of the first ``members`` members counts for in an explanation, summing to one.

    The weights of ``weighted``; the same for all otherwise. A stacker's, a forest's or a vote's scores are no
    weighted sum of the members', so that for them this is a convention.
    """
    return ensemble.weights or (1 / members,) * members


def stack(layers: Sequence[DenseLayer], logits: Doubles) -> Doubles:
    """Wolpert's stacking (Neural Networks 1992): dense layers on all members' centred logits, side by side."""
    values = _side_by_side(logits)
    for layer in layers:
        values = _ACTIVATIONS[layer.activation](values @ np.asarray(layer.kernel) + np.asarray(layer.bias))
    return values


def forest(trees: Sequence[Tree], logits: Doubles) -> Doubles:
    """Mean of the trees' probabilities (Breiman, Machine Learning 2001), (labels,); the inputs are those of ``stack``.

    Inputs are rounded to single precision, as scikit-learn does before it compares them with a threshold.
    """
    inputs = _side_by_side(logits).astype(np.float32).tolist()
    return np.array([tree.values[_leaf(tree, inputs)] for tree in trees]).mean(axis=0)  # type: ignore[no-any-return]


def _leaf(tree: Tree, inputs: Sequence[float]) -> int:
    node = 0
    while tree.feature[node] >= 0:
        goes_left = inputs[tree.feature[node]] <= tree.threshold[node]
        node = tree.left[node] if goes_left else tree.right[node]
    return node


def _side_by_side(logits: Doubles) -> Doubles:
    """All members' logits, each less its mean over the labels, (members * labels,)."""
    return (logits - logits.mean(axis=1, keepdims=True)).ravel()  # type: ignore[no-any-return]


def vote(probabilities: Doubles) -> Doubles:
    """Share of the members that find each label likeliest, (labels,)."""
    winners = probabilities.argmax(axis=1)
    return np.bincount(winners, minlength=probabilities.shape[1]) / len(winners)


def gompertz(probabilities: Doubles) -> Doubles:
    """Fuzzy rank fusion (Kundu et al., Scientific Reports 2021), (labels,) summing to one, the higher the better.

    Each member ranks a label by the re-parameterised Gompertz function 1 - exp(-exp(-2 p)), lower for surer
    labels. The fused score is the sum of the ranks times the complement of the mean probability; the lowest
    wins. It is turned into shares by its distance from the highest that it can be.
    """
    ranks = 1 - np.exp(-np.exp(-2.0 * probabilities))
    highest = (1 - np.exp(-1.0)) * len(probabilities)
    fused = ranks.sum(axis=0) * (1 - probabilities.mean(axis=0))
    distance = highest - fused
    return distance / distance.sum()  # type: ignore[no-any-return]


def _as_logits(probabilities: Doubles) -> Doubles:
    return np.log(np.maximum(probabilities, LOWEST_PROBABILITY))
