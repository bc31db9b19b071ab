from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    cohen_kappa_score,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)

from train.judging.conformal import describe, fit_threshold
from train.judging.evaluate import (
    auc,
    bca_interval,
    compare,
    confusion,
    delong,
    expected_calibration_error,
    figures_of_merit,
    interval,
    jackknife_weights,
    mcnemar,
    reliability,
    resample_weights,
    resamples,
    weighted_figures,
)
from train.judging.label_sets import count_again, described_today
from train.runs.folder import RunError

RESULTS = Path(__file__).parents[3] / "train" / "results"
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


@pytest.mark.parametrize("seed", range(5))
def test_against_sklearn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # One decimal: many ties.
    labels, probabilities = rng.integers(0, 3, 80), rng.dirichlet(np.ones(3), 80).round(1)
    probabilities[:, 2] = np.maximum(1 - probabilities[:, 0] - probabilities[:, 1], 0)
    figures, predicted = figures_of_merit(labels, probabilities), probabilities.argmax(axis=1)
    names = ("normal", "osteopenia", "osteoporosis")
    assert figures["macro_auc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"))
    assert figures["auc_low_density"] == pytest.approx(roc_auc_score(labels > 0, -probabilities[:, 0]))
    assert figures["accuracy"] == pytest.approx(accuracy_score(labels, predicted))
    assert figures["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert figures["macro_f1"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    assert figures["brier"] == pytest.approx(brier_score_loss(labels, probabilities, scale_by_half=False))
    assert figures["quadratic_kappa"] == pytest.approx(cohen_kappa_score(labels, predicted, weights="quadratic"))
    assert [figures[f"recall_{name}"] for name in names] == pytest.approx(recall_score(labels, predicted, average=None))
    assert [figures[f"precision_{name}"] for name in names] == pytest.approx(precision_score(labels, predicted, average=None))


def test_kappa_by_hand() -> None:
    """Distances 1, 1 and 2 of (0 as 1), (2 as 0): observed 1 + 4 of 6; by chance, rows 2 2 2, columns 2 3 1."""
    by_chance = 2 / 6 * (3 * 1 + 1 * 4 + 2 * 1 + 1 * 1 + 2 * 4 + 3 * 1)
    assert figures_of_merit(LABELS, PROBABILITIES)["quadratic_kappa"] == pytest.approx(1 - (1 + 4) / by_chance)


def test_a_class_that_is_never_named_has_precision_0() -> None:
    figures = figures_of_merit(LABELS, np.tile([0.2, 0.5, 0.3], (6, 1)))
    assert (figures["precision_normal"], figures["precision_osteopenia"]) == (0, pytest.approx(2 / 6))
    assert figures["quadratic_kappa"] == 0
    assert figures["macro_auc"] == 0.5


def test_weights_are_repetition() -> None:
    rng = np.random.default_rng(1)
    labels, probabilities = rng.integers(0, 3, 40), rng.dirichlet(np.ones(3), 40).round(2)
    drawn = list(resamples([str(n // 2) for n in range(40)], count=20, seed=3))
    weights = np.array([np.bincount(chosen, minlength=40) for chosen in drawn], float)
    at_once = weighted_figures(labels, probabilities, weights)
    for place, chosen in enumerate(drawn):
        one = figures_of_merit(labels[chosen], probabilities[chosen])
        assert {name: values[place] for name, values in at_once.items()} == pytest.approx(one)
        gaps = sum(share * abs(right - sure) for share, sure, right in reliability(labels[chosen], probabilities[chosen]))
        assert one["ece"] == pytest.approx(gaps)


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


def test_repeats_are_averaged_on_the_same_patients() -> None:
    rng = np.random.default_rng(4)
    labels = np.repeat([0, 1, 2], 20)
    scores, groups = rng.dirichlet(np.ones(3), (3, 60)), [str(n // 2) for n in range(60)]
    figures, differences = compare(
        labels, {"model": scores, "first": scores[0]}, groups, model="model", count=50, seed=0, compared=("brier",)
    )
    each = [figures_of_merit(labels, one)["macro_auc"] for one in scores]
    assert figures["model"]["macro_auc"].value == pytest.approx(np.mean(each))
    drawn = [
        np.mean([figures_of_merit(labels[chosen], one[chosen])["macro_auc"] for one in scores])
        for chosen in resamples(groups, count=50, seed=0)
    ]
    assert figures["model"]["macro_auc"].low == pytest.approx(np.percentile(drawn, 2.5))
    assert list(differences["first"]) == ["brier"]
    once, _ = compare(labels, {"model": np.stack([scores[0]] * 3)}, groups, model="model", count=50, seed=0)
    assert once["model"]["ece"].high == pytest.approx(figures["first"]["ece"].high)


def test_resamples_without_a_class_are_left_out() -> None:
    labels, groups = np.array([0, 1, 1, 2, 2]), list("abcde")
    assert 0 < len(resample_weights(labels, groups, count=200, seed=0)) < 200
    # The only normal cannot be left out.
    assert len(jackknife_weights(labels, groups)) == 4


def test_bca_against_scipy() -> None:
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=60)
    drawn = values[rng.integers(60, size=(20000, 60))].mean(axis=1)
    left_out = (values.sum() - values) / 59
    ours = bca_interval(values.mean(), drawn, left_out)
    theirs = bootstrap((values,), np.mean, n_resamples=20000, rng=rng, method="BCa").confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.02)
    assert ours.low > interval(values.mean(), drawn).low


def test_bca_of_a_figure_at_its_bound_is_the_percentile_interval() -> None:
    everywhere = bca_interval(1.0, np.ones(100), np.ones(10))
    assert (everywhere.low, everywhere.high) == (1, 1)
    assert bca_interval(0.0, np.linspace(0.1, 1, 100), np.zeros(10)) == interval(0.0, np.linspace(0.1, 1, 100))
    labels = np.repeat([0, 1, 2], 10)
    figures, _ = compare(
        labels, {"model": np.eye(3)[labels]}, [str(n) for n in range(30)], model="model", count=50, seed=0, method="bca"
    )
    assert all(np.isfinite([one.low, one.high]).all() for one in figures["model"].values())


def test_delong_by_hand() -> None:
    """Two positives, two negatives: the placement values can be written down."""
    truth = np.array([True, True, False, False])
    first, second = np.array([4.0, 2.0, 1.0, 3.0]), np.array([1.0, 2.0, 3.0, 4.0])
    test = delong(truth, first, second, list("abcd"))
    # Positives: first 1, 1/2, second 0, 0; negatives: first 1, 1/2, second 0, 0. Each variance of the mean: (1/8) / 2.
    assert (test.first, test.second) == (0.75, 0)
    assert test.difference.high - test.difference.low == pytest.approx(2 * 1.959964 * np.sqrt(2 / 16))


def test_delong_against_the_bootstrap() -> None:
    rng = np.random.default_rng(2)
    truth = np.arange(300) < 100
    shared = rng.normal(size=300) + truth
    first, second = shared + 0.5 * rng.normal(size=300), shared + 1.5 * rng.normal(size=300)
    test = delong(truth, first, second, [str(n) for n in range(300)])
    assert test.difference.value == pytest.approx(roc_auc_score(truth, first) - roc_auc_score(truth, second))
    drawn = [rng.integers(300, size=300) for _ in range(2000)]
    spread = np.std([auc(truth[one], first[one]) - auc(truth[one], second[one]) for one in drawn])
    assert (test.difference.high - test.difference.low) / (2 * 1.96) == pytest.approx(spread, rel=0.06)
    assert test.p_value < 0.01
    assert delong(truth, first, first, [str(n) for n in range(300)]).p_value == 1


def test_delong_counts_copies_of_a_patient_once() -> None:
    rng = np.random.default_rng(5)
    truth = np.arange(60) < 30
    first, second, patients = truth + rng.normal(size=60), rng.normal(size=60), [str(n) for n in range(60)]
    single = delong(truth, first, second, patients)
    doubled = delong(np.tile(truth, 2), np.tile(first, 2), np.tile(second, 2), patients * 2)
    assert doubled.p_value == pytest.approx(single.p_value)
    repeats = delong(truth, np.stack([first, first]), np.stack([second, second]), patients)
    assert repeats.p_value == pytest.approx(single.p_value)


def test_mcnemar_by_hand() -> None:
    """Eight patients in whom only the first is right, one in whom only the second is: 2 (1 + 9) / 2^9."""
    labels = np.array([0] * 8 + [1] + [2] * 5)
    right, wrong = np.eye(3)[labels], np.eye(3)[(labels + 1) % 3]
    first, second = right.copy(), right.copy()
    second[:8], first[8] = wrong[:8], wrong[8]
    test = mcnemar(labels, first, second, [str(n) for n in range(14)])
    assert (test.first_ahead, test.second_ahead) == (8, 1)
    assert test.p_value == pytest.approx(2 * 10 / 2**9)
    assert mcnemar(labels, first, second, ["one"] * 8 + [str(n) for n in range(6)]).first_ahead == 1
    assert mcnemar(labels, first, first, [str(n) for n in range(14)]).p_value == 1


def test_conformal_worked_example() -> None:
    """Nine pictures at 80 %: ceil(10 * 0.8) = 8 true classes must be kept, so the eighth highest is the threshold."""
    fitted = fit_threshold(np.array([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.4, 0.5]), 0.8)
    assert fitted.min_probabilities == (0.2,) * 3
    assert fitted.calibration_size == 9


def test_conformal_keeps_everything_when_there_are_too_few_pictures() -> None:
    assert fit_threshold(np.array([0.9, 0.8, 0.7]), 0.9).min_probabilities == (0,) * 3


def test_conformal_description() -> None:
    described = describe(LABELS, PROBABILITIES, 0.7)
    # ceil(7 * 0.7) = 5 of the true classes' 0.9, 0.8, 0.7, 0.6, 0.3, 0.3.
    assert described["min_probabilities"] == [0.3] * 3
    assert described["covered_share"] == 1.0
    # Two classes reach 0.3 in the second and the fifth picture alone.
    assert described["single_label_share"] == pytest.approx(4 / 6)
    assert described["covered_share_by_label"] == {"normal": 1.0, "osteopenia": 1.0, "osteoporosis": 1.0}


RUNS = sorted(path.parent for path in RESULTS.glob("*/metrics.json") if (path.parent / "oof.json").is_file())


@pytest.mark.parametrize("run", RUNS, ids=lambda run: run.name)
def test_committed_label_sets_are_those_that_the_runtime_shows(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    if "conformal" in metrics:
        assert described_today(run, metrics) == metrics["conformal"]


def test_label_sets_are_counted_again_with_the_thresholds_as_they_are(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RESULTS / "knee-mobilenet_v2", tmp_path / "run"))
    metrics = json.loads((run / "metrics.json").read_text())
    stale = [one | {"covered_share": 0.0, "single_labels": 0} for one in metrics["conformal"]]
    (run / "metrics.json").write_text(json.dumps(metrics | {"conformal": stale}))
    lines = count_again(run)
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert len(lines) == len(stale)
    assert "(0.000 before)" in lines[0]


def test_records_of_one_threshold_for_all_are_given_one_a_label(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RESULTS / "knee-mobilenet_v2", tmp_path / "run"))
    metrics, fusion = (json.loads((run / name).read_text()) for name in ("metrics.json", "fusion.json"))

    def earlier(one: dict[str, Any]) -> dict[str, Any]:
        plain = dict(one)
        (threshold,) = set(plain.pop("min_probabilities"))
        return plain | {"min_probability": threshold}

    old_fusion = fusion["fusion"] | {"conformal": earlier(fusion["fusion"]["conformal"])}
    (run / "metrics.json").write_text(json.dumps(metrics | {"conformal": [earlier(one) for one in metrics["conformal"]]}))
    (run / "fusion.json").write_text(json.dumps({"schema_version": 1, "fusion": old_fusion}))
    count_again(run)
    assert json.loads((run / "metrics.json").read_text()) == metrics
    assert json.loads((run / "fusion.json").read_text()) == fusion


def test_label_sets_of_other_scores_are_not_counted_again(tmp_path: Path) -> None:
    run = Path(shutil.copytree(RESULTS / "knee-mobilenet_v2", tmp_path / "run"))
    shutil.copy(RESULTS / "knee-resnet50v2" / "oof.json", run / "oof.json")
    with pytest.raises(RunError, match="fitted on other scores"):
        count_again(run)
