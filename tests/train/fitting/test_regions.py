from __future__ import annotations

import numpy as np

from train.fitting.regions import choose_region, cross_validate, mean_by_owner, with_intervals
from train.runs.config import Choice, Linear

LABELS = np.repeat([0, 1, 2], 20)
GROUPS = [str(number // 2) for number in range(60)]
LINEAR = Linear(pca_variance=0.9, inverse_penalties=(1e-3, 1e-1), inner_folds=2)
CHOICE = Choice(repeats=2, folds=3)


def test_mean_over_the_knees_of_a_picture() -> None:
    values = np.array([[1.0, 2.0], [3.0, 4.0], [10.0, 20.0]])
    assert mean_by_owner(values, np.array([0, 0, 1])).tolist() == [[2, 3], [10, 20]]


def test_the_telling_region_is_chosen() -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(60, 30))
    telling = noise + 2 * np.eye(3)[LABELS] @ rng.normal(size=(3, 30))
    scores = {
        name: cross_validate(features, LABELS, GROUPS, CHOICE, LINEAR, seed=0)
        for name, features in (("noise", noise), ("telling", telling))
    }
    assert scores["noise"].shape == (2, 60, 3)
    np.testing.assert_allclose(scores["noise"].sum(axis=2), 1)
    assert choose_region(scores, LABELS) == "telling"
    figures = with_intervals(scores["noise"], LABELS, GROUPS, count=50, seed=0)
    assert figures["macro_auc"].low < 0.5 < figures["macro_auc"].high
    assert with_intervals(scores["telling"], LABELS, GROUPS, count=50, seed=0)["macro_auc"].low > 0.8
