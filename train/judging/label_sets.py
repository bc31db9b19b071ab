"""A run's label sets counted again, after the rules that make them or the form of their record changed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from train.ensembles.with_covariates import FUSION_FILE
from train.ensembles.with_covariates import SCHEMA_VERSION as FUSION_VERSION
from train.judging.conformal import describe_again, one_a_label
from train.runs.folder import METRICS_FILE, RunError, read_json
from train.runs.scores import MODEL, read_scores


def count_again(folder: Path) -> list[str]:
    """Write ``metrics.json`` with the sets that the runtime would show today, and tell what changed.

    ``fusion.json``, where there is one, is brought into today's form.

    Raises:
        RunError: the run cannot be read, holds no label sets, or its scores are not those that they were fitted on.
    """
    from train.runs.cache import save_json  # brings Keras along

    path = folder / METRICS_FILE
    metrics = read_json(path)
    recorded, again = metrics.get("conformal", ()), described_today(folder, metrics)
    save_json(path, metrics | {"conformal": again})
    if (folder / FUSION_FILE).is_file():
        fusion = read_json(folder / FUSION_FILE)["fusion"]
        fusion["conformal"] = one_a_label(fusion["conformal"])
        save_json(folder / FUSION_FILE, {"schema_version": FUSION_VERSION, "fusion": fusion})
    return [
        f"coverage {new['coverage']:.0%}: the true class is in {new['covered_share']:.3f} of the sets "
        f"({old['covered_share']:.3f} before), {new['single_labels']} sets of one class ({old['single_labels']} before)"
        for old, new in zip(recorded, again, strict=True)
    ]


def described_today(folder: Path, metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The ``conformal`` part of ``metrics.json`` by the rules of today, thresholds as they are.

    Raises:
        RunError: as ``count_again``.
    """
    if not metrics.get("conformal"):
        raise RunError(f"{folder}: holds no label sets")
    scores = read_scores(folder)[MODEL]
    try:
        return [describe_again(one, scores.labels, scores.probabilities[0]) for one in metrics["conformal"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{folder}: {error}") from error
