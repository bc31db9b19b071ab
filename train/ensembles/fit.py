"""Ensembles fitted on members' held-back logits, as the runtime's own records.

The runtime's ``combine`` and ``is_sure`` apply what is fitted here, so that what is judged is what is shipped.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.special import log_expit
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import threadpool_limits

from osteo_edge.decision.ensemble import combine, is_sure
from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import DenseLayer, Ensemble, Tree
from train.data.dataset import LABELS, DatasetError
from train.data.split import Groups, label_folds
from train.judging.evaluate import NORMAL
from train.networks.linear import balanced_log_loss
from train.networks.targets import OSTEOPOROSIS, require_every_label, require_finite
from train.runs.arrays import Doubles, Integers
from train.runs.config import ConfigError

EnsembleName = Literal[
    "mean", "weighted", "vote", "gompertz", "stacking", "stacking_network", "forest", "hierarchical", "cascade"
]  # fmt: skip
KINDS: tuple[EnsembleName, ...] = get_args(EnsembleName)

CHOICE_FOLDS = 4
STACKING_INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)
# MLPClassifier's word for the weight decay: half of it times the squared weights is added to the summed loss.
NETWORK_ALPHAS = (1.0, 10.0, 100.0)
NETWORK_UNITS = 4
NETWORK_SEEDS = 3
# Small, as it has to grow on the few inner held-back scores of one training part.
FOREST_TREES = 64
FOREST_DEPTH = 3
FOREST_LEAF_PICTURES = 3
# A cascade may lose so much inner balanced accuracy against running every member.
CASCADE_TOLERANCE = 0.01
_EXITS = tuple(np.round(np.arange(0.34, 1.0, 0.02), 2).tolist())
_NEVER = 1.0
_WEIGHT_STEPS = 2000
_SMALLEST_STEP = 1e-10


@dataclass(frozen=True)
class Hierarchical:
    """Two stackings: normal against low, then osteopenia against osteoporosis among the low.

    Its logits are not the output of dense layers with the activations that a bundle knows, hence it is no ``Ensemble``:
    it is compared with the others and cannot be shipped.

    Attributes:
        low, porous: linear layers from the members' centred logits, side by side, to one logit.
    """

    low: DenseLayer
    porous: DenseLayer

    def apply(self, logits: Doubles) -> Doubles:
        """Members' logits (pictures, members, labels) to logits (pictures, labels)."""
        inputs = side_by_side(logits)
        low, porous = (_dense(inputs, layer)[:, 0] for layer in (self.low, self.porous))
        return np.column_stack([log_expit(-low), log_expit(low) + log_expit(-porous), log_expit(low) + log_expit(porous)])


Fitted = Ensemble | Hierarchical


def fit_ensemble(
    kind: EnsembleName,
    inner_logits: Doubles,
    labels: Integers,
    groups: Groups,
    *,
    seed: int,
    tolerance: float = CASCADE_TOLERANCE,
) -> Fitted:
    """Fit one way of combining members; every class weighs the same.

    The kinds:
        mean, vote, gompertz: nothing is fitted.
        weighted: weights of the members' probabilities, of lowest log-loss; the problem is convex.
        stacking: multinomial logistic regression on all members' logits (Wolpert, Neural Networks 1992); its penalty is
            chosen by grouped cross-validation.
        stacking_network: networks of one small tanh layer and strong weight decay, chosen likewise; several seeds, their
            logits' mean.
        forest: a random forest of few shallow trees on all members' logits (Breiman, Machine Learning 2001). Nothing is tuned.
        hierarchical: two binary stackings, see ``Hierarchical``.
        cascade: members are run in their order and averaged until the mean is sure; the thresholds are the lowest at which
            the balanced accuracy of these pictures is at most ``tolerance`` below that of running them all.

    Args:
        inner_logits: (pictures, members, labels), of members that were not fitted on the picture they score.

    Raises:
        ConfigError: an unknown kind, or fewer than two members.
        DatasetError: logits that are not numbers, a class that is missing here or from a fold, or shapes that differ.
    """
    _check(kind, inner_logits, labels, groups)
    with threadpool_limits(1):
        return _FITS[kind](inner_logits, labels, groups, seed, tolerance)


