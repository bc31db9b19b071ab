"""The image's score and what is known of the person: fitted as the runtime's ``Fusion``, and judged by what the image adds.

Every comparison is on the same folds: the covariates alone, age and sex alone, OST, the image alone, and all together.

Two columns are blank for more than one reason. ``menopause_age_years`` is blank for men, for women before menopause, and
where nobody asked; ``pregnancies`` for men, for women without one, and where nobody asked. That they are blank is
therefore nothing to learn from: it would be sex and age once more, and a form that was left empty would read as an
answer. A blank there counts as the average; of every other column it is learnt what a missing value goes with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from osteo_edge.clinical.formulas import ost
from osteo_edge.covariates import AGE, SEX, WEIGHT
from osteo_edge.decision.fusion import design
from osteo_edge.decision.scores import softmax
from osteo_edge.errors import CovariateError
from osteo_edge.manifest import Covariate, Fusion, Metric
from osteo_edge.manifest_rules import check_fusion
from train.data.columns import COLUMNS
from train.data.dataset import LABELS, DatasetError
from train.data.split import Groups, label_folds
from train.ensembles.nested import NestedLogits
from train.judging.conformal import fit_threshold
from train.judging.evaluate import COMPARED, compare, figures_of_merit, interval, resamples, weighted_auc
from train.networks.linear import balanced_log_loss
from train.networks.targets import require_every_label, require_finite
from train.runs.arrays import Booleans, Doubles, Integers
from train.runs.cache import save_json
from train.runs.config import ConfigError

Table = Sequence[Mapping[str, float]]

FUSION_FILE = "fusion.json"
SCHEMA_VERSION = 2
AGE_SEX = (AGE, SEX)
BLANK_SAYS_NOTHING = frozenset({"menopause_age_years", "pregnancies"})
JUDGED_SUPPORT = frozenset({AGE})
AGE_BANDS = ((0, 40), (40, 50), (50, 60), (60, math.inf))
FEWEST_OF_EACH = 5

# Names of the systems that are compared.
IMAGE, ALONE, FUSED, AGE_SEX_ALONE, OST = "image", "covariates", "fused", "age_sex", "ost"


@dataclass(frozen=True)
class Penalties:
    """Among what the inner cross-validation chooses.

    Attributes:
        inverse: sklearn's C, for everything that is standardised.
        image_scales: deviation that the image's logits are given beside the covariates' 1, in rising order: the lower, the
            more a weight of theirs costs. At 0 the image has no weight. (0.0,) alone gives the covariates alone.
        folds: of that cross-validation.
    """

    inverse: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    image_scales: tuple[float, ...] = (0.0, 0.1, 0.3, 1.0, 3.0)
    folds: int = 4


@dataclass(frozen=True)
class FusionParts:
    """A fitted fusion, before it is judged; see ``osteo_edge.manifest.Fusion``.

    Attributes:
        inverse_penalty, image_scale: what was chosen.
        notes: covariates that were left out, and why.
    """

    covariates: tuple[Covariate, ...]
    required: tuple[str, ...]
    kernel: tuple[tuple[float, ...], ...]
    bias: tuple[float, ...]
    inverse_penalty: float
    image_scale: float
    notes: tuple[str, ...]

    def predict_logits(self, image_logits: Doubles, table: Table) -> Doubles:
        """Fused logits (pictures, labels), as the runtime's ``fuse`` gives them."""
        logits: Doubles = _designs(self.covariates, image_logits, table) @ np.array(self.kernel) + np.array(self.bias)
        return logits

    def image_share(self, image_logits: Doubles, table: Table) -> float:
        """Share of the fused logits' variance over these pictures that comes from the image: 0 is nothing, 1 is all.

        The covariance of the image's part with the whole, summed over labels, by the whole's variance: the shares of
        image and covariates then sum to 1. Slightly negative where the two parts work against each other.
        """
        inputs, kernel = _designs(self.covariates, image_logits, table), np.array(self.kernel)
        whole = _centred(inputs @ kernel)
        image = _centred(inputs[:, : len(LABELS)] @ kernel[: len(LABELS)])
        variance = float((whole**2).sum())
        return float((image * whole).sum()) / variance if variance else 0.0


