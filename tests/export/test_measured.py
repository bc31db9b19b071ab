"""Integer files made again without any radiograph: the same bytes, and a bundle that says what it was compared on."""

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
from export.measured import MeasuredMember, measure_source, read_measured, write_measured
from export.pipeline import export_bundle
from export.plans import Recipe
from export.quantization import Exact, Maker, RepresentativeSet
from osteo_edge.predictor import OsteoPredictor

NOBODY = RepresentativeSet(1, 6, "0" * 64)


@pytest.fixture(scope="module")
def measured(material: Any, plan: Any, finder: Any, track: Any) -> dict[str, MeasuredMember]:
    return measure_source(material.source, plan, finder, material.data, track=track)


@pytest.fixture(scope="module")
def measured_file(material: Any, measured: dict[str, MeasuredMember], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("measured") / "measured.npz"
    write_measured(material.source, measured, path)
    return path


@pytest.fixture(scope="module")
def without_radiographs(material: Any, measured_file: Path, track: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    known = read_measured(measured_file, material.source)
    bare = replace(material, data=None, unlabelled=None, measured=known)
    return export_bundle(bare, tmp_path_factory.mktemp("bare") / "knee-tiny", force=False, track=track)


def models_of(exported: Any) -> dict[str, str]:
    files = exported.bundle.manifest.files
    return {path: entry.sha256 for path, entry in files.items() if path.startswith("members/")}


@pytest.mark.parametrize("is_compensated", [False, True])
@pytest.mark.parametrize("ranges", ["minmax", "least_error"])
def test_what_was_measured_stands_for_the_radiographs(
    form: Any, spec: Any, pictures: Any, material: Any, tmp_path: Path, ranges: Any, is_compensated: bool
) -> None:
    exact = Exact.of(form, spec)
    recipe = Recipe("onnxruntime", "static", ranges, is_compensated, ("stem", "head"))
    seen = RepresentativeSet(1, len(pictures), "0" * 64, tuple(picture[np.newaxis] for picture in pictures))
    maker = Maker(exact, seen)
    taken = {recipe: maker.measured(recipe)}
    assert bool(taken[recipe].constants) == is_compensated
    (name,) = material.source.names
    write_measured(material.source, {name: MeasuredMember(NOBODY, taken)}, tmp_path / "measured.npz")
    read = read_measured(tmp_path / "measured.npz", material.source)[name]
    assert Maker(exact, read.representative, measured=read.recipes).make(recipe) == maker.make(recipe)
    with pytest.raises(ExportError, match="--measured"):
        Maker(exact, NOBODY).make(recipe)


def test_the_file_gives_back_what_was_written(material: Any, measured: dict[str, MeasuredMember], measured_file: Path) -> None:
    (name,) = material.source.names
    read, written = read_measured(measured_file, material.source)[name], measured[name]
    assert read.representative == written.representative
    assert list(read.recipes) == list(written.recipes) != []
    for recipe, one in written.recipes.items():
        assert dict(read.recipes[recipe].limits) == one.limits != {}


def test_the_same_measurements_give_the_same_file(
    material: Any, measured: dict[str, MeasuredMember], measured_file: Path, tmp_path: Path
) -> None:
    write_measured(material.source, measured, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == measured_file.read_bytes()


def test_a_file_of_other_weights_is_refused(material: Any, measured_file: Path, tmp_path: Path) -> None:
    (run,) = material.source.runs
    other = Path(shutil.copytree(run.folder, tmp_path / "other"))
    weights = dict(np.load(other / "weights.npz"))
    np.savez_compressed(other / "weights.npz", **{name: weight + np.float16(1) for name, weight in weights.items()})
    with pytest.raises(ExportError, match="measured for other weights"):
        read_measured(measured_file, replace(material.source, runs=(replace(run, folder=other),)))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04"])
def test_a_file_that_is_none_is_refused(material: Any, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "measured.npz"
    path.write_bytes(content)
    with pytest.raises(ExportError, match="make it again"):
        read_measured(path, material.source)
    with pytest.raises(ExportError, match="export measure"):
        read_measured(tmp_path / "missing.npz", material.source)


def test_with_radiographs_and_without_the_model_files_are_the_same(exported: Any, without_radiographs: Any) -> None:
    models = models_of(exported)
    assert {Path(path).suffix for path in models} == {".onnx", ".tflite", ".npy"}
    assert sum(".int8." in path for path in models) == 2
    assert models_of(without_radiographs) == models


def test_the_bundle_says_on_what_it_was_compared(exported: Any, without_radiographs: Any) -> None:
    with_them, without = (json.loads(one.bundle.read("evidence/parity.json")) for one in (exported, without_radiographs))
    assert with_them["what"].endswith("on real radiographs")
    assert "synthetic_pictures" not in with_them
    assert "on synthetic pictures" in without["what"]
    assert (without["radiographs"], without["synthetic_pictures"]) == (0, 30)
    assert without["synthetic_pictures_without_a_knee"] < 10
    assert set(without["files_against_trained_network"]) == set(with_them["files_against_trained_network"])
    assert "30 synthetic pictures" in without_radiographs.bundle.read("MODEL_CARD.md").decode()
    assert "7 radiographs, most of them trained on" in exported.bundle.read("MODEL_CARD.md").decode()


def test_the_bundle_says_when_agreement_was_measured(exported: Any, without_radiographs: Any, plan: Any) -> None:
    here, before = (json.loads(one.bundle.read("evidence/quantization.json")) for one in (exported, without_radiographs))
    assert here["agreement_measured"] == "when this bundle was packed"
    assert before["agreement_measured"] == "when the plan was made"
    assert before["representative_set"] == here["representative_set"]
    (planned,) = plan.members.values()
    of_plan = {(one.engine, one.precision): one.agreement.agreement for one in planned.accepted()}
    assert len(before["files"]) == len(of_plan)
    assert sorted(one["agreement"]["agreement"] for one in before["files"].values()) == sorted(of_plan.values())


def test_the_runtime_answers_from_it(without_radiographs: Any, example: Path) -> None:
    with OsteoPredictor(without_radiographs.bundle.root, precision="int8") as predictor:
        assert len(predictor.predict(example).knees) == 1


def test_neither_radiographs_nor_measurements_is_said(material: Any, track: Any, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"--unlabelled.*--measured"):
        export_bundle(replace(material, data=None, unlabelled=None), tmp_path / "bundle", force=False, track=track)


@pytest.mark.slow
def test_the_commands_do_both(
    run_folder: Path, plan: Any, finder_file: Path, radiographs: Path, material: Any, exported: Any, tmp_path: Path
) -> None:
    from export.plans import write_plan

    write_plan(plan, tmp_path / "plan.json")
    common = ["--run", run_folder, "--finder", finder_file, "--plan", tmp_path / "plan.json"]
    measure = ["measure", *common, "--data", radiographs, "--output", tmp_path / "measured.npz"]
    pack = ["bundle", *common, "--measured", tmp_path / "measured.npz", "--data-card", material.data_card, "--coverage", "0.9"]
    for arguments in (measure, [*pack, "--output", tmp_path / "knee-tiny"]):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    assert "compared on 30 synthetic pictures" in result.output
    made = json.loads((tmp_path / "knee-tiny" / "manifest.json").read_text())["files"]
    assert {path: made[path]["sha256"] for path in models_of(exported)} == models_of(exported)
