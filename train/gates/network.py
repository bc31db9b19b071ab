"""The gate's network: edges of a window, one hidden layer, one number. Fitted by plain gradient descent in numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteo_edge.arrays import Floats

EPOCHS, BATCH = 12, 128
HIDDEN, MEMBERS = 16, 3
RATE, DECAY = 2e-3, 2e-3
# Edges that are hidden at random in each step, so that no few of them decide.
HIDDEN_SHARE = 0.6


@dataclass(frozen=True)
class Network:
    """``relu(features @ first + first_constant) @ second + second_constant``: the logarithm of the odds for a knee.

    Attributes:
        first: (features, hidden) float32; second: (hidden,).
    """

    first: Floats
    first_constant: Floats
    second: Floats
    second_constant: float

    def logits(self, features: Floats) -> Floats:
        """(n,) of (n, features)."""
        hidden = np.maximum(features @ self.first + self.first_constant, 0)
        return np.asarray(hidden @ self.second + self.second_constant, np.float32)


def fit(features: Floats, mirrored: Floats, is_knee: NDArray[np.bool_], weights: Floats, seed: int, members: int) -> Network:
    """The mean of several networks, which is one again.

    Args:
        features, mirrored: (n, features) of each window and of its mirror image.
        weights: (n,) how much each counts.
    """
    fitted = [_fit_one(features, mirrored, is_knee, weights, np.random.default_rng([seed, one])) for one in range(members)]
    return Network(
        np.concatenate([one.first for one in fitted], axis=1),
        np.concatenate([one.first_constant for one in fitted]),
        np.concatenate([one.second / np.float32(members) for one in fitted], dtype=np.float32),
        float(np.mean([one.second_constant for one in fitted])),
    )


def _fit_one(
    features: Floats, mirrored: Floats, is_knee: NDArray[np.bool_], weights: Floats, rng: np.random.Generator
) -> Network:
    inputs = features.shape[1]
    parameters = [
        rng.normal(0, np.sqrt(2 / inputs), (inputs, HIDDEN)).astype(np.float32),
        np.zeros(HIDDEN, np.float32),
        rng.normal(0, np.sqrt(1 / HIDDEN), HIDDEN).astype(np.float32),
        np.zeros((), np.float32),
    ]
    descent = _Descent(parameters)
    targets, scale = is_knee.astype(np.float32), weights / weights.mean()
    steps = EPOCHS * -(-len(targets) // BATCH)
    for step, batch in enumerate(_batches(len(targets), rng)):
        flipped = rng.random(len(batch)) < 0.5
        x = np.where(flipped[:, None], mirrored[batch], features[batch]).astype(np.float32)
        kept = rng.random(inputs) >= HIDDEN_SHARE
        x *= kept / np.float32(1 - HIDDEN_SHARE)
        rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
        descent.step(_gradients(parameters, x, targets[batch], scale[batch]), rate)
    return Network(parameters[0], parameters[1], parameters[2], float(parameters[3]))


def _batches(count: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    for _ in range(EPOCHS):
        order = rng.permutation(count)
        yield from (order[start : start + BATCH] for start in range(0, count, BATCH))


def _gradients(parameters: list[Floats], x: Floats, targets: Floats, scale: Floats) -> list[Floats]:
    first, first_constant, second, second_constant = parameters
    hidden = np.maximum(x @ first + first_constant, 0)
    logits = hidden @ second + second_constant
    error = (scale * (1 / (1 + np.exp(-logits)) - targets) / len(x)).astype(np.float32)
    back = np.outer(error, second) * (hidden > 0)
    return [x.T @ back, back.sum(axis=0), hidden.T @ error, np.asarray(error.sum(), np.float32)]


class _Descent:
    """Adam with decoupled decay of the weights (Loshchilov & Hutter, ICLR 2019)."""

    def __init__(self, parameters: list[Floats]) -> None:
        self.parameters = parameters
        self.means = [np.zeros_like(one) for one in parameters]
        self.squares = [np.zeros_like(one) for one in parameters]
        self.steps = 0

    def step(self, gradients: list[Floats], rate: float) -> None:
        self.steps += 1
        for parameter, mean, square, gradient in zip(self.parameters, self.means, self.squares, gradients, strict=True):
            mean += np.float32(0.1) * (gradient - mean)
            square += np.float32(0.001) * (gradient**2 - square)
            unbiased = mean / (1 - 0.9**self.steps), square / (1 - 0.999**self.steps)
            step = unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + DECAY * parameter * (parameter.ndim == 2)
            parameter -= (rate * step).astype(np.float32)
