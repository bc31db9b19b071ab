"""Whether a measure goes with T: rank correlation, alone and given age, sex and acquisition, over all radiographs.

These are figures of research on one set of radiographs, whose T comes from ultrasound. They never leave training.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import false_discovery_control, rankdata
from scipy.stats import t as student

from train.data.dataset import Dataset
from train.judging.evaluate import interval, resamples
from train.runs.arrays import Doubles, Words

GIVEN: Mapping[str, tuple[str, ...]] = {
    "alone": (),
    "given_age": ("age_years",),
    "given_age_sex": ("age_years", "sex"),
    "given_age_sex_acquisition": ("age_years", "sex", "acquisition"),
}
_FEWEST = 20


def associations(dataset: Dataset, names: Sequence[str], table: Doubles, *, count: int, seed: int) -> list[dict[str, Any]]:
    """Spearman's correlation of every measure with T, and the partial ones, with bootstrap intervals by patient.

    The q-values are Benjamini and Hochberg's (J R Stat Soc B 1995) over all measures of one column.

    Args:
        table: (radiographs, measures) float64, NaN where not measured.

    Returns:
        One row per measure: name, n, and for each of ``GIVEN`` rho, low, high, p and q; None where too little is known.
    """
    scores = np.array([np.nan if row.t_score is None else row.t_score for row in dataset.radiographs])
    fixed = {name: _covariates(dataset, columns) for name, columns in GIVEN.items()}
    rows = [_row(name, table[:, place], scores, fixed, dataset.groups, count, seed) for place, name in enumerate(names)]
    for given in GIVEN:
        known = [row for row in rows if row[given] is not None]
        adjusted = false_discovery_control([row[given]["p"] for row in known]) if known else []
        for row, q in zip(known, adjusted, strict=True):
            row[given]["q"] = float(q)
    return rows


def _covariates(dataset: Dataset, columns: Sequence[str]) -> Doubles:
    """(radiographs, covariates); acquisitions become one column each but for the first."""
    parts: list[list[float]] = []
    for column in columns:
        if column == "acquisition":
            kinds = sorted({row.acquisition for row in dataset.radiographs})[1:]
            parts += [[float(row.acquisition == kind) for row in dataset.radiographs] for kind in kinds]
        else:
            parts.append([row.covariates.get(column, np.nan) for row in dataset.radiographs])
    return np.array(parts, np.float64).T.reshape(len(dataset.radiographs), -1)


def _row(
    name: str, values: Doubles, scores: Doubles, fixed: Mapping[str, Doubles], groups: Sequence[str], count: int, seed: int
) -> dict[str, Any]:
    row: dict[str, Any] = {"measure": name, "n": int((np.isfinite(values) & np.isfinite(scores)).sum())}
    for given, covariates in fixed.items():
        known = np.isfinite(values) & np.isfinite(scores) & np.isfinite(covariates).all(axis=1)
        row[given] = _correlation(values[known], scores[known], covariates[known], np.asarray(groups)[known], count, seed)
    return row


def _correlation(
    values: Doubles, scores: Doubles, covariates: Doubles, groups: Words, count: int, seed: int
) -> dict[str, float] | None:
    if len(values) < _FEWEST or np.ptp(values) == 0:
        return None
    rho = partial_spearman(values, scores, covariates)
    drawn = [partial_spearman(values[one], scores[one], covariates[one]) for one in resamples(groups, count=count, seed=seed)]
    metric = interval(rho, [value for value in drawn if np.isfinite(value)])
    return {"rho": rho, "low": metric.low, "high": metric.high, "p": p_value(rho, len(values), covariates.shape[1])}


def partial_spearman(one: Doubles, other: Doubles, covariates: Doubles) -> float:
    """Correlation of two columns' ranks after the covariates' ranks were regressed out; Spearman's own without any.

    Args:
        covariates: (rows, covariates).

    Returns:
        -1 to 1; NaN where a column does not vary beyond the covariates.
    """
    ranks = [rankdata(column) for column in covariates.T]
    base = np.column_stack([np.ones(len(one)), *ranks])
    rests = []
    for column in (one, other):
        ranked = rankdata(column)
        rests.append(ranked - base @ np.linalg.lstsq(base, ranked, rcond=None)[0])
    spread = np.sqrt((rests[0] ** 2).sum() * (rests[1] ** 2).sum())
    return float((rests[0] * rests[1]).sum() / spread) if spread > 1e-9 else float("nan")


def p_value(rho: float, count: int, covariates: int) -> float:
    """Two-sided, by Student's distribution with ``count - 2 - covariates`` degrees of freedom."""
    freedom = count - 2 - covariates
    if freedom < 1 or not np.isfinite(rho):
        return 1.0
    statistic = rho * np.sqrt(freedom / max(1 - rho**2, 1e-12))
    return float(2 * student.sf(abs(statistic), freedom))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The associations as CSV, a line per measure."""
    figures = ("rho", "low", "high", "p", "q")
    columns = ["measure", "n", *(f"{given}_{figure}" for given in GIVEN for figure in figures)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for row in rows:
            cells = [f"{row[given][figure]:.4f}" if row[given] else "" for given in GIVEN for figure in figures]
            writer.writerow([row["measure"], row["n"], *cells])