def fit_fusion(
    names: Sequence[str],
    image_logits: Doubles,
    table: Table,
    labels: Integers,
    groups: Groups,
    penalties: Penalties,
    *,
    seed: int,
    required: Sequence[str] = AGE_SEX,
) -> FusionParts:
    """Multinomial logistic regression in which every class weighs the same, on the runtime's own ``design``.

    Both penalties are chosen by grouped cross-validation; among equals the image gets the lesser weight. Columns that do
    not vary, or whose rarer answer fewer than five radiographs give, are left out with a note.

    Args:
        names: columns of ``train.data.columns``.
        image_logits: (pictures, labels), held back: of models that were not fitted on the picture.
        table: one mapping a picture, name -> number of what is known.
        required: covariates without which no fused answer is given; of those fitted, or all where none is.

    Raises:
        ConfigError: no name, a name twice or unknown, or penalties that cannot be used.
        DatasetError: no known value in a column, no column that varies, a class that is missing here or from a fold, or
            values that are not numbers.
    """
    _check(names, image_logits, table, labels, groups, penalties)
    with threadpool_limits(1):
        inverse_penalty, image_scale = _choose_penalties(names, image_logits, table, labels, groups, penalties, seed)
        covariates, notes = describe_covariates(names, table, labels)
        if not covariates:
            raise DatasetError(f"none of the covariates can be used: {'; '.join(notes)}")
        inputs = _designs(covariates, image_logits, table)
        kernel, bias = _fit(inputs, _scales(covariates, inputs, image_scale), labels, inverse_penalty)
    fitted = tuple(covariate.name for covariate in covariates)
    return FusionParts(
        covariates=covariates,
        required=tuple(name for name in fitted if name in required) or fitted,
        kernel=tuple(tuple(row) for row in kernel.tolist()),
        bias=tuple(bias.tolist()),
        inverse_penalty=inverse_penalty,
        image_scale=image_scale,
        notes=notes,
    )


def describe_covariates(names: Sequence[str], table: Table, labels: Integers) -> tuple[tuple[Covariate, ...], tuple[str, ...]]:
    """Standardisation and support of every column that can be learnt from, and why others are left out."""
    covariates, notes = [], []
    for name in names:
        known = np.array([row[name] for row in table if name in row])
        reason = _why_useless(name, known)
        if reason:
            notes.append(f"{name} is left out: {reason}")
        else:
            covariates.append(_covariate(name, known, table, labels))
    return tuple(covariates), tuple(notes)


def _why_useless(name: str, known: Doubles) -> str:
    if known.size == 0:
        return "it is known of nobody"
    if np.ptp(known) == 0:
        return f"it is {known[0]:g} wherever it is known"
    if COLUMNS[name].kind != "number":
        rarer = int(min(known.sum(), len(known) - known.sum()))
        if rarer < FEWEST_OF_EACH:
            return f"only {rarer} of {len(known)} give the rarer answer; at least {FEWEST_OF_EACH} are needed"
    return ""


def _covariate(name: str, known: Doubles, table: Table, labels: Integers) -> Covariate:
    column = COLUMNS[name]
    support = _support(name, table, labels) if name in JUDGED_SUPPORT else {}
    return Covariate(
        name, column.kind, column.unit, column.low, column.high, float(known.mean()), float(known.std()), support
    )  # fmt: skip


def _support(name: str, table: Table, labels: Integers) -> dict[str, tuple[float, float]]:
    by_label = {
        label: [row[name] for row, one in zip(table, labels.tolist(), strict=True) if one == place and name in row]
        for place, label in enumerate(LABELS)
    }
    return {label: (min(values), max(values)) for label, values in by_label.items() if values}


def _check(
    names: Sequence[str], image_logits: Doubles, table: Table, labels: Integers, groups: Groups, penalties: Penalties
) -> None:
    if not names or len(set(names)) != len(names):
        raise ConfigError("covariates must be named, each once")
    for name in names:
        if name not in COLUMNS:
            raise ConfigError(f"there is no covariate {str(name)[:40]!r}; known are {', '.join(COLUMNS)}")
    if not penalties.inverse or not penalties.image_scales or min(penalties.inverse) <= 0 or min(penalties.image_scales) < 0:
        raise ConfigError("the fusion needs inverse penalties above 0 and image scales of 0 or more, one of each at least")
    if not len(image_logits) == len(table) == len(labels) == len(groups):
        raise DatasetError("image logits, table, labels and groups are not of the same radiographs")
    require_finite(image_logits, "image logits")
    require_every_label(labels)
    for name in names:
        values = np.array([row.get(name, math.nan) for row in table])
        present = np.array([name in row for row in table])
        if not present.any():
            raise DatasetError(f"no radiograph has a value for {name}; leave it out of the covariates")
        if not np.isfinite(values[present]).all():
            row = int((present & ~np.isfinite(values)).argmax())
            raise DatasetError(f"{name}: row {row} is no finite number; leave out what is unknown")


