from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Ensemble
from osteo_edge.manifest_rules import check_ensemble
from train.data.dataset import DatasetError
from train.data.split import label_folds
from train.ensembles.fit import (
    KINDS,
    NETWORK_SEEDS,
    Hierarchical,
    _network_layers,
    _one_network,
    apply_ensemble,
    crossfit_ensemble,
    fit_ensemble,
    members_run,
    side_by_side,
    trees_of,
)
from train.ensembles.members import fit_forest, forest_member, linear_member, members
from train.ensembles.nested import NestedLogits, as_one_member, from_stored, inner_logits, nested_logits, nested_scores
from train.judging.evaluate import class_aucs
from train.networks.linear import balanced_log_loss
from train.runs.config import ConfigError, Linear

LABELS = np.repeat(np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [14, 32, 14])), 2)
GROUPS = np.repeat([f"person {place}" for place in range(60)], 2)
SETTINGS = Linear(pca_variance=0.95, inverse_penalties=(1e-2, 1e-1), inner_folds=2)
QUICK = [kind for kind in KINDS if kind != "stacking_network"]
RECORDS = [kind for kind in KINDS if kind != "hierarchical"]


def logits_of(*strengths: float, seed: int = 1) -> NDArray[np.float64]:
    """Members that know the label the better, the higher their strength, (pictures, members, labels)."""
    noise = np.random.default_rng(seed).normal(size=(len(LABELS), len(strengths), 3))
    return noise + np.array(strengths)[:, np.newaxis] * np.eye(3)[LABELS][:, np.newaxis] + 5.0


def fold_of(folds: int = 4) -> NDArray[np.int64]:
    number = np.empty(len(LABELS), np.int64)
    for fold, (_, test) in enumerate(label_folds(LABELS, GROUPS, folds=folds, seed=3)):
        number[test] = fold
    return number


@pytest.fixture(scope="module")
def nested() -> NestedLogits:
    """As if networks had been trained earlier: other noise in the inner scores of every fold."""
    folds = fold_of()
    inner = [logits_of(2.0, 1.0, 0.0, seed=10 + fold)[folds != fold] for fold in range(4)]
    return from_stored(inner, logits_of(2.0, 1.0, 0.0), folds)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_ranks_new_pictures(kind: str) -> None:
    fitted = fit_ensemble(kind, logits_of(2.0, 2.0, 1.5), LABELS, GROUPS, seed=0)
    new = logits_of(2.0, 2.0, 1.5, seed=2)
    probabilities = softmax(apply_ensemble(fitted, new))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert class_aucs(LABELS, probabilities).mean() > 0.9


