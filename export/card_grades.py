"""What the model card says of a run of grades: its figures on the validation knees, and what its label sets do to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from export.card_tables import enough, shown, table
from osteo_edge.decision.conformal import TIE
from osteo_edge.manifest import Conformal, Manifest, Metric

_FIGURES = {
    "quadratic_kappa": "Quadratic kappa",
    "accuracy": "Accuracy",
    "median_kappa": "Quadratic kappa of the median grade",
    "median_accuracy": "Accuracy of the median grade",
    "balanced_accuracy": "Balanced accuracy",
    "auc_definite": "AUC, signs or none",
    "mean_absolute_error": "Mean error, grades",
    "ece": "Calibration error",
}
_SYSTEMS = {
    "majority": "Shares of the grades alone, no picture",
    "file_metadata": "Size of the file alone",
    "border_ring": "Border of the picture alone",
}
_SETS = {
    "reported": "Knees that are reported",
    "error_among_reported": "Wrong among the reported",
    "error_among_signs": "Wrong among those told of signs",
    "error_among_no_definite_signs": "Wrong among those told of none",
    "mean_set_size": "Grades in a set, mean",
}


def sections_of_grades(manifest: Manifest, metrics: Mapping[str, Any]) -> Iterator[list[str]]:
    """How well it does, and when it does not answer."""
    yield _results(manifest, metrics)
    yield _label_sets(manifest, metrics)


def _results(manifest: Manifest, metrics: Mapping[str, Any]) -> list[str]:
    rows = {"**This model**": manifest.metrics}
    rows |= {_SYSTEMS.get(name, name): figures for name, figures in manifest.baselines.items()}
    return [
        "## How well it does",
        "",
        f"On the {metrics['knees']} validation knees of {metrics['patients']} patients on whom the network was not trained. "
        "But its epoch was chosen on them, so the figures lean to the good side; those of the official test part are yet to be "
        f"measured. Method: {metrics['method']}. Brackets: 95 % interval.",
        "",
        *table(_FIGURES, rows),
        "",
        f"The finder found {metrics['knees_found']} of these knees; the others ({_missed(manifest, metrics)}) were judged by a "
        "box in the middle, and get no answer from the bundle.",
        "",
        "Readers' grade (rows) and likeliest grade (columns), knees:",
        "",
        *_confusion(manifest.labels, metrics["confusion"]),
    ]


def _score(conformal: Conformal) -> str:
    if conformal.by_answer:
        return "the geometric mean of its probability and of that of the answer in which it lies"
    return "its probability"


def _missed(manifest: Manifest, metrics: Mapping[str, Any]) -> str:
    counts = zip(manifest.labels, metrics["not_found_by_grade"], strict=True)
    return ", ".join(f"{count} {label}" for label, count in counts if count) or "none"


def _confusion(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Iterator[str]:
    yield f"| | {' | '.join(labels)} | right |"
    yield f"|---|{'---|' * (len(labels) + 1)}"
    for place, (label, row) in enumerate(zip(labels, counts, strict=True)):
        yield f"| {label} | {' | '.join(map(str, row))} | {row[place] / max(sum(row), 1):.0%} |"


def _label_sets(manifest: Manifest, metrics: Mapping[str, Any]) -> list[str]:
    conformal, sets = manifest.conformal, metrics["label_sets"]
    figures = {name: Metric(**figure) for name, figure in sets["figures"].items()}
    lines = [
        "## When it does not answer",
        "",
        f"A grade stays in a knee's set when {_score(conformal)} is at least {enough(conformal, manifest.labels)}; these are "
        f"fitted so that the sets of {conformal.coverage:.0%} of the patients of each grade hold it. A grade within {TIE:g} of "
        "the likeliest stays too, and what lies between two that stay. A set whose grades do not all lie in one of the answers "
        "is 'referred'.",
    ]
    if not manifest.is_proven:
        lines += [
            "",
            "**It was not shown that this model tells more than chance, and more than the picture's file and border do. So "
            "every picture is referred**: scores and sets are given for research.",
        ]
    return [
        *lines,
        "",
        f"On the {sets['knees']} validation knees that the finder found, each judged by thresholds of other patients:",
        "",
        "| | |",
        "|---|---|",
        *(f"| {word} | {shown(figures[name])} |" for name, word in _SETS.items()),
        *(f"| Sets that hold the grade, of {label} | {shown(figures[f'coverage_{label}'])} |" for label in manifest.labels),
        "",
        "What would be told, knees of each grade:",
        "",
        f"| | {' | '.join(manifest.labels)} |",
        f"|---|{'---|' * len(manifest.labels)}",
        *(f"| `{code}` | {' | '.join(map(str, counts))} |" for code, counts in sets["told_by_grade"].items()),
    ]
