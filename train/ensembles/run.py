"""An ensemble of finished runs: judged on their nested scores, fitted on all of them, and written as a run of its own."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from osteo_edge.decision.scores import softmax
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import Ensemble
from train.data.dataset import LABELS, Dataset
from train.data.split import SPLIT_FILE, write_split
from train.ensembles.fit import KINDS, EnsembleName, Hierarchical, fit_ensemble
from train.ensembles.nested import NestedLogits, as_one_member, nested_scores
from train.ensembles.nested_file import read_nested, together, write_nested
from train.ensembles.with_covariates import fuse_run
from train.fitting.record import as_scores, judge
from train.judging.baselines import baseline_scores
from train.runs import cache
from train.runs.config import ConfigError, Evaluation, FusionConfig, Linear, Rule, from_project, read_settings, rules_of_fusion
from train.runs.folder import CONFIG_FILE, ENSEMBLE_FILE, METRICS_FILE, RUN_FILE, RunError, read_json
from train.runs.scores import MODEL, read_scores, write_scores
from train.runs.versions import versions

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class EnsembleConfig:
    """What an ensemble is made of.

    Attributes:
        members: folders of finished runs with nested scores, cross-validated on one split; in the order of a cascade.
        ensemble: the kind that is shipped; all kinds are judged beside it.
        linear: of the baselines.
    """

    name: str
    data: str
    output: str
    members: tuple[str, ...]
    ensemble: str
    seed: int
    linear: Linear
    evaluation: Evaluation
    fusion: FusionConfig | None = None


def read_ensemble_config(path: Path) -> EnsembleConfig:
    """Read and check a TOML file.

    Raises:
        ConfigError: not readable, not TOML, or a wrong key.
    """
    return read_settings(EnsembleConfig, path, _rules)


def _rules(config: EnsembleConfig) -> Iterator[Rule]:
    yield len(config.members) >= 2, "members", "must hold at least two runs"
    yield len(set(config.members)) == len(config.members), "members", "holds a run twice"
    shipped = [kind for kind in KINDS if kind != "hierarchical"]
    yield config.ensemble in shipped, "ensemble", f"must be one of {', '.join(shipped)}, which a bundle can hold"
    yield from rules_of_fusion(config.fusion)


def run_ensemble(config: EnsembleConfig, dataset: Dataset, output: Path, config_text: str) -> None:
    """Judge every kind of ensemble of the members, fit the wanted one, and write the folder of a run.

    Raises:
        RunError: a member has no nested scores, or they do not go together.
        ConfigError, DatasetError: the ensemble or its fusion cannot be fitted.
    """
    started = time.monotonic()
    radiographs = _scored(config, dataset)
    labels, groups = np.array(radiographs.label_indices), radiographs.groups
    digests = [row.sha256 for row in radiographs.radiographs]
    members = [read_nested(from_project(folder), digests) for folder in config.members]
    nested = together(members)
    kind = next(one for one in KINDS if one == config.ensemble)
    judged = nested_scores(nested, labels, groups, KINDS, seed=config.seed)
    systems = {
        MODEL: softmax(judged.logits[kind]),
        **{f"ensemble_{one}": softmax(judged.logits[one]) for one in KINDS if one != kind},
        **{Path(folder).name: softmax(one.outer[:, 0]) for folder, one in zip(config.members, members, strict=True)},
        **baseline_scores(radiographs, nested.fold_of, config.linear, seed=config.seed),
    }
    facts = {
        "radiographs": {"read": len(dataset.radiographs), "scored": len(labels)},
        "method": f"{kind} fitted on inner held-back scores of each training part, {nested.fold_of.max() + 1} folds by patient "
        f"group; 95 % percentile bootstrap by patient, {config.evaluation.resamples} resamples",
        "members_run": judged.members_run,
    }
    require_folder(output)
    (output / RUN_FILE).unlink(missing_ok=True)
    (output / CONFIG_FILE).write_text(config_text, encoding="utf-8")
    write_split(output / SPLIT_FILE, radiographs, nested.fold_of, seed=config.seed)
    metrics = judge(labels, systems, groups, config.evaluation, seed=config.seed, facts=facts)
    cache.save_json(output / METRICS_FILE, metrics)
    write_scores(output, as_scores(radiographs, nested.fold_of, systems))
    cache.save_json(output / ENSEMBLE_FILE, _fitted(config, kind, nested, labels, groups))
    as_one = as_one_member(nested, kind, labels, groups, seed=config.seed)
    write_nested(output, digests, as_one)
    if config.fusion is not None:
        fuse_run(output, config.fusion, radiographs, as_one, count=config.evaluation.resamples, seed=config.seed)
    cache.save_json(output / RUN_FILE, _describe(config, dataset, radiographs, time.monotonic() - started))


def _scored(config: EnsembleConfig, dataset: Dataset) -> Dataset:
    """The radiographs that the first member scored, in the table's order."""
    scored = set(read_scores(from_project(config.members[0]))[MODEL].digests)
    rows = [place for place, row in enumerate(dataset.radiographs) if row.sha256 in scored]
    if len(rows) < len(scored):
        raise RunError(f"{config.members[0]}: scored radiographs that the folder does not hold; give the data of its training")
    return dataset.subset(rows)


def _fitted(config: EnsembleConfig, kind: EnsembleName, nested: NestedLogits, labels: Any, groups: Any) -> Mapping[str, Any]:
    """The shipped ensemble: fitted on the outer held-back scores of all radiographs."""
    ensemble = fit_ensemble(kind, nested.outer, labels, groups, seed=config.seed)
    if isinstance(ensemble, Hierarchical):  # refused by the configuration's rules
        raise ConfigError("a hierarchical ensemble cannot be shipped")
    return _as_plain([Path(folder).name for folder in config.members], ensemble)


def _as_plain(members: list[str], ensemble: Ensemble) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, "members": members, "ensemble": ensemble}


def require_folder(output: Path) -> None:
    """Make the folder of a run.

    Raises:
        RunError: it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{output}: cannot be the folder of a run ({error.strerror})") from error


def _describe(config: EnsembleConfig, dataset: Dataset, radiographs: Dataset, seconds: float) -> dict[str, Any]:
    digests = sorted(row.sha256 for row in dataset.radiographs)
    scored = {row.sha256 for row in radiographs.radiographs}
    return {
        "schema_version": 1,
        "name": config.name,
        "labels": LABELS,
        "seed": config.seed,
        "members": [_member(from_project(folder)) for folder in config.members],
        "ensemble": config.ensemble,
        "data": {"radiographs": len(digests), "sha256_of_sorted_digests": sha256_hex("\n".join(digests).encode())},
        "radiographs": len(scored),
        "without_knee": [digest for digest in digests if digest not in scored],
        "wall_clock_s": round(seconds),
        "processors": os.cpu_count(),
        "keras_backend": keras.backend.backend(),
        "versions": versions(),
    }


def _member(folder: Path) -> dict[str, Any]:
    run = read_json(folder / RUN_FILE)
    return {"run": folder.name, "backbone": run.get("backbone"), "run_sha256": sha256_hex((folder / RUN_FILE).read_bytes())}
