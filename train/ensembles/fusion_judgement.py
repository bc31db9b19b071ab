"""What the image adds to what is known of the person.

Every comparison is on the same folds: the covariates alone, age and sex alone, OST, the image alone, and all together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from osteo_edge.clinical.formulas import ost
from osteo_edge.covariates import AGE, WEIGHT
from osteo_edge.decision.scores import softmax
from osteo_edge.errors import CovariateError
from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.data.split import Groups
from train.ensembles.fusion import AGE_SEX, FEWEST_OF_EACH, FusionParts, Penalties, Table, fit_fusion, rows_of
from train.ensembles.nested import NestedLogits
from train.judging.evaluate import COMPARED, compare, figures_of_merit, interval, resamples, weighted_auc
from train.runs.arrays import Booleans, Doubles, Integers
from train.runs.config import ConfigError

AGE_BANDS = ((0, 40), (40, 50), (50, 60), (60, math.inf))

# Names of the systems that are compared.
IMAGE, ALONE, FUSED, AGE_SEX_ALONE, OST = "image", "covariates", "fused", "age_sex", "ost"


@dataclass(frozen=True)
class Judgement:
    """What nested cross-validation says of a fusion.

    Attributes:
        names: the covariates that were asked for.
        scores: system -> (repeats, pictures, labels) held-back probabilities.
        figures: system -> figure -> mean over the repeats, with interval.
        gains: system -> figure -> fused less that system, paired.
        repeats: system -> figures of each repeat.
        bands: age band by age band, see ``judge_bands``.
        image_shares: of each fit, on the pictures that it held back.
        image_scales: that each fit chose; 0 gives the picture no weight.
        notes: of each covariate that some fit left out.
    """

    names: tuple[str, ...]
    scores: Mapping[str, Doubles]
    figures: Mapping[str, Mapping[str, Metric]]
    gains: Mapping[str, Mapping[str, Metric]]
    repeats: Mapping[str, Sequence[Mapping[str, float]]]
    bands: Sequence[Mapping[str, Any]]
    image_shares: tuple[float, ...]
    image_scales: tuple[float, ...]
    notes: tuple[str, ...]

    @property
    def is_proven(self) -> bool:
        return self.figures[FUSED]["macro_auc"].low > 0.5

    @property
    def image_adds(self) -> bool:
        """Whether the paired interval of the macro AUC, fused less the same covariates alone, lies above 0."""
        return self.gains[ALONE]["macro_auc"].low > 0

    def sentences(self) -> tuple[str, ...]:
        """What the picture adds, in words for the report."""
        return _sentences(self)

    def as_plain(self) -> dict[str, Any]:
        """For JSON; the scores themselves are left out."""
        return {
            "covariates": self.names,
            "sentences": self.sentences(),
            "figures": self.figures,
            "fused_less": self.gains,
            "repeats": self.repeats,
            "age_bands": self.bands,
            "image_share": float(np.mean(self.image_shares)),
            "image_shares": self.image_shares,
            "image_scales": self.image_scales,
            "is_proven": self.is_proven,
            "image_adds": self.image_adds,
            "notes": self.notes,
        }


def judge_fusion(
    names: Sequence[str],
    nested: Sequence[NestedLogits],
    table: Table,
    labels: Integers,
    groups: Groups,
    penalties: Penalties,
    *,
    count: int,
    seed: int,
) -> Judgement:
    """Fit on every outer fold's training part and score what it held back, with and without the image.

    Args:
        nested: one a repeat, each of one member: the image's score (``NestedLogits.member`` or ``as_one_member``).
        count: bootstrap resamples of patients.

    Raises:
        ConfigError, DatasetError: as ``fit_fusion``; or there is no repeat, or one of several members.
    """
    if not nested or any(one.outer.shape[1] != 1 for one in nested):
        raise ConfigError("a fusion is judged with one image score a repeat; make an ensemble one member first")
    without_image = replace(penalties, image_scales=(0.0,))
    scores: dict[str, list[Doubles]] = {IMAGE: [softmax(one.outer[:, 0]) for one in nested]}
    shares: list[float] = []
    scales: list[float] = []
    notes: list[str] = []
    plans = {FUSED: (tuple(names), penalties), ALONE: (tuple(names), without_image)}
    if all(any(name in row for row in table) for name in AGE_SEX):
        plans[AGE_SEX_ALONE] = (AGE_SEX, without_image)
    for system, (of_system, choices) in plans.items():
        scores[system] = []
        for repeat in nested:
            probabilities, parts, of_folds = _judge_once(of_system, repeat, table, labels, groups, choices, seed)
            scores[system].append(probabilities)
            if system == FUSED:
                shares.extend(of_folds)
                scales.extend(one.image_scale for one in parts)
                notes.extend(note for one in parts for note in one.notes)
    if any(math.isfinite(index) for index in ost_indices(table)):
        scores[OST] = [_ost_scores(repeat, table, labels) for repeat in nested]
    stacked = {system: np.array(one) for system, one in scores.items()}
    figures, gains = compare(labels, stacked, groups, model=FUSED, count=count, seed=seed)
    return Judgement(
        names=tuple(names),
        scores=stacked,
        figures=figures,
        gains=gains,
        repeats={system: [figures_of_merit(labels, one) for one in repeats] for system, repeats in stacked.items()},
        bands=judge_bands(labels, stacked, table, groups, count=count, seed=seed),
        image_shares=tuple(shares),
        image_scales=tuple(scales),
        notes=tuple(dict.fromkeys(notes)),
    )


def _judge_once(
    names: Sequence[str],
    repeat: NestedLogits,
    table: Table,
    labels: Integers,
    groups: Groups,
    penalties: Penalties,
    seed: int,
) -> tuple[Doubles, list[FusionParts], list[float]]:
    """Held-back probabilities, what each fold fitted, and the image's share in each fold."""
    scores, parts, shares = np.empty((len(labels), len(LABELS))), [], []
    patients = np.asarray(groups)
    for fold, inner in enumerate(repeat.inner):
        training, held_back = repeat.parts(fold)
        fitted = fit_fusion(
            names, inner[:, 0], rows_of(table, training), labels[training], patients[training], penalties, seed=seed
        )
        image, known = repeat.outer[held_back, 0], rows_of(table, held_back)
        scores[held_back] = softmax(fitted.predict_logits(image, known))
        parts.append(fitted)
        shares.append(fitted.image_share(image, known))
    return scores, parts, shares


