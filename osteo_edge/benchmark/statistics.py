"""What is said of a list of latencies; plain Python, so that the process that only waits and counts stays small."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

ESTIMATED_PERCENTILE = 0.9
CONFIDENCE = 0.99


@dataclass(frozen=True)
class Summary:
    """Of samples in milliseconds.

    Attributes:
        p50, p90, p99: interpolated percentiles.
        iqr: distance between the 25th and the 75th percentile.
        p90_estimate: MLPerf-style single-stream estimate of the 90th percentile by early stopping, an upper bound at
            99 % confidence; None with fewer than 64 samples.
    """

    count: int
    p50: float
    p90: float
    p99: float
    iqr: float
    max: float
    p90_estimate: float | None


def summarize(samples: Sequence[float]) -> Summary:
    """Describe one or more samples.

    Raises:
        ValueError: there is none.
    """
    ordered = sorted(samples)
    return Summary(
        count=len(ordered),
        p50=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        iqr=percentile(ordered, 0.75) - percentile(ordered, 0.25),
        max=ordered[-1],
        p90_estimate=early_stopping_estimate(ordered),
    )


def percentile(ordered: Sequence[float], share: float) -> float:
    """Interpolated between the two nearest of ascending samples.

    Raises:
        ValueError: there is no sample.
    """
    if not ordered:
        raise ValueError("no samples")
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def early_stopping_estimate(samples: Sequence[float], share: float = ESTIMATED_PERCENTILE) -> float | None:
    """A bound that the percentile ``share`` of further queries stays under, at 99 % confidence; None with too few samples."""
    dropped = dropped_slowest(len(samples), share)
    return None if dropped is None else sorted(samples)[-1 - dropped]


def dropped_slowest(count: int, share: float = ESTIMATED_PERCENTILE) -> int | None:
    """How many of the slowest of ``count`` queries the estimate passes over; None where there are too few for one.

    With t the largest number of slow queries whose chance, P(Binomial(count, 1 - share) <= t), is at most 1 - 0.99, these
    are t - 1: the single-stream rule of MLPerf Inference with no tolerance (d = 0).
    """
    chance, cumulative, largest = count * math.log(share), 0.0, -1
    for number in range(count + 1):
        cumulative += math.exp(chance)
        if cumulative > 1 - CONFIDENCE:
            break
        largest = number
        if number < count:  # from P(X = number) to P(X = number + 1)
            chance += math.log((count - number) / (number + 1)) + math.log((1 - share) / share)
    return largest - 1 if largest >= 1 else None
