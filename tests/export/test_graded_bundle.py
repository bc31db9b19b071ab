"""A bundle of a run of grades: its question, its label sets, its limits, its documents, and what the runtime says with it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from export.errors import ExportError
from export.evaluation import evaluate
from export.question_card import read_question_card
from export.source import load_source
from osteo_edge.bundle import open_bundle
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import Status
from osteo_edge.manifest import Conformal
from osteo_edge.predictor import OsteoPredictor
from osteo_edge.records import to_plain
from tests.export.conftest import BACKBONE, INPUT, REGION, ROOT, made_network
from train.runs.folder import Calibration, CalibrationFile, RunError, write_digests

DATA_CARD = ROOT / "export/data_cards/knee-osteoarthritis-severity-grading.toml"
SIDE_PX = 320
MIN_SIDE_PX = 160
THRESHOLDS = (0.3, 0.2, 0.1, 0.2, 0.3)
TEMPERATURE = 0.5


@pytest.fixture(scope="session")
def graded_knees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three drawn knees to train on and four to judge, one of them without a joint."""
    from export.reference import _draw

    folder = tmp_path_factory.mktemp("graded")
    rows = []
    for number in range(7):
        picture = np.zeros((SIDE_PX, SIDE_PX), np.uint8)
        if number != 6:
            picture = cv2.resize(_draw(100 + number), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
        file = folder / f"{number}.png"
        file.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
        part = "train" if number < 3 else "val"
        facts = {"split": part, "kl_grade": str(number % 5), "patient": str(number), "side": "left"}
        rows.append({"file": file.name, **facts, "sha256": sha256_hex(file.read_bytes())})
    with (folder / "index.csv").open("w", newline="") as table:
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="session")
def graded_run(tmp_path_factory: pytest.TempPathFactory, graded_knees: Path) -> Path:
    """What judging leaves of a network of five grades."""
    from train.grading.question import LABELS, QUESTION
    from train.networks.network import weights_of

    folder = tmp_path_factory.mktemp("runs") / "knee-grades"
    folder.mkdir()
    np.savez_compressed(folder / "weights.npz", **weights_of(made_network(len(LABELS))))
    digest = sha256_hex((folder / "weights.npz").read_bytes())
    calibration = Calibration(TEMPERATURE, Conformal(0.9, THRESHOLDS, 4))
    with (graded_knees / "index.csv").open(newline="") as table:
        knees = list(csv.DictReader(table))
    records = {
        "run.json": {"kind": "grades", "backbone": BACKBONE, "labels": LABELS, "min_side_px": MIN_SIDE_PX},
        "regions.json": {"chosen": "knee", "candidates": [{"region": REGION, "input": INPUT}]},
        "question.json": {"schema_version": 1, "question": QUESTION},
        "calibration.json": CalibrationFile(1, digest, calibration),
        "scores.json": {"schema_version": 1, "knees": {knee["sha256"]: {} for knee in knees if knee["split"] == "val"}},
        "metrics.json": made_metrics(graded_knees),
    }
    for name, record in records.items():
        (folder / name).write_text(json.dumps(to_plain(record)))
    write_digests(folder, [knee["sha256"] for knee in knees if knee["split"] == "train"])
    (folder / "config.toml").write_text('weights = "random"\ndata = "../shared/data/knee_oa"\n')
    return folder


def made_metrics(folder: Path) -> dict[str, Any]:
    """Figures of a hundred knees that a made-up network grades well."""
    from train.grading.knees import GradedKnee
    from train.grading.metrics import Judged, metrics_of

    grades = np.tile(np.arange(5), 20)
    rng = np.random.default_rng(1)
    logits = -2.0 * np.abs(np.arange(5) - grades[:, np.newaxis] - rng.normal(0, 0.5, (100, 1)))
    knees = tuple(GradedKnee(folder, "val", int(grade), str(place), "left", "") for place, grade in enumerate(grades))
    chance = np.full((100, 5), 0.2)
    baselines = {"majority": chance, "file_metadata": chance, "border_ring": chance}
    return metrics_of(Judged(knees, np.arange(100) != 3, logits), baselines, seed=1, resamples=100)


@pytest.fixture(scope="session")
def graded_material(graded_run: Path, graded_knees: Path, finder: Any, finder_bytes: bytes) -> Any:
    from export.pipeline import Material
    from export.reference import draw_reference

    return Material(load_source(graded_run), finder_bytes, draw_reference(finder), graded_knees, DATA_CARD)


