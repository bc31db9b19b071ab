"""Several questions, and one that the program does not know, on the command line."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import pytest

from osteo_edge import open_bundle
from osteo_edge.bundle import EMBEDDED_FOLDER, shipped_bundles
from osteo_edge.cli.main import _run
from tests.answers import HARDWARE, told
from tests.bundles import DENSITY
from tests.making import ask
from tests.osteo_edge.test_questions import SURE
from tests.osteo_edge.test_structured import SCHEMA

Run = tuple[int, str, str]


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "hardware"
    return ask(Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, folder)), HARDWARE, enough=SURE)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> Run:
        code = _run([str(one) for one in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


def both(hardware: Path) -> tuple[object, ...]:
    return "--bundle", DENSITY, "--bundle", hardware


def test_json_has_both_answers_and_text_a_block_each(run: Any, hardware: Path, example: Path) -> None:
    code, out, _ = run("predict", *both(hardware), "--format", "json", example)
    record = json.loads(out)
    jsonschema.validate(record, SCHEMA)
    assert [answer["question"] for answer in record["answers"]] == ["bone_density", "hardware"]
    assert (code, record["status"], told(record)["status"]) == (0, "reported", "referred")
    code, out, _ = run("predict", *both(hardware), example)
    lines = out.splitlines()
    assert lines[0] == f"{example}: reported"
    assert "  Bone density: referred" in lines
    assert "  Hardware in the joint: reported" in lines
    assert "    Next: Compare it with earlier pictures." in lines
    assert out.count(open_bundle(DENSITY).manifest.intended_use) == 1


def test_csv_has_a_row_a_picture_and_question(run: Any, hardware: Path, example: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(run("predict", *both(hardware), "--format", "csv", example, "missing.png")[1])))
    assert [(Path(row["source"]).name, row["question"], row["status"]) for row in rows] == [
        ("synthetic-knee.png", "bone_density", "referred"),
        ("synthetic-knee.png", "hardware", "reported"),
        ("missing.png", "bone_density", "rejected"),
        ("missing.png", "hardware", "rejected"),
    ]
    assert rows[1]["answer"] in ("none_seen", "hardware")
    assert {cell.split("=")[0] for cell in rows[1]["probabilities"].split(";")} == {"plain", "metal"}
    assert "p_normal" not in rows[0]


def test_several_pictures_get_a_line_each(run: Any, hardware: Path, example: Path) -> None:
    code, out, _ = run("predict", *both(hardware), example, example)
    lines = out.splitlines()
    assert code == 0
    for line in lines[:2]:
        assert line.startswith(f"{example}: reported - Bone density: This test cannot tell")
        assert "Hardware in the joint: " in line
    assert any(line.startswith("2 pictures: ") and line.endswith("Compare it with earlier pictures.") for line in lines)
    assert lines[-1] == "2 pictures: 2 reported, 0 referred, 0 rejected"


def test_the_overlay_is_of_the_first_question_that_is_asked(run: Any, hardware: Path, example: Path, tmp_path: Path) -> None:
    pictures = []
    for name, questions in (("a", []), ("b", ["--question", "hardware", "--question", "bone_density"])):
        options = ["--explain", "--output", tmp_path / name, "--format", "json", *questions]
        record = json.loads(run("predict", *both(hardware), *options, example)[1])
        pictures.append((record["answers"][0]["question"], cv2.imread(record["overlay"])))
    (first, of_density), (second, of_hardware) = pictures
    assert (first, second) == ("bone_density", "hardware")
    assert of_density.shape != of_hardware.shape or (of_density != of_hardware).any()


def test_questions_keep_what_answers_them(run: Any, hardware: Path, example: Path) -> None:
    record = json.loads(run("predict", *both(hardware), "--question", "hardware", "--format", "json", example)[1])
    assert [answer["question"] for answer in record["answers"]] == ["hardware"]
    record = json.loads(run("predict", "--question", "bone_density", "--format", "json", example)[1])
    assert [answer["question"] for answer in record["answers"]] == ["bone_density"]
    everything = ["--question", "all", "--format", "json", example]
    record = json.loads(run("predict", *both(hardware), *everything)[1])
    assert [answer["question"] for answer in record["answers"]] == ["bone_density", "hardware"]
    record = json.loads(run("predict", *everything)[1])
    assert [answer["model"]["bundle"] for answer in record["answers"]] == list(shipped_bundles())
    code, out, err = run("predict", "--question", "fracture", example)
    assert (code, out) == (2, "")
    assert "no bundle here answers 'fracture'; there is: " in err


def test_two_bundles_of_one_question_are_refused(run: Any, bundle_copy: Path, example: Path) -> None:
    for command in (["predict", example], ["bench", "--together"]):
        code, out, err = run(*command, *both(bundle_copy))
        assert (code, out) == (5, "")
        assert "answer the same question, bone_density" in err


def test_the_other_commands_see_each_bundle_s_question(
    run: Any, hardware: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(tmp_path))
    shutil.copytree(hardware, tmp_path / "knee-hardware")
    _, listed, _ = run("bundles", "list")
    assert "bone density" in listed
    assert "hardware in the joint" in listed
    assert json.loads(run("bundles", "show", "--json", hardware)[1])["question"]["unit"] == "knee"
    assert run("bundles", "verify", hardware)[0] == 0
    code, out, _ = run("doctor", *both(hardware))
    assert code == 0
    assert out.count("question    ") == out.count("\nbundle      ") == 2
    assert out.endswith("all is well\n")
    report = json.loads(run("doctor", "--json", *both(hardware))[1])
    assert [bundle["question"] for bundle in report["bundles"]] == ["bone_density", "hardware"]
    _, out, _ = run("tune", "--forget", *both(hardware))
    assert out == f"nothing was stored for {DENSITY}\nnothing was stored for knee-hardware\n"


@pytest.mark.parametrize("together", [True, False])
def test_bench_measures_each_or_both_together(run: Any, hardware: Path, tmp_path: Path, together: bool) -> None:
    target = tmp_path / "report.json"
    options = ["--engine", "onnxruntime", "--precision", "fp32", "--threads", "1", "--seconds", "0", "--queries", "2"]
    flag = ["--together"] if together else []
    code, _, err = run("bench", *both(hardware), *flag, *options, "--cold-rounds", "1", "--json", target)
    assert code == 0, err
    rows = json.loads(target.read_text())["rows"]
    joined = f"{DENSITY} + knee-hardware"
    assert [row["bundle"] for row in rows] == ([joined] if together else joined.split(" + "))
    assert [(row["status"], row["engine"], len(row["cold"])) for row in rows] == [("complete", "onnxruntime", 1)] * len(rows)
    digests = {row["circumstances"]["bundle_digest"] for row in rows}
    alone = {open_bundle(DENSITY).digest, open_bundle(hardware).digest}
    assert digests.isdisjoint(alone) if together else digests == alone
