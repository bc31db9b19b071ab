"""``osteo-edge tune``, and what ``doctor`` says of it."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from osteo_edge import open_bundle
from osteo_edge.cli.main import _run
from osteo_edge.engines.select import available_threads, is_accepted
from osteo_edge.tuning import measurement
from tests.answers import told
from tests.bundles import DENSITY
from tests.making import keep_one_file, rename

NAME = "knee-other"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    target = tmp_path / "tuning"
    monkeypatch.setenv("OSTEO_EDGE_TUNING", str(target))
    monkeypatch.setattr(measurement, "MAX_ROUNDS", 3)
    return target


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = _run([str(one) for one in arguments])
    printed = capfd.readouterr()
    return code, printed.out, printed.err


def test_measured_stored_used_told_and_forgotten(folder: Path, example: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, table, _ = run(capfd, "tune")
    manifest = open_bundle().manifest
    (stored,) = folder.iterdir()
    record = json.loads(stored.read_text())
    chosen = (record["engine"], record["precision"])
    accepted = [(engine, one) for engine, by in manifest.members[0].accepted.items() for one in by]
    assert code == 0
    assert chosen in accepted
    assert {(one["engine"], one["precision"]) for one in record["timings"]} == set(accepted)
    assert record["circumstances"]["threads"] == available_threads()
    assert f"auto is now {chosen[0]} {chosen[1]}" in table
    assert "times as fast as onnxruntime fp32" in table

    _, answer, _ = run(capfd, "predict", "--format", "json", example)
    model = told(json.loads(answer))["model"]
    assert (model["engine"], model["precision"]) == chosen

    code, text, _ = run(capfd, "doctor")
    assert code == 0
    assert f"tuned       {chosen[0]} {chosen[1]}" in text
    stored.write_text("{")
    code, text, _ = run(capfd, "doctor")
    assert code == 0
    assert "stored choice ignored: it cannot be read" in text
    assert run(capfd, "predict", "--format", "json", example)[0] in (0, 4)
    report = json.loads(run(capfd, "doctor", "--json")[1])["bundles"][0]
    assert report["tuned"] is None
    assert report["auto"]["engine"] in ("onnxruntime", "litert")

    assert "is removed" in run(capfd, "tune", "--forget")[1]
    assert list(folder.iterdir()) == []
    assert "nothing was stored" in run(capfd, "tune", "--forget")[1]


@pytest.fixture
def reduced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement by which a less exact file is kept although a third had the lower median."""
    assert is_accepted(open_bundle(DENSITY).manifest.members, "onnxruntime", "int8")
    chosen = (("onnxruntime", "int8"), measurement.Faster("litert", "fp32", 2, 3))
    monkeypatch.setattr(measurement, "_choice", lambda *_, **__: chosen)


@pytest.mark.usefixtures("reduced")
def test_how_many_answers_would_be_others_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    code, told, _ = run(capfd, "tune", "--bundle", DENSITY)
    assert code == 0
    assert "auto is now onnxruntime int8" in told
    assert "litert fp32 was faster in 2 of 3 rounds only, within the noise: onnxruntime int8 is kept" in told
    assert re.search(
        r"answers: \d+ of 36 pictures made from the bundle's own synthetic one are answered otherwise than by "
        r"onnxruntime fp32; no probability is off by more than 0\.\d+\n",
        told,
    )


@pytest.mark.usefixtures("reduced")
def test_answers_are_compared_on_pictures_of_one_s_own(
    tmp_path: Path, example: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shutil.copy(example, folder)
    (folder / "notes.txt").write_text("text")
    code, told, _ = run(capfd, "tune", "--bundle", DENSITY, folder, example)
    assert code == 0
    assert re.search(r"answers: \d of 2 pictures of those given are .*; 1 more could not be answered for\n", told)
    code, told, _ = run(capfd, "tune", "--bundle", DENSITY, folder / "notes.txt")
    assert code == 0
    assert "no picture of those given could be answered for" in told
    code, _, error = run(capfd, "tune", tmp_path / "missing.png")
    assert code == 2
    assert "missing.png" in error


def test_a_busy_machine_is_told_and_an_idle_one_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], bundle_copy: Path
) -> None:
    folder = rename(keep_one_file(bundle_copy), NAME)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    for work, is_told in ((1.7, True), (0.2, False), (None, False)):
        monkeypatch.setattr(measurement._OtherWork, "processors", lambda _, work=work: work)
        _, told, _ = run(capfd, "tune", "--bundle", folder)
        said = "the machine was busy: other programs used 1.7 of its 4 processors; measure again when it is idle"
        assert (said in told) == is_told
        assert ("other programs" in told) == is_told


def test_a_bundle_of_one_file_has_one_choice(bundle_copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = rename(keep_one_file(bundle_copy), NAME)
    code, table, _ = run(capfd, "tune", "--bundle", folder, "--threads", 1)
    assert code == 0
    assert "auto is now onnxruntime fp32 (threads: 1)" in table
    assert "litert" not in table
    assert "answers: onnxruntime fp32 is what the others are compared with" in table


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OSTEO_EDGE_TUNING", str(tmp_path / "file" / "tuning"))
    monkeypatch.setattr(measurement, "measure", lambda *_, **__: pytest.fail("measured"))
    code, out, error = run(capfd, "tune")
    assert (code, out) == (7, "")
    assert "cannot be made" in error
    assert "OSTEO_EDGE_TUNING" in error


def test_a_damaged_bundle_is_not_measured(bundle_copy: Path, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    next((bundle_copy / "members").glob("*.fp32.onnx")).write_bytes(b"changed")
    code, out, error = run(capfd, "tune", "--bundle", bundle_copy)
    assert (code, out) == (5, "")
    assert "not the file that the bundle recorded" in error
    assert list(folder.iterdir()) == []
