"""What a model is taught: the classes, a part of them, their order, or the T-score behind them.

Linear classifiers on frozen features; ``train.networks.heads`` has the same targets for networks. The T-score and the age
are targets of training alone: what is fitted answers from the picture, in classes, and no T-score leaves this module.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol, get_args

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_sample_weight
from threadpoolctl import ThreadpoolController

from osteo_edge.decision.scores import softmax
from train.data.dataset import LABELS, DatasetError
from train.data.split import Groups, label_folds
from train.judging.evaluate import NORMAL
from train.networks.linear import balanced_log_loss
from train.runs.arrays import Booleans, Doubles, Integers, Reals
from train.runs.config import ConfigError, Linear

TargetKind = Literal["classes", "two_classes", "hierarchical", "ordinal", "t_score", "privileged"]
KINDS: tuple[TargetKind, ...] = get_args(TargetKind)

OSTEOPENIA, OSTEOPOROSIS = 1, 2
_SMALL_INVERSE_PENALTY = 1.0  # of the logistic on one or two standardised predictions
_FEWEST_KNOWN = 10
_NO_DEVIATION = 1e-7  # relative to the mean: what rounding of half precision leaves of a feature that does not vary
_TRACE, _ROUNDING, _MOST_STEPS = 1e-9, 1e-12, 100
_NARROWEST = 1e-6  # the least distance between two cut-points, in logits


class _ToLogits(Protocol):
    """What is fitted on the principal components: (pictures, components) to logits (pictures, labels)."""

    def logits(self, components: Doubles) -> Doubles: ...


@dataclass(frozen=True)
class Reducer:
    """Standardisation and principal components.

    Attributes:
        mean: (features,).
        kernel: (features, components), from what is left without the mean.
    """

    mean: Doubles
    kernel: Doubles

    def transform(self, features: Reals) -> Doubles:
        """Components (pictures, components)."""
        return (features - self.mean) @ self.kernel


def fit_reducer(features: Reals, variance: float) -> Reducer:
    """The fewest principal components of standardised features that keep more than this share of their variance.

    By the eigenvectors of the smaller of two matrices, pictures or features a side, which takes a fifth of the time of a whole
    singular value decomposition: nested cross-validation does nothing more often. Features that do not vary stay as they are.
    """
    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.where(deviation > _NO_DEVIATION * np.maximum(np.abs(mean), 1), deviation, 1.0)
    standard = (features - mean) / scale
    is_wide = standard.shape[0] < standard.shape[1]
    variances, directions = np.linalg.eigh(standard @ standard.T if is_wide else standard.T @ standard)
    shares = np.cumsum(np.maximum(variances[::-1], 0.0)) / max(variances.sum(), np.finfo(np.float64).tiny)
    kept = min(int(np.searchsorted(shares, variance, side="right")) + 1, *standard.shape)
    first = directions[:, : -kept - 1 : -1]
    if is_wide:
        first = standard.T @ first / np.sqrt(np.maximum(variances[: -kept - 1 : -1], np.finfo(np.float64).tiny))
    return Reducer(mean, first / scale[:, np.newaxis])


@dataclass(frozen=True)
class FittedTarget:
    """A fitted classifier from raw features to the three classes.

    Attributes:
        reducer: standardisation and principal components.
        inverse_penalties: what the inner cross-validation chose, one a step or auxiliary target.
        note: what has to be said of its probabilities; empty where nothing has.
    """

    kind: TargetKind
    reducer: Reducer
    model: _ToLogits
    inverse_penalties: tuple[float, ...]
    note: str = ""

    def predict_logits(self, features: Reals) -> Doubles:
        """Logits (pictures, labels) whose softmax are the probabilities.

        Raises:
            DatasetError: a feature is not a number.
        """
        require_finite(features, "features")
        return self.model.logits(self.reducer.transform(features))

    def predict_proba(self, features: Reals) -> Doubles:
        """Probabilities (pictures, labels)."""
        return softmax(self.predict_logits(features))


def fit_target(
    kind: TargetKind,
    features: Reals,
    labels: Integers,
    groups: Groups,
    settings: Linear,
    *,
    seed: int,
    t_scores: Reals | None = None,
    ages: Reals | None = None,
) -> FittedTarget:
    """Fit on (pictures, features) as ``train.networks.linear.fit_linear``: standardise, reduce, and choose the penalty by an
    inner grouped cross-validation in which every class weighs the same.

    The kinds:
        classes: multinomial logistic regression.
        two_classes: normal against low. The probability of low is spread over the two low classes by their shares in
            the training part, so the two are not told apart.
        hierarchical: normal against low, then osteopenia against osteoporosis among the low.
        ordinal: cumulative link (proportional odds; McCullagh, J. R. Stat. Soc. B 1980).
        t_score: ridge regression to the T-score, then a logistic from it to classes.
        privileged: ridge regressions to T-score and age, then a logistic from both to classes. They are known in
            training alone (learning using privileged information; Vapnik and Vashist, Neural Networks 2009).

    The last two fit their logistic on the inner cross-validation's held-back predictions, which err as those of new
    pictures do.

    Args:
        t_scores, ages: (pictures,), NaN where unknown; a regression is fitted where its own target is known.

    Raises:
        ConfigError: an unknown kind.
        DatasetError: a feature is not a number, a class is missing, here or from an inner fold, or too few T-scores or
            ages are known.
    """
    if kind not in KINDS:
        raise ConfigError(f"there is no target {str(kind)[:40]!r}; known are {', '.join(KINDS)}")
    require_finite(features, "features")
    require_every_label(labels)
    with thread_pools().limit(limits=1):
        folds = _reduced_folds(features, labels, groups, settings, seed=seed)
        reducer = fit_reducer(features, settings.pca_variance)
        whole = reducer.transform(features)
        if kind in ("t_score", "privileged"):
            measured = {"t_score": t_scores} if kind == "t_score" else {"t_score": t_scores, "age_years": ages}
            known = [_require_known(values, name, kind, len(labels)) for name, values in measured.items()]
            model, chosen = _fit_regressions(whole, labels, np.column_stack(known), folds, settings)
            return FittedTarget(kind, reducer, model, chosen)
        if kind == "hierarchical":
            return FittedTarget(kind, reducer, *_fit_hierarchical(whole, labels, folds, settings))
        fit = _FITS[kind]
        inverse_penalty = _choose(fit, labels, folds, settings)
        return FittedTarget(kind, reducer, fit(whole, labels, inverse_penalty), (inverse_penalty,), _NOTES.get(kind, ""))


@cache
def thread_pools() -> ThreadpoolController:
    """Those of the numeric libraries; to look for them takes as long as a fit, hence once."""
    return ThreadpoolController()


def as_head(fitted: FittedTarget) -> tuple[Doubles, Doubles]:
    """The whole as one linear layer on raw features, for a network's head: kernel (features, labels), bias (labels,).

    Its logits may differ from the classifier's by a constant for each picture, which the softmax does not see.

    Raises:
        ConfigError: the kind's logits are not linear in the features (hierarchical, ordinal).
    """
    if not isinstance(fitted.model, _Affine):
        raise ConfigError(f"the target {fitted.kind!r} is no linear layer; take classes, two_classes, t_score or privileged")
    return _on_raw_features(fitted.reducer, fitted.model)


def _on_raw_features(reducer: Reducer, affine: _Affine) -> tuple[Doubles, Doubles]:
    kernel = reducer.kernel @ affine.kernel
    return kernel, affine.bias - reducer.mean @ kernel


def as_raw_head(fitted: FittedTarget) -> tuple[Doubles, Doubles]:
    """The fitted classifier as the head of ``train.networks.heads`` for its kind: kernel (features, outputs), bias (outputs,).

    Hierarchical heads give the logits of low and of porous, ordinal ones a score less each cut-point; others are ``as_head``.
    """
    if isinstance(fitted.model, _Hierarchical):
        steps = (fitted.model.low, fitted.model.porous)
        affine = _Affine(np.hstack([one.kernel for one in steps]), np.concatenate([one.bias for one in steps]))
    elif isinstance(fitted.model, _Ordinal):
        affine = _Affine(fitted.model.weights[:, np.newaxis], -fitted.model.cuts)
    else:
        return as_head(fitted)
    return _on_raw_features(fitted.reducer, affine)


def require_finite(values: Reals, name: str) -> None:
    """Refuse what is not a number.

    Raises:
        DatasetError: names the first row.
    """
    wrong = np.asarray(~np.isfinite(np.reshape(values, (len(values), -1))).all(axis=1))
    if wrong.any():
        raise DatasetError(
            f"{name}: row {wrong.argmax()} holds what is no finite number, as {wrong.sum()} of {len(wrong)} rows do"
        )


def require_every_label(labels: Integers) -> None:
    """Refuse labels among which a class is missing.

    Raises:
        DatasetError: names the class.
    """
    for place, label in enumerate(LABELS):
        if not (labels == place).any():
            raise DatasetError(f"no radiograph of these {len(labels)} is {label}; every class must be in every training part")


# Linear classifiers on principal components.


@dataclass(frozen=True)
class _Affine:
    kernel: Doubles
    bias: Doubles

    def logits(self, components: Doubles) -> Doubles:
        return components @ self.kernel + self.bias


@dataclass(frozen=True)
class _Hierarchical:
    """Two binary classifiers: low against normal, and osteoporosis against osteopenia among the low."""

    low: _Affine
    porous: _Affine

    def logits(self, components: Doubles) -> Doubles:
        low, porous = self.low.logits(components)[:, 0], self.porous.logits(components)[:, 0]
        return np.column_stack([log_expit(-low), log_expit(low) + log_expit(-porous), log_expit(low) + log_expit(porous)])


@dataclass(frozen=True)
class _Ordinal:
    """P(class <= k) = sigmoid(cut-point k - score)."""

    weights: Doubles
    cuts: Doubles

    def logits(self, components: Doubles) -> Doubles:
        return _ordinal_log_probabilities(components @ self.weights, self.cuts)


_Fit = Callable[[Doubles, Integers, float], _ToLogits]


@dataclass(frozen=True)
class _ReducedFold:
    """One inner fold: rows, and what a reducer that was fitted on the training rows makes of both sides."""

    training: Integers
    test: Integers
    seen: Doubles
    unseen: Doubles


def _reduced_folds(features: Reals, labels: Integers, groups: Groups, settings: Linear, *, seed: int) -> list[_ReducedFold]:
    """Components are found once a fold, since they cost more than all classifiers."""
    folds = []
    for training, test in label_folds(labels, groups, folds=settings.inner_folds, seed=seed):
        reducer = fit_reducer(features[training], settings.pca_variance)
        folds.append(_ReducedFold(training, test, reducer.transform(features[training]), reducer.transform(features[test])))
    return folds


def _choose(fit: _Fit, labels: Integers, folds: Sequence[_ReducedFold], settings: Linear) -> float:
    """The inverse penalty of lowest mean loss over the inner folds."""
    losses = [
        sum(
            balanced_log_loss(labels[fold.test], softmax(fit(fold.seen, labels[fold.training], penalty).logits(fold.unseen)))
            for fold in folds
        )
        for penalty in settings.inverse_penalties
    ]
    return settings.inverse_penalties[int(np.argmin(losses))]


def _fit_classes(components: Doubles, labels: Integers, inverse_penalty: float) -> _Affine:
    classifier = _logistic(inverse_penalty).fit(components, labels)
    return _Affine(classifier.coef_.T, classifier.intercept_)


def _fit_two_classes(components: Doubles, labels: Integers, inverse_penalty: float) -> _Affine:
    """Softmax of (0, z + log share, z + log share) gives sigmoid(z) times the shares: linear, hence a head."""
    low = _fit_binary(components, labels != NORMAL, inverse_penalty)
    kernel = np.column_stack([np.zeros(components.shape[1]), low.kernel, low.kernel])
    return _Affine(kernel, np.concatenate([[0.0], low.bias + np.log(low_shares(labels))]))


def low_shares(labels: Integers) -> Doubles:
    """Shares of osteopenia and osteoporosis among the low, (2,)."""
    counts = np.bincount(labels, minlength=len(LABELS))[OSTEOPENIA:]
    return counts / counts.sum()  # type: ignore[no-any-return]


def _fit_binary(components: Doubles, truth: Booleans, inverse_penalty: float, weights: Any = None) -> _Affine:
    classifier = LogisticRegression(C=inverse_penalty, class_weight=None if weights is not None else "balanced", max_iter=5000)
    classifier.fit(components, truth, sample_weight=weights)
    return _Affine(classifier.coef_.T, classifier.intercept_)


def _fit_hierarchical(
    whole: Doubles, labels: Integers, folds: Sequence[_ReducedFold], settings: Linear
) -> tuple[_Hierarchical, tuple[float, float]]:
    """Each step has its own penalty; the first weighs the three classes alike, so that the second can share out its low."""
    first = _choose_step(_fit_low, labels, folds, settings, np.ones(len(labels), bool))
    second = _choose_step(_fit_porous, labels, folds, settings, labels != NORMAL)
    return _Hierarchical(_fit_low(whole, labels, first), _fit_porous(whole, labels, second)), (first, second)


def _fit_low(components: Doubles, labels: Integers, inverse_penalty: float) -> _Affine:
    return _fit_binary(components, labels != NORMAL, inverse_penalty, compute_sample_weight("balanced", labels))


def _fit_porous(components: Doubles, labels: Integers, inverse_penalty: float) -> _Affine:
    low = labels != NORMAL
    return _fit_binary(components[low], labels[low] == OSTEOPOROSIS, inverse_penalty)


def _choose_step(
    fit: Callable[[Doubles, Integers, float], _Affine],
    labels: Integers,
    folds: Sequence[_ReducedFold],
    settings: Linear,
    judged: Booleans,
) -> float:
    """As ``_choose`` for one binary step, on the pictures that it is about."""
    truth = (labels == OSTEOPOROSIS) if fit is _fit_porous else (labels != NORMAL)
    weights = np.zeros(len(labels))
    weights[judged] = compute_sample_weight("balanced", labels[judged])
    losses = [
        sum(_binary_loss(fit(fold.seen, labels[fold.training], penalty), fold, truth, weights) for fold in folds)
        for penalty in settings.inverse_penalties
    ]
    return settings.inverse_penalties[int(np.argmin(losses))]


def _binary_loss(model: _Affine, fold: _ReducedFold, truth: Booleans, weights: Doubles) -> float:
    signed = np.where(truth[fold.test], 1, -1) * model.logits(fold.unseen)[:, 0]
    return float(-(weights[fold.test] * log_expit(signed)).sum())


def _fit_ordinal(components: Doubles, labels: Integers, inverse_penalty: float) -> _Ordinal:
    """Penalised maximum likelihood, each class weighing the same; the loss is convex.

    The cut-points are the first and the logarithm of the distance to the next, which keeps them in order.
    """
    weights = compute_sample_weight("balanced", labels)
    start = np.concatenate([np.zeros(components.shape[1]), [-np.log(2.0), np.log(2 * np.log(2.0))]])
    fitted = minimize(
        _ordinal_loss, start, args=(components, labels, weights, inverse_penalty), jac=True, method="L-BFGS-B",
        options={"maxiter": 5000},
    )  # fmt: skip
    return _Ordinal(fitted.x[:-2], _cuts(fitted.x[-2:]))


def _cuts(parameters: Doubles) -> Doubles:
    return np.array([parameters[0], parameters[0] + _NARROWEST + np.exp(parameters[1])])


def _ordinal_loss(
    parameters: Doubles, components: Doubles, labels: Integers, weights: Doubles, inverse_penalty: float
) -> tuple[float, Doubles]:
    """Weighted negative log-likelihood with the ridge penalty, and its gradient."""
    slopes, cuts = parameters[:-2], _cuts(parameters[-2:])
    scores = components @ slopes
    log_probabilities = _ordinal_log_probabilities(scores, cuts)
    loss = -weights @ log_probabilities[np.arange(len(labels)), labels] + slopes @ slopes / (2 * inverse_penalty)
    # With a and b the cut-points around a class, less the score: p = s(b) - s(a), dlog p/dscore = s(a) + s(b) - 1.
    below = np.concatenate([[-np.inf], cuts])[labels] - scores
    above = np.concatenate([cuts, [np.inf]])[labels] - scores
    by_score = expit(below) + expit(above) - 1
    gap = -np.expm1(np.minimum(below - above, 0.0))
    by_above, by_below = expit(-above) / (expit(-below) * gap), -expit(below) / (expit(above) * gap)
    by_above, by_below = weights * by_above, weights * by_below
    by_cuts = [by_above[labels == cut].sum() + by_below[labels == cut + 1].sum() for cut in range(len(cuts))]
    by_parameters = np.array([sum(by_cuts), by_cuts[1] * np.exp(parameters[-1])])
    gradient = np.concatenate([-(weights * by_score) @ components + slopes / inverse_penalty, -by_parameters])
    return float(loss), gradient


def _ordinal_log_probabilities(scores: Doubles, cuts: Doubles) -> Doubles:
    """log(s(b) - s(a)) = log s(b) + log s(-a) + log(1 - exp(a - b)): exact where the difference would cancel."""
    low, high = cuts[0] - scores, cuts[1] - scores
    middle = log_expit(high) + log_expit(-low) + np.log(-np.expm1(cuts[0] - cuts[1]))
    return np.column_stack([log_expit(low), middle, log_expit(-high)])


def _logistic(inverse_penalty: float) -> LogisticRegression:
    return LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=5000)


_FITS: dict[str, _Fit] = {"classes": _fit_classes, "two_classes": _fit_two_classes, "ordinal": _fit_ordinal}
_NOTES = {
    "two_classes": "osteopenia and osteoporosis are not told apart: the probability of low is spread by their training shares"
}


def _require_known(values: Reals | None, name: str, kind: str, count: int) -> Doubles:
    if values is None or np.shape(values) != (count,):
        raise DatasetError(f"the target {kind!r} needs {name} of each of the {count} radiographs; add the column to the table")
    known = np.isfinite(values).sum()
    if known < _FEWEST_KNOWN:
        raise DatasetError(f"the target {kind!r}: {name} is known of {known} radiographs; at least {_FEWEST_KNOWN} are needed")
    return np.asarray(values, np.float64)


def _fit_regressions(
    whole: Doubles, labels: Integers, measured: Doubles, folds: Sequence[_ReducedFold], settings: Linear
) -> tuple[_Affine, tuple[float, ...]]:
    """Ridge regressions to each column of ``measured`` and the logistic from their predictions, as one linear map."""
    held_back, kernels, biases, chosen = [], [], [], []
    for values in measured.T:
        predictions = _out_of_fold_ridges(values, labels, folds, settings.inverse_penalties)
        errors = _balanced_squared_errors(predictions, values, labels)
        place = int(errors.argmin())
        ridge = _fit_ridges(whole, values, labels, settings.inverse_penalties[place : place + 1])
        held_back.append(predictions[:, place])
        kernels.append(ridge.kernel)
        biases.append(ridge.bias)
        chosen.append(settings.inverse_penalties[place])
    told = np.column_stack(held_back)
    mean, deviation = told.mean(axis=0), told.std(axis=0)
    scale = np.where(deviation > 0, deviation, 1.0)
    logistic = _fit_softmax((told - mean) / scale, labels, _SMALL_INVERSE_PENALTY)
    to_logits = logistic.kernel / scale[:, np.newaxis]
    bias = (np.concatenate(biases) - mean) @ to_logits + logistic.bias
    return _Affine(np.hstack(kernels) @ to_logits, bias), tuple(chosen)


def _fit_softmax(inputs: Doubles, labels: Integers, inverse_penalty: float) -> _Affine:
    """Multinomial logistic regression on few inputs by Newton's method; every class weighs the same.

    The loss is convex and its steps are halved until it falls, hence the optimum is found from anywhere.
    """
    rows, weights = np.column_stack([inputs, np.ones(len(inputs))]), balanced_weights(labels)
    truth, size = np.eye(len(LABELS))[labels], rows.shape[1] * len(LABELS)
    # The biases are free; together they have no effect, which a trace of penalty settles.
    penalties = np.append(np.full(inputs.shape[1], 1 / inverse_penalty), _TRACE)[:, np.newaxis]

    def loss(kernel: Doubles) -> float:
        logits = rows @ kernel
        logits -= logits.max(axis=1, keepdims=True)
        likelihood = (truth * logits).sum(axis=1) - np.log(np.exp(logits).sum(axis=1))
        return float((penalties * kernel**2).sum() / 2 - weights @ likelihood)

    kernel = np.zeros((rows.shape[1], len(LABELS)))
    value = loss(kernel)
    for _ in range(_MOST_STEPS):
        shares = softmax(rows @ kernel)
        gradient = rows.T @ (weights[:, np.newaxis] * (shares - truth)) + penalties * kernel
        curved = weights[:, np.newaxis, np.newaxis] * (
            shares[:, :, np.newaxis] * np.eye(len(LABELS)) - shares[:, :, np.newaxis] * shares[:, np.newaxis]
        )
        curvature = np.einsum("ni,nab,nj->iajb", rows, curved, rows).reshape(size, size)
        curvature += np.diag(np.repeat(penalties[:, 0], len(LABELS)))
        step = np.linalg.solve(curvature, gradient.ravel()).reshape(kernel.shape)
        while (lower := loss(kernel - step)) > value + _ROUNDING * abs(value):
            step /= 2
        kernel, fall, value = kernel - step, value - lower, lower
        if fall <= _ROUNDING * abs(value):
            break
    return _Affine(kernel[:-1], kernel[-1])


def _out_of_fold_ridges(
    values: Doubles, labels: Integers, folds: Sequence[_ReducedFold], inverse_penalties: Sequence[float]
) -> Doubles:
    """(pictures, penalties) predictions by ridge regressions that did not see the picture."""
    predictions = np.empty((len(values), len(inverse_penalties)))
    for fold in folds:
        ridges = _fit_ridges(fold.seen, values[fold.training], labels[fold.training], inverse_penalties)
        predictions[fold.test] = ridges.logits(fold.unseen)
    return predictions


def _fit_ridges(components: Doubles, values: Doubles, labels: Integers, inverse_penalties: Sequence[float]) -> _Affine:
    """Ridge regressions, a column a penalty, in which every class weighs the same and the bias is free."""
    known = np.isfinite(values)
    if known.sum() < 2:
        raise DatasetError("an inner training part holds fewer than 2 known T-scores or ages; more are needed")
    weights = balanced_weights(labels[known])
    middle, mean = weights @ components[known] / weights.sum(), weights @ values[known] / weights.sum()
    centred = components[known] - middle
    weighted = weights[:, np.newaxis] * centred
    penalties = 1 / np.array(inverse_penalties)[:, np.newaxis, np.newaxis] * np.eye(centred.shape[1])
    right = weighted.T @ (values[known] - mean)
    kernel = np.linalg.solve(centred.T @ weighted + penalties, np.broadcast_to(right[:, np.newaxis], (*penalties.shape[:2], 1)))
    kernel = kernel[..., 0].T
    return _Affine(kernel, mean - middle @ kernel)


def balanced_weights(labels: Integers) -> Doubles:
    """(pictures,) weights by which every label that occurs counts the same; their mean is 1."""
    counts = np.bincount(labels)
    return (len(labels) / np.count_nonzero(counts) / counts[labels]).astype(np.float64)


def _balanced_squared_errors(predictions: Doubles, values: Doubles, labels: Integers) -> Doubles:
    """(penalties,) of (pictures, penalties) predictions."""
    known = np.isfinite(values)
    return balanced_weights(labels[known]) @ (predictions[known] - values[known, np.newaxis]) ** 2