def apply_ensemble(fitted: Fitted, logits: Doubles) -> Doubles:
    """Members' logits (pictures, members, labels) to logits (pictures, labels), picture by picture as the runtime does."""
    if isinstance(fitted, Hierarchical):
        return fitted.apply(logits)
    run = members_run(fitted, logits)
    return np.array([combine(fitted, one[:count]) for one, count in zip(logits, run.tolist(), strict=True)])


def members_run(fitted: Fitted, logits: Doubles) -> Integers:
    """How many members are run for each picture, (pictures,): all, but for a cascade that is sure before."""
    count = logits.shape[1]
    if isinstance(fitted, Hierarchical):
        return np.full(len(logits), count)
    sure = ([done for done in range(1, count) if is_sure(fitted, list(one[:done]))] for one in logits)
    return np.array([stops[0] if stops else count for stops in sure])


def crossfit_ensemble(kind: EnsembleName, logits: Doubles, labels: Integers, groups: Groups, *, seed: int) -> Doubles:
    """Logits (pictures, labels) of ensembles that were fitted on the other folds: what a later model may be fitted on."""
    scores = np.empty((len(labels), len(LABELS)))
    patients = np.asarray(groups)
    for training, test in label_folds(labels, patients, folds=CHOICE_FOLDS, seed=seed):
        fitted = fit_ensemble(kind, logits[training], labels[training], patients[training], seed=seed)
        scores[test] = apply_ensemble(fitted, logits[test])
    return scores


def side_by_side(logits: Doubles) -> Doubles:
    """(pictures, members * labels): each member's logits less their mean, as the runtime's ``stack`` takes them."""
    return (logits - logits.mean(axis=2, keepdims=True)).reshape(len(logits), -1)  # type: ignore[no-any-return]


def _check(kind: str, logits: Doubles, labels: Integers, groups: Groups) -> None:
    if kind not in KINDS:
        raise ConfigError(f"there is no ensemble {str(kind)[:40]!r}; known are {', '.join(KINDS)}")
    if logits.ndim != 3 or logits.shape[2] != len(LABELS):
        raise DatasetError(f"members' logits must be (pictures, members, {len(LABELS)}), not {logits.shape}")
    if logits.shape[1] < 2:
        raise ConfigError(f"an ensemble needs at least 2 members, not {logits.shape[1]}")
    if not len(logits) == len(labels) == len(groups):
        raise DatasetError(f"{len(logits)} pictures' logits, {len(labels)} labels and {len(groups)} groups do not go together")
    require_finite(logits, "members' logits")
    require_every_label(labels)


def _fit_weighted(logits: Doubles, labels: Integers, groups: Groups, seed: int, tolerance: float) -> Ensemble:
    """Expectation maximisation of the mixture's weights: stays on the simplex, and the optimum is the only one."""
    likelihoods = softmax(logits)[np.arange(len(labels)), :, labels]
    likelihoods /= likelihoods.max(axis=1, keepdims=True)
    balance = compute_sample_weight("balanced", labels)
    weights = np.full(logits.shape[1], 1 / logits.shape[1])
    for _ in range(_WEIGHT_STEPS):
        shares = likelihoods * weights
        update = balance @ (shares / shares.sum(axis=1, keepdims=True))
        step, weights = weights, update / update.sum()
        if np.abs(step - weights).max() < _SMALLEST_STEP:
            break
    return Ensemble("weighted", weights=tuple(weights.tolist()))


def _fit_stacking(logits: Doubles, labels: Integers, groups: Groups, seed: int, tolerance: float) -> Ensemble:
    def fit(inputs: Doubles, truth: Integers, inverse_penalty: float) -> tuple[DenseLayer, ...]:
        return (logistic_layer(inputs, truth, inverse_penalty, class_weight="balanced"),)

    layers = _fit_chosen(fit, STACKING_INVERSE_PENALTIES, side_by_side(logits), labels, groups, seed)
    return Ensemble("stacking", layers=layers)


def logistic_layer(
    inputs: Doubles, truth: Integers, inverse_penalty: float, *, class_weight: Literal["balanced"] | None
) -> DenseLayer:
    """Multinomial logistic regression on standardised inputs (pictures, members * labels), as a layer of a stacking."""
    scaler = StandardScaler().fit(inputs)
    classifier = LogisticRegression(C=inverse_penalty, class_weight=class_weight, max_iter=5000)
    classifier.fit(scaler.transform(inputs), truth)
    return _unscaled(scaler, classifier.coef_.T, classifier.intercept_, "linear")


