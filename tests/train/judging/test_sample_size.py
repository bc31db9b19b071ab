from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner

from train.__main__ import main
from train.judging.evaluate import auc
from train.judging.sample_size import auc_standard_error, patients_needed


def test_the_standard_error_is_the_spread_of_areas_that_are_drawn() -> None:
    """On exponential scores, where the formula is exact: with rates 1 and r the area is 1 / (1 + r)."""
    rng = np.random.default_rng(0)
    truth = np.arange(100) < 30
    for rate in (0.2, 0.5):
        scale = np.where(truth, 1 / rate, 1.0)
        drawn = [auc(truth, rng.exponential(scale)) for _ in range(4000)]
        area = 1 / (1 + rate)
        assert np.mean(drawn) == pytest.approx(area, abs=0.003)
        assert auc_standard_error(area, 30, 70) == pytest.approx(np.std(drawn), rel=0.04)


def test_chance_has_the_variance_of_wilcoxon() -> None:
    """At 0.5 it is that of the rank-sum statistic: (positives + negatives + 1) / (12 positives negatives)."""
    assert auc_standard_error(0.5, 40, 60) == pytest.approx(np.sqrt(101 / (12 * 40 * 60)))


def test_the_documented_numbers() -> None:
    assert patients_needed(0.88, 0.3, 0.04) == 436
    assert patients_needed(0.75, 0.3, 0.04) == 773
    assert patients_needed(0.75, 0.5, 0.04) == 568


@pytest.mark.parametrize(("area", "share", "width"), [(0.88, 0.3, 0.04), (0.7, 0.1, 0.05), (0.6, 0.7, 0.02)])
def test_one_patient_fewer_does_not_suffice(area: float, share: float, width: float) -> None:
    needed = patients_needed(area, share, width)
    reach = [1.959964 * auc_standard_error(area, count * share, count * (1 - share)) for count in (needed - 1, needed)]
    assert reach[1] <= width < reach[0]


@pytest.mark.parametrize("given", [(0.4, 0.3, 0.04), (1.0, 0.3, 0.04), (0.8, 0.0, 0.04), (0.8, 0.3, 0.0), (0.8, 1e-6, 0.001)])
def test_what_cannot_be_is_refused(given: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="needed"):
        patients_needed(*given)


def test_the_command_prints_a_table() -> None:
    result = CliRunner().invoke(main, ["sample-size", "--auc", "0.88", "--auc", "0.75", "--prevalence", "0.3"])
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()[2:]] == [["0.88", "436"], ["0.75", "773"]]