def ost_indices(table: Table) -> Doubles:
    """OST of each person, lower for more risk; NaN without age or weight, and where these are outside of the formula's limits.

    The Osteoporosis Self-assessment Tool was made for women after menopause; here it is a yardstick for everyone.
    """
    return np.array([_ost_index(row.get(AGE), row.get(WEIGHT)) for row in table])


def _ost_index(age_years: float | None, weight_kg: float | None) -> float:
    if age_years is None or weight_kg is None:
        return math.nan
    try:
        return float(ost(age_years, weight_kg))
    except CovariateError:
        return math.nan


def _ost_scores(repeat: NestedLogits, table: Table, labels: Integers) -> Doubles:
    """OST turned into three probabilities by a logistic regression on the training part."""
    indices = ost_indices(table)[:, np.newaxis]
    scores = np.empty((len(labels), len(LABELS)))
    for fold in range(len(repeat.inner)):
        training, held_back = repeat.parts(fold)
        imputer = SimpleImputer(keep_empty_features=True)
        model = make_pipeline(imputer, StandardScaler(), LogisticRegression(class_weight="balanced", max_iter=5000))
        scores[held_back] = model.fit(indices[training], labels[training]).predict_proba(indices[held_back])
    return scores


def judge_bands(
    labels: Integers, systems: Mapping[str, Doubles], table: Table, groups: Groups, *, count: int, seed: int
) -> list[dict[str, Any]]:
    """Within bands of age, where age itself says little: how well neighbouring classes are told apart.

    Returns:
        For each band with anybody in it, its name, the radiographs by label, and for each pair of neighbouring classes
        with at least five radiographs of both the AUC of every system (mean over the repeats, with interval) and the
        paired difference of the fused score and the covariates alone. Pairs that do not exist there are not judged.
    """
    ages = np.array([row.get(AGE, math.nan) for row in table])
    bands = []
    for low, high in AGE_BANDS:
        inside = (ages >= low) & (ages < high)
        if inside.any():
            counts = np.bincount(labels[inside], minlength=len(LABELS))
            pairs = [
                _judge_pair(lesser, labels, systems, inside, groups, count=count, seed=seed)
                for lesser in range(len(LABELS) - 1)
                if counts[lesser : lesser + 2].min() >= FEWEST_OF_EACH
            ]
            radiographs = dict(zip(LABELS, counts.tolist(), strict=True))
            bands.append({"band": _band_name(low, high), "radiographs": radiographs, "pairs": pairs})
    return bands


