"""What a run writes of itself: figures beside baselines, out-of-fold scores, regions, and what it was made from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from osteo_edge.decision.scores import softmax
from osteo_edge.integrity import sha256_hex
from train import cache
from train.baselines import baseline_scores, permuted_macro_auc
from train.conformal import describe
from train.dataset import LABELS, Dataset
from train.evaluate import compare, confusion
from train.folds import Floats, FoldResult, in_order
from train.material import Material, weights_digest
from train.regions import choose_region, score_regions, with_intervals
from train.run import SCORES_FILE
from train.versions import versions

MODEL = "model"
FROZEN = "frozen_features"


def choose_final_region(material: Material, folds: Sequence[FoldResult]) -> tuple[dict[str, Any], str]:
    """The table of all candidates on all radiographs, and the final network's region: chosen as inside the folds."""
    config = material.config
    scores = score_regions(material.features, material.labels, material.groups, config)
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


def measure(material: Material, dataset: Dataset, folds: Sequence[FoldResult], chosen: str) -> tuple[dict[str, Any], Floats]:
    """``metrics.json`` and the model's out-of-fold probabilities."""
    config, judged = material.config, material.config.evaluation
    labels, groups = material.labels, material.radiographs.groups
    probabilities = softmax(in_order(material, [fold.logits for fold in folds]))
    systems = {
        MODEL: probabilities,
        **baseline_scores(material.radiographs, material.fold_of, config.linear, seed=config.seed),
        FROZEN: in_order(material, [fold.frozen for fold in folds]),
    }
    figures, differences = compare(labels, systems, groups, model=MODEL, count=judged.resamples, seed=config.seed)
    permuted = permuted_macro_auc(
        material.features[chosen],
        labels,
        groups,
        config.linear,
        folds=config.folds,
        permutations=judged.permutations,
        seed=config.seed,
    )
    metrics = {
        "schema_version": 1,
        "labels": LABELS,
        "radiographs": _count(material, dataset),
        "method": f"{config.folds} folds by patient group; 95 % percentile bootstrap by patient, {judged.resamples} resamples",
        MODEL: figures.pop(MODEL),
        "baselines": figures,
        "model_less_baseline": differences,
        "confusion_matrix": {name: confusion(labels, scores) for name, scores in systems.items()},
        "permuted_labels": {"system": FROZEN, "region": chosen, "macro_auc": permuted},
        "conformal": [describe(labels, probabilities, coverage) for coverage in judged.coverages],
    }
    return metrics, probabilities


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


def write_scores(output: Path, material: Material, folds: Sequence[FoldResult]) -> None:
    """Write ``oof.json``: label, fold and out-of-fold logits by the files' SHA-256; names of files tell of patients."""
    logits = in_order(material, [fold.logits for fold in folds])
    rows = zip(material.radiographs.radiographs, material.fold_of.tolist(), logits.tolist(), strict=True)
    scores = {row.sha256: {"label": row.label, "fold": fold, "logits": values} for row, fold, values in rows}
    cache.save_json(output / SCORES_FILE, {"schema_version": 1, "labels": LABELS, "radiographs": dict(sorted(scores.items()))})


def describe_run(material: Material, dataset: Dataset, facts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """``run.json``: what the run was made from, with what, and how long it took."""
    config = material.config
    digests = sorted(row.sha256 for row in dataset.radiographs)
    scored = {row.sha256 for row in material.radiographs.radiographs}
    return {
        "schema_version": 1,
        "name": config.name,
        "backbone": config.backbone,
        "labels": LABELS,
        "seed": config.seed,
        "weights": {"file": Path(config.weights).name, "digest": weights_digest(config)},
        "data": {"radiographs": len(digests), "sha256_of_sorted_digests": sha256_hex("\n".join(digests).encode())},
        "radiographs": len(scored),
        "knees": len(material.crops.owner),
        "without_knee": [digest for digest in digests if digest not in scored],
        **facts,
        "wall_clock_s": round(seconds),
        "keras_backend": keras.backend.backend(),
        "versions": versions(),
    }
