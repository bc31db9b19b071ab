from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, f1_score, roc_auc_score

from train.conformal import describe, fit_threshold
from train.evaluate import compare, confusion, expected_calibration_error, figures_of_merit, interval, resamples

LABELS = np.array([0, 0, 1, 1, 2, 2])
# Right, wrong (1), right, right, wrong (0), right.
PROBABILITIES = np.array(
    [[0.8, 0.1, 0.1], [0.3, 0.6, 0.1], [0.1, 0.9, 0.0], [0.2, 0.6, 0.2], [0.5, 0.2, 0.3], [0.1, 0.2, 0.7]], np.float64
)


def test_by_hand() -> None:
    figures = figures_of_merit(LABELS, PROBABILITIES)
    assert figures["recall_normal"] == 0.5
    assert figures["recall_osteopenia"] == 1.0
    assert figures["balanced_accuracy"] == pytest.approx(4 / 6)
    # Normal: 0.8 and 0.3 against 0.1, 0.2, 0.5, 0.1: seven of eight pairs are in order.
    assert figures["auc_normal"] == pytest.approx(7 / 8)
    assert figures["auc_low_density"] == pytest.approx(7 / 8)
    assert confusion(LABELS, PROBABILITIES) == [[1, 1, 0], [0, 2, 0], [1, 0, 1]]


def test_against_sklearn() -> None:
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 3, 80), rng.dirichlet(np.ones(3), 80)
    figures, predicted = figures_of_merit(labels, probabilities), probabilities.argmax(axis=1)
    assert figures["macro_auc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert figures["brier"] == pytest.approx(brier_score_loss(labels, probabilities, scale_by_half=False))


def test_calibration_error_by_hand() -> None:
    labels = np.array([0, 0, 0, 1])
    probabilities = np.array([[0.95, 0.05, 0.0], [0.95, 0.05, 0.0], [0.55, 0.45, 0.0], [0.55, 0.45, 0.0]])
    # Confidence 0.95, all right: gap 0.05. Confidence 0.55, half right: gap 0.05.
    assert expected_calibration_error(labels, probabilities) == pytest.approx(0.05)


def test_resamples_take_patients_whole() -> None:
    groups = ["a", "b", "b", "c", "c", "c"]
    sizes = set()
    for chosen in resamples(groups, count=50, seed=1):
        counts = np.bincount(chosen, minlength=6)
        assert counts[1] == counts[2]
        assert counts[3] == counts[4] == counts[5]
        assert counts[0] + counts[1] + counts[3] == 3
        sizes.add(len(chosen))
    assert len(sizes) > 1
    assert [x.tolist() for x in resamples(groups, count=2, seed=1)] == [x.tolist() for x in resamples(groups, count=2, seed=1)]


def test_interval_is_the_middle_of_the_draws() -> None:
    metric = interval(0.5, list(np.linspace(0, 1, 1001)))
    assert (metric.value, metric.low, metric.high) == pytest.approx((0.5, 0.025, 0.975))


def test_differences_are_paired() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 90)
    good = np.eye(3)[labels] * 0.4 + rng.dirichlet(np.ones(3), 90) * 0.6
    systems = {"model": good, "same": good.copy(), "blind": np.full((90, 3), 1 / 3)}
    figures, differences = compare(labels, systems, [str(i) for i in range(90)], model="model", count=100, seed=0)
    same, blind = differences["same"]["macro_auc"], differences["blind"]["macro_auc"]
    assert (same.value, same.low, same.high) == (0, 0, 0)
    assert blind.low > 0
    assert blind.value == pytest.approx(figures["model"]["macro_auc"].value - 0.5)
    assert figures["model"]["macro_auc"].low < figures["model"]["macro_auc"].value < figures["model"]["macro_auc"].high


def test_conformal_worked_example() -> None:
    """Nine pictures at 80 %: ceil(10 * 0.8) = 8 true classes must be kept, so the eighth highest is the threshold."""
    fitted = fit_threshold(np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5]), 0.8)
    assert fitted.min_probability == 0.2
    assert fitted.calibration_size == 9


def test_conformal_keeps_everything_when_there_are_too_few_pictures() -> None:
    assert fit_threshold(np.array([0.9, 0.8, 0.7]), 0.9).min_probability == 0


def test_conformal_description() -> None:
    described = describe(LABELS, PROBABILITIES, 0.7)
    # ceil(7 * 0.7) = 5 of the true classes' 0.9, 0.8, 0.7, 0.6, 0.3, 0.3.
    assert described["min_probability"] == 0.3
    assert described["covered_share"] == 1.0
    # Two classes reach 0.3 in the second and the fifth picture alone.
    assert described["single_label_share"] == pytest.approx(4 / 6)
    assert described["covered_share_by_label"] == {"normal": 1.0, "osteopenia": 1.0, "osteoporosis": 1.0}
