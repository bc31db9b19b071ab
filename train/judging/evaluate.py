"""Figures of merit on out-of-fold scores, with bootstrap intervals by patient.

A resample of patients is a row of weights, one a picture, so that all resamples are evaluated at once: every figure
here is a function of weighted counts, sums and ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.stats import binomtest, norm, rankdata

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.data.split import Groups
from train.runs.arrays import Booleans, Doubles, Integers

Method = Literal["percentile", "bca"]

NORMAL = 0
ECE_BINS = 10
INTERVAL_PERCENT = (2.5, 97.5)
COMPARED = ("macro_auc", "balanced_accuracy")
# Weights that are evaluated at once: they and their few copies stay in the processor's cache.
BLOCK_SIZE = 20_000


def figures_of_merit(labels: Integers, probabilities: Doubles) -> dict[str, float]:
    """Every figure of one set of scores.

    ``auc_low_density``, of any low bone density against normal, is ``auc_normal`` by another name: the same pairs are
    ordered by the same number. Both stay, since each table needs its own word.

    Args:
        labels: (pictures,) places in ``LABELS``; every class must occur.
        probabilities: (pictures, labels) summing to one.
    """
    figures = weighted_figures(labels, probabilities, np.ones((1, len(labels))))
    return {name: float(values[0]) for name, values in figures.items()}


def weighted_figures(labels: Integers, probabilities: Doubles, weights: Doubles) -> dict[str, Doubles]:
    """Every figure of one set of scores, (resamples,) each.

    Args:
        labels: (pictures,) places in ``LABELS``.
        probabilities: (pictures, labels) summing to one.
        weights: (resamples, pictures), how often each picture counts; in every resample every class must.
    """
    counts = weights @ np.eye(len(LABELS) ** 2)[_cells(labels, probabilities)]
    counts = counts.reshape(-1, len(LABELS), len(LABELS))
    total, right = weights.sum(axis=1), counts.diagonal(axis1=1, axis2=2)
    of_label, as_label = counts.sum(axis=2), counts.sum(axis=1)
    recalls = right / of_label
    # A class that is never named has no precision; 0 as in scikit-learn's zero_division=0.
    precisions = np.divide(right, as_label, out=np.zeros_like(right), where=as_label > 0)
    aucs = np.stack([weighted_auc(labels == place, probabilities[:, place], weights) for place in range(len(LABELS))], axis=1)
    squares = ((probabilities - np.eye(len(LABELS))[labels]) ** 2).sum(axis=1)
    return {
        "balanced_accuracy": recalls.mean(axis=1),
        "macro_auc": aucs.mean(axis=1),
        **_by_label("auc", aucs),
        "auc_low_density": aucs[:, NORMAL],
        "macro_f1": (2 * right / (of_label + as_label)).mean(axis=1),
        **_by_label("recall", recalls),
        **_by_label("precision", precisions),
        "accuracy": right.sum(axis=1) / total,
        "quadratic_kappa": quadratic_kappa(counts),
        "brier": weights @ squares / total,
        "ece": _calibration_error(labels, probabilities, weights),
    }


def _cells(labels: Integers, probabilities: Doubles) -> Integers:
    """Cell of the confusion matrix that each picture falls in, counted row by row."""
    cells: Integers = labels * len(LABELS) + probabilities.argmax(axis=1)
    return cells


def _by_label(name: str, values: Doubles) -> dict[str, Doubles]:
    return {f"{name}_{label}": values[:, place] for place, label in enumerate(LABELS)}


def quadratic_kappa(counts: Doubles) -> Doubles:
    """Agreement beyond chance, disagreements weighing their squared distance (Cohen, Psychological Bulletin 1968).

    Args:
        counts: (resamples, true labels, likeliest labels); every class must occur.
    """
    places = np.arange(counts.shape[1])
    distance = (places[:, np.newaxis] - places) ** 2
    total = counts.sum(axis=(1, 2))
    by_chance = counts.sum(axis=2)[:, :, np.newaxis] * counts.sum(axis=1)[:, np.newaxis] / total[:, np.newaxis, np.newaxis]
    kappa: Doubles = 1 - (counts * distance).sum(axis=(1, 2)) / (by_chance * distance).sum(axis=(1, 2))
    return kappa


def _calibration_error(labels: Integers, probabilities: Doubles, weights: Doubles) -> Doubles:
    confidence, right, bins = _confidence(labels, probabilities)
    gaps = weights @ ((right - confidence)[:, np.newaxis] * np.eye(ECE_BINS)[bins])
    error: Doubles = np.abs(gaps).sum(axis=1) / weights.sum(axis=1)
    return error


def _confidence(labels: Integers, probabilities: Doubles) -> tuple[Doubles, Booleans, Integers]:
    """Probability of each picture's likeliest class, whether that class is right, and the bin of the probability."""
    confidence = probabilities.max(axis=1)
    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    return confidence, probabilities.argmax(axis=1) == labels, bins


