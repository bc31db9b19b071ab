"""The fusion of a finished model with covariates: judged on its nested scores, fitted on all of them, and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from train.data.dataset import Dataset
from train.ensembles.fusion import FUSION_FILE, Judgement, Penalties, fit_fusion, judge_fusion, make_fusion, write_fusion
from train.ensembles.nested import NestedLogits
from train.runs import cache
from train.runs.config import FusionConfig

JUDGEMENT_FILE = "fusion_evaluation.json"


def fuse_run(
    folder: Path, settings: FusionConfig, radiographs: Dataset, nested: NestedLogits, *, count: int, seed: int
) -> Judgement:
    """Write ``fusion.json``, which a bundle takes, and ``fusion_evaluation.json``, what came of the judging.

    Args:
        nested: the model's own logits, as of one member.
        count: bootstrap resamples.

    Raises:
        ConfigError, DatasetError: the covariates cannot be used.
    """
    labels, groups = np.array(radiographs.label_indices), radiographs.groups
    people = [row.covariates for row in radiographs.radiographs]
    judgement = judge_fusion(settings.columns, [nested], people, labels, groups, Penalties(), count=count, seed=seed)
    parts = fit_fusion(
        settings.columns, nested.outer[:, 0], people, labels, groups, Penalties(), seed=seed, required=settings.required
    )
    write_fusion(folder / FUSION_FILE, make_fusion(parts, judgement, labels, coverage=settings.coverage))
    cache.save_json(folder / JUDGEMENT_FILE, judgement.as_plain())
    return judgement
