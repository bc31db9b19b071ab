"""What a run writes of itself: figures beside baselines, out-of-fold scores, regions, and what it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.integrity import sha256_hex
from train.data.dataset import LABELS, Dataset
from train.data.split import Groups
from train.fitting.folds import FoldResult, in_order
from train.fitting.material import Material, weights_digest
from train.fitting.regions import choose_region, score_regions, with_intervals
from train.judging.baselines import baseline_scores, permuted_macro_auc
from train.judging.conformal import describe
from train.judging.evaluate import compare, confusion
from train.runs.arrays import Doubles, Integers
from train.runs.config import Evaluation
from train.runs.scores import MODEL, Scores, group_digests, log_probabilities
from train.runs.versions import versions

FROZEN = "frozen_features"
SCORE_DIGITS = 5


Systems = Mapping[str, Doubles]


def choose_final_region(material: Material, folds: Sequence[FoldResult]) -> tuple[dict[str, Any], str]:
    """The table of all candidates on all radiographs, and the final network's region: chosen as inside the folds."""
    config = material.config
    scores = score_regions(material.features, material.labels, material.groups, config, material.teaching)
    chosen = choose_region(scores, material.labels)
    table = [
        {
            "region": candidate.region,
            "input": candidate.input,
            **with_intervals(
                scores[candidate.name], material.labels, material.groups, count=config.evaluation.resamples, seed=config.seed
            ),
        }
        for candidate in config.candidates
    ]
    per_fold = [{"fold": number, "chosen": fold.region, "candidates": fold.candidates} for number, fold in enumerate(folds)]
    method = f"frozen {config.backbone}, linear head, {config.choice.repeats} x {config.choice.folds}-fold by patient group"
    return {"schema_version": 1, "method": method, "candidates": table, "folds": per_fold, "chosen": chosen}, chosen


def measure(material: Material, dataset: Dataset, folds: Sequence[FoldResult], chosen: str) -> tuple[dict[str, Any], Systems]:
    """``metrics.json`` and the out-of-fold probabilities of the model and its baselines."""
    config = material.config
    systems = {
        MODEL: softmax(in_order(material, [fold.logits for fold in folds])),
        **baseline_scores(material.radiographs, material.fold_of, config.linear, seed=config.seed),
        FROZEN: in_order(material, [fold.frozen for fold in folds]),
    }
    permuted = permuted_macro_auc(
        material.features[chosen],
        material.labels,
        material.radiographs.groups,
        config.linear,
        folds=config.folds,
        permutations=config.evaluation.permutations,
        seed=config.seed,
    )
    facts = {
        "radiographs": _count(material, dataset),
        "method": f"{config.folds} folds by patient group; 95 % percentile bootstrap by patient, "
        f"{config.evaluation.resamples} resamples",
        "permuted_labels": {"system": FROZEN, "region": chosen, "macro_auc": permuted},
    }
    return judge(
        material.labels, systems, material.radiographs.groups, config.evaluation, seed=config.seed, facts=facts
    ), systems


def judge(
    labels: Integers, systems: Systems, groups: Groups, judged: Evaluation, *, seed: int, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """What every ``metrics.json`` holds: the model beside its baselines, and the label sets.

    Args:
        systems: name -> probabilities, (radiographs, labels) or (repeats, radiographs, labels); ``"model"`` is one of them.
            Counts and label sets are of the first repeat.
        facts: what else is to be said of these figures.
    """
    figures, differences = compare(labels, systems, groups, model=MODEL, count=judged.resamples, seed=seed)
    first = {name: np.reshape(scores, (-1, len(labels), len(LABELS)))[0] for name, scores in systems.items()}
    return {
        "schema_version": 1,
        "labels": LABELS,
        **facts,
        MODEL: figures.pop(MODEL),
        "baselines": figures,
        "model_less_baseline": differences,
        "confusion_matrix": {name: confusion(labels, scores) for name, scores in first.items()},
        "conformal": [describe(labels, first[MODEL], coverage) for coverage in judged.coverages],
    }


def _count(material: Material, dataset: Dataset) -> dict[str, Any]:
    """Radiographs read, scored, and left out since no knee was found in them."""
    scored = {row.sha256 for row in material.radiographs.radiographs}
    lost = Counter(row.label for row in dataset.radiographs if row.sha256 not in scored)
    return {
        "read": len(dataset.radiographs),
        "scored": len(scored),
        "scored_by_label": dict(Counter(row.label for row in material.radiographs.radiographs)),
        "without_knee": sum(lost.values()),
        "without_knee_by_label": {label: lost[label] for label in LABELS},
        "knees": len(material.crops.owner),
    }


def as_scores(radiographs: Dataset, fold_of: Integers, systems: Systems) -> list[Scores]:
    """Out-of-fold scores as ``oof.json`` holds them, by the files' SHA-256: names of files tell of patients.

    Args:
        fold_of: (radiographs,) or (repeats, radiographs).
    """
    digests = tuple(row.sha256 for row in radiographs.radiographs)
    groups, labels = group_digests(radiographs.groups, digests), np.array(radiographs.label_indices)
    folds = np.atleast_2d(fold_of)
    shape = (len(folds), len(labels), len(LABELS))

    def one(name: str, scores: Doubles) -> Scores:
        logits = np.round(log_probabilities(scores), SCORE_DIGITS)
        return Scores(name, digests, labels, groups, folds, np.broadcast_to(logits, shape))

    return [one(name, scores) for name, scores in systems.items()]


def describe_run(material: Material, dataset: Dataset, facts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """``run.json``: what the run was made from, with what, and how long it took."""
    config = material.config
    digests = sorted(row.sha256 for row in dataset.radiographs)
    scored = {row.sha256 for row in material.radiographs.radiographs}
    return {
        "schema_version": 1,
        "name": config.name,
        "backbone": config.backbone,
        "target": config.target,
        "body_part": config.body_part,
        "taught": config.start,
        "labels": LABELS,
        "seed": config.seed,
        "weights": {"file": Path(config.weights).name, "digest": weights_digest(config.weights)},
        "data": {"radiographs": len(digests), "sha256_of_sorted_digests": sha256_hex("\n".join(digests).encode())},
        "radiographs": len(scored),
        "knees": len(material.crops.owner),
        "without_knee": [digest for digest in digests if digest not in scored],
        **facts,
        "wall_clock_s": round(seconds),
        "keras_backend": keras.backend.backend(),
        "versions": versions(),
    }