def class_aucs(labels: Integers, probabilities: Doubles) -> Doubles:
    """Area under the ROC curve of each class against the rest, (labels,)."""
    return np.array([auc(labels == place, probabilities[:, place]) for place in range(len(LABELS))])


def auc(truth: Booleans, scores: Doubles) -> float:
    """Area under the ROC curve: the share of pairs in the right order (Hanley & McNeil, Radiology 1982), ties half."""
    return float(weighted_auc(truth, scores, np.ones((1, len(truth))))[0])


def weighted_auc(truth: Booleans, scores: Doubles, weights: Doubles) -> Doubles:
    """As ``auc``, (resamples,), where each picture counts ``weights`` (resamples, pictures) times."""
    order = np.argsort(scores, kind="stable")
    ordered, ordered_truth = scores[order], truth[order]
    drawn = weights[:, order]
    negatives = np.where(ordered_truth, 0.0, drawn)
    below = np.concatenate([np.zeros((len(drawn), 1)), negatives.cumsum(axis=1)], axis=1)
    values = ordered[ordered_truth]
    first, last = np.searchsorted(ordered, values, "left"), np.searchsorted(ordered, values, "right")
    positives = drawn[:, ordered_truth]
    pairs = (positives * (below[:, first] + below[:, last])).sum(axis=1) / 2
    area: Doubles = pairs / (positives.sum(axis=1) * negatives.sum(axis=1))
    return area


def expected_calibration_error(labels: Integers, probabilities: Doubles) -> float:
    """Mean gap between confidence and accuracy over ten equal bins of the confidence (Guo et al., ICML 2017)."""
    return float(_calibration_error(labels, probabilities, np.ones((1, len(labels))))[0])


def reliability(labels: Integers, probabilities: Doubles) -> list[tuple[float, float, float]]:
    """Share of the pictures, mean confidence and accuracy of each bin that is not empty."""
    confidence, right, bins = _confidence(labels, probabilities)
    members = [bins == index for index in np.unique(bins)]
    return [(float(m.mean()), float(confidence[m].mean()), float(right[m].mean())) for m in members]


def confusion(labels: Integers, probabilities: Doubles) -> list[list[int]]:
    """Counts by true label (rows) and likeliest label (columns)."""
    counts = np.bincount(_cells(labels, probabilities), minlength=len(LABELS) ** 2)
    return counts.reshape(-1, len(LABELS)).tolist()


def resamples(groups: Groups, *, count: int, seed: int) -> Iterator[Integers]:
    """Indices of the pictures of as many patient groups as there are, drawn with replacement, ``count`` times."""
    members = [np.flatnonzero(np.asarray(groups) == group) for group in dict.fromkeys(groups)]
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield np.concatenate([members[index] for index in rng.integers(len(members), size=len(members))])


def resample_weights(labels: Integers, groups: Groups, *, count: int, seed: int) -> Doubles:
    """The draws of ``resamples`` as weights, (resamples, pictures); draws in which a class is missing are left out."""
    drawn = [np.bincount(chosen, minlength=len(labels)) for chosen in resamples(groups, count=count, seed=seed)]
    return _with_every_label(labels, np.array(drawn, np.float64).reshape(-1, len(labels)))


def jackknife_weights(labels: Integers, groups: Groups) -> Doubles:
    """Weights with one patient group left out in turn, (groups, pictures); those that lose a class are left out."""
    _, numbers = np.unique(np.asarray(groups), return_inverse=True)
    return _with_every_label(labels, 1 - np.eye(numbers.max() + 1)[:, numbers])


