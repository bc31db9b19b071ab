"""A whole study, step by step; features and repeats are kept in the cache, so that a stopped study goes on where it was."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from osteo_edge.decision.scores import softmax
from train.data.crops import Finder
from train.data.dataset import LABELS, Dataset
from train.data.split import require_groups
from train.ensembles.fusion import Penalties
from train.ensembles.fusion_judgement import Judgement, judge_fusion
from train.ensembles.nested import EnsembleScores, NestedLogits, as_one_member, nested_scores
from train.fitting.material import marks_of, say, weights_digest
from train.fitting.record import as_scores, judge
from train.judging.baselines import baseline_scores, permuted_macro_auc
from train.judging.pages.reading import LEARNING_FILE, TABLES_FILE
from train.research.study import tables
from train.research.study.config import SELECTED, LearningCurve, StudyConfig
from train.research.study.features import Described, describe, digest_of
from train.research.study.learning import learning_curve
from train.research.study.proof import describe_proof, permuted_macro_aucs, pools_of
from train.research.study.systems import Repeat, Selected, count_choices, run_repeats, select
from train.runs import cache
from train.runs.arrays import Doubles, Integers
from train.runs.folder import CONFIG_FILE, METRICS_FILE, RUN_FILE
from train.runs.scores import MODEL, write_scores
from train.runs.versions import versions

FUSIONS_FILE = "fusions.json"
PROOF_FILE = "proof.json"


@dataclass(frozen=True)
class Outcome:
    """What a study found.

    Attributes:
        systems: name -> held-back probabilities (repeats, radiographs, labels); the model first.
        fusions: name of system and covariates -> judgement.
        permuted: macro AUCs of the model and of the pools on people dealt anew; empty where no proof is asked for.
    """

    labels: Integers
    groups: Sequence[str]
    repeats: Sequence[Repeat]
    selections: Sequence[Selected]
    ensembles: Sequence[EnsembleScores]
    systems: Mapping[str, Doubles]
    fusions: Mapping[tuple[str, str], Judgement]
    permuted: Mapping[str, Sequence[float]]


def study(config: StudyConfig, finder: Finder, finder_digest: str, *, dataset: Dataset, output: Path, config_text: str) -> None:
    """Compare everything that the configuration names, and write the study's folder.

    Raises:
        DatasetError: the data cannot be split so often; found before any work on pictures, and again without those in
            which no knee was found.
        ConfigError: a network or its weights cannot be had.
        RunError: the folder cannot be written.
    """
    started = time.monotonic()
    depths = (config.folds, config.inner_folds, config.linear.inner_folds)
    require_groups(dataset, depths)
    folder = cache.open_cache(output)
    described = describe(config, dataset, finder, finder_digest, folder)
    require_groups(described.radiographs, depths)
    outcome = _find_out(config, described, folder)
    _write(config, dataset, described, outcome, output, config_text, time.monotonic() - started)


def _find_out(config: StudyConfig, described: Described, folder: Path) -> Outcome:
    labels, groups = np.array(described.radiographs.label_indices), described.radiographs.groups
    names = [(one.name, one.features, one.target) for one in config.systems]
    key = cache.key(
        marks_of(described.radiographs), config.features, config.regions, config.linear, names, config.forest, _splits(config)
    )
    repeats = run_repeats(config, described, folder, key)
    pools = {name: [select(repeat, names, labels) for repeat in repeats] for name, names in pools_of(config).items()}
    say("Ensembles")
    ensembles = [nested_scores(one.of(config.members), labels, groups, config.ensembles, seed=config.seed) for one in repeats]  # type: ignore[arg-type]
    systems = {
        **{name: _stacked([one.nested.outer[:, 0] for one in selections]) for name, selections in pools.items()},
        **{name: _stacked([one.logits(name) for one in repeats]) for name in repeats[0].names},
        **{f"ensemble_{kind}": _stacked([one.logits[kind] for one in ensembles]) for kind in config.ensembles},
        **_baselines(config, described, repeats),
    }
    fusions = _fusions(config, described, repeats, pools, labels)
    permuted = (
        permuted_macro_aucs(config, described, folder, cache.key(key, config.pools, config.repeats)) if config.proof else {}
    )
    return Outcome(labels, groups, repeats, pools[MODEL], ensembles, systems, fusions, permuted)


def _splits(config: StudyConfig) -> tuple[int, int, int]:
    return config.seed, config.folds, config.inner_folds


def _stacked(logits: Sequence[Doubles]) -> Doubles:
    return softmax(np.array(logits))


def _baselines(config: StudyConfig, described: Described, repeats: Sequence[Repeat]) -> dict[str, Doubles]:
    scored = [baseline_scores(described.radiographs, one.fold_of, config.linear, seed=config.seed) for one in repeats]
    return {name: np.array([one[name] for one in scored]) for name in scored[0]}


def _fusions(
    config: StudyConfig,
    described: Described,
    repeats: Sequence[Repeat],
    pools: Mapping[str, Sequence[Selected]],
    labels: Integers,
) -> dict[tuple[str, str], Judgement]:
    radiographs = described.radiographs
    people = [row.covariates for row in radiographs.radiographs]
    judged = {}
    for system in config.fused:
        nested = _as_members(config, system, repeats, pools, labels, radiographs.groups)
        for one in config.covariates:
            say(f"Fusion of {system} with {one.name}")
            judged[system, one.name] = judge_fusion(
                one.columns,
                nested,
                people,
                labels,
                radiographs.groups,
                Penalties(),
                count=config.evaluation.resamples,
                seed=config.seed,
            )
    return judged


def _as_members(
    config: StudyConfig,
    system: str,
    repeats: Sequence[Repeat],
    pools: Mapping[str, Sequence[Selected]],
    labels: Integers,
    groups: Sequence[str],
) -> list[NestedLogits]:
    """A system as one member, a repeat each."""
    chosen = MODEL if system == SELECTED else system
    if chosen in pools:
        return [one.nested for one in pools[chosen]]
    if system in config.ensembles:
        return [as_one_member(one.of(config.members), system, labels, groups, seed=config.seed) for one in repeats]  # type: ignore[arg-type]
    return [one.of([system]) for one in repeats]


def _write(
    config: StudyConfig,
    dataset: Dataset,
    described: Described,
    outcome: Outcome,
    output: Path,
    config_text: str,
    seconds: float,
) -> None:
    say("Figures and intervals")
    labels, groups = outcome.labels, outcome.groups
    chosen = count_choices(outcome.selections)
    facts = {
        "radiographs": {"read": len(dataset.radiographs), "scored": len(labels), "knees": described.knees},
        "method": f"{config.repeats} x {config.folds} folds by patient group, the model chosen in each by {config.inner_folds} "
        f"inner folds; 95 % percentile bootstrap by patient, {config.evaluation.resamples} resamples",
        "chosen": chosen,
        "permuted_labels": _permuted_labels(config, described, outcome, next(iter(chosen))),
    }
    metrics = judge(labels, outcome.systems, groups, config.evaluation, seed=config.seed, facts=facts)
    figures = {MODEL: metrics[MODEL], **metrics["baselines"]}
    (output / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    cache.save_json(output / METRICS_FILE, metrics)
    cache.save_json(output / FUSIONS_FILE, {" + ".join(name): one.as_plain() for name, one in outcome.fusions.items()})
    shown = tables.all_tables(config, outcome.selections, outcome.ensembles, outcome.fusions, figures)
    if config.proof is not None:
        fusion = outcome.fusions[SELECTED, config.proof.covariates]
        proof = describe_proof(config, config.proof, figures, outcome.systems, labels, groups, outcome.permuted, fusion)
        cache.save_json(output / PROOF_FILE, proof)
        shown = [tables.proof_table(proof), *shown]
    cache.save_json(output / TABLES_FILE, {"tables": shown})
    folds = np.array([one.fold_of for one in outcome.repeats])
    write_scores(output, as_scores(described.radiographs, folds, outcome.systems))
    if config.learning is not None:
        _write_learning(config, config.learning, described, output, labels)
    (output / RUN_FILE).unlink(missing_ok=True)
    cache.save_json(output / RUN_FILE, _describe_run(config, dataset, described, seconds))


def _permuted_labels(config: StudyConfig, described: Described, outcome: Outcome, favourite: str) -> dict[str, Any]:
    """The model on people dealt anew where a proof asks for it, else the most chosen features on shuffled labels."""
    if config.proof is not None:
        return {"system": MODEL, "macro_auc": outcome.permuted[MODEL]}
    features = next(one.features for one in config.candidates if one.name == favourite)
    permuted = permuted_macro_auc(
        described.features[features],
        outcome.labels,
        outcome.groups,
        config.linear,
        folds=config.folds,
        permutations=config.evaluation.permutations,
        seed=config.seed,
    )
    return {"system": features, "macro_auc": permuted}


def _write_learning(config: StudyConfig, curve: LearningCurve, described: Described, output: Path, labels: Integers) -> None:
    steps = learning_curve(
        described.features[curve.features],
        labels,
        described.radiographs.groups,
        config.linear,
        curve.sizes,
        curve.repeats,
        config.seed,
        folds=config.folds,
        resamples=config.evaluation.resamples,
    )
    plain = [{"radiographs": step.radiographs, "figures": step.figures} for step in steps]
    cache.save_json(output / LEARNING_FILE, {"schema_version": 1, "features": curve.features, "steps": plain})


def _describe_run(config: StudyConfig, dataset: Dataset, described: Described, seconds: float) -> dict[str, Any]:
    digests = [row.sha256 for row in dataset.radiographs]
    scored = {row.sha256 for row in described.radiographs.radiographs}
    return {
        "schema_version": 1,
        "name": config.name,
        "labels": LABELS,
        "seed": config.seed,
        "data": {"radiographs": len(digests), "sha256_of_sorted_digests": digest_of(dataset)},
        "radiographs": len(scored),
        "knees": described.knees,
        "without_knee": [digest for digest in digests if digest not in scored],
        "weights_sha256": {one.name: weights_digest(one.weights) for one in config.features if one.weights},
        "wall_clock_s": round(seconds),
        "processors": os.cpu_count(),
        "keras_backend": keras.backend.backend(),
        "versions": versions(),
    }
