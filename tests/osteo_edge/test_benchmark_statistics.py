"""Percentiles, and the early-stopping estimate against numbers that are known."""

from __future__ import annotations

import random

import numpy as np
import pytest

from osteo_edge.benchmark.statistics import dropped_slowest, early_stopping_estimate, percentile, summarize


@pytest.mark.parametrize(("queries", "dropped"), [(63, None), (64, 0), (256, 13), (1024, 79), (1, None), (0, None)])
def test_as_many_of_the_slowest_are_dropped_as_the_rule_says(queries: int, dropped: int | None) -> None:
    assert dropped_slowest(queries, 0.9) == dropped


def test_a_higher_percentile_asks_for_more_queries() -> None:
    assert dropped_slowest(661, 0.99) is None
    assert dropped_slowest(662, 0.99) == 0


def test_with_many_queries_the_estimate_comes_close_to_the_percentile() -> None:
    dropped = dropped_slowest(24_576, 0.9)
    assert dropped is not None
    assert 1 - dropped / 24_576 == pytest.approx(0.9045, abs=0.0001)


def test_the_estimate_is_the_sample_after_those_dropped() -> None:
    samples = [float(number) for number in range(1, 257)]
    random.Random(0).shuffle(samples)
    assert early_stopping_estimate(samples) == 256 - 13
    assert early_stopping_estimate(samples[:64]) == max(samples[:64])
    assert early_stopping_estimate(samples[:63]) is None


def test_the_estimate_holds_the_true_percentile_99_times_in_100() -> None:
    """Of standard exponential latencies the 90th percentile is known: ln 10."""
    random_ = np.random.default_rng(0)
    estimates = [early_stopping_estimate(row) for row in random_.exponential(size=(2000, 256)).tolist()]
    above = np.mean([estimate >= np.log(10) for estimate in estimates if estimate is not None])
    assert 0.985 <= above < 1


def test_percentiles_are_those_of_numpy() -> None:
    samples = np.random.default_rng(1).lognormal(size=101)
    found = summarize(samples.tolist())
    low, middle, high, p90, p99 = np.percentile(samples, [25, 50, 75, 90, 99])
    assert (found.p50, found.p90, found.p99) == pytest.approx((middle, p90, p99))
    assert found.iqr == pytest.approx(high - low)
    assert (found.count, found.max) == (101, samples.max())


def test_one_sample_is_all_its_percentiles_and_none_is_an_error() -> None:
    assert summarize([2.0]).p99 == 2.0
    assert summarize([2.0]).p90_estimate is None
    with pytest.raises(ValueError, match="no samples"):
        percentile([], 0.5)