def _with_every_label(labels: Integers, weights: Doubles) -> Doubles:
    kept: Doubles = weights[(weights @ np.eye(len(LABELS))[labels] > 0).all(axis=1)]
    return kept


def compare(
    labels: Integers,
    systems: Mapping[str, Doubles],
    groups: Groups,
    *,
    model: str,
    count: int,
    seed: int,
    compared: Sequence[str] = COMPARED,
    method: Method = "percentile",
) -> tuple[dict[str, dict[str, Metric]], dict[str, dict[str, Metric]]]:
    """Figures with 95 % bootstrap intervals, all systems and all their repeats on the same resamples of patients.

    Resamples in which a class does not occur are left out. The intervals tell of other patients, not of other splits:
    repeats are averaged inside each resample.

    Percentile intervals are the rule, ``bca`` (bias-corrected and accelerated; Efron, JASA 1987) the option: in simulated
    studies of 145 patients (``python -m train research coverage``) both hold the true macro AUC and balanced accuracy equally
    often, and BCa does not exist for a figure at its bound, as the recall of a class that is never found.

    Args:
        systems: name -> probabilities, (pictures, labels) or (repeats, pictures, labels): figures are means over repeats.
        model: the system whose advantage over each other one is wanted.
        compared: the figures whose differences are wanted.

    Returns:
        name -> figure -> value and interval; and name -> figure -> paired difference, model less that system.
    """
    sets = [np.ones((1, len(labels))), resample_weights(labels, groups, count=count, seed=seed)]
    if method == "bca":
        sets.append(jackknife_weights(labels, groups))
    ends = np.cumsum([len(weights) for weights in sets])[:-1]
    drawn = {name: mean_over_repeats(labels, scores, np.concatenate(sets)) for name, scores in systems.items()}

    def measured(values: Doubles) -> Metric:
        whole, boot, *left_out = np.split(values, ends)
        return bca_interval(float(whole[0]), boot, left_out[0]) if left_out else interval(float(whole[0]), boot)

    figures = {name: {figure: measured(values) for figure, values in of_one.items()} for name, of_one in drawn.items()}
    differences = {
        name: {figure: measured(drawn[model][figure] - of_one[figure]) for figure in compared}
        for name, of_one in drawn.items()
        if name != model
    }
    return figures, differences


