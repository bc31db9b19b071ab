"""How figures grow with radiographs, and how often intervals hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from train.data.dataset import DatasetError
from train.research import coverage
from train.research.coverage import measure_coverage
from train.research.study.learning import learning_curve
from train.runs.config import Linear

LABELS = np.repeat([0, 1, 2], 20)


def test_learning_curve_rises_where_there_is_something_to_learn() -> None:
    rng = np.random.default_rng(0)
    labels, groups = np.repeat([0, 1, 2], 60), [str(number // 2) for number in range(180)]
    features = rng.normal(size=(180, 20)) + np.eye(3, 20)[labels]
    settings = Linear(pca_variance=0.99, inverse_penalties=(1e-2,), inner_folds=2)
    steps = learning_curve(features, labels, groups, settings, (24, 130), repeats=2, seed=1, folds=4, resamples=100)
    assert [step.radiographs for step in steps] == pytest.approx([24, 130], abs=4)
    assert steps[0].scores.shape == (2, 180, 3)
    assert steps[1].figures["macro_auc"].value > steps[0].figures["macro_auc"].value
    again = learning_curve(features, labels, groups, settings, (24,), repeats=2, seed=1, folds=4, resamples=100)
    np.testing.assert_array_equal(again[0].scores, steps[0].scores)


@pytest.mark.parametrize(
    ("sizes", "message"), [((4,), "patient groups of"), ((90,), "holds"), ((60, 40), "ascend"), ((), "ascend")]
)
def test_sizes_that_cannot_be_had(sizes: tuple[int, ...], message: str) -> None:
    features, settings = np.random.default_rng(0).normal(size=(60, 5)), Linear(0.9, (1e-2,), 2)
    with pytest.raises(DatasetError, match=message):
        learning_curve(features, LABELS, [str(n) for n in range(60)], settings, sizes, 1, 0, folds=3, resamples=100)


def test_coverage_is_near_what_it_claims() -> None:
    measured = measure_coverage((20, 20, 20), strength=1.0, studies=40, resamples=200, seed=0)
    for method in ("percentile", "bca"):
        assert 0.8 <= measured["macro_auc"].held[method] <= 1
        assert 0 < measured["macro_auc"].width[method] < 0.4


def test_coverage_command() -> None:
    result = CliRunner().invoke(coverage.command, ["--patients", "6", "6", "6", "--studies", "10", "--resamples", "100"])
    assert result.exit_code == 0
    assert "macro_auc" in result.stdout
