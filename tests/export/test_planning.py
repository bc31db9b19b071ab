"""Judging fold by fold, the plan's file, what is packed by it, and evidence that was measured elsewhere."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from export.__main__ import main
from export.errors import ExportError
from export.evidence import LATENCY, PORTABILITY, Evidence, read_evidence
from export.folds import FoldBench, FoldScores, views_of
from export.members import _reduced
from export.pipeline import export_bundle, self_test_tolerance
from export.plan_table import plan_table
from export.plans import read_any_plan, read_plan, write_plan
from export.radiographs import read_cases
from export.report.material import read_material
from export.report.page import as_html
from export.source import load_source
from osteo_edge.manifest import DeviceChoice
from train.fitting.fold_networks import load_fold_networks


@pytest.fixture(scope="module")
def folds(material: Any) -> Any:
    return tuple(load_fold_networks(material.source.runs[0]))


@pytest.fixture(scope="module")
def cases(folds: Any, radiographs: Path, finder: Any, track: Any) -> Any:
    return read_cases(radiographs, finder, views_of(folds), track=track)


@pytest.fixture(scope="module")
def bench(material: Any, cases: Any, folds: Any) -> FoldBench:
    return FoldBench(material.source.runs[0], cases, folds)


def test_fp32_loses_nothing_against_itself(bench: FoldBench) -> None:
    figures = bench.figures(bench.fp32)
    assert figures.drop.value == figures.drop.low == figures.drop.high == 0
    assert figures.fp32 == figures.reduced


def test_each_fold_answers_for_what_it_held_back_with_its_own_training_set(bench: FoldBench, folds: Any) -> None:
    seen: list[frozenset[str]] = []

    def make(form: Any, exact: bytes, spec: Any, cases: Any, training: frozenset[str]) -> bytes:
        seen.append(training)
        return exact

    scores = bench.score("onnxruntime", make)
    assert seen == [fold.training for fold in folds]
    assert all(not fold.training & fold.held_back for fold in folds)
    np.testing.assert_array_equal(scores.logits, bench.fp32.logits)


def test_a_worse_file_shows_as_a_drop(bench: FoldBench) -> None:
    """Truth as the score, and its opposite as the reduced form."""
    best = np.eye(3)[bench.labels] * 4
    bench.__dict__["fp32"] = FoldScores(bench.fp32.digests, best)
    try:
        figures = bench.figures(FoldScores(bench.fp32.digests, -best))
    finally:
        del bench.__dict__["fp32"]
    assert figures.fp32["macro_auc"].value == 1
    assert figures.drop.value == 1


@pytest.mark.parametrize(("count", "off"), [(1, 9.0), (1000, 0.1)])
def test_networks_that_do_not_give_their_record_are_refused(
    material: Any, cases: Any, folds: Any, run_folder: Path, tmp_path: Path, count: int, off: float
) -> None:
    """One of them by far, or all by a little, as networks that were trained again are."""
    copy = Path(shutil.copytree(run_folder, tmp_path / "knee-tiny"))
    scores = json.loads((copy / "oof.json").read_text())
    for logits in scores["systems"]["model"]["logits"][0][:count]:
        logits[0] += off
    (copy / "oof.json").write_text(json.dumps(scores))
    other = FoldBench(replace(material.source.runs[0], folder=copy), cases, folds)
    with pytest.raises(ExportError, match="off the run's recorded probabilities"):
        _ = other.fp32


def test_radiographs_must_all_be_there(material: Any, cases: Any, folds: Any) -> None:
    lacking = {view: [case for case in of_view if case.digest not in folds[0].held_back][:5] for view, of_view in cases.items()}
    lacking = {
        view: [*of_view, next(c for c in cases[view] if c.digest in folds[0].held_back)] for view, of_view in lacking.items()
    }
    with pytest.raises(ExportError, match="are not under --data"):
        _ = FoldBench(material.source.runs[0], lacking, folds).fp32


def test_a_plan_is_written_and_read_back(plan: Any, material: Any, tmp_path: Path) -> None:
    path = tmp_path / "results" / "plan.json"
    write_plan(plan, path)
    assert read_plan(path, material.source) == plan


def test_a_plan_of_other_weights_or_of_no_sense_is_refused(plan: Any, material: Any, run_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write_plan(plan, path)
    other = Path(shutil.copytree(run_folder, tmp_path / "knee-tiny"))
    with np.load(other / "weights.npz") as stored:
        np.savez(other / "weights.npz", **{name: 2 * array for name, array in stored.items()})
    with pytest.raises(ExportError, match="other weights"):
        read_plan(path, load_source(other))
    path.write_text("{}")
    with pytest.raises(ExportError, match="is not a plan"):
        read_plan(path, material.source)
    with pytest.raises(ExportError, match="python -m export plan"):
        read_plan(tmp_path / "nowhere.json", material.source)


def test_what_the_budget_refuses_is_not_packed(material: Any, plan: Any, track: Any, tmp_path: Path) -> None:
    (name,) = plan.members
    member = plan.members[name]
    refused = replace(member, reduced=tuple(replace(one, is_accepted=False) for one in member.reduced))
    exported = export_bundle(
        replace(material, plan=replace(plan, members={name: refused})), tmp_path / "bundle", force=False, track=track
    )
    (packed,) = exported.bundle.manifest.members
    assert {engine: tuple(of_one) for engine, of_one in packed.files.items()} == {"onnxruntime": ("fp32",), "litert": ("fp32",)}
    card = exported.bundle.read("MODEL_CARD.md").decode()
    assert card.count("not packed: outside the budget") == len(member.reduced)


def test_a_file_that_agrees_less_than_planned_is_refused(plan: Any) -> None:
    """Ranges depend on the machine; a file that came out worse is not packed."""

    class Worse:
        def judge(self, engine: str, data: bytes) -> Any:
            return replace(one.agreement, agreement=0.4)

        def make(self, recipe: Any) -> bytes:
            return b""

    (member,) = plan.members.values()
    one = next(one for one in member.reduced if one.precision == "int8")
    with pytest.raises(ExportError, match="make the plan anew"):
        _reduced(one, None, Worse(), Worse(), None, 0.5)  # type: ignore[arg-type]


def measured(exported: Any, **changes: Any) -> dict[str, Any]:
    files = {
        path: entry.sha256 for path, entry in exported.bundle.manifest.files.items() if path.endswith((".onnx", ".tflite"))
    }
    rows = [
        {"form": form, "name": f"{engine} {precision}", "engine": engine, "precision": precision, "member": "", "ratio": ratio}
        | {"load_ms": 1.0, "rss_mb": 50.0, "median_ms": 1.0, "samples_ms": [1.0], "agreement": None}
        for form, engine, precision, ratio in (
            ("native", "onnxruntime", "fp32", 1.0),
            ("native", "litert", "int8", 1.8),
            ("native", "onnxruntime", "int8", 2.0),
            ("avx512_hidden", "onnxruntime", "fp32", 1.0),
            ("avx512_hidden", "onnxruntime", "int8", 1.02),
        )
    ]
    plain = {"schema_version": 1, "files": files, "rows": rows, "architecture": "x86_64", "features": ["avx2", "avx512_vnni"]}
    return plain | {"processor": "a processor", "threads": 1, "rounds": 3} | changes


def test_the_self_test_allows_what_was_measured() -> None:
    rows = [{"path": path, "max_difference": value} for path, value in (("a", 0.0), ("a", 0.004), ("b", 0.03))]
    evidence = Evidence({"rows": rows}, None)
    assert self_test_tolerance("a", "fp32", evidence) == self_test_tolerance("a", "fp16", evidence) == 0.001
    assert self_test_tolerance("a", "int8", evidence) == 0.005
    assert self_test_tolerance("a", "int8", Evidence()) == self_test_tolerance("c", "int8", evidence) == 0.001
    with pytest.raises(ExportError, match=r"b differs by 0\.031 between processors"):
        self_test_tolerance("b", "int8", evidence)


def test_choices_are_the_fastest_accepted_files_that_are_worth_it(exported: Any) -> None:
    latency = measured(exported)
    every = {"onnxruntime": ["fp32", "int8"], "litert": ["fp32", "fp16", "int8"]}
    by_onnx, by_litert = (DeviceChoice("x86_64", ("avx512_vnni",), engine, "int8") for engine in ("onnxruntime", "litert"))
    assert Evidence(None, latency).choices(every, {}) == (by_onnx,)
    without = {"onnxruntime": ["fp32"], "litert": ["fp32", "int8"]}
    assert Evidence(None, latency).choices(without, {}) == (by_litert,)
    assert Evidence(None, latency | {"architecture": "aarch64"}).choices(every, {}) == ()
    assert Evidence().choices(every, {}) == ()


def test_of_files_nearly_as_fast_the_most_exact_is_chosen(exported: Any) -> None:
    every = {"onnxruntime": ["fp32", "int8"], "litert": ["fp32", "fp16", "int8"]}
    errors = {("onnxruntime", "int8"): 0.1, ("litert", "int8"): 0.02, ("litert", "fp16"): 0.001}
    (choice,) = Evidence(None, measured(exported)).choices(every, errors)
    assert (choice.engine, choice.precision) == ("litert", "int8")  # 1.8 times as fast against 2.0; fp16 is far slower
    (choice,) = Evidence(None, measured(exported)).choices(every, {**errors, ("onnxruntime", "int8"): 0.01})
    assert choice.engine == "onnxruntime"


def test_evidence_of_other_files_is_refused(exported: Any) -> None:
    models = {path: exported.bundle.read(path) for path in measured(exported)["files"]}
    packed = Evidence(None, measured(exported)).files_of(models)
    assert set(packed) == {LATENCY}
    path, data = next(iter(models.items()))
    with pytest.raises(ExportError, match=f"other files than these.*{Path(path).name}"):
        Evidence(measured(exported), None).files_of({**models, path: data + b" "})


@pytest.mark.parametrize(("text", "message"), [("{}", "is not what"), ("{", "latency.json"), (None, "cannot be read")])
def test_files_that_are_no_evidence_are_refused(text: str | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "latency.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ExportError, match=message):
        read_evidence(portability=None, latency=path)


def test_the_page_tells_what_the_evidence_holds(exported: Any, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        main, ["report", "--bundle", str(exported.bundle.root), "--output", str(tmp_path / "page.html")]
    )
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    material = read_material(exported.bundle)
    assert page == as_html(material)
    assert page.count("<svg") >= 5
    assert "Not compared." in page
    assert "Not timed." in page
    for file in material.files:
        assert exported.bundle.manifest.files[file.path].sha256 in page
    assert "http://www.w3.org" in page  # the name of SVG, and nothing that is fetched
    assert "src=" not in page
    assert 'href="http' not in page


def test_the_page_shows_measurements_and_escapes_them(exported: Any) -> None:
    row = {"path": "members/a.onnx", "knees": 3, "max_difference": 1e-6, "mean_difference": 1e-7, "same_label": 1.0}
    rows = [row | {"form": "avx512_hidden", "agreement": 1.0, "passes": True, "flips": [], "fault": ""}]
    places = [
        {
            "form": "native",
            "status": "compared",
            "processor": "<b>one</b>",
            "architecture": "x86_64",
            "engine_versions": {"a": "1"},
            "proof": "",
        },
        {"form": "arm64", "status": "not_compared", "reason": "no folder"},
    ]
    material = replace(
        read_material(exported.bundle), latency=measured(exported), portability={"environments": places, "rows": rows}
    )
    page = as_html(material)
    assert "&lt;b&gt;one" in page
    assert "<b>one" not in page
    assert "arm64, emulated: not compared: no folder" in page
    assert "Speed, AVX-512 hidden" in page
    assert PORTABILITY not in exported.bundle.manifest.files


def test_mistakes_of_the_plan_are_told_in_one_line(
    run_folder: Path, finder_file: Path, radiographs: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(run_folder, tmp_path / "knee-tiny"))
    (copy / "fold_networks.npz").unlink()
    options = ["--run", copy, "--finder", finder_file, "--data", radiographs, "--unlabelled", radiographs]
    result = CliRunner().invoke(main, ["plan", *map(str, options), "--output", str(tmp_path / "plan.json")])
    assert result.exit_code == 1
    assert "python -m train fold-networks" in result.output.strip().splitlines()[-1]
    assert not (tmp_path / "plan.json").exists()


def test_committed_plans_make_a_table() -> None:
    plans = [read_any_plan(path) for path in sorted(Path("export/results").glob("*/plan.json"))]
    lines = plan_table(plans).splitlines()
    assert {line.count("|") for line in lines} == {9}
    default = [line for line in lines if line.startswith("| knee-mobilenet_v2 |")]
    assert any("ONNX Runtime int8" in line and line.endswith("| yes |") for line in default)
    assert any("LiteRT int8" in line and line.endswith("| **none** |") for line in default)
