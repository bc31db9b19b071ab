"""Ensembles of runs, covariates and packed bundles: what the folder of an ensemble says is what the runtime does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from export.__main__ import main
from export.bundle_writer import write_zip
from export.errors import ExportError
from export.source import load_source
from osteo_edge import Mode, OsteoPredictor, install_bundle
from osteo_edge.decision.ensemble import combine
from osteo_edge.manifest import Ensemble
from osteo_edge.questions import BONE_DENSITY
from osteo_edge.records import to_plain
from osteo_edge.selftest import EXPECTED, require_self_test
from tests.answers import GRADES
from tests.making import fusion
from train.runs.folder import RunError

DATA_CARD = Path(__file__).resolve().parents[2] / "export/data_cards/knee-xray-osteoporosis-database.toml"
KERNEL = [[0.6 * (row % 3 == column) for column in range(3)] for row in range(6)]
STACKER = {
    "kind": "stacking",
    "weights": [],
    "layers": [{"kernel": KERNEL, "bias": [0.1, 0, 0], "activation": "linear"}],
    "exits": [],
}
LEG = {"name": "leg", "half_width": 0.9, "above": 1.6, "below": 2.2}


@pytest.fixture(scope="module")
def ensemble_folder(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two finished runs of one network that look at different regions, and the folder of their ensemble."""
    runs = tmp_path_factory.mktemp("runs")
    for name in ("knee-tiny", "leg-tiny", "both"):
        shutil.copytree(run_folder, runs / name)
    regions = json.loads((run_folder / "regions.json").read_text())
    regions["candidates"][0]["region"] = LEG
    (runs / "leg-tiny" / "regions.json").write_text(json.dumps(regions | {"chosen": "leg"}))
    for name in ("weights.npz", "run.json", "regions.json"):
        (runs / "both" / name).unlink()
    write(runs / "both", "ensemble.json", {"members": ["knee-tiny", "leg-tiny"], "ensemble": STACKER})
    write(runs / "both", "fusion.json", {"fusion": fusion()})
    return runs / "both"


def write(folder: Path, name: str, record: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps({"schema_version": 2 if name == "fusion.json" else 1} | record))