def _fit_network(logits: Doubles, labels: Integers, groups: Groups, seed: int, tolerance: float) -> Ensemble:
    def fit(inputs: Doubles, truth: Integers, alpha: float) -> tuple[DenseLayer, ...]:
        return _network_layers(inputs, truth, alpha, seed)

    return Ensemble("stacking", layers=_fit_chosen(fit, NETWORK_ALPHAS, side_by_side(logits), labels, groups, seed))


def _network_layers(inputs: Doubles, truth: Integers, alpha: float, seed: int) -> tuple[DenseLayer, DenseLayer]:
    """All seeds' networks as one: hidden layers side by side, and the mean of their logits."""
    scaler = StandardScaler().fit(inputs)
    networks = [_one_network(scaler.transform(inputs), truth, alpha, seed + one) for one in range(NETWORK_SEEDS)]
    hidden = np.hstack([network.coefs_[0] for network in networks]), np.hstack([n.intercepts_[0] for n in networks])
    kernel = np.vstack([network.coefs_[1] for network in networks]) / NETWORK_SEEDS
    bias = np.mean([network.intercepts_[1] for network in networks], axis=0)
    return _unscaled(scaler, *hidden, "tanh"), _layer(kernel, bias, "linear")


def _one_network(inputs: Doubles, truth: Integers, alpha: float, seed: int) -> MLPClassifier:
    network = MLPClassifier((NETWORK_UNITS,), activation="tanh", solver="lbfgs", alpha=alpha, max_iter=2000, random_state=seed)
    return network.fit(inputs, truth, sample_weight=compute_sample_weight("balanced", truth))


def _fit_chosen(
    fit: Callable[[Doubles, Integers, float], tuple[DenseLayer, ...]],
    choices: Sequence[float],
    inputs: Doubles,
    labels: Integers,
    groups: Groups,
    seed: int,
) -> tuple[DenseLayer, ...]:
    """Fit on all with the choice of lowest balanced log-loss on held-back groups."""
    folds = list(label_folds(labels, groups, folds=CHOICE_FOLDS, seed=seed))
    losses = [
        sum(
            balanced_log_loss(labels[test], softmax(_dense(inputs[test], *fit(inputs[training], labels[training], choice))))
            for training, test in folds
        )
        for choice in choices
    ]
    return fit(inputs, labels, choices[int(np.argmin(losses))])


def _fit_forest(logits: Doubles, labels: Integers, groups: Groups, seed: int, tolerance: float) -> Ensemble:
    forest = RandomForestClassifier(
        FOREST_TREES,
        max_depth=FOREST_DEPTH,
        min_samples_leaf=FOREST_LEAF_PICTURES,
        class_weight="balanced_subsample",
        random_state=seed,
        n_jobs=1,
    )
    return Ensemble("forest", trees=trees_of(forest.fit(side_by_side(logits), labels)))


def trees_of(forest: RandomForestClassifier) -> tuple[Tree, ...]:
    """The trees of a fitted forest as the records that the runtime walks.

    Raises:
        ConfigError: the forest does not know each label, in the order of ``LABELS``, and nothing else.
    """
    if forest.n_outputs_ != 1 or list(forest.classes_) != list(range(len(LABELS))):
        raise ConfigError(f"the forest's classes must be 0 to {len(LABELS) - 1}, not {list(forest.classes_)}")
    return tuple(_tree(one.tree_) for one in forest.estimators_)


def _tree(grown: Any) -> Tree:
    """scikit-learn lists the nodes depth first, so that children come after their parent, as the runtime asks for."""
    is_leaf = grown.children_left < 0
    shares = grown.value[:, 0, :] / grown.value[:, 0, :].sum(axis=1, keepdims=True)
    return Tree(
        feature=tuple(np.where(is_leaf, -1, grown.feature).tolist()),
        threshold=tuple(np.where(is_leaf, 0.0, grown.threshold).tolist()),
        left=tuple(grown.children_left.tolist()),
        right=tuple(grown.children_right.tolist()),
        values=tuple(tuple(row) if leaf else () for row, leaf in zip(shares.tolist(), is_leaf.tolist(), strict=True)),
    )


