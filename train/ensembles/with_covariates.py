"""The fusion of a finished model with covariates: judged on its nested scores, fitted on all of them, and written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osteo_edge.manifest import Fusion
from osteo_edge.manifest_rules import check_fusion
from train.data.dataset import LABELS, Dataset
from train.ensembles.fusion import FusionParts, Penalties, fit_fusion
from train.ensembles.fusion_judgement import ALONE, FUSED, Judgement, judge_fusion
from train.ensembles.nested import NestedLogits
from train.judging.conformal import fit_threshold
from train.runs import cache
from train.runs.arrays import Integers
from train.runs.config import FusionConfig

FUSION_FILE = "fusion.json"
SCHEMA_VERSION = 2
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


def make_fusion(parts: FusionParts, judgement: Judgement, labels: Integers, *, coverage: float) -> Fusion:
    """What is fitted on all radiographs, with what was judged on held-back ones.

    The label sets' threshold is fitted on the first repeat's fused scores, one a radiograph.

    Args:
        parts: of ``fit_fusion`` with held-back image logits of all radiographs and the same covariates.
    """
    return Fusion(
        covariates=parts.covariates,
        required=parts.required,
        kernel=parts.kernel,
        bias=parts.bias,
        conformal=fit_threshold(judgement.scores[FUSED][0, np.arange(len(labels)), labels], coverage),
        is_proven=judgement.is_proven,
        image_adds=judgement.image_adds,
        metrics=judgement.figures[FUSED],
        without_image=judgement.figures[ALONE],
        gain=judgement.gains[ALONE],
    )


def write_fusion(path: Path, fusion: Fusion) -> None:
    """Write ``fusion.json``, as ``osteo_edge.records.to_plain`` gives the record.

    Raises:
        ManifestError: it is not what the runtime takes.
    """
    check_fusion(fusion, labels=LABELS)
    cache.save_json(path, {"schema_version": SCHEMA_VERSION, "fusion": fusion})
