"""Scores, label sets and explanations against worked examples."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteo_edge import BoneStatus, open_bundle
from osteo_edge.decision.conformal import TIE, label_set, standings, without_gap
from osteo_edge.decision.explanation import read_head_weights, saliency
from osteo_edge.decision.scores import mean_logits, median, softmax
from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Conformal
from osteo_edge.questions import BONE_DENSITY
from tests.bundles import DENSITY

LABELS = ("normal", "osteopenia", "osteoporosis")


def named(probabilities: tuple[float, ...]) -> dict[str, float]:
    return dict(zip(LABELS, probabilities, strict=True))


def test_softmax_sums_to_one_and_survives_large_scores() -> None:
    np.testing.assert_allclose(softmax(np.array([0.0, np.log(3.0)])), [0.25, 0.75])
    np.testing.assert_allclose(softmax(np.array([1000.0, 1000.0])), [0.5, 0.5])


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ((0.45, 0.15, 0.40), "osteopenia"),
        ((0.5, 0.2, 0.3), "normal"),
        ((0.1, 0.2, 0.7), "osteoporosis"),
        ((0.2, 0.2, 0.1), "osteopenia"),
        ((0.0, 0.0, 1.0), "osteoporosis"),
    ],
)
def test_the_median_has_half_on_either_side(shares: tuple[float, ...], expected: str) -> None:
    assert median(named(shares)) == expected


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
    assert label_set(named(probabilities), Conformal(0.9, (0.2,) * 3, 100), BONE_DENSITY) == expected


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ((0.334, 0.333, 0.333), LABELS),
        ((0.36, 0.33, 0.31), LABELS),
        ((0.30, 0.36, 0.34), ("osteopenia", "osteoporosis")),
        ((0.45, 0.10, 0.45), LABELS),
        ((0.48, 0.44, 0.08), ("normal", "osteopenia")),
        ((0.10, 0.80, 0.10), ("osteopenia",)),
    ],
)
def test_what_cannot_be_told_from_the_likeliest_class_remains_whatever_the_threshold(
    probabilities: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    assert label_set(named(probabilities), Conformal(0.5, (0.99,) * 3, 10), BONE_DENSITY) == expected


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [
        ((0.25, 0.65, 0.10), ("osteopenia",)),  # the same share is too little for the first class and enough for the last
        ((0.10, 0.65, 0.25), ("osteopenia", "osteoporosis")),
        ((0.60, 0.30, 0.10), ("normal",)),
        ((0.44, 0.46, 0.10), ("normal", "osteopenia")),  # a tie, whatever the thresholds
        ((0.45, 0.10, 0.45), LABELS),
        ((0.65, 0.10, 0.25), LABELS),  # and what lies between
    ],
)
def test_each_class_has_a_threshold_of_its_own(probabilities: tuple[float, ...], expected: tuple[str, ...]) -> None:
    assert label_set(named(probabilities), Conformal(0.9, (0.5, 0.4, 0.2), 100), BONE_DENSITY) == expected


def test_what_lies_between_two_remaining_classes_remains() -> None:
    assert label_set(named((0.5, 0.1, 0.4)), Conformal(0.9, (0.3,) * 3, 100), BONE_DENSITY) == LABELS


def test_by_answer_a_class_stands_with_the_answer_that_holds_it() -> None:
    """Normal is an answer, and the other two together are one."""
    shares = named((0.36, 0.04, 0.60))
    assert list(standings(shares, BONE_DENSITY).values()) == pytest.approx([0.36, (0.04 * 0.64) ** 0.5, (0.60 * 0.64) ** 0.5])
    for by_answer, expected in ((False, LABELS), (True, ("osteopenia", "osteoporosis"))):
        conformal = Conformal(0.9, (0.361 if by_answer else 0.36, 0.15, 0.5), 100, by_answer=by_answer)
        assert label_set(shares, conformal, BONE_DENSITY) == expected


scores = st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda numbers: sum(numbers) > 1e-6)


@given(scores, st.lists(st.floats(0, 1), min_size=3, max_size=3), st.floats(0, TIE))
def test_a_label_set_is_never_empty_has_no_gap_and_leaves_ties_in(
    numbers: list[float], thresholds: list[float], spread: float
) -> None:
    shares = tuple(number / sum(numbers) for number in numbers)
    kept = label_set(named(shares), Conformal(0.9, tuple(thresholds), 100), BONE_DENSITY)
    places = [LABELS.index(label) for label in kept]
    assert places == list(range(places[0], places[-1] + 1))
    for (label, share), enough in zip(named(shares).items(), thresholds, strict=True):
        assert label in kept or (share < enough and share < max(shares) - TIE)
    nearly_flat = named(tuple(0.3 + spread * number for number in numbers))
    assert label_set(nearly_flat, Conformal(0.9, tuple(thresholds), 100), BONE_DENSITY) == LABELS


def test_a_gap_is_filled_in_the_order_of_the_labels() -> None:
    assert without_gap({"c", "a"}, "abcd") == ("a", "b", "c")
    assert without_gap((), "abcd") == ()


def test_the_order_of_the_labels_is_that_of_falling_bone_density() -> None:
    assert tuple(BoneStatus) == LABELS == open_bundle(DENSITY).manifest.labels


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
