"""The papers' report: that every sentence follows from numbers, and that copies across a split are what they are said to be."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from osteo_edge.manifest import Metric
from osteo_edge.records import to_plain
from train.data.dataset import LABELS, Dataset, RadiographRow
from train.networks.backbones import find_backbone
from train.research.holdout.config import HoldOutConfig, check, read_hold_out_config
from train.research.holdout.hold_out import HoldOutRun
from train.research.holdout.preparation import RUNTIME, Preparation
from train.research.papers import networks, report
from train.research.papers.commands import CONFIG_NAMES, CONFIGS, papers
from train.research.papers.copies import Inflation, nearest_neighbour
from train.research.papers.networks import Bench, describe, fuse
from train.research.papers.outcomes import Outcome, RowResult, judged, meaning_of, missed_classes, only_answer
from train.research.papers.report import Report, always_commonest, cross_validated_runs, run_row, write_report
from train.research.papers.table import PAPERS, ROWS, Fusion, Network, Row, rows_of
from train.runs.config import PROJECT
from train.runs.folder import RunError

COUNTS = (10, 40, 20)
GROUPS = [f"p{place}" for place in range(sum(COUNTS))]
TRUTH = np.repeat(np.arange(3), COUNTS)


def _networks(row: Row) -> tuple[Network, ...]:
    return row.recipe.networks if isinstance(row.recipe, Fusion) else (row.recipe,) if isinstance(row.recipe, Network) else ()


def test_table_names_what_exists() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)
    assert {row.paper for row in ROWS} == {paper.key for paper in PAPERS}
    assert {paper.protocol_here for paper in PAPERS} < set(CONFIG_NAMES)
    for row in ROWS:
        for network in _networks(row):
            find_backbone(network.backbone)
    for name in CONFIG_NAMES:
        read_hold_out_config(CONFIGS / f"{name}.toml")


def test_protocols_differ_as_they_say() -> None:
    published, p4, ours = (read_hold_out_config(CONFIGS / f"{name}.toml") for name in ("published", "p4", "ours"))
    assert (published.shares.test, published.shares.validation, published.fitting.epoch_from) == (0.3, 0.0, "test")
    assert (p4.shares.test, p4.shares.validation, p4.fitting.epoch_from) == (0.2, 0.1, "validation")
    assert (ours.shares.test, ours.fitting.epoch_from, ours.fitting.class_weights) == (0.3, "validation", True)
    assert ours.seed == published.seed
    assert (published.preparation, ours.preparation) == (RUNTIME, RUNTIME)
    assert p4.preparation.outliers
    assert not p4.preparation.is_exportable


def test_rows_are_chosen_by_paper_and_by_key() -> None:
    assert {row.paper for row in rows_of(("P2",))} == {"P2"}
    assert [row.key for row in rows_of(("p1-vgg16",))] == ["p1-vgg16"]
    assert rows_of(()) == ROWS


def _outcome(answers: np.ndarray, **changes: Any) -> Outcome:
    """Sure answers; the commonest class as baseline."""
    systems = {"model": np.eye(3)[answers], "majority": np.tile(np.array(COUNTS) / sum(COUNTS), (sum(COUNTS), 1))}
    made = judged("published", "by hand", TRUTH, systems, GROUPS, LABELS, resamples=200, seed=1)
    return replace(made, **changes)


def _row(key: str) -> Row:
    return next(row for row in ROWS if row.key == key)


def test_answering_one_class_is_recognised() -> None:
    outcome = _outcome(np.full(sum(COUNTS), 1))
    assert outcome.only_answer == "osteopenia"
    assert outcome.never_answered == ("normal", "osteoporosis")
    meaning = " ".join(meaning_of(_row("p1-vgg16"), [outcome]))
    assert "always answers osteopenia; the accuracy is that class's share" in meaning
    assert "The published 0.57 lies inside our interval; but answering the commonest class alone gives 0.57 here" in meaning
    assert "not shown to be better than chance" in meaning


def test_figure_outside_of_the_interval_and_a_good_model() -> None:
    meaning = " ".join(meaning_of(_row("p1-vgg19"), [_outcome(TRUTH)]))
    assert "The published 0.47 lies below our whole interval" in meaning
    assert "better than chance" in meaning
    assert "not shown" not in meaning
    assert "lies above our whole interval" in " ".join(meaning_of(_row("p3-fuzzy-rank"), [_outcome(np.full(70, 1))]))


def test_untrained_network_and_other_pictures_are_told() -> None:
    untrained = _outcome(TRUTH, trained_epochs=0)
    meaning = " ".join(meaning_of(_row("p1-vgg16"), [untrained]))
    assert "not one epoch fitted the time budget" in meaning
    assert "The published" not in meaning
    assert "no comparison" in meaning_of(_row("p4-own-cnn"), [_outcome(TRUTH)])[0]


def test_missed_classes_and_only_answer() -> None:
    assert missed_classes([[0, 3], [0, 5]], ("a", "b")) == ("a",)
    assert only_answer([[0, 3], [0, 5]], ("a", "b")) == "b"
    assert only_answer([[1, 3], [0, 5]], ("a", "b")) is None


def test_copies_help_by_file_and_not_by_patient() -> None:
    """Features that say nothing of the class but tell radiographs apart: the leak is all that a split by file measures."""
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.permutation(TRUTH), 4)
    owner = np.repeat(np.arange(sum(COUNTS)), 4)
    features = np.repeat(rng.normal(size=(sum(COUNTS), 20)), 4, axis=0) + rng.normal(0, 0.05, (4 * sum(COUNTS), 20))
    accuracy = {
        name: (nearest_neighbour(features, labels, groups, seed=1).argmax(axis=1) == labels).mean()
        for name, groups in (("file", np.arange(len(owner))), ("patient", owner))
    }
    assert accuracy["file"] > 0.97
    assert accuracy["patient"] < 0.55


def _dataset() -> Dataset:
    return Dataset(
        tuple(RadiographRow(Path(), f"{place:064x}", LABELS[label], GROUPS[place], "A") for place, label in enumerate(TRUTH))
    )


def _bench(output: Path) -> Bench:
    configs = {}
    for name in CONFIG_NAMES:
        config = read_hold_out_config(CONFIGS / f"{name}.toml")
        configs[name] = (replace(config, resamples=100), "")
    return Bench(_dataset(), SimpleNamespace(), "none", configs, output, output, train_missing=False)


def _stored_run(backbone: str, logits: np.ndarray) -> HoldOutRun:
    digests = [row.sha256 for row in _dataset().radiographs]
    test = {
        digest: {"label": LABELS[label], "logits": row}
        for digest, label, row in zip(digests, TRUTH, logits.tolist(), strict=True)
    }
    facts = {
        "backbone": backbone,
        "classes": list(LABELS),
        "weights": {"kind": "random"},
        "settings": {"view": {"kind": "whole", "height_px": 112}},
        "epochs": 3,
        "judged_epoch": 2,
        "epoch_chosen_on": "test",
        "seconds": 12.3,
        "stopped_early": backbone == "vgg19",
    }
    return HoldOutRun(facts, {"baselines": {"majority": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}}}, {"test": test})


def test_networks_are_fused_by_the_mean_of_their_probabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logits = {name: np.random.default_rng(seed).normal(size=(70, 3)) for seed, name in enumerate(("alexnet", "vgg19"))}
    monkeypatch.setattr(
        networks, "run_network", lambda bench, network, config: _stored_run(network.backbone, logits[network.backbone])
    )
    outcome = fuse(_bench(tmp_path), _row("p3-alexnet-vgg19").recipe, "published", "published")  # type: ignore[arg-type]
    shares = [np.exp(one) / np.exp(one).sum(axis=1, keepdims=True) for one in logits.values()]
    assert outcome.figures["accuracy"].value == pytest.approx((np.mean(shares, axis=0).argmax(axis=1) == TRUTH).mean())
    assert outcome.stopped_early
    assert outcome.baselines["majority"]["accuracy"].value == 0.5
    assert "vgg19: whole radiograph, 112 px, random weights, epoch 2 of 3" in outcome.how


@pytest.mark.parametrize("config_name", ["published", "ours"])
def test_networks_on_masks_are_shown_knees_under_either_protocol(
    config_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def run_hold_out(config: HoldOutConfig, *_: Any, **options: Any) -> HoldOutRun:
        asked.append((config, options["output"]))
        return _stored_run("vgg19", np.zeros((70, 3)))

    monkeypatch.setattr(networks, "run_hold_out", run_hold_out)
    bench = replace(_bench(tmp_path), train_missing=True)
    for network in (Network("vgg19"), Network("vgg19", on_mask=True)):
        networks.run_network(bench, network, config_name)
    (plain, folder), (masked, masked_folder) = asked
    assert (plain.mask, masked.mask) == ("", "replace")
    assert masked.view == bench.configs["ours"][0].view
    assert masked.fitting == plain.fitting
    assert folder != masked_folder
    check(masked, config_name)


def test_rejected_pictures_and_masks_are_told() -> None:
    facts = {**_stored_run("vgg19", np.zeros((70, 3))).run, "rejected": [{"sha256": "0", "reason": "r"}] * 2}
    assert "112 px, random weights" in describe(facts)
    facts["settings"]["preparation"] = to_plain(Preparation(outliers=True, denoise="nlm", standardise="zscore"))
    told = "112 px, 2 training pictures rejected, de-noised: nlm, standardised: zscore, random weights"
    assert told in describe(facts)
    facts["settings"]["mask"] = "replace"
    assert describe(facts).startswith("mask of the knee's bones")


def test_members_of_other_radiographs_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = iter([_stored_run("alexnet", np.zeros((70, 3))), _stored_run("vgg19", np.zeros((70, 3)))])
    shortened = next(runs)
    shortened.scores["test"].popitem()
    members = iter([shortened, next(runs)])
    monkeypatch.setattr(networks, "run_network", lambda *_: next(members))
    with pytest.raises(RunError, match="same radiographs"):
        fuse(_bench(tmp_path), _row("p3-alexnet-vgg19").recipe, "published", "published")  # type: ignore[arg-type]


def test_runs_that_are_there_are_reported_whatever_their_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "run_hold_out", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(networks, "settings_digest", lambda *_: "these settings")
    bench, folder = _bench(tmp_path), tmp_path / "runs" / "vgg19-three_classes-ours"
    folder.mkdir(parents=True)
    run = _stored_run("vgg19", np.zeros((70, 3)))
    for settings, is_found in (("these settings", True), ("other settings", False)):
        facts = {**run.run, "settings_sha256": settings, "time_budget_s": 1.0}
        for name, plain in (("run.json", facts), ("metrics.json", run.metrics), ("scores.json", run.scores)):
            (folder / name).write_text(json.dumps(plain))
        if is_found:
            assert networks.run_network(bench, Network("vgg19"), "ours").run["stopped_early"]
        else:
            with pytest.raises(RunError, match="not run yet"):
                networks.run_network(bench, Network("vgg19"), "ours")


def test_rows_that_cannot_be_run_say_why(tmp_path: Path) -> None:
    masked = run_row(_bench(tmp_path), _row("p3-vgg19-mask"))
    assert masked.outcomes == ()
    assert "vgg19-three_classes-mask-published was not run yet" in masked.not_run
    missing = run_row(_bench(tmp_path), _row("p1-vgg16"))
    assert "was not run yet" in missing.not_run
    assert missing.meaning == ()


def _report(bench: Bench) -> Report:
    outcome = _outcome(np.full(sum(COUNTS), 1), trained_epochs=2)
    row = replace(_row("p1-vgg16"), model="<b>VGG16</b>")
    figures = {"accuracy": 0.9, "balanced_accuracy": 0.8}
    return Report(
        results=(
            RowResult(row, (outcome, replace(outcome, protocol="ours")), "", meaning_of(row, [outcome])),
            run_row(bench, _row("p3-vgg19-mask")),
        ),
        cross_validated=(),
        share_always=always_commonest(bench),
        copies={"three_classes": Inflation(LABELS, figures, {name: value - 0.4 for name, value in figures.items()}, {})},
        radiographs=70,
    )


def test_report_is_whole_in_every_form(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    write_report(_report(bench), tmp_path)
    page = (tmp_path / "papers.html").read_text()
    assert "&lt;b&gt;VGG16" in page
    assert "<b>VGG16" not in page
    assert "46 of 70" in page
    assert "always answers osteopenia" in page
    assert "Not run: vgg19-three_classes-mask-published was not run yet" in page
    assert "+0.40" in page
    assert not any(word in page for word in ("http:", "https:", "<script", "src="))
    plain = json.loads((tmp_path / "papers.json").read_text())
    assert plain["report"]["results"][0]["outcomes"][0]["figures"]["accuracy"]["value"] == pytest.approx(40 / 70)
    lines = list(csv.reader((tmp_path / "papers.csv").open()))
    assert len(lines) == 4
    assert len({len(line) for line in lines}) == 1
    assert lines[1][lines[0].index("majority_balanced_accuracy")] == "0.3333"
    assert lines[1][lines[0].index("age_sex_accuracy")] == ""


def test_always_the_commonest(tmp_path: Path) -> None:
    share = always_commonest(_bench(tmp_path))
    assert (share["label"], share["accuracy"]) == ("osteopenia", pytest.approx(40 / 70))


def test_cross_validated_runs_are_found_and_others_passed_over(tmp_path: Path) -> None:
    good, other, held_out = tmp_path / "good", tmp_path / "other", tmp_path / "held_out"
    for folder in (good, other, held_out):
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({"name": "n", "backbone": "b"}))
    metric = {"value": 0.6, "low": 0.5, "high": 0.7}
    (good / "metrics.json").write_text(json.dumps({"model": {"balanced_accuracy": metric, "macro_auc": metric}}))
    (held_out / "metrics.json").write_text((good / "metrics.json").read_text())
    (other / "metrics.json").write_text("[]")
    for folder in (good, other):
        (folder / "oof.json").write_text("{}")
    (found,) = cross_validated_runs(tmp_path)
    assert found.figures["macro_auc"] == Metric(0.6, 0.5, 0.7)
    assert report.cross_validated_runs(PROJECT / "nowhere") == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "P9"], "unknown 'P9'"),
        (["--time-budget-per-model", "0"], "time budget"),
        (["--data", "nowhere"], "nowhere"),
    ],
)
def test_command_tells_what_is_wrong_in_one_line(options: list[str], message: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(papers, [*options, "--output", str(tmp_path)])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
