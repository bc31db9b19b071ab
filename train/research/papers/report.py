"""The whole report: every row under both protocols, the cross-validated runs that are there, and the two demonstrations."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osteo_edge.errors import OsteoEdgeError
from osteo_edge.manifest import Metric
from osteo_edge.storage import write_file
from train.data.dataset import LABELS
from train.fitting.material import say
from train.research.papers.copies import COPIES, FOLDS, SEEDS, Inflation, measure_copies
from train.research.papers.features import run_on_features
from train.research.papers.networks import Bench, fuse, outcome_of_run, run_network
from train.research.papers.outcomes import SHOWN, Outcome, Protocol, RowResult, as_metric, meaning_of
from train.research.papers.page import as_html
from train.research.papers.table import PAPERS, Fusion, Network, Row, paper_of, rows_of
from train.runs import cache
from train.runs.config import PROJECT
from train.runs.folder import METRICS_FILE, RUN_FILE, SCORES_FILE
from train.runs.versions import versions

JSON_FILE, CSV_FILE, HTML_FILE = "papers.json", "papers.csv", "papers.html"
OURS = "ours"
_PUBLISHED_SHARE = (46, 70)


@dataclass(frozen=True)
class CrossValidated:
    """A run of ``python -m train fit`` whose results lie in ``train/results``."""

    name: str
    backbone: str
    figures: Mapping[str, Metric]


@dataclass(frozen=True)
class Report:
    """All that the page shows.

    Attributes:
        share_always: accuracy, balanced accuracy and recall of answering the commonest class on this data.
        copies: target -> what a split by file adds.
    """

    results: tuple[RowResult, ...]
    cross_validated: tuple[CrossValidated, ...]
    share_always: Mapping[str, Any]
    copies: Mapping[str, Inflation]
    radiographs: int


def make_report(bench: Bench, only: Sequence[str]) -> Report:
    """Run what is missing, row by row; after every row the report so far is written, hence a stopped one is not lost.

    Raises:
        DatasetError, ConfigError, RunError: as the runs, where the trouble is not one row's alone.
    """
    copies = measure_copies(bench, bench.configs["published"][0])
    rows, results = rows_of(tuple(only)), []
    for place, row in enumerate(rows, start=1):
        say(f"Row {place} of {len(rows)}: {row.paper} {row.model}")
        results.append(run_row(bench, row))
        report = Report(tuple(results), cross_validated_runs(), always_commonest(bench), copies, len(bench.dataset.radiographs))
        write_report(report, bench.output)
    return report


def run_row(bench: Bench, row: Row) -> RowResult:
    """One row under their protocol and under ours; what cannot be run says why."""
    outcomes: list[Outcome] = []
    reasons: list[str] = []
    protocols: tuple[tuple[Protocol, str], ...] = (("published", paper_of(row).protocol_here), ("ours", OURS))
    for protocol, config_name in protocols:
        try:
            outcomes.append(_run_recipe(bench, row, config_name, protocol))
        except OsteoEdgeError as error:
            reasons.append(str(error))
    not_run = "; ".join(dict.fromkeys(reasons))
    return RowResult(row, tuple(outcomes), not_run, meaning_of(row, outcomes))


def _run_recipe(bench: Bench, row: Row, config_name: str, protocol: Protocol) -> Outcome:
    recipe = row.recipe
    if isinstance(recipe, Network):
        return outcome_of_run(run_network(bench, recipe, config_name), protocol)
    if isinstance(recipe, Fusion):
        return fuse(bench, recipe, config_name, protocol)
    return run_on_features(bench, recipe, config_name, protocol)


def always_commonest(bench: Bench) -> dict[str, Any]:
    """What answering the commonest class gives, on this data and in the study whose best figure it is."""
    counts = np.bincount(bench.dataset.label_indices, minlength=len(LABELS))
    right, of_all = _PUBLISHED_SHARE
    return {
        "label": LABELS[int(counts.argmax())],
        "accuracy": float(counts.max() / counts.sum()),
        "balanced_accuracy": 1 / len(LABELS),
        "published_best": right / of_all,
        "published_best_counts": [right, of_all],
    }


def cross_validated_runs(results: Path = PROJECT / "train" / "results") -> tuple[CrossValidated, ...]:
    """Runs whose out-of-fold figures are at hand; folders of another kind are passed over."""
    found = []
    for file in sorted(results.glob(f"*/{RUN_FILE}")):
        if not (file.parent / SCORES_FILE).exists():  # a hold-out run, whose figures are of one split
            continue
        try:
            run = json.loads(file.read_text(encoding="utf-8"))
            metrics = json.loads((file.parent / METRICS_FILE).read_text(encoding="utf-8"))
            figures = {name: as_metric(metrics["model"][name]) for name in ("balanced_accuracy", "macro_auc")}
            found.append(CrossValidated(run["name"], run["backbone"], figures))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return tuple(found)


def write_report(report: Report, output: Path) -> None:
    """Write ``papers.json``, ``papers.csv`` and ``papers.html``."""
    plain = {"schema_version": 1, "papers": PAPERS, "report": report, "versions": versions()}
    cache.save_json(output / JSON_FILE, plain)
    _write_csv(report, output / CSV_FILE)
    write_file(output / HTML_FILE, as_html(report, copies=COPIES, folds=FOLDS, seeds=len(SEEDS)).encode())


def _write_csv(report: Report, path: Path) -> None:
    header = ["paper", "model", "published", "protocol", "how", "test_radiographs"]
    figures = [f"{figure}{end}" for figure in SHOWN for end in ("", "_low", "_high")]
    rivals = [f"{rival}_{figure}" for rival in ("majority", "age_sex") for figure in SHOWN]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*header, *figures, *rivals, "never_answered", "not_run", "meaning"])
        for result in report.results:
            for outcome in result.outcomes or (None,):
                writer.writerow(_csv_row(result, outcome, len(figures), len(rivals)))


def _csv_row(result: RowResult, outcome: Outcome | None, figures: int, rivals: int) -> list[Any]:
    row = result.row
    start = [row.paper, row.model, "" if row.published is None else row.published]
    end = [result.not_run, " ".join(result.meaning)]
    if outcome is None:
        return [*start, "", "", "", *[""] * (figures + rivals), "", *end]
    shown = [f"{value:.4f}" for figure in SHOWN for value in _three(outcome.figures[figure])]
    beside = [
        f"{outcome.baselines[rival][figure].value:.4f}" if rival in outcome.baselines else ""
        for rival in ("majority", "age_sex")
        for figure in SHOWN
    ]
    told = [outcome.protocol, outcome.how, outcome.test_radiographs]
    return [*start, *told, *shown, *beside, " ".join(outcome.never_answered), *end]


def _three(metric: Metric) -> tuple[float, float, float]:
    return metric.value, metric.low, metric.high
