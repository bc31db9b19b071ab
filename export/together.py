"""An ensemble's out-of-fold scores when its members answer in a reduced precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from export.errors import ExportError
from export.folds import FoldScores
from export.source import Source
from train.data.dataset import Dataset
from train.ensembles.nested import NestedLogits, nested_scores
from train.ensembles.nested_file import read_digests, read_nested, together
from train.runs.folder import RUN_FILE, read_json
from train.runs.scores import MODEL, read_scores


def ensemble_scores(source: Source, dataset: Dataset, reduced: Mapping[str, FoldScores]) -> FoldScores:
    """Fit the ensemble in each fold on its members' inner fp32 scores, and apply it to what was held back.

    Args:
        dataset: that the runs were trained on: patients' names settle the inner folds, and no run keeps them.
        reduced: member -> its scores of the held-back radiographs; those of fp32 for members that are not named.

    Raises:
        RunError: a member's nested scores are missing or do not go together.
        ExportError: the dataset lacks a radiograph.
    """
    digests = read_digests(source.runs[0].folder)
    nested = together([_of_member(source, place, digests, reduced) for place in range(len(source.runs))])
    recorded = read_scores(source.folder)[MODEL].subset(digests)
    seed = int(read_json(source.folder / RUN_FILE)["seed"])
    kind = source.ensemble.kind
    scores = nested_scores(nested, recorded.labels, _groups(dataset, digests), (kind,), seed=seed).logits[kind]
    place_of = {digest: place for place, digest in enumerate(digests)}
    order = sorted(digests)
    return FoldScores(tuple(order), scores[[place_of[digest] for digest in order]])


def _groups(dataset: Dataset, digests: Sequence[str]) -> list[str]:
    group_of = {row.sha256: row.patient_group for row in dataset.radiographs}
    try:
        return [group_of[digest] for digest in digests]
    except KeyError as error:
        raise ExportError("a radiograph that the ensemble was judged on is not under --data") from error


def _of_member(source: Source, place: int, digests: tuple[str, ...], reduced: Mapping[str, FoldScores]) -> NestedLogits:
    nested = read_nested(source.runs[place].folder, digests)
    scores = reduced.get(source.names[place])
    if scores is None:
        return nested
    row_of = {digest: row for row, digest in enumerate(scores.digests)}
    outer = scores.logits[[row_of[digest] for digest in digests]]
    return replace(nested, outer=np.asarray(outer, np.float64)[:, np.newaxis])
