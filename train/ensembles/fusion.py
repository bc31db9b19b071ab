"""The image's score and what is known of the person: fitted as the runtime's ``Fusion``.

Two columns are blank for more than one reason. ``menopause_age_years`` is blank for men, for women before menopause, and
where nobody asked; ``pregnancies`` for men, for women without one, and where nobody asked. That they are blank is
therefore nothing to learn from: it would be sex and age once more, and a form that was left empty would read as an
answer. A blank there counts as the average; of every other column it is learnt what a missing value goes with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from osteo_edge.covariates import AGE, SEX
from osteo_edge.decision.fusion import design
from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Covariate
from train.data.columns import COLUMNS
from train.data.dataset import LABELS, DatasetError
from train.data.split import Groups, label_folds
from train.networks.linear import balanced_log_loss
from train.networks.targets import require_every_label, require_finite
from train.runs.arrays import Doubles, Integers
from train.runs.config import ConfigError

Table = Sequence[Mapping[str, float]]

AGE_SEX = (AGE, SEX)
BLANK_SAYS_NOTHING = frozenset({"menopause_age_years", "pregnancies"})
JUDGED_SUPPORT = frozenset({AGE})
FEWEST_OF_EACH = 5


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
        covariates, _ = describe_covariates(names, rows_of(table, training), labels[training])
        seen = _designs(covariates, image_logits[training], rows_of(table, training))
        unseen = _designs(covariates, image_logits[test], rows_of(table, test))
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


def rows_of(table: Table, chosen: Integers) -> Table:
    return [table[row] for row in chosen.tolist()]


def _centred(logits: Doubles) -> Doubles:
    """Less their mean over the labels, which the softmax does not see, and over the pictures."""
    of_labels = logits - logits.mean(axis=1, keepdims=True)
    return of_labels - of_labels.mean(axis=0)  # type: ignore[no-any-return]