def _choose_penalties(
    names: Sequence[str],
    image_logits: Doubles,
    table: Table,
    labels: Integers,
    groups: Groups,
    penalties: Penalties,
    seed: int,
) -> tuple[float, float]:
    """Inverse penalty and image scale of lowest mean loss; everything is prepared anew on each fold's training part."""
    choices = [(inverse, scale) for scale in penalties.image_scales for inverse in penalties.inverse]
    losses = np.zeros(len(choices))
    for training, test in label_folds(labels, np.asarray(groups), folds=penalties.folds, seed=seed):
        covariates, _ = describe_covariates(names, _rows(table, training), labels[training])
        seen = _designs(covariates, image_logits[training], _rows(table, training))
        unseen = _designs(covariates, image_logits[test], _rows(table, test))
        for place, (inverse, scale) in enumerate(choices):
            kernel, bias = _fit(seen, _scales(covariates, seen, scale), labels[training], inverse)
            losses[place] += balanced_log_loss(labels[test], softmax(unseen @ kernel + bias))
    return choices[int(losses.argmin())]


def _scales(covariates: Sequence[Covariate], inputs: Doubles, image_scale: float) -> Doubles:
    """What each input is multiplied by before the fit: a scale of 0 keeps its weight at 0."""
    deviation = math.sqrt(float((inputs[:, : len(LABELS)] ** 2).mean()))
    image = [image_scale / deviation if deviation else 0.0] * len(LABELS)
    flags = [0.0 if covariate.name in BLANK_SAYS_NOTHING else 1.0 for covariate in covariates]
    return np.array([*image, *[1.0] * len(covariates), *flags])


def _fit(inputs: Doubles, scales: Doubles, labels: Integers, inverse_penalty: float) -> tuple[Doubles, Doubles]:
    classifier = LogisticRegression(C=inverse_penalty, class_weight="balanced", max_iter=5000).fit(inputs * scales, labels)
    return scales[:, np.newaxis] * classifier.coef_.T, classifier.intercept_


def _designs(covariates: Sequence[Covariate], image_logits: Doubles, table: Table) -> Doubles:
    return np.array([design(covariates, logits, row) for logits, row in zip(image_logits, table, strict=True)])


def _rows(table: Table, chosen: Integers) -> Table:
    return [table[row] for row in chosen.tolist()]


def _centred(logits: Doubles) -> Doubles:
    """Less their mean over the labels, which the softmax does not see, and over the pictures."""
    of_labels = logits - logits.mean(axis=1, keepdims=True)
    return of_labels - of_labels.mean(axis=0)  # type: ignore[no-any-return]


# Judging.


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
            names, inner[:, 0], _rows(table, training), labels[training], patients[training], penalties, seed=seed
        )
        image, known = repeat.outer[held_back, 0], _rows(table, held_back)
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


# The bundle's record.


def make_fusion(parts: FusionParts, judgement: Judgement, labels: Integers, *, coverage: float) -> Fusion:
    """What is fitted on all radiographs, with what was judged on held-back ones.

    The label sets' threshold is fitted on the first repeat's fused scores, one a radiograph.

    Args:
        parts: of ``fit_fusion`` with held-back image logits of all radiographs and the same covariates.
    """
    return Fusion(
        covariates=parts.covariates,
        required=parts.required,
        kernel=parts.kernel,
        bias=parts.bias,
        conformal=fit_threshold(judgement.scores[FUSED][0, np.arange(len(labels)), labels], coverage),
        is_proven=judgement.is_proven,
        image_adds=judgement.image_adds,
        metrics=judgement.figures[FUSED],
        without_image=judgement.figures[ALONE],
        gain=judgement.gains[ALONE],
    )


def write_fusion(path: Path, fusion: Fusion) -> None:
    """Write ``fusion.json``, as ``osteo_edge.records.to_plain`` gives the record.

    Raises:
        ManifestError: it is not what the runtime takes.
    """
    check_fusion(fusion, labels=LABELS)
    save_json(path, {"schema_version": SCHEMA_VERSION, "fusion": fusion})