def mean_over_repeats(labels: Integers, scores: Doubles, weights: Doubles) -> dict[str, Doubles]:
    """``weighted_figures`` of (pictures, labels) scores, or their mean over the repeats of (repeats, pictures, labels)."""
    repeats = np.reshape(scores, (-1, *np.shape(scores)[-2:]))
    blocks = np.array_split(weights, max(1, weights.size // BLOCK_SIZE))
    drawn = [[weighted_figures(labels, one, block) for block in blocks] for one in repeats]
    return {
        figure: np.mean([np.concatenate([block[figure] for block in of_one]) for of_one in drawn], axis=0)
        for figure in drawn[0][0]
    }


def interval(value: float, drawn: Sequence[float] | Doubles) -> Metric:
    """A figure and the 2.5th and 97.5th percentile of its bootstrap values."""
    low, high = np.percentile(drawn, INTERVAL_PERCENT) if len(drawn) else (np.nan, np.nan)
    return Metric(value, float(low), float(high))


def bca_interval(value: float, drawn: Doubles, left_out: Doubles) -> Metric:
    """Bias-corrected and accelerated bootstrap interval (Efron, JASA 1987).

    Args:
        drawn: (resamples,) bootstrap values; those equal to ``value`` count half as below it.
        left_out: (groups,) values with each patient group left out.

    Where the whole bootstrap lies on one side of the value, as with a figure at its bound, the correction does not
    exist and the percentile interval is given.
    """
    below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2 if len(drawn) else 0.0
    if not 0 < below < 1:
        return interval(value, drawn)
    bias, ends = norm.ppf(below), norm.ppf(np.divide(INTERVAL_PERCENT, 100))
    pull = left_out.mean() - left_out
    spread = (pull**2).sum() ** 1.5
    acceleration = (pull**3).sum() / (6 * spread) if spread > 0 else 0.0
    low, high = np.quantile(drawn, norm.cdf(bias + (bias + ends) / (1 - acceleration * (bias + ends))))
    return Metric(value, float(low), float(high))


@dataclass(frozen=True)
class AucDifference:
    """Two areas under the ROC curve on the same pictures, and DeLong's test of their difference.

    Attributes:
        difference: first less second, with its 95 % normal interval.
        p_value: two-sided; 1 where the two never differ.
    """

    first: float
    second: float
    difference: Metric
    p_value: float


def permutation_p_value(value: float, permuted: Sequence[float]) -> float:
    """Share of the relabellings that do as well, the true one among them (Phipson & Smyth, SAGMB 2010)."""
    return (1 + sum(one >= value for one in permuted)) / (1 + len(permuted))


def delong(truth: Booleans, first: Doubles, second: Doubles, groups: Groups) -> AucDifference:
    """Paired comparison of two areas (DeLong, DeLong & Clarke-Pearson, Biometrics 1988).

    Placement values are summed over a patient's pictures before their variance is taken (Obuchowski, Biometrics 1997),
    which is DeLong's own variance where every patient has one picture. All pictures of a patient must be of one class.

    Args:
        truth: (pictures,).
        first, second: scores, (pictures,) or (repeats, pictures); placement values are averaged over repeats.
    """
    placements = [_placements(truth, np.atleast_2d(scores)) for scores in (first, second)]
    areas = [float(positives.mean()) for positives, _ in placements]
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    variance = sum(
        _variance_of_mean(ahead - behind, numbers[part])
        for ahead, behind, part in zip(*placements, (truth, ~truth), strict=True)
    )
    difference, error = areas[0] - areas[1], float(np.sqrt(variance))
    reach = float(norm.ppf(INTERVAL_PERCENT[1] / 100)) * error
    p_value = float(2 * norm.sf(abs(difference) / error)) if error > 0 else 1.0
    return AucDifference(areas[0], areas[1], Metric(difference, difference - reach, difference + reach), p_value)


def _placements(truth: Booleans, scores: Doubles) -> tuple[Doubles, Doubles]:
    """Share of the negatives below each positive, and of the positives above each negative; ties half."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    # From ranks, without a matrix of all pairs (Sun & Xu, IEEE Signal Processing Letters 2014).
    ranks = rankdata(scores, axis=1)
    below = (ranks[:, truth] - rankdata(scores[:, truth], axis=1)) / negatives
    above = 1 - (ranks[:, ~truth] - rankdata(scores[:, ~truth], axis=1)) / positives
    return below.mean(axis=0), above.mean(axis=0)


def _variance_of_mean(values: Doubles, numbers: Integers) -> float:
    """Variance of the mean of (pictures,) values that depend on one another inside a patient; 0 with one patient."""
    sums = np.bincount(numbers, weights=values - values.mean())
    patients = len(np.unique(numbers))
    return float(patients / max(patients - 1, 1) * (sums**2).sum() / len(values) ** 2)


@dataclass(frozen=True)
class AccuracyDifference:
    """McNemar's counts: patients in whom only, or more often, one of two systems is right."""

    first_ahead: int
    second_ahead: int
    p_value: float


def mcnemar(labels: Integers, first: Doubles, second: Doubles, groups: Groups) -> AccuracyDifference:
    """Exact two-sided test of two accuracies on the same pictures (McNemar, Psychometrika 1947).

    A sign test over patients, which is McNemar's where every patient has one picture.

    Args:
        first, second: probabilities, (pictures, labels) or (repeats, pictures, labels): repeats are averaged first.
    """
    right = [_mean_probabilities(scores).argmax(axis=1) == labels for scores in (first, second)]
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    ahead = np.bincount(numbers, weights=right[0].astype(np.float64) - right[1])
    counts = int((ahead > 0).sum()), int((ahead < 0).sum())
    p_value = float(binomtest(counts[0], sum(counts)).pvalue) if any(counts) else 1.0
    return AccuracyDifference(*counts, p_value)


def _mean_probabilities(scores: Doubles) -> Doubles:
    mean: Doubles = np.reshape(scores, (-1, *np.shape(scores)[-2:])).mean(axis=0)
    return mean
