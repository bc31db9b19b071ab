"""Reduced files of a run of grades: judged by quadratic kappa on the validation knees, never on those that were trained on."""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.errors import ExportError
from export.folds import FoldScores
from export.graded_bench import GradedBench
from export.graded_knees import read_graded_cases
from export.graph import inference_form
from export.plan_table import plan_table
from export.planning import Task, make_plan
from export.plans import Budget, Recipe, read_plan, write_plan
from export.quantization import Exact, representative_set, search
from export.radiographs import View
from tests.export.test_graded_bundle import graded_bundle, graded_knees, graded_material, graded_run  # noqa: F401 (fixtures)
from train.grading.knees import GradedKnee, read_index
from train.runs.folder import Run, load_run

pytestmark = pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # so few knees

WAYS = {
    "onnxruntime": Recipe("onnxruntime", "static", float_groups=("stem", "head")),
    "litert": Recipe("litert", "dynamic"),
}


@pytest.fixture(scope="session")
def run(graded_run: Path, graded_knees: Path, finder: Any, track: Any) -> Run:  # noqa: F811
    """The run with its recorded scores, as judging leaves them."""
    run = load_run(graded_run)
    network, view = run.network(), View(run.region, run.input)
    (cases,) = read_graded_cases(graded_knees, finder, [view], track=track).values()
    assert run.calibration is not None
    logits = {
        case.digest: (np.asarray(network(case.tensors[0])["logits"])[0] * run.calibration.temperature).tolist()
        for case in cases
        if case.tensors
    }
    record = json.loads((graded_run / "scores.json").read_text())
    record["knees"] = {digest: {"logits": logits.get(digest, [0.0] * 5)} for digest in record["knees"]}
    (graded_run / "scores.json").write_text(json.dumps(record))
    return run


@pytest.fixture(scope="session")
def knees(graded_knees: Path) -> tuple[GradedKnee, ...]:  # noqa: F811
    return read_index(graded_knees)


@pytest.fixture(scope="session")
def cases(run: Run, graded_knees: Path, finder: Any, track: Any) -> Any:  # noqa: F811
    return read_graded_cases(graded_knees, finder, [View(run.region, run.input)], track=track)[View(run.region, run.input)]


@pytest.fixture
def bench(run: Run, cases: Any, knees: tuple[GradedKnee, ...]) -> GradedBench:
    return GradedBench(run, Exact.of(inference_form(run.network()), run.input), cases, knees)


def test_validation_knees_come_first_and_then_those_that_ranges_come_from(run: Run, cases: Any) -> None:
    trained = [case.digest in run.training_digests for case in cases]
    assert trained == [False] * 4 + [True] * 3
    assert representative_set(cases, run.training_digests).pictures == 3


def test_only_found_validation_knees_are_judged_on(bench: GradedBench) -> None:
    assert bench.labels.tolist() == [3, 4, 0]
    assert len(bench.fp32.logits) == 3


def test_fp32_loses_nothing_and_the_worst_file_all_of_kappa(bench: GradedBench) -> None:
    assert bench.figures(bench.fp32).drop.value == 0
    best = np.eye(5)[bench.labels] * 4
    bench.fp32 = FoldScores(bench.fp32.digests, best)
    figures = bench.figures(FoldScores(bench.fp32.digests, np.eye(5)[[0, 0, 4]] * 4))
    assert figures.figure == "quadratic_kappa"
    assert figures.fp32["quadratic_kappa"].value == 1
    assert figures.drop.value > 1


def test_scores_that_were_not_recorded_are_refused(run: Run, cases: Any, knees: tuple[GradedKnee, ...], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run.folder, tmp_path / "knee-grades"))
    record = json.loads((copy / "scores.json").read_text())
    for one in record["knees"].values():
        one["logits"][0] += 1
    (copy / "scores.json").write_text(json.dumps(record))
    exact = Exact.of(inference_form(run.network()), run.input)
    with pytest.raises(ExportError, match="judge-grades"):
        GradedBench(replace(run, folder=copy), exact, cases, knees)
    (copy / "scores.json").write_text('{"knees": {}}')
    with pytest.raises(ExportError, match="lacks a validation knee"):
        GradedBench(replace(run, folder=copy), exact, cases, knees)


def test_trained_or_foreign_knees_judge_nothing(run: Run, cases: Any, knees: tuple[GradedKnee, ...]) -> None:
    exact = Exact.of(inference_form(run.network()), run.input)
    with pytest.raises(ExportError, match="no knee of the validation part"):
        GradedBench(run, exact, [case for case in cases if case.digest in run.training_digests], knees)
    judged = frozenset(knee.sha256 for knee in knees if knee.part == "val")
    with pytest.raises(ExportError, match="were trained on"):
        GradedBench(replace(run, training_digests=judged), exact, cases, knees)


@pytest.fixture(scope="session")
def graded_plan(run: Run, graded_material: Any, graded_knees: Path, unlabelled: Path, finder: Any, track: Any) -> Any:  # noqa: F811
    budget = Budget(0.3, 2.0, "quadratic_kappa")
    task = Task(graded_material.source, finder, graded_knees, unlabelled, budget, "size")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[search.__module__], "_starts", lambda asked, engine: [WAYS[engine]])
        return make_plan(task, track)


def test_a_plan_is_made_without_folds_and_told_in_kappa(graded_plan: Any, graded_material: Any, tmp_path: Path) -> None:  # noqa: F811
    (member,) = graded_plan.members.values()
    assert {(one.engine, one.precision) for one in member.reduced} == {
        ("litert", "fp16"),
        ("litert", "int8"),
        ("onnxruntime", "int8"),
    }
    assert all("quadratic_kappa" in one.figures.difference for one in member.reduced)
    assert "quadratic kappa" in member.int8.engines[0].reason
    write_plan(graded_plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json", graded_material.source) == graded_plan
    assert plan_table([graded_plan]).count("yes") == 3


def test_a_bundle_of_the_plan_is_packed_and_reported(
    graded_plan: Any,
    graded_material: Any,  # noqa: F811
    unlabelled: Path,
    track: Any,
    tmp_path: Path,
) -> None:
    from export.pipeline import export_bundle
    from export.report.material import read_material
    from export.report.page import as_html

    material = replace(graded_material, plan=graded_plan, unlabelled=unlabelled)
    bundle = export_bundle(material, tmp_path / "knee-grades", force=False, track=track).bundle
    assert set(bundle.manifest.members[0].accepted["onnxruntime"]) == {"fp32", "int8"}
    card = bundle.read("MODEL_CARD.md").decode()
    assert "of quadratic kappa is lost on the validation knees that the finder finds" in card
    assert "macro" not in card.lower()
    page = as_html(read_material(bundle))
    assert "quadratic kappa less fp32" in page
    assert "macro AUC" not in page
