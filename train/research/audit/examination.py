"""The whole audit of a folder, from its files to its verdicts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click

from osteo_edge.errors import InputError
from osteo_edge.images.reader import read
from train.data.dataset import LABELS, Dataset, DatasetError, survey_folder
from train.data.people import AGE, SEX, Balance, balance_of
from train.research.audit.descriptors import Descriptor, describe
from train.research.audit.duplicates import Twin, find_twins
from train.research.audit.findings import (
    Tie,
    class_counts,
    contradictions,
    names_of,
    parted_copies,
    read_folds,
    spanning,
    suggested_groups,
)
from train.research.audit.shortcuts import Shortcut, Verdict, judge_shortcuts


@dataclass(frozen=True)
class Check:
    """One question that the audit asks, and its answer in a sentence."""

    name: str
    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Audit:
    """All that was found.

    Attributes:
        names: of the files within the folder, in the order of ``dataset`` and ``descriptors``.
        problems: rows that cannot be used and pictures that cannot be read, a sentence each.
        spans: ties that stand on both sides of the given split; None where none was given.
        shortcuts: empty where they could not be judged; ``checks`` says why.
        groups: suggested patient group of each radiograph.
    """

    dataset: Dataset
    names: tuple[str, ...]
    descriptors: tuple[Descriptor, ...]
    problems: tuple[str, ...]
    classes: Mapping[str, Mapping[str, int]]
    twins: tuple[Twin, ...]
    contradictions: tuple[Tie, ...]
    parted: tuple[Tie, ...]
    spans: tuple[Tie, ...] | None
    shortcuts: tuple[Shortcut, ...]
    groups: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def is_clean(self) -> bool:
        return all(check.verdict == "pass" for check in self.checks)


def examine(folder: Path, *, split: Path | None, resamples: int, seed: int, quick: bool) -> Audit:
    """Audit a folder.

    Args:
        split: ``split.json`` of a run, to be searched for copies and groups that span it.
        resamples: of the bootstrap.
        quick: leave out the permuted labels, the slowest baseline.

    Raises:
        DatasetError: the folder or the split cannot be read at all.
    """
    folds = read_folds(split) if split else None
    dataset, problems = survey_folder(folder)
    dataset, descriptors, unreadable = _describe_all(dataset)
    problems = (*problems, *unreadable)
    if not descriptors:
        raise DatasetError(f"{folder}: not one picture can be read; the first problem is: {problems[0]}")
    names = names_of(dataset, folder)
    twins = find_twins([row.sha256 for row in dataset.radiographs], descriptors)
    contradicting = contradictions(dataset, names, twins)
    parted = parted_copies(dataset, names, twins)
    spans = None if folds is None else spanning(dataset, names, twins, folds)
    grouped = suggested_groups(dataset, twins)
    shortcuts, refusal = _shortcuts(dataset, grouped, descriptors, resamples=resamples, seed=seed, quick=quick)
    checks = (
        _check_files(problems),
        _check_classes(dataset),
        _check_patients(dataset),
        *(_check_balance(balance_of(dataset, name)) for name in (AGE, SEX)),
        _counted("copies", len(twins), "pairs of pictures show one radiograph", "no picture is a copy of another"),
        _counted("labels", len(contradicting), "patients or copies carry contradicting labels", "no label contradicts another"),
        _counted("groups", len(parted), "sets of copies stand under different patient groups", "copies share their group"),
        *_check_split(spans),
        *(Check(f"shortcut: {one.name}", one.verdict, one.reason) for one in shortcuts),
        *([Check("shortcuts", "warn", f"not judged: {refusal}")] if refusal else []),
    )
    return Audit(
        dataset,
        tuple(names),
        tuple(descriptors),
        problems,
        class_counts(dataset),
        twins,
        tuple(contradicting),
        tuple(parted),
        None if spans is None else tuple(spans),
        shortcuts,
        tuple(grouped),
        checks,
    )


def _describe_all(dataset: Dataset) -> tuple[Dataset, list[Descriptor], list[str]]:
    """The radiographs that can be read, described, and what is wrong with the others."""
    places, descriptors, problems = [], [], []
    with click.progressbar(dataset.radiographs, label="Reading pictures", file=sys.stderr) as rows:
        for place, row in enumerate(rows):
            try:
                descriptors.append(describe(read(row.path).pixels))
                places.append(place)
            except InputError as error:
                problems.append(f"{row.path}: {error}")
    return dataset.subset(places), descriptors, problems


def _shortcuts(
    dataset: Dataset, grouped: Sequence[str], descriptors: Sequence[Descriptor], *, resamples: int, seed: int, quick: bool
) -> tuple[tuple[Shortcut, ...], str]:
    """The baselines on the suggested groups, so that no copy is learnt by heart; or why they cannot be judged."""
    regrouped = Dataset(
        tuple(replace(row, patient_group=group) for row, group in zip(dataset.radiographs, grouped, strict=True)),
        dataset.patients_known,
    )
    permutations = {"permutations": 0} if quick else {}
    try:
        return judge_shortcuts(regrouped, descriptors, count=resamples, seed=seed, **permutations), ""
    except DatasetError as error:
        return (), str(error)


def _check_files(problems: Sequence[str]) -> Check:
    return _counted("files", len(problems), "rows or pictures cannot be used", "every row and picture can be read")


def _check_classes(dataset: Dataset) -> Check:
    counts = {label: sum(row.label == label for row in dataset.radiographs) for label in LABELS}
    empty = [label for label, count in counts.items() if not count]
    if empty:
        return Check("classes", "fail", f"the class {empty[0]} is empty")
    told = ", ".join(f"{label} {count}" for label, count in counts.items())
    return Check("classes", "pass", told)


def _check_split(spans: Sequence[Tie] | None) -> list[Check]:
    if spans is None:
        return []
    return [_counted("split", len(spans), "patients or copies span the split", "the split parts no patient and no copies")]


def _check_patients(dataset: Dataset) -> Check:
    if dataset.patients_known:
        return Check("patients", "pass", "the table says which radiographs are of one patient")
    reason = (
        "PATIENTS ARE UNKNOWN: class folders do not say whose a picture is; both knees of a person may stand on both sides "
        "of a split, and every figure may be too good. Write labels.csv with patient_group"
    )
    return Check("patients", "warn", reason)


def _check_balance(balance: Balance) -> Check:
    """A picture that tells age tells bone density where the classes differ in age, and nothing else."""
    return Check(balance.title, "pass" if balance.is_matched else "warn", balance.sentence)


def _counted(name: str, count: int, bad: str, good: str) -> Check:
    return Check(name, "fail", f"{count} {bad}") if count else Check(name, "pass", good)
