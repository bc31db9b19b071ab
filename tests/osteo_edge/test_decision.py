"""Scores, label sets and explanations against worked examples."""

from __future__ import annotations

import io

import numpy as np
import pytest

from osteo_edge.decision.conformal import label_set
from osteo_edge.decision.explanation import read_head_weights, saliency
from osteo_edge.decision.scores import mean_logits, softmax
from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Conformal


def test_softmax_sums_to_one_and_survives_large_scores() -> None:
    np.testing.assert_allclose(softmax(np.array([0.0, np.log(3.0)])), [0.25, 0.75])
    np.testing.assert_allclose(softmax(np.array([1000.0, 1000.0])), [0.5, 0.5])


def test_the_picture_is_the_mean_of_its_knees() -> None:
    knees = [np.array([1, 2, 3], np.float32), np.array([3, 2, 1], np.float32)]
    np.testing.assert_allclose(mean_logits(knees), [2, 2, 2])


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ((0.8, 0.15, 0.05), ("normal",)),
        ((0.5, 0.3, 0.2), ("normal", "osteopenia", "osteoporosis")),
        ((0.05, 0.5, 0.45), ("osteopenia", "osteoporosis")),
        ((0.19, 0.62, 0.19), ("osteopenia",)),
    ],
)
def test_label_set_holds_what_cannot_be_ruled_out(probabilities: tuple[float, ...], expected: tuple[str, ...]) -> None:
    named = dict(zip(("normal", "osteopenia", "osteoporosis"), probabilities, strict=True))
    assert label_set(named, Conformal(0.9, 0.2, 100)) == expected


def test_label_set_is_never_empty() -> None:
    assert label_set({"normal": 0.3, "osteopenia": 0.36, "osteoporosis": 0.34}, Conformal(0.5, 0.9, 10)) == ("osteopenia",)


def test_saliency_is_each_place_s_share_of_the_logit() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(1, 3, 2, 5)).astype(np.float32)
    weights = random.normal(size=(5, 3)).astype(np.float32)
    logits = features.mean(axis=(0, 1, 2)) @ weights
    for index in range(3):
        share = saliency(features, weights, index)
        assert share.shape == (3, 2)
        np.testing.assert_allclose(share.mean(), logits[index] - logits.mean(), rtol=1e-4, atol=1e-6)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", npy(np.zeros((5, 2), np.float32)), npy(np.zeros(5, np.float32)), npy(np.zeros((5, 3)))]
)
def test_other_head_weights_are_refused(data: bytes) -> None:
    with pytest.raises(ManifestError):
        read_head_weights(data, labels=3)
    assert read_head_weights(npy(np.ones((5, 3), np.float32)), labels=3).shape == (5, 3)
