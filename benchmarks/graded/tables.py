"""The figures as text: for a terminal and for a page, which differ only in their bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from benchmarks.engines import ENGINES
from benchmarks.graded.records import Asked, FileFigures, Grades
from osteo_edge.manifest import Metric
from osteo_edge.printable import counted


def accuracy_table(found: Grades) -> list[str]:
    """What each file is worth, and what is lost against full precision; columns with nothing in them are left out."""
    rows = [{**_name(row), **_accuracy(row, found.pictures.count)} for row in found.rows]
    return table([name for name in rows[0] if any(row[name] for row in rows)], rows)


def sets_table(found: Grades) -> list[str]:
    """What the sets of each file are worth."""
    rows = [{**_name(row), **_sets(row)} for row in found.rows]
    return table(list(rows[0]), rows)


def facts(found: Grades) -> list[str]:
    """What was asked, in words."""
    one = found.pictures
    patients = f" of {counted(one.patients, 'patient')}" if one.patients < one.count else ""
    left_out = f", {one.ungraded} without a grade left out" if one.ungraded else ""
    drawn = "patient" if patients else "picture, since nothing is known of the patients"
    grades = ", ".join(f"{count} of KL {grade}" for grade, count in enumerate(one.by_grade))
    return [
        f"{counted(one.count, 'knee')}{patients} ({grades}{left_out}); 95 % intervals by {drawn}, {found.resamples:,} "
        "resamples.",
        *(f"{name}: {_refused(asked)}." for name, asked in found.bundles.items()),
    ]


def answered_line(row: FileFigures) -> str:
    """The figures of those that were found alone."""
    told = ", ".join(f"{name} {short(row.answered[key])}" for name, key in _FOUND.items()) or "some grade has none"
    return f"{row.bundle}, {ENGINES[row.engine]} {row.precision}, answered knees alone: {told}."


_FOUND = {"kappa": "quadratic_kappa", "accuracy": "accuracy", "AUC of KL >= 2": "auc_definite"}


def table(head: Sequence[str], rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Markdown, which is read well enough as it is."""
    lines = [list(head), ["---"] * len(head), *([row[name] for name in head] for row in rows)]
    return [f"| {' | '.join(cells)} |" for cells in lines]


def short(metric: Metric | None, digits: int = 2) -> str:
    if metric is None:
        return ""
    value, low, high = (round(one, digits) + 0.0 for one in (metric.value, metric.low, metric.high))
    return f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _name(row: FileFigures) -> dict[str, str]:
    told = f"{ENGINES[row.engine]} {row.precision}"
    return {"bundle": row.bundle, "files": f"**{told}**" if row.is_default else told}


def _accuracy(row: FileFigures, count: int) -> dict[str, str]:
    one, changes = row.all_pictures, row.changes
    return {
        "MB": f"{row.megabytes:.2f}",
        "ms": f"{row.median_ms:.1f}" if row.median_ms else "",
        "kappa": short(one["quadratic_kappa"], 3),
        "kappa lost": short(_negative(row.difference, "quadratic_kappa"), 4),
        "accuracy": short(one["accuracy"], 3),
        "kappa, accuracy of the median": f"{one['median_kappa'].value:.3f}, {one['median_accuracy'].value:.3f}",
        "balanced accuracy": short(one["balanced_accuracy"], 3),
        "AUC of KL >= 2": short(one["auc_definite"], 3),
        "calibration error": short(one["ece"], 3),
        "labels changed": f"{changes.labels} of {count}" if changes else "",
        "crossed": str(changes.crossed) if changes else "",
    }


def _sets(row: FileFigures) -> dict[str, str]:
    sets = row.sets
    return {
        "in the set": short(sets.coverage),
        **{f"KL {grade}": short(one) for grade, one in enumerate(sets.by_grade)},
        "grades in a set": f"{sets.mean_size:.2f}",
        "reported": short(sets.reported),
        "wrong": short(sets.wrong),
    }


def _negative(difference: Mapping[str, Metric], name: str) -> Metric | None:
    found = difference.get(name)
    return Metric(-found.value, -found.high, -found.low) if found else None


def _refused(asked: Asked) -> str:
    told = ", ".join(f"{count} {code}" for code, count in asked.refusals.items())
    several = f"; more than one knee found on {asked.several_knees}" if asked.several_knees else ""
    total = sum(asked.refusals.values())
    return f"{total} refused ({told}){several}" if told else f"none refused{several}"
