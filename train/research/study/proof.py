"""Whether the picture tells anything: people are dealt to pictures anew, and the whole study, with its choices, is done again.

The rule stands in the configuration before anything is looked at: the picture's answer is proven where the p of the model's
macro AUC is below the largest one allowed, and fused with the covariates it gains on them alone, by the paired interval of the
macro AUC.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Metric
from train.data.dataset import Dataset
from train.ensembles.fusion_judgement import ALONE, FUSED, Judgement
from train.fitting.material import say
from train.judging.evaluate import class_aucs, compare, permutation_p_value
from train.research.study.config import Proof, StudyConfig
from train.research.study.features import Described
from train.research.study.systems import Repeat, candidates_once, select
from train.runs import cache
from train.runs.arrays import Doubles, Integers
from train.runs.scores import MODEL

SCHEMA_VERSION = 1
SHOWN = ("macro_auc", "balanced_accuracy")
_TELL_EVERY = 10
_WORTH_PROCESSES = 50  # each takes seconds to start


def pools_of(config: StudyConfig) -> dict[str, tuple[str, ...]]:
    """System that is chosen inside the folds -> the candidates that it is chosen among; the model first."""
    return {MODEL: tuple(one.name for one in config.candidates), **{one.name: one.systems for one in config.pools}}


def dealt_anew(radiographs: Dataset, rng: np.random.Generator) -> Dataset:
    """Every patient group gets the label, T-score and covariates of a group: those of that one's first radiograph.

    What the pictures share, how they were taken and whose they are stay; whom they show is lost.
    """
    first = {row.patient_group: row for row in reversed(radiographs.radiographs)}
    groups = sorted(first)
    giver = {group: first[groups[place]] for group, place in zip(groups, rng.permutation(len(groups)).tolist(), strict=True)}
    rows = tuple(
        replace(row, label=other.label, t_score=other.t_score, covariates=other.covariates)
        for row in radiographs.radiographs
        for other in (giver[row.patient_group],)
    )
    return replace(radiographs, radiographs=rows)


def permuted_macro_aucs(config: StudyConfig, described: Described, folder: Path, key: str) -> dict[str, list[float]]:
    """Macro AUC of the model and of every pool on people dealt anew, a list each; a stopped count goes on.

    Raises:
        DatasetError: a class is missing from a fold.
    """
    assert config.proof is not None
    file, started = folder / f"permuted-{key}.json", time.monotonic()
    done: list[dict[str, float]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    before = len(done)
    for one in _in_turn(partial(_permuted_once, config, described), range(before, config.proof.permutations)):
        done.append(one)
        cache.save_json(file, done)
        if len(done) % _TELL_EVERY == 0:
            left = (time.monotonic() - started) / (len(done) - before) * (config.proof.permutations - len(done))
            say(f"Permutation {len(done)} of {config.proof.permutations}; about {left / 60:.0f} min left")
    return {name: [one[name] for one in done[: config.proof.permutations]] for name in pools_of(config)}


def _in_turn(once: Callable[[int], dict[str, float]], numbers: Sequence[int]) -> Iterator[dict[str, float]]:
    """The permutations in their order; many are shared out over the processors."""
    if len(numbers) < _WORTH_PROCESSES:
        yield from map(once, numbers)
        return
    # Spawned: a copy of a process in which TensorFlow has threads may wait for ever.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        yield from pool.map(once, numbers)


def _permuted_once(config: StudyConfig, described: Described, number: int) -> dict[str, float]:
    dealt = dealt_anew(described.radiographs, np.random.default_rng([config.seed, number]))
    shown = replace(described, radiographs=dealt)
    repeats = [candidates_once(config, shown, repeat) for repeat in range(config.repeats)]
    labels = np.array(dealt.label_indices)
    return {name: _macro_auc(repeats, names, labels) for name, names in pools_of(config).items()}


def _macro_auc(repeats: Sequence[Repeat], names: Sequence[str], labels: Integers) -> float:
    logits = [select(one, names, labels).nested.outer[:, 0] for one in repeats]
    return float(np.mean([class_aucs(labels, softmax(of_repeat)).mean() for of_repeat in logits]))


def describe_proof(
    config: StudyConfig,
    proof: Proof,
    figures: Mapping[str, Mapping[str, Metric]],
    systems: Mapping[str, Doubles],
    labels: Integers,
    groups: Sequence[str],
    permuted: Mapping[str, Sequence[float]],
    fusion: Judgement,
) -> dict[str, Any]:
    """``proof.json``: the rule, what was found, and whether the picture's answer is proven.

    Args:
        figures: of the model and of the pools, with intervals.
        systems: their held-back probabilities, (repeats, radiographs, labels).
        permuted: of ``permuted_macro_aucs``.
        fusion: of the model with the covariates of the rule.
    """
    found = {name: _against_chance(figures[name]["macro_auc"], permuted[name]) for name in pools_of(config)}
    p_value, gain = found[MODEL]["p_value"], fusion.gains[ALONE]
    return {
        "schema_version": SCHEMA_VERSION,
        "rule": {**vars(proof), "is_proven_where": f"p < {proof.largest_p:g} and the interval of the gain above 0"},
        "radiographs": len(labels),
        "macro_auc": found,
        "pools_compared": _pools_compared(config, systems, labels, groups),
        "beside_covariates": {
            "covariates": fusion.names,
            "without_picture": {name: fusion.figures[ALONE][name] for name in SHOWN},
            "with_picture": {name: fusion.figures[FUSED][name] for name in SHOWN},
            "gain": {name: gain[name] for name in SHOWN},
        },
        "is_proven": bool(p_value < proof.largest_p and gain["macro_auc"].low > 0),
        "permuted_macro_auc": permuted,
    }


def _against_chance(metric: Metric, permuted: Sequence[float]) -> dict[str, Any]:
    low, high = np.percentile(permuted, (2.5, 97.5)).tolist()
    return {
        **vars(metric),
        "permuted": {"count": len(permuted), "low": low, "high": high, "lowest": min(permuted), "highest": max(permuted)},
        "p_value": permutation_p_value(metric.value, permuted),
    }


def _pools_compared(
    config: StudyConfig, systems: Mapping[str, Doubles], labels: Integers, groups: Sequence[str]
) -> dict[str, dict[str, Metric]]:
    """Every later pool less the first, paired."""
    if not config.pools:
        return {}
    first, *others = (one.name for one in config.pools)
    held = {}
    for name in others:
        both = {one: systems[one] for one in (name, first)}
        _, differences = compare(labels, both, groups, model=name, count=config.evaluation.resamples, seed=config.seed)
        held[f"{name} less {first}"] = differences[first]
    return held
