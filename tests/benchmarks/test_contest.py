"""Persistent processes against each other: what comes back, and what a failure looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pytest

from benchmarks.contest import Entry, hold, ratio
from osteo_edge.engines.onnx import OnnxEngine


def test_every_entry_has_a_sample_a_round_for_each_model(make_entry: Callable[..., Entry]) -> None:
    seen: list[int] = []
    timings = hold([make_entry("one", 1), make_entry("two", 1, 2)], rounds=3, seconds=0, on_round=lambda: seen.append(1))
    assert timings["one"].milliseconds.shape == (3, 1)
    assert timings["two"].milliseconds.shape == (3, 2)
    assert (timings["two"].milliseconds > 0).all()
    np.testing.assert_allclose(timings["two"].total, timings["two"].milliseconds.sum(axis=1))
    assert len(timings["two"].load_ms) == len(timings["two"].rss_mb) == 2
    assert len(seen) == 4  # the round that is not counted too


def test_answers_are_the_runtimes_own(make_entry: Callable[..., Entry], knees: Path) -> None:
    entry = make_entry("one", 3)
    engine = OnnxEngine(entry.models[0].read_bytes(), threads=1)
    expected = np.stack([engine.run({"image": knee[np.newaxis]})["logits"][0] for knee in np.load(knees)])
    timings = hold([entry, make_entry("silent", 1)], rounds=3, seconds=0, answering={"one"})
    np.testing.assert_array_equal(timings["one"].logits[0], expected.astype(np.float64))
    assert timings["silent"].logits == ()


def test_a_model_that_cannot_be_loaded_is_named(make_entry: Callable[..., Entry], tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(click.ClickException, match=r"the broken one failed: .*cannot load the model"):
        hold([replace(make_entry("the broken one", 1), models=(broken,))], rounds=3, seconds=0)


def test_a_ratio_is_of_the_rounds_not_of_the_medians() -> None:
    """A machine that slows down slows all entries of a round alike."""
    reference = np.array([10.0, 100.0, 20.0])
    assert ratio(np.array([5.0, 50.0, 10.0]), reference) == 2.0
    assert ratio(reference, reference) == 1.0