def _judge_pair(
    lesser: int,
    labels: Integers,
    systems: Mapping[str, Doubles],
    inside: Booleans,
    groups: Groups,
    *,
    count: int,
    seed: int,
) -> dict[str, Any]:
    rows = np.flatnonzero(inside & np.isin(labels, (lesser, lesser + 1)))
    truth = labels[rows] == lesser + 1
    drawn = [np.bincount(one, minlength=len(rows)) for one in resamples(np.asarray(groups)[rows], count=count, seed=seed)]
    weights = np.array([one for one in (np.ones(len(rows)), *drawn) if 0 < one[truth].sum() < one.sum()], np.float64)
    areas = {name: _mean_aucs(truth, _chance_of_worse(scores[:, rows], lesser), weights) for name, scores in systems.items()}
    gain = areas[FUSED] - areas[ALONE]
    return {
        "classes": LABELS[lesser : lesser + 2],
        "auc": {name: interval(float(area[0]), area[1:]) for name, area in areas.items()},
        "fused_less_covariates": interval(float(gain[0]), gain[1:]),
    }


def _chance_of_worse(scores: Doubles, lesser: int) -> Doubles:
    """Probability of the worse class, given that it is one of the two, (repeats, pictures)."""
    chances: Doubles = scores[..., lesser + 1] / (scores[..., lesser] + scores[..., lesser + 1])
    return chances


def _mean_aucs(truth: Booleans, repeats: Doubles, weights: Doubles) -> Doubles:
    """(resamples,), the mean over the repeats."""
    areas: Doubles = np.mean([weighted_auc(truth, chances, weights) for chances in repeats], axis=0)
    return areas


def _band_name(low: float, high: float) -> str:
    if math.isinf(high):
        return f"{low:g} and older"
    return f"below {high:g}" if low == 0 else f"{low:g} to {high - 1:g}"


def _sentences(judgement: Judgement) -> tuple[str, ...]:
    fits, without = len(judgement.image_scales), sum(scale == 0 for scale in judgement.image_scales)
    share = float(np.mean(judgement.image_shares))
    if without == fits:
        weight = f"The fusion gives the picture no weight in any of {fits} fits: its answer is that of the covariates alone."
    else:
        weight = (
            f"The fusion gives the picture no weight in {without} of {fits} fits; "
            f"on average {100 * share:.0f} % of the variance of its logits comes from the picture."
        )
    adds = "adds" if judgement.image_adds else "does not measurably add"
    gains = ", ".join(f"{figure} {_signed(judgement.gains[ALONE][figure])}" for figure in COMPARED)
    return (weight, f"The picture {adds} to these covariates: {gains}.", *(_band_sentence(band) for band in judgement.bands))


def _band_sentence(band: Mapping[str, Any]) -> str:
    absent = [label for label, number in band["radiographs"].items() if number == 0]
    three = f" There is no {' and no '.join(absent)} in it, so no three-class figure exists." if absent else ""
    pairs = "; ".join(
        f"{one['classes'][0]} against {one['classes'][1]}: AUC {one['auc'][FUSED].value:.2f} fused, "
        f"{one['auc'][ALONE].value:.2f} without the picture, difference {_signed(one['fused_less_covariates'])}"
        for one in band["pairs"]
    )
    return f"Age {band['band']}: {pairs or 'too few radiographs of two neighbouring classes'}.{three}"


def _signed(metric: Metric) -> str:
    return f"{metric.value:+.2f} ({metric.low:+.2f} to {metric.high:+.2f})"
