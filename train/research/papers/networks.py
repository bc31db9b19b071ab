"""Rows that train a network, one hold-out run each protocol, and rows that combine such networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from osteo_edge.decision.ensemble import combine
from osteo_edge.decision.scores import softmax
from osteo_edge.manifest import Ensemble
from osteo_edge.records import to_plain
from train.data.crops import Finder
from train.data.dataset import Dataset
from train.research.holdout.config import HoldOutConfig, StartingWeights
from train.research.holdout.hold_out import HoldOutRun, find_finished, run_hold_out, settings_digest
from train.research.holdout.preparation import RUNTIME
from train.research.papers.outcomes import MODEL, Outcome, Protocol, as_metric, judged, missed_classes, only_answer
from train.research.papers.table import Fusion, Network
from train.runs.config import PROJECT
from train.runs.folder import WEIGHTS_FILE, RunError

RUNS_FOLDER = "runs"
SEGMENTER = "train/results/knee-segmentation/segmenter.npz"
_FUSED_BY = {"mean": "mean of the probabilities", "gompertz": "fuzzy ranks by Gompertz functions"}


@dataclass(frozen=True)
class Bench:
    """What every row is run with.

    Attributes:
        configs: a name of ``train/configs/papers`` -> its settings and its text.
        output: the report's folder; runs lie below it, and are found again there.
        train_missing: False to report what is there and train nothing.
    """

    dataset: Dataset
    finder: Finder
    finder_digest: str
    configs: Mapping[str, tuple[HoldOutConfig, str]]
    output: Path
    cache: Path
    train_missing: bool = True


def run_network(bench: Bench, network: Network, config_name: str) -> HoldOutRun:
    """The network's run under one protocol, trained now or found again.

    Raises:
        RunError: it is not there and must not be trained.
    """
    config, text = bench.configs[config_name]
    name = "-".join([network.backbone, network.target, *(["mask"] if network.on_mask else []), config_name])
    config = replace(config, name=name, backbone=network.backbone, target=network.target)
    config = _on_mask(bench, _with_distilled(config)) if network.on_mask else _with_distilled(config)
    folder = bench.output / RUNS_FOLDER / name
    if not bench.train_missing:
        # However small the budget was that ended it.
        found = find_finished(folder, settings_digest(config, bench.dataset, bench.finder_digest), 0.0)
        if found is None:
            raise RunError(f"{name} was not run yet")
        return found
    return run_hold_out(
        config,
        bench.finder,
        bench.finder_digest,
        dataset=bench.dataset,
        output=folder,
        config_text=text,
        shared_cache=bench.cache,
    )


def _with_distilled(config: HoldOutConfig) -> HoldOutConfig:
    """Start from distilled weights where ``python -m train distil`` has left some."""
    file = PROJECT / "train" / "results" / f"distilled-{config.backbone}" / WEIGHTS_FILE
    if config.backbone in config.weights or not file.exists():
        return config
    distilled = StartingWeights(file.relative_to(PROJECT).as_posix(), "distilled")
    return replace(config, weights=MappingProxyType({**config.weights, config.backbone: distilled}))


def _on_mask(bench: Bench, config: HoldOutConfig) -> HoldOutConfig:
    """Masks are of knees, hence our view of them under either protocol."""
    return replace(config, mask="replace", segmenter=SEGMENTER, view=bench.configs["ours"][0].view)


def outcome_of_run(run: HoldOutRun, protocol: Protocol) -> Outcome:
    """A run's own figures."""
    facts, metrics = run.run, run.metrics
    counts = metrics["confusion_matrix"][MODEL]
    return Outcome(
        protocol=protocol,
        how=describe(facts),
        test_radiographs=int(np.sum(counts)),
        figures=_metrics(metrics[MODEL]),
        baselines={name: _metrics(figures) for name, figures in metrics["baselines"].items()},
        never_answered=missed_classes(counts, facts["classes"]),
        only_answer=only_answer(counts, facts["classes"]),
        trained_epochs=facts["epochs"],
        stopped_early=facts["stopped_early"],
    )


def describe(facts: Mapping[str, Any]) -> str:
    """A run in a few words."""
    weights, view = facts["weights"]["kind"], facts["settings"]["view"]
    shown = "whole radiograph" if view["kind"] == "whole" else "knee"
    shown = "mask of the knee's bones" if facts["settings"].get("mask") else shown
    ended = ", stopped by the time budget" if facts["stopped_early"] else ""
    size, seconds = f"{view['height_px']} px{_prepared(facts)}", f"{facts['seconds']:.0f} s"
    return f"{shown}, {size}, {weights} weights, {_epoch(facts)}, {seconds}{ended}"


def _epoch(facts: Mapping[str, Any]) -> str:
    if facts["epochs"] == 0:
        return "untrained"
    chosen_by = {"validation": "validation loss", "test": "accuracy on the test part itself", "last": "being the last"}
    return f"epoch {facts['judged_epoch']} of {facts['epochs']} by {chosen_by[facts['epoch_chosen_on']]}"


def _prepared(facts: Mapping[str, Any]) -> str:
    """The steps before the network, where there were any; runs from before such steps name none."""
    steps = facts["settings"].get("preparation", to_plain(RUNTIME))
    if steps == to_plain(RUNTIME):
        return ""
    rejected = f", {len(facts['rejected'])} training pictures rejected" if steps["outliers"] else ""
    return f"{rejected}, de-noised: {steps['denoise']}, standardised: {steps['standardise']}"


def _metrics(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {name: as_metric(value) for name, value in plain.items()}


def fuse(bench: Bench, recipe: Fusion, config_name: str, protocol: Protocol) -> Outcome:
    """Combine the test scores of several runs; nothing is fitted.

    Raises:
        RunError: a member was not run, or they were not judged on the same radiographs.
    """
    runs = [run_network(bench, network, config_name) for network in recipe.networks]
    first = runs[0].scores["test"]
    if any(run.scores["test"].keys() != first.keys() for run in runs):
        raise RunError("the members were not judged on the same radiographs")
    classes, digests = runs[0].run["classes"], sorted(first)
    labels = np.array([classes.index(first[digest]["label"]) for digest in digests])
    logits = np.array([[run.scores["test"][digest]["logits"] for run in runs] for digest in digests])
    groups = {row.sha256: row.patient_group for row in bench.dataset.radiographs}
    config = bench.configs[config_name][0]
    outcome = judged(
        protocol,
        f"{_FUSED_BY[recipe.kind]}: " + "; ".join(f"{run.run['backbone']}: {describe(run.run)}" for run in runs),
        labels,
        {MODEL: softmax(np.array([combine(Ensemble(recipe.kind), one) for one in logits]))},
        [groups[digest] for digest in digests],
        classes,
        resamples=config.resamples,
        seed=config.seed,
    )
    return replace(
        outcome,
        baselines={name: _metrics(figures) for name, figures in runs[0].metrics["baselines"].items()},
        trained_epochs=min(run.run["epochs"] for run in runs),
        stopped_early=any(run.run["stopped_early"] for run in runs),
    )
