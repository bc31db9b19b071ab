from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
from keras import ops
from numpy.typing import NDArray
from scipy.optimize import approx_fprime
from scipy.special import expit
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

from osteo_edge.decision.scores import softmax
from train.data.dataset import DatasetError
from train.judging.evaluate import class_aucs
from train.networks.heads import KerasTarget, keras_target, standardise, t_score_auxiliary
from train.networks.linear import fit_linear
from train.networks.targets import (
    KINDS,
    _fit_ridges,
    _fit_softmax,
    _ordinal_loss,
    as_head,
    as_raw_head,
    balanced_weights,
    fit_reducer,
    fit_target,
)
from train.runs.config import ConfigError, Linear

SETTINGS = Linear(pca_variance=0.95, inverse_penalties=(1e-3, 1e-2, 1e-1), inner_folds=3)
LINEAR_KINDS = ("classes", "two_classes", "t_score", "privileged")


class Material:
    """Sixty persons with two radiographs each; one direction of the features carries the T-score."""

    def __init__(self, *, signal: float = 1.5, features: int = 12, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        persons = rng.permutation(np.repeat([0, 1, 2], [15, 30, 15]))
        self.labels = np.repeat(persons, 2)
        self.groups = np.repeat([f"person {place}" for place in range(60)], 2)
        self.t_scores = -1.7 * self.labels + rng.normal(0, 0.3, 120)
        self.ages = 35.0 + 13 * self.labels + rng.normal(0, 5, 120)
        self.features = rng.normal(size=(120, features))
        self.features[:, 0] -= signal * self.t_scores

    def fit(self, kind: str, rows: NDArray[np.bool_] | None = None, **changed: object) -> object:
        rows = np.ones(120, bool) if rows is None else rows
        given = {"t_scores": self.t_scores[rows], "ages": self.ages[rows], **changed}
        return fit_target(kind, self.features[rows], self.labels[rows], self.groups[rows], SETTINGS, seed=0, **given)


@pytest.fixture(scope="module")
def material() -> Material:
    return Material()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_ranks_held_back_persons(material: Material, kind: str) -> None:
    training = np.arange(120) < 80
    probabilities = material.fit(kind, training).predict_proba(material.features[~training])
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    areas = class_aucs(material.labels[~training], probabilities)
    assert areas[0] > 0.9
    assert areas[2] > (0.5 if kind == "two_classes" else 0.9)


def test_classes_are_the_linear_classifier(material: Material) -> None:
    linear = fit_linear(material.features, material.labels, material.groups, SETTINGS, seed=0)
    fitted = material.fit("classes")
    np.testing.assert_allclose(fitted.predict_proba(material.features), linear.predict_proba(material.features), atol=1e-6)


@pytest.mark.parametrize("kind", LINEAR_KINDS)
def test_head_gives_the_same_probabilities(material: Material, kind: str) -> None:
    fitted = material.fit(kind)
    kernel, bias = as_head(fitted)
    assert kernel.shape == (12, 3)
    expected = fitted.predict_proba(material.features)
    np.testing.assert_allclose(softmax(material.features @ kernel + bias), expected, atol=1e-9)


@pytest.mark.parametrize("kind", ["hierarchical", "ordinal"])
def test_what_is_not_linear_is_no_head(material: Material, kind: str) -> None:
    with pytest.raises(ConfigError, match="no linear layer"):
        as_head(material.fit(kind))


@pytest.mark.parametrize("kind", ["classes", "hierarchical", "ordinal"])
def test_a_network_s_head_takes_over_what_was_fitted(material: Material, kind: str) -> None:
    fitted = material.fit(kind)
    kernel, bias = as_raw_head(fitted)
    raw = (material.features @ kernel + bias).astype(np.float32)
    given = softmax(ops.convert_to_numpy(keras_target(kind).to_logits(ops.convert_to_tensor(raw))))
    np.testing.assert_allclose(given, fitted.predict_proba(material.features), atol=1e-4)


def test_two_classes_spread_low_by_the_shares(material: Material) -> None:
    fitted = material.fit("two_classes")
    probabilities = fitted.predict_proba(material.features)
    np.testing.assert_allclose(probabilities[:, 2] / probabilities[:, 1], 30 / 60)
    assert "not told apart" in fitted.note


def test_ordinal_gradient() -> None:
    rng = np.random.default_rng(1)
    components, labels, weights = rng.normal(size=(30, 4)), rng.integers(0, 3, 30), rng.uniform(0.5, 2, 30)
    parameters = rng.normal(size=6)
    _, gradient = _ordinal_loss(parameters, components, labels, weights, 0.7)
    numeric = approx_fprime(parameters, lambda at: _ordinal_loss(at, components, labels, weights, 0.7)[0], 1e-7)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_ordinal_probabilities_are_differences_of_sigmoids(material: Material) -> None:
    fitted = material.fit("ordinal")
    scores = fitted.reducer.transform(material.features) @ fitted.model.weights
    below = expit(fitted.model.cuts - scores[:, np.newaxis])
    expected = np.column_stack([below[:, 0], below[:, 1] - below[:, 0], 1 - below[:, 1]])
    np.testing.assert_allclose(fitted.predict_proba(material.features), expected, atol=1e-9)


def test_t_scores_are_of_use_and_stay_in_training(material: Material) -> None:
    """Other T-scores give another classifier where they are the target, and the same one where they are not."""
    for kind, differs in (("t_score", True), ("privileged", True), ("classes", False)):
        scores = [
            material.fit(kind, t_scores=values).predict_proba(material.features)
            for values in (-material.ages, material.ages**2)
        ]
        assert (np.abs(scores[0] - scores[1]).max() > 1e-3) == differs
    assert list(inspect.signature(material.fit("privileged").predict_proba).parameters) == ["features"]


@pytest.mark.parametrize("kind", ["t_score", "privileged"])
def test_noise_does_not_make_the_small_logistic_sure(kind: str) -> None:
    """In-sample predictions of a ridge on more features than pictures would: the held-back ones do not."""
    noise = Material(signal=0.0, features=300)
    probabilities = noise.fit(kind).predict_proba(np.random.default_rng(5).normal(size=(50, 300)))
    assert probabilities.max(axis=1).mean() < 0.5


def test_unknown_t_scores_are_left_out(material: Material) -> None:
    some = material.t_scores.copy()
    some[::3] = np.nan
    probabilities = material.fit("t_score", t_scores=some).predict_proba(material.features)
    assert class_aucs(material.labels, probabilities).mean() > 0.85


@pytest.mark.parametrize(
    ("kind", "changed", "message"),
    [
        ("t_score", {"t_scores": None}, "needs t_score of each"),
        ("privileged", {"ages": None}, "needs age_years of each"),
        ("t_score", {"t_scores": np.full(120, np.nan)}, "known of 0 radiographs"),
    ],
)
def test_targets_that_are_not_there(material: Material, kind: str, changed: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        material.fit(kind, **changed)


def test_bad_input_is_named(material: Material) -> None:
    features = material.features.copy()
    features[7, 3] = np.inf
    with pytest.raises(DatasetError, match="features: row 7 holds what is no finite number, as 1 of 120"):
        fit_target("classes", features, material.labels, material.groups, SETTINGS, seed=0)
    with pytest.raises(DatasetError, match="features: row 7"):
        material.fit("classes").predict_proba(features)
    with pytest.raises(DatasetError, match="is normal; every class"):
        material.fit("classes", material.labels > 0)
    few = (material.labels > 0) | np.isin(material.groups, material.groups[material.labels == 0][:4])
    with pytest.raises(DatasetError, match="a class is missing from one of 3 inner folds"):
        material.fit("classes", few)
    with pytest.raises(ConfigError, match="no target 'nothing'"):
        material.fit("nothing")


# Heads of networks.

OTHER_HEADS = ("classes", "two_classes", "hierarchical")
RAW = np.random.default_rng(2).normal(0, 2, (40, 3)).astype(np.float32)
TRUTH = np.random.default_rng(3).integers(0, 3, 40)


def made(kind: str) -> KerasTarget:
    return keras_target(kind, labels=np.repeat([0, 1, 2], [10, 30, 10]))


def probabilities_of(target: KerasTarget, raw: NDArray[np.float32]) -> NDArray[np.float64]:
    return softmax(ops.convert_to_numpy(target.to_logits(ops.convert_to_tensor(raw))))


@pytest.mark.parametrize("kind", ["classes", "hierarchical"])
def test_loss_is_the_cross_entropy_of_the_three_classes(kind: str) -> None:
    target = made(kind)
    raw = RAW[:, : target.outputs]
    expected = -np.log(probabilities_of(target, raw)[np.arange(40), TRUTH])
    given = ops.convert_to_numpy(target.loss(TRUTH[:, np.newaxis], ops.convert_to_tensor(raw)))
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


def test_two_classes_by_hand() -> None:
    target = made("two_classes")
    low = expit(RAW[:, :1].astype(np.float64))
    expected = np.hstack([1 - low, low * 0.75, low * 0.25])
    np.testing.assert_allclose(probabilities_of(target, RAW[:, :1]), expected, rtol=1e-4)
    loss = ops.convert_to_numpy(target.loss(TRUTH, ops.convert_to_tensor(RAW[:, :1])))
    np.testing.assert_allclose(loss, -np.log(np.where(TRUTH[:, None] > 0, low, 1 - low))[:, 0], rtol=1e-4, atol=1e-6)


def test_coral_by_hand() -> None:
    target = made("ordinal")
    raw = np.array([[1.0, -1.0]], np.float32)
    above = expit([1.0, -1.0])
    expected = [[1 - above[0], above[0] - above[1], above[1]]]
    np.testing.assert_allclose(probabilities_of(target, raw), expected, rtol=1e-5)
    loss = ops.convert_to_numpy(target.loss(np.array([1]), ops.convert_to_tensor(raw)))
    assert loss == pytest.approx([-np.log(above[0]) - np.log(1 - above[1])], rel=1e-5)
    crossed = probabilities_of(target, raw[:, ::-1].copy())
    assert np.isfinite(crossed).all()
    assert crossed[0, 1] < 1e-6


def test_ordinal_head_has_one_kernel_and_can_be_stored() -> None:
    head = made("ordinal").head("head")
    head.build((None, 7))
    assert [tuple(weight.shape) for weight in head.weights] == [(7, 1), (2,)]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(head))
    assert (again.name, again.units) == ("head", 2)


@pytest.mark.parametrize("kind", ["ordinal", *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHER_HEADS)])
def test_a_network_learns_each_target_beside_t_scores_with_gaps(material: Material, kind: str) -> None:
    keras.utils.set_random_seed(0)
    target, auxiliary = made(kind), t_score_auxiliary(0.3)
    image = keras.Input((12,))
    network = keras.Model(image, [target.head("head")(image), keras.layers.Dense(1, name="t_score")(image)])
    losses = {"loss": [target.loss, auxiliary.loss], "loss_weights": [1.0, auxiliary.weight]}
    # Eagerly: tracing the graph would take longer than the training.
    network.compile(keras.optimizers.Adam(0.1), run_eagerly=True, **losses)
    t_scores = standardise(np.where(np.arange(120) % 4, material.t_scores, np.nan), np.arange(120))
    for _ in range(25):
        network.train_on_batch(material.features, [material.labels, t_scores])
    raw, estimate = network.predict(material.features, verbose=0)
    assert class_aucs(material.labels, probabilities_of(target, raw))[0] > 0.9
    assert np.corrcoef(estimate[:, 0], material.t_scores)[0, 1] > 0.8