@pytest.mark.parametrize("kind", RECORDS)
def test_what_is_fitted_is_a_record_that_the_runtime_takes(kind: str) -> None:
    fitted = fit_ensemble(kind, logits_of(2.0, 1.0, 0.5), LABELS, GROUPS, seed=0)
    assert isinstance(fitted, Ensemble)
    check_ensemble(fitted, members=3, labels=3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_added_to_a_members_logits_changes_nothing(kind: str) -> None:
    fitted = fit_ensemble(kind, logits_of(2.0, 1.0), LABELS, GROUPS, seed=0)
    new = logits_of(2.0, 1.0, seed=2)
    moved = new + np.array([[[3.0], [-7.0]]])
    np.testing.assert_allclose(softmax(apply_ensemble(fitted, new)), softmax(apply_ensemble(fitted, moved)), atol=1e-9)


def test_weights_are_those_of_lowest_loss() -> None:
    logits = logits_of(1.0, 1.0)
    first, second = fit_ensemble("weighted", logits, LABELS, GROUPS, seed=0).weights
    assert first + second == pytest.approx(1)
    grid = np.linspace(0, 1, 101)
    probabilities = softmax(logits)
    losses = [balanced_log_loss(LABELS, weight * probabilities[:, 0] + (1 - weight) * probabilities[:, 1]) for weight in grid]
    assert 0 < grid[np.argmin(losses)] < 1
    assert first == pytest.approx(grid[np.argmin(losses)], abs=0.011)


def test_a_member_that_knows_nothing_gets_no_weight() -> None:
    assert fit_ensemble("weighted", logits_of(3.0, 0.0), LABELS, GROUPS, seed=0).weights[1] < 0.02


def test_small_networks_become_layers_exactly() -> None:
    inputs = side_by_side(logits_of(1.5, 1.0))
    standard = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    with threadpool_limits(1):
        layers = _network_layers(inputs, LABELS, 10.0, 0)
        networks = [_one_network(standard, LABELS, 10.0, seed) for seed in range(NETWORK_SEEDS)]
    assert isinstance(networks[0], MLPClassifier)
    expected = softmax(np.mean([np.log(network.predict_proba(standard)) for network in networks], axis=0))
    given = softmax(apply_ensemble(Ensemble("stacking", layers=layers), logits_of(1.5, 1.0)))
    np.testing.assert_allclose(given, expected, atol=1e-9)


def test_a_forest_of_the_runtime_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(size=(200, 2, 3)) * 3
    forest = RandomForestClassifier(20, class_weight="balanced_subsample", random_state=0)
    forest.fit(side_by_side(logits), rng.integers(0, 3, 200))
    assert max(one.get_depth() for one in forest.estimators_) > 5
    ensemble = Ensemble("forest", trees=trees_of(forest))
    check_ensemble(ensemble, members=2, labels=3)
    new = rng.normal(size=(300, 2, 3)) * 3
    ours = np.exp(apply_ensemble(ensemble, np.concatenate([logits, new])))
    theirs = forest.predict_proba(side_by_side(np.concatenate([logits, new])))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_forest_of_other_classes_is_refused() -> None:
    forest = RandomForestClassifier(2, random_state=0).fit(np.arange(12.0).reshape(6, 2), [0, 0, 2, 2, 0, 2])
    with pytest.raises(ConfigError, match="classes must be 0 to 2"):
        trees_of(forest)


def test_hierarchical_steps_are_in_order() -> None:
    fitted = fit_ensemble("hierarchical", logits_of(2.0, 1.0), LABELS, GROUPS, seed=0)
    assert isinstance(fitted, Hierarchical)
    clear = np.array([[[6.0, 0, 0]] * 2, [[0, 6.0, 0]] * 2, [[0, 0, 6.0]] * 2])
    logits = apply_ensemble(fitted, clear)
    assert logits.argmax(axis=1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(np.exp(logits).sum(axis=1), 1)


def test_cascade_stops_where_it_is_sure() -> None:
    logits = logits_of(2.0, 2.0, 2.0)
    fitted = fit_ensemble("cascade", logits, LABELS, GROUPS, seed=0, tolerance=0.02)
    run = members_run(fitted, logits)
    assert 1 <= run.mean() < 3
    right = [(apply_ensemble(one, logits).argmax(axis=1) == LABELS) for one in (Ensemble("mean"), fitted)]
    whole, early = (np.mean([one[place == LABELS].mean() for place in range(3)]) for one in right)
    assert early >= whole - 0.02
    first = run == 1
    np.testing.assert_allclose(softmax(apply_ensemble(fitted, logits)[first]), softmax(logits[first, 0]))


def test_cascade_runs_on_where_the_first_member_knows_nothing() -> None:
    logits = logits_of(0.0, 6.0)
    fitted = fit_ensemble("cascade", logits, LABELS, GROUPS, seed=0)
    assert members_run(fitted, logits).mean() > 1.8


def test_crossfitted_scores_do_not_know_their_labels() -> None:
    """A stacking of noise fits the labels that it sees; on others it does not beat chance."""
    noise = logits_of(*[0.0] * 12)
    seen = apply_ensemble(fit_ensemble("stacking", noise, LABELS, GROUPS, seed=0), noise)
    unseen = crossfit_ensemble("stacking", noise, LABELS, GROUPS, seed=0)
    assert class_aucs(LABELS, softmax(seen)).mean() > 0.65
    assert class_aucs(LABELS, softmax(unseen)).mean() < 0.6


# Nesting.


def test_no_member_sees_what_it_scores() -> None:
    folds, calls = fold_of(), []

    def spy(training: NDArray[np.int64], test: NDArray[np.int64]) -> NDArray[np.float64]:
        calls.append((training, test))
        return np.zeros((len(test), 2, 3)) + test[:, np.newaxis, np.newaxis]

    nested = nested_logits(spy, LABELS, GROUPS, folds, inner_folds=3, seed=0)
    assert len(calls) == 4 * (3 + 1)
    for training, test in calls:
        assert not set(GROUPS[training]) & set(GROUPS[test])
    for fold in range(4):
        held_back = np.flatnonzero(folds == fold)
        *inner, outer = calls[4 * fold : 4 * fold + 4]
        for training, test in inner:
            assert not set(held_back) & (set(training) | set(test))
        assert outer[1].tolist() == held_back.tolist()
        np.testing.assert_array_equal(nested.inner[fold][:, 0, 0], np.flatnonzero(folds != fold))
    np.testing.assert_array_equal(nested.outer[:, 1, 2], np.arange(len(LABELS)))


def shuffled_in_fold_0(folds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Other labels for the persons of fold 0, the same number of each."""
    labels, rows = LABELS.copy(), np.flatnonzero(folds == 0)
    labels[rows] = np.roll(LABELS[rows], len(rows) // 2)
    assert (labels != LABELS).any()
    return labels


@pytest.mark.parametrize("kind", [*QUICK, pytest.param("stacking_network", marks=pytest.mark.slow)])
def test_labels_of_held_back_pictures_reach_no_ensemble(nested: NestedLogits, kind: str) -> None:
    held_back = nested.fold_of == 0
    labels = shuffled_in_fold_0(nested.fold_of)
    before, after = (nested_scores(nested, each, GROUPS, [kind], seed=0).logits[kind] for each in (LABELS, labels))
    np.testing.assert_array_equal(before[held_back], after[held_back])
    if kind in ("weighted", "stacking", "stacking_network", "hierarchical"):
        assert np.abs(before[~held_back] - after[~held_back]).max() > 1e-6


def test_labels_of_held_back_pictures_reach_no_member() -> None:
    folds = fold_of()
    features = np.random.default_rng(4).normal(size=(len(LABELS), 6)) + np.eye(6)[LABELS]
    scores = []
    for labels in (LABELS, shuffled_in_fold_0(folds)):
        each = [
            linear_member(features, labels, GROUPS, SETTINGS, seed=0),
            forest_member(features, labels, pca_variance=0.9, seed=0),
        ]
        training, held_back = np.flatnonzero(folds != 0), np.flatnonzero(folds == 0)
        scores.append(members(each)(training, held_back))
        assert inner_logits(members(each[:1]), labels, GROUPS, training, folds=2, seed=0).shape == (len(training), 1, 3)
    np.testing.assert_array_equal(*scores)


def test_scores_of_all_folds_are_gathered(nested: NestedLogits) -> None:
    scores = nested_scores(nested, LABELS, GROUPS, ["mean", "weighted", "cascade"], seed=0)
    np.testing.assert_allclose(scores.logits["mean"], apply_ensemble(Ensemble("mean"), nested.outer))
    assert {kind: len(fitted) for kind, fitted in scores.fitted.items()} == {"mean": 4, "weighted": 4, "cascade": 4}
    assert scores.members_run["mean"] == 3
    assert 1 <= scores.members_run["cascade"] <= 3


def test_an_ensemble_as_one_member(nested: NestedLogits) -> None:
    one = as_one_member(nested, "weighted", LABELS, GROUPS, seed=0)
    assert one.outer.shape == (120, 1, 3)
    assert [inner.shape for inner in one.inner] == [(len(inner), 1, 3) for inner in nested.inner]
    expected = nested_scores(nested, LABELS, GROUPS, ["weighted"], seed=0).logits["weighted"]
    np.testing.assert_array_equal(one.outer[:, 0], expected)
    np.testing.assert_array_equal(nested.member(1).outer[:, 0], nested.outer[:, 1])


def test_forest_on_components() -> None:
    rng = np.random.default_rng(6)
    features = rng.normal(size=(120, 40)) + 2 * np.eye(40)[LABELS]
    forest = fit_forest(features[:80], LABELS[:80], pca_variance=0.95, seed=0)
    assert forest.pipeline.named_steps["pca"].n_components_ < 40
    assert class_aucs(LABELS[80:], forest.predict_proba(features[80:])).mean() > 0.75
    assert np.isfinite(forest.predict_logits(features)).all()


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"kind": "best"}, ConfigError, "no ensemble 'best'; known are mean"),
        ({"logits": logits_of(1.0)}, ConfigError, "at least 2 members, not 1"),
        ({"logits": np.zeros((120, 2))}, DatasetError, "must be \\(pictures, members, 3\\)"),
        ({"logits": np.full((120, 2, 3), np.nan)}, DatasetError, "row 0 holds what is no finite number"),
        ({"logits": np.zeros((7, 2, 3))}, DatasetError, "7 pictures' logits, 120 labels"),
        ({"labels": np.minimum(LABELS, 1)}, DatasetError, "is osteoporosis; every class"),
        ({"labels": np.where(GROUPS == "person 1", 2, np.minimum(LABELS, 1))}, DatasetError, "missing from one of 4"),
    ],
)
def test_bad_input_is_named(changed: dict[str, object], error: type[Exception], message: str) -> None:
    given = {"kind": "stacking", "logits": logits_of(1.0, 1.0), "labels": LABELS, **changed}
    with pytest.raises(error, match=message):
        fit_ensemble(given["kind"], given["logits"], given["labels"], GROUPS, seed=0)


def test_stored_scores_are_checked(nested: NestedLogits) -> None:
    with pytest.raises(DatasetError, match="inner logits of 3 folds do not go with outer folds"):
        from_stored(nested.inner[:3], nested.outer, nested.fold_of)
    with pytest.raises(DatasetError, match="inner logits of fold 1 must be"):
        from_stored([nested.inner[0], nested.inner[1][1:], *nested.inner[2:]], nested.outer, nested.fold_of)
    with pytest.raises(DatasetError, match="outer logits must be"):
        from_stored(nested.inner, nested.outer[1:], nested.fold_of)
    gap = nested.outer.copy()
    gap[5] = np.nan
    with pytest.raises(DatasetError, match="outer logits: row 5"):
        from_stored(nested.inner, gap, nested.fold_of)


def test_a_parted_group_is_refused() -> None:
    parted = fold_of()
    parted[0] = (parted[0] + 1) % 4
    with pytest.raises(DatasetError, match=r"'person 0' stands in two folds"):
        nested_logits(lambda *_: np.zeros((1, 1, 3)), LABELS, GROUPS, parted, inner_folds=2, seed=0)
    with pytest.raises(ConfigError, match="no member"):
        members([])
