"""The packed bundle: what the runtime accepts, what it finds out, and what a failed export leaves."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from export import members
from export.__main__ import main
from export.bundle_writer import to_json
from export.errors import ExportError
from export.evaluation import evaluate
from export.graph import inference_form
from export.pipeline import export_bundle
from export.quantization import representative_set
from export.radiographs import View, read_cases
from osteo_edge.bundle import manifest_digest_line, open_bundle
from osteo_edge.errors import EngineUnavailableError, ManifestError, SelfTestError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.predictor import OsteoPredictor
from osteo_edge.selftest import EXPECTED, require_self_test, run_self_test

DATA_CARD = Path(__file__).resolve().parents[2] / "export/data_cards/knee-xray-osteoporosis-database.toml"


@pytest.fixture
def copy(exported: Any, tmp_path: Path) -> Path:
    """A copy of the exported bundle that a test may change."""
    return Path(shutil.copytree(exported.bundle.root, tmp_path / "copy"))


def rewrite(folder: Path, path: str, change: Callable[[Any], None]) -> None:
    """Change a JSON file of a bundle and make its digests anew, as a forger or a careless maker would."""
    plain = json.loads((folder / path).read_text())
    change(plain)
    data = json.dumps(plain).encode()
    (folder / path).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    text = json.dumps(manifest).encode()
    (folder / "manifest.json").write_bytes(text)
    (folder / "manifest.sha256").write_bytes(manifest_digest_line(hashlib.sha256(text).hexdigest()))


def test_it_opens_and_every_file_verifies(exported: Any) -> None:
    bundle = open_bundle(exported.bundle.root)
    assert sorted(bundle.verify()) == sorted(bundle.manifest.files)
    assert {"LICENSE", "MODEL_CARD.md", "evidence/parity.json", "reference/input.png"} <= set(bundle.manifest.files)
    assert dict(bundle.manifest.members[0].default_precision) == {"onnxruntime": "fp32", "litert": "fp32"}


def test_the_pipeline_answers_from_it(exported: Any) -> None:
    with OsteoPredictor(exported.bundle.root, engine="litert", precision="int8") as predictor:
        prediction = predictor.predict(exported.bundle.root / "reference" / "input.png", explain=True)
    assert len(prediction.knees) == 1
    assert sum(prediction.probabilities.values()) == pytest.approx(1)


def test_the_self_test_passes_on_every_file(exported: Any) -> None:
    results = require_self_test(exported.bundle)
    assert [(result.engine, result.precision, result.status) for result in results] == [
        ("finder", "", "passed"),
        ("onnxruntime", "fp32", "passed"),
        ("onnxruntime", "int8", "passed"),
        ("litert", "fp32", "passed"),
        ("litert", "fp16", "passed"),
        ("litert", "int8", "passed"),
    ]


def test_the_self_test_skips_engines_that_were_not_asked_for(exported: Any) -> None:
    results = run_self_test(exported.bundle, engines=["litert"])
    assert {result.status for result in results if result.engine == "onnxruntime"} == {"skipped"}
    assert {result.status for result in results if result.engine == "litert"} == {"passed"}


def test_the_self_test_needs_an_engine(exported: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("osteo_edge.engines.select.is_installed", lambda engine: False)
    with pytest.raises(EngineUnavailableError):
        run_self_test(exported.bundle)


def test_an_altered_answer_fails_that_file_alone(copy: Path) -> None:
    def alter(plain: Any) -> None:
        path = next(path for path in plain["files"] if path.endswith("fp32.tflite"))
        plain["files"][path]["probabilities"]["normal"] += 0.01

    rewrite(copy, EXPECTED, alter)
    failed = [result for result in run_self_test(open_bundle(copy)) if result.status == "failed"]
    assert [(result.engine, result.precision) for result in failed] == [("litert", "fp32")]
    with pytest.raises(SelfTestError, match=r"fp32\.tflite"):
        require_self_test(open_bundle(copy))


def test_an_altered_joint_fails_the_finder(copy: Path) -> None:
    rewrite(copy, EXPECTED, lambda plain: plain["joints"][0].update(width_px=plain["joints"][0]["width_px"] * 1.1))
    assert "finder" in {result.engine for result in run_self_test(open_bundle(copy)) if result.status == "failed"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda plain: plain["files"].popitem(), "must name every model file"),
        (lambda plain: plain.update(joints=[]), "at least one joint"),
        (lambda plain: plain.update(extra=1), "unknown key"),
        (lambda plain: next(iter(plain["files"].values()))["probabilities"].popitem(), "bundle's labels"),
    ],
)
def test_a_record_that_is_not_whole_is_refused(copy: Path, change: Callable[[Any], None], message: str) -> None:
    rewrite(copy, EXPECTED, change)
    with pytest.raises(ManifestError, match=message):
        run_self_test(open_bundle(copy))


def test_ranges_come_from_training_radiographs_only(exported: Any, material: Any, track: Any) -> None:
    finder = JointFinder.from_bytes(material.finder)
    (run,) = material.source.runs
    view = View(run.region, run.input)
    cases = read_cases(material.data, finder, [view], track=track)[view]
    outsider = next(case for case in cases if case.digest not in run.training_digests)
    found = representative_set(cases, run.training_digests)
    assert found.pictures == sum(bool(case.tensors) for case in cases if case is not outsider)
    assert not any(tensor is other for tensor in found.tensors for other in outsider.tensors)
    assert exported.members[0].representative.digests_sha256 == found.digests_sha256


def test_evidence_says_what_was_measured(exported: Any, plan: Any) -> None:
    quantization = json.loads(exported.bundle.read("evidence/quantization.json"))
    parity = json.loads(exported.bundle.read("evidence/parity.json"))
    (planned,) = plan.members.values()
    assert quantization["plan"] == json.loads(to_json(planned))
    assert quantization["representative_set"]["knees"] == exported.members[0].representative.knees
    assert set(quantization["files"]) == {path for path in exported.members[0].paths if "fp32" not in path}
    assert parity["radiographs"] == 7
    assert parity["radiographs_trained_on"] == 6


def test_the_card_keeps_to_the_wording_rules(exported: Any) -> None:
    card = exported.bundle.read("MODEL_CARD.md").decode()
    assert "Age and sex alone, without any picture, do better than this model" in card
    assert "ultrasound" in card
    assert "over 49" in card
    assert "you have" not in card.lower()
    assert "None" not in card


def test_the_coverage_must_have_been_measured(material: Any) -> None:
    assert evaluate(material.source, None).conformal.coverage == 0.8
    assert evaluate(material.source, 0.9).conformal.min_probabilities == (0.1,) * 3
    with pytest.raises(ExportError, match=r"0\.8, 0\.9"):
        evaluate(material.source, 0.95)


@pytest.mark.slow
def test_a_converter_that_loses_weights_leaves_nothing_behind(
    material: Any, track: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_weights(form: Any, spec: Any, precisions: Any) -> Any:
        broken = inference_form(material.source.runs[0].network())
        broken.set_weights([weight * 0 for weight in broken.get_weights()])
        return real(broken, spec, precisions)

    real = members.to_litert
    monkeypatch.setattr(members, "to_litert", lose_weights)
    with pytest.raises(ExportError, match="fp32 file for litert does not answer as the trained network"):
        export_bundle(material, tmp_path / "out" / "bundle", force=False, track=track)
    assert not list((tmp_path / "out").iterdir())


def test_a_bundle_that_the_runtime_refuses_leaves_nothing_behind(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import bundle_writer

    def refuse(bundle: Any) -> None:
        raise SelfTestError("off")

    manifest = exported.bundle.manifest
    files = {path: exported.bundle.read(path) for path in manifest.files}
    monkeypatch.setattr(bundle_writer, "require_self_test", refuse)
    with pytest.raises(SelfTestError):
        bundle_writer.write_bundle(manifest, files, tmp_path / "bundle", force=False)
    assert not list(tmp_path.iterdir())


def test_force_replaces_a_bundle_and_nothing_else(exported: Any, copy: Path, tmp_path: Path) -> None:
    from export import bundle_writer

    manifest = replace(exported.bundle.manifest, version="9")
    files = {path: exported.bundle.read(path) for path in manifest.files}
    assert bundle_writer.write_bundle(manifest, files, copy, force=True).manifest.version == "9"
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
    (tmp_path / "notes").mkdir()
    with pytest.raises(ExportError, match="is no bundle"):
        bundle_writer.write_bundle(manifest, files, tmp_path / "notes", force=True)


def test_an_interrupted_replacement_puts_the_old_bundle_back(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from export import bundle_writer

    manifest = exported.bundle.manifest
    files = {path: exported.bundle.read(path) for path in manifest.files}
    target = tmp_path / "bundle"
    bundle_writer.write_bundle(manifest, files, target, force=False)
    rename = Path.rename

    def interrupted(path: Path, new: Path) -> Path:
        if new == target and "unfinished" in path.name:
            raise KeyboardInterrupt
        return rename(path, new)

    def exchange(*_: object) -> bool:
        raise KeyboardInterrupt

    for in_one_step in (exchange, lambda *_: False):
        monkeypatch.setattr("osteo_edge.installation.exchange", in_one_step)
        monkeypatch.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            bundle_writer.write_bundle(manifest, files, target, force=True)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle"]
        assert list(open_bundle(target).verify())


def test_the_same_records_give_the_same_bundle(exported: Any, tmp_path: Path) -> None:
    from export import bundle_writer

    files = {path: exported.bundle.read(path) for path in exported.bundle.manifest.files}
    again = bundle_writer.write_bundle(exported.bundle.manifest, files, tmp_path / "again", force=False)
    assert again.digest == exported.bundle.digest


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ({"--run": "nowhere"}, "run.json"),
        ({"--finder": "nowhere.npz"}, "check --finder"),
        ({"--data": "empty"}, "no radiograph in"),
        ({"--output": "taken"}, "add --force"),
        ({"--coverage": "0.5"}, "--coverage"),
        ({"--data-card": "nowhere.toml"}, "check --data-card"),
    ],
)
def test_mistakes_are_told_in_one_line(
    missing: dict[str, str], message: str, run_folder: Path, radiographs: Path, finder_file: Path, tmp_path: Path
) -> None:
    for name in ("empty", "taken"):
        (tmp_path / name).mkdir()
    options = {"--run": run_folder, "--finder": finder_file, "--data": radiographs, "--output": tmp_path / "out"}
    options |= {"--data-card": DATA_CARD}
    options |= {name: value if name == "--coverage" else tmp_path / value for name, value in missing.items()}
    result = CliRunner().invoke(main, ["bundle", *(str(part) for pair in options.items() for part in pair)])
    assert result.exit_code == 1
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()