def test_standardised_on_the_training_part_alone() -> None:
    values = np.array([1.0, 3.0, np.nan, 100.0])
    np.testing.assert_allclose(standardise(values, np.array([0, 1, 2])), [-1, 1, np.nan, 98], rtol=1e-6)
    with pytest.raises(DatasetError, match="2 different known values"):
        standardise(values, np.array([0, 2]))


def test_unknown_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match="for networks; known are classes"):
        keras_target("t_score")
    with pytest.raises(ConfigError, match="needs the training labels"):
        keras_target("two_classes")
    with pytest.raises(ConfigError, match="must be above 0, not 0"):
        t_score_auxiliary(0)


def test_ridges_are_those_of_scikit_learn() -> None:
    """One decomposition serves every penalty; blanks are left out and every class weighs the same."""
    rng = np.random.default_rng(5)
    components, labels = rng.normal(size=(40, 6)) * np.arange(1, 7), np.arange(40) % 3
    values = components @ rng.normal(size=6) + rng.normal(size=40)
    values[[3, 17]] = np.nan
    known = np.isfinite(values)
    weights = compute_sample_weight("balanced", labels[known])
    penalties = (1e-4, 1e-2, 1.0)
    ridges = _fit_ridges(components, values, labels, penalties)
    for place, penalty in enumerate(penalties):
        theirs = Ridge(1 / penalty).fit(components[known], values[known], sample_weight=weights)
        np.testing.assert_allclose(ridges.kernel[:, place], theirs.coef_, rtol=1e-7, atol=1e-9)
        np.testing.assert_allclose(ridges.bias[place], theirs.intercept_, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("shape", [(30, 12), (12, 30), (20, 20)], ids=["long", "wide", "square"])
@pytest.mark.parametrize("variance", [0.5, 0.9, 0.999])
def test_components_are_those_of_scikit_learn(shape: tuple[int, int], variance: float) -> None:
    """But for their signs; a feature that does not vary takes no part."""
    rng = np.random.default_rng(1)
    features = (rng.normal(size=shape) @ rng.normal(size=(shape[1], shape[1])) * 3 + 7).astype(np.float32)
    features[:, 2] = 4
    theirs = make_pipeline(StandardScaler(), PCA(variance, svd_solver="full")).fit(features.astype(np.float64))
    ours = fit_reducer(features, variance)
    others = (rng.normal(size=(5, shape[1])) + 7).astype(np.float32)
    for shown in (features, others):
        expected, found = theirs.transform(shown.astype(np.float64)), ours.transform(shown)
        assert found.shape == expected.shape
        np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-6, atol=1e-8)


def test_weights_make_classes_count_the_same() -> None:
    labels = np.array([0, 0, 0, 2, 2, 1])
    np.testing.assert_allclose(balanced_weights(labels), compute_sample_weight("balanced", labels))
    np.testing.assert_allclose(balanced_weights(labels[:5]), compute_sample_weight("balanced", labels[:5]))


@pytest.mark.parametrize("strength", [0.0, 1.0, 30.0], ids=["noise", "signal", "parted"])
def test_the_small_logistic_is_that_of_scikit_learn(strength: float) -> None:
    """Up to a constant a picture, which the softmax does not see; where the classes are parted too."""
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1, 2], [20, 60, 30])
    inputs = rng.normal(size=(110, 2)) + strength * np.column_stack([labels, -labels])
    ours = softmax(_fit_softmax(inputs, labels, 1.0).logits(inputs))
    theirs = LogisticRegression(C=1.0, class_weight="balanced", max_iter=10_000, tol=1e-10).fit(inputs, labels)
    np.testing.assert_allclose(ours, theirs.predict_proba(inputs), atol=2e-6)