def _fit_hierarchical(logits: Doubles, labels: Integers, groups: Groups, seed: int, tolerance: float) -> Hierarchical:
    inputs, patients, low = side_by_side(logits), np.asarray(groups), labels != NORMAL
    first = _fit_step(inputs, low.astype(np.int64), patients, seed)
    second = _fit_step(inputs[low], (labels[low] == OSTEOPOROSIS).astype(np.int64), patients[low], seed)
    # The first step has normal weigh as much as both low classes; the priors of three equal classes are 1 to 2.
    return Hierarchical(_layer(np.array(first.kernel), np.array(first.bias) + np.log(2.0), "linear"), second)


def _fit_step(inputs: Doubles, truth: Integers, groups: Groups, seed: int) -> DenseLayer:
    folds = list(label_folds(truth, groups, folds=CHOICE_FOLDS, seed=seed))
    losses = [
        sum(
            balanced_log_loss(truth[test], _binary(inputs[test], _step_layer(inputs[training], truth[training], choice)))
            for training, test in folds
        )
        for choice in STACKING_INVERSE_PENALTIES
    ]
    return _step_layer(inputs, truth, STACKING_INVERSE_PENALTIES[int(np.argmin(losses))])


def _step_layer(inputs: Doubles, truth: Integers, inverse_penalty: float) -> DenseLayer:
    return logistic_layer(inputs, truth, inverse_penalty, class_weight="balanced")


def _binary(inputs: Doubles, layer: DenseLayer) -> Doubles:
    logits = _dense(inputs, layer)
    return softmax(np.hstack([np.zeros_like(logits), logits]))


def _fit_cascade(logits: Doubles, labels: Integers, groups: Groups, seed: int, tolerance: float) -> Ensemble:
    """Exit by exit, the lowest threshold that keeps the balanced accuracy while the later members are always run."""
    floor = _balanced_accuracy(Ensemble("mean"), logits, labels) - tolerance
    exits = [_NEVER] * (logits.shape[1] - 1)
    for place in range(len(exits)):
        for exit_ in itertools.chain(_EXITS, [_NEVER]):
            exits[place] = exit_
            if _balanced_accuracy(Ensemble("cascade", exits=tuple(exits)), logits, labels) >= floor:
                break
    return Ensemble("cascade", exits=tuple(exits))


def _balanced_accuracy(ensemble: Ensemble, logits: Doubles, labels: Integers) -> float:
    right = apply_ensemble(ensemble, logits).argmax(axis=1) == labels
    return float(np.mean([right[labels == place].mean() for place in range(len(LABELS))]))


def _unfitted(kind: Literal["mean", "vote", "gompertz"]) -> Callable[..., Ensemble]:
    return lambda *_: Ensemble(kind)


_FITS: dict[str, Callable[[Doubles, Integers, Groups, int, float], Fitted]] = {
    "mean": _unfitted("mean"),
    "vote": _unfitted("vote"),
    "gompertz": _unfitted("gompertz"),
    "weighted": _fit_weighted,
    "stacking": _fit_stacking,
    "stacking_network": _fit_network,
    "forest": _fit_forest,
    "hierarchical": _fit_hierarchical,
    "cascade": _fit_cascade,
}


def _unscaled(scaler: StandardScaler, kernel: Doubles, bias: Doubles, activation: Literal["linear", "tanh"]) -> DenseLayer:
    """The layer on raw inputs that does what ``kernel`` and ``bias`` do on standardised ones."""
    raw = kernel / scaler.scale_[:, np.newaxis]
    return _layer(raw, bias - scaler.mean_ @ raw, activation)


def _layer(kernel: Doubles, bias: Doubles, activation: Literal["linear", "tanh"]) -> DenseLayer:
    return DenseLayer(tuple(tuple(row) for row in kernel.tolist()), tuple(bias.tolist()), activation)


def _dense(inputs: Doubles, *layers: DenseLayer) -> Doubles:
    """The layers on many rows at once; ``test_ensembles`` holds it to the runtime's ``stack``."""
    for layer in layers:
        inputs = inputs @ np.array(layer.kernel) + np.array(layer.bias)
        inputs = np.tanh(inputs) if layer.activation == "tanh" else inputs
    return inputs