@pytest.fixture(scope="module")
def packed(ensemble_folder: Path, radiographs: Path, finder_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported bundle; its .zip lies beside it."""
    output = tmp_path_factory.mktemp("bundles") / "knee-both"
    options = ["--run", ensemble_folder, "--finder", finder_file, "--data", radiographs, "--output", output]
    options += ["--data-card", DATA_CARD, "--precisions", "fp32", "--zip"]
    result = CliRunner().invoke(main, ["bundle", *map(str, options)])
    assert result.exit_code == 0, result.output
    assert result.output.count("onnxruntime fp32") == 2
    return output


def test_the_bundle_answers_as_its_members_do_together(packed: Path, material: Any, tmp_path: Path) -> None:
    picture = packed / "reference" / "input.png"
    with OsteoPredictor(packed) as predictor:
        prediction = predictor.predict(picture)
        manifest = predictor.bundle.manifest
        expected = json.loads(predictor.bundle.read(EXPECTED))
        bundle = predictor.bundle
    assert [member.name for member in manifest.members] == ["knee-tiny", "leg-tiny"]
    assert [member.region.name for member in manifest.members] == ["knee", "leg"]
    assert {tuple(by_precision) for member in manifest.members for by_precision in member.files.values()} == {("fp32",)}
    for engine, record in expected["together"].items():
        alone = [expected["files"][member.files[engine]["fp32"]]["probabilities"] for member in manifest.members]
        logits = np.log([[one[label] for label in manifest.labels] for one in alone])
        shares = np.exp(combine(manifest.ensemble, logits))
        np.testing.assert_allclose(shares / shares.sum(), list(record["probabilities"].values()), atol=1e-4)
    np.testing.assert_allclose(
        list(prediction.probabilities.values()), list(expected["together"]["onnxruntime"]["probabilities"].values()), atol=2e-3
    )
    results = require_self_test(bundle)
    together = {result.engine: result.status for result in results if result.path == "all members together"}
    assert together == {"onnxruntime": "passed", "litert": "passed"}


def test_the_fusion_is_in_the_bundle_and_on_the_card(packed: Path) -> None:
    with OsteoPredictor(packed) as predictor:
        prediction = predictor.predict(packed / "reference" / "input.png", age_years=40, sex="female")
    assert prediction.mode is Mode.FUSED
    text = (packed / "MODEL_CARD.md").read_text()
    assert "The picture was not shown to add to what the covariates tell" in text
    assert "Gain by the picture | 0.00 [-0.10, 0.10] |" in text.replace("**", "")
    assert "Networks: 2, whose scores a small model" in text
    for name in ("knee-tiny", "leg-tiny"):
        assert f"train/configs/{name}.toml" in text
        assert (packed / "evidence" / f"{name}.parity.json").is_file()
    assert "Reduced precision" not in text
    assert "None" not in text


def test_the_zip_installs_and_is_the_same_each_time(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(tmp_path / "installed"))
    archive = packed.with_name("knee-both.zip")
    bundle = install_bundle(archive)
    assert bundle.root == tmp_path / "installed" / "knee-both"
    write_zip(bundle, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


@pytest.mark.parametrize(
    ("name", "record", "message"),
    [
        ("ensemble.json", {"members": ["knee-tiny", "../knee-tiny"], "ensemble": STACKER}, "folders beside"),
        ("ensemble.json", {"members": ["knee-tiny", "knee-tiny"], "ensemble": STACKER}, "none twice"),
        ("ensemble.json", {"members": ["knee-tiny"], "ensemble": STACKER}, "ensemble.layers"),
        ("ensemble.json", {"members": ["knee-tiny", "nowhere"], "ensemble": STACKER}, "nowhere"),
        ("ensemble.json", {"members": ["knee-tiny", "leg-tiny"], "ensemble": STACKER, "more": 1}, "unknown key"),
        ("ensemble.json", {"schema_version": 2, "members": ["knee-tiny"], "ensemble": STACKER}, "schema_version"),
        ("fusion.json", {"fusion": fusion(required=["bmi"])}, "fusion.required"),
        ("fusion.json", {"fusion": {}}, "is missing"),
        ("question.json", {"question": to_plain(GRADES)}, "question.answers must hold each of the labels once"),
        ("question.json", {"question": {}}, "question.json.question: the field 'name' is missing"),
    ],
)
def test_a_folder_that_does_not_fit_is_named(
    ensemble_folder: Path, tmp_path: Path, name: str, record: dict[str, Any], message: str
) -> None:
    for folder in ensemble_folder.parent.iterdir():
        shutil.copytree(folder, tmp_path / folder.name)
    write(tmp_path / "both", name, record)
    with pytest.raises((ExportError, RunError), match=message):
        load_source(tmp_path / "both")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "metrics.json").unlink(), "metrics.json"),
        (lambda folder: (folder / "oof.json").write_text("{}"), "oof.json"),
        (lambda folder: (folder / "fusion.json").write_text("no"), "fusion.json is not valid JSON"),
    ],
)
def test_an_unfinished_folder_is_named(
    ensemble_folder: Path, tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    for folder in ensemble_folder.parent.iterdir():
        shutil.copytree(folder, tmp_path / folder.name)
    damage(tmp_path / "both")
    with pytest.raises(ExportError, match=message):
        load_source(tmp_path / "both")


def test_one_run_is_an_ensemble_of_one(run_folder: Path) -> None:
    source = load_source(run_folder)
    assert (source.ensemble, source.fusion, len(source.runs)) == (Ensemble("mean"), None, 1)
    assert source.question == BONE_DENSITY
    assert source.names == (source.runs[0].backbone.replace("@", "-"),)


def test_a_run_brings_its_own_question(ensemble_folder: Path, tmp_path: Path) -> None:
    """As any other: by the labels that its network was trained on."""
    for folder in ensemble_folder.parent.iterdir():
        shutil.copytree(folder, tmp_path / folder.name)
    own = replace(BONE_DENSITY, name="mineral", unit="knee", next_step="Ask somebody.")
    write(tmp_path / "both", "question.json", {"question": to_plain(own)})
    assert load_source(tmp_path / "both").question == own