@pytest.fixture(scope="session")
def graded_bundle(graded_material: Any, track: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from export.pipeline import export_bundle

    output = tmp_path_factory.mktemp("bundles") / "knee-osteoarthritis"
    return export_bundle(graded_material, output, force=False, track=track).bundle


def test_the_manifest_asks_its_question_with_a_threshold_a_grade(graded_bundle: Any) -> None:
    manifest = open_bundle(graded_bundle.root).manifest
    assert (manifest.question.name, manifest.question.unit) == ("osteoarthritis", "knee")
    assert manifest.labels == ("kl0", "kl1", "kl2", "kl3", "kl4")
    assert manifest.conformal == Conformal(0.9, THRESHOLDS, 4)
    assert manifest.quality.min_side_px == MIN_SIDE_PX
    assert manifest.is_proven
    assert set(manifest.baselines) == {"majority", "file_metadata", "border_ring"}
    assert (manifest.provenance["training_radiographs"], manifest.provenance["calibration_radiographs"]) == ("3", "4")


def test_files_give_logits_divided_by_the_temperature(graded_bundle: Any, graded_run: Path) -> None:
    from export.parity import run_file
    from osteo_edge.decision.scores import softmax
    from train.runs.folder import load_network, load_run

    run = load_run(graded_run)
    views = np.random.default_rng(1).uniform(0, 255, (2, 96, 64, 1)).astype(np.float32)
    raw = np.asarray(load_network(graded_run, run.backbone, run.input, labels=5)(views)["logits"])
    path = graded_bundle.manifest.members[0].files["onnxruntime"]["fp32"]
    answers = run_file("onnxruntime", graded_bundle.read(path), views, spec=run.input, what="the file")
    np.testing.assert_allclose(answers.probabilities, softmax(raw / TEMPERATURE), atol=1e-5)


def test_it_answers_crops_that_are_smaller_than_other_bundles_take(graded_bundle: Any, graded_knees: Path) -> None:
    with OsteoPredictor(graded_bundle.root) as predictor:
        whole = predictor.predict(graded_knees / "4.png")
        small = predictor.predict(cv2.resize(cv2.imread(str(graded_knees / "4.png"), 0), (MIN_SIDE_PX, MIN_SIDE_PX)))
        smaller = predictor.predict(np.zeros((MIN_SIDE_PX - 1, MIN_SIDE_PX - 1), np.uint8))
    assert whole.status is not Status.REJECTED
    assert small.status is not Status.REJECTED
    assert "too_small" in [one.code for one in smaller.findings]


def test_parity_is_of_the_validation_knees_and_some_trained_ones(graded_bundle: Any) -> None:
    parity = json.loads(graded_bundle.read("evidence/parity.json"))
    assert (parity["radiographs"], parity["radiographs_trained_on"], parity["radiographs_without_a_knee"]) == (7, 3, 1)


def test_the_documents_are_of_this_question_and_these_data(graded_bundle: Any) -> None:
    card, licence = (graded_bundle.read(name).decode() for name in ("MODEL_CARD.md", "LICENSE"))
    assert "10.17632/56rmx5bjcr" in card
    assert "10.17632/56rmx5bjcr" in licence
    assert "Osteoarthritis Initiative" in licence
    assert "45 to 79 years" in card
    assert "it misses cases" in card
    assert "Quadratic kappa" in card
    assert "| Sets that hold the grade, of kl4 |" in card
    assert "1 kl3" in card  # the one that the finder did not find
    assert "--data ../shared/data/knee_oa" in card
    assert "--output osteo_edge/bundles/knee-osteoarthritis --force" in card
    for word in ("bone density", "DXA", "T-score", "None", "you have", "out-of-fold"):
        assert word not in card, word
    assert "no diagnosis" in graded_bundle.manifest.intended_use


def test_the_files_against_the_network_are_told_with_how_many_were_trained_on(graded_bundle: Any) -> None:
    assert "7 radiographs, 3 of them trained on" in graded_bundle.read("MODEL_CARD.md").decode()


def test_a_picture_that_beats_no_shortcut_is_unproven(graded_material: Any) -> None:
    assert evaluate(graded_material.source, None).is_proven
    behind = json.loads(json.dumps(graded_material.source.metrics))
    behind["less_baseline"]["border_ring"]["auc_definite"]["low"] = -0.01
    assert not evaluate(replace(graded_material.source, metrics=behind), None).is_proven


def test_other_coverage_or_broken_figures_are_refused(graded_material: Any) -> None:
    with pytest.raises(ExportError, match=r"it has: 0\.9"):
        evaluate(graded_material.source, 0.8)
    with pytest.raises(ExportError, match=r"metrics\.json"):
        evaluate(replace(graded_material.source, metrics={"figures": {}}), None)


def test_a_question_without_a_card_gets_neutral_words(graded_material: Any, tmp_path: Path) -> None:
    question = replace(graded_material.source.question, name="toy", title="a toy")
    assert read_question_card(question).looks_for == "a toy"
    (tmp_path / "toy.toml").write_text("looks_for = 1\n")
    with pytest.raises(ExportError, match=r"toy\.toml"):
        read_question_card(question, tmp_path)


@pytest.fixture(scope="session")
def stacked_run(graded_run: Path) -> Path:
    """What stacking leaves of two runs of grades: the second one's logits are half of the first one's."""
    from osteo_edge.manifest import DenseLayer, Ensemble
    from train.runs.folder import digest_of_members

    other, folder = graded_run.parent / "knee-grades-too", graded_run.parent / "knee-stacked"
    for made in (other, folder):
        made.mkdir()
    for path in graded_run.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    plain = json.loads((graded_run / "calibration.json").read_text())
    plain["calibration"]["temperature"] = 2 * TEMPERATURE
    (other / "calibration.json").write_text(json.dumps(plain))
    kernel = tuple(map(tuple, np.vstack([np.eye(5), np.eye(5)]).tolist()))
    ensemble = Ensemble("stacking", layers=(DenseLayer(kernel, (0.0,) * 5, "linear"),))
    digest = digest_of_members([graded_run, other])
    records = {
        "ensemble.json": {"schema_version": 1, "members": [graded_run.name, other.name], "ensemble": ensemble},
        "calibration.json": CalibrationFile(1, digest, Calibration(1.0, Conformal(0.9, THRESHOLDS[::-1], 4))),
    }
    for name, record in records.items():
        (folder / name).write_text(json.dumps(to_plain(record)))
    for name in ("question.json", "scores.json", "metrics.json"):
        (folder / name).write_bytes((graded_run / name).read_bytes())
    return folder


def test_stacked_runs_of_grades_answer_as_one_bundle(
    stacked_run: Path, graded_material: Any, graded_bundle: Any, graded_knees: Path, track: Any, tmp_path: Path
) -> None:
    from export.pipeline import export_bundle

    material = replace(graded_material, source=load_source(stacked_run))
    bundle = export_bundle(material, tmp_path / "knee-stacked", force=False, track=track).bundle
    assert bundle.manifest.conformal.min_probabilities == THRESHOLDS[::-1]
    assert bundle.manifest.provenance["calibration_radiographs"] == "4"
    card = bundle.read("MODEL_CARD.md").decode()
    assert "fitted on radiographs that none of them was trained on" in card
    assert "python -m train ensemble --config train/configs/knee-stacked.toml" in card
    with OsteoPredictor(bundle.root) as stacked, OsteoPredictor(graded_bundle.root) as alone:
        both, one = (each.predict(graded_knees / "4.png").first.probabilities for each in (stacked, alone))
    logits = np.log(list(one.values()))
    expected = np.exp(1.5 * logits) / np.exp(1.5 * logits).sum()
    np.testing.assert_allclose(list(both.values()), expected, atol=1e-4)


def test_a_stacking_is_refused_when_a_member_was_judged_again(stacked_run: Path, tmp_path: Path) -> None:
    for run in ("knee-grades", "knee-grades-too", "knee-stacked"):
        (tmp_path / run).mkdir()
        for path in (stacked_run.parent / run).iterdir():
            (tmp_path / run / path.name).write_bytes(path.read_bytes())
    assert load_source(tmp_path / "knee-stacked").kind == "grades"
    plain = json.loads((tmp_path / "knee-grades" / "calibration.json").read_text())
    plain["calibration"]["temperature"] *= 1.01
    (tmp_path / "knee-grades" / "calibration.json").write_text(json.dumps(plain))
    with pytest.raises(RunError, match="of other weights than its members"):
        load_source(tmp_path / "knee-stacked")


def test_how_steady_it_is_goes_into_its_card(graded_material: Any, graded_bundle: Any, track: Any, tmp_path: Path) -> None:
    from export.evidence import Evidence
    from export.pipeline import export_bundle
    from export.stability import ALL, Disturbed, Stability

    models = {path: entry.sha256 for path, entry in graded_bundle.manifest.files.items() if path.endswith((".onnx", ".tflite"))}
    row = Disturbed("knees", "gamma", ALL, 9, 0, 9, 0, 1, 0, 1, 0.01, 0.1)
    stability = Stability(1, "knee-osteoarthritis", models, "onnxruntime", "fp32", {"knees": 9}, (row,))
    measured = replace(graded_material, evidence=Evidence(stability=to_plain(stability)))
    bundle = export_bundle(measured, tmp_path / "knee-osteoarthritis", force=False, track=track).bundle
    card = bundle.read("MODEL_CARD.md").decode()
    assert "## The same film, come otherwise" in card
    assert "--stability export/results/knee-osteoarthritis/stability.json" in card
    others = replace(stability, files=dict.fromkeys(models, "0" * 64))
    with pytest.raises(ExportError, match="other files than these"):
        export_bundle(
            replace(graded_material, evidence=Evidence(stability=to_plain(others))),
            tmp_path / "other",
            force=False,
            track=track,
        )
