"""``osteo-edge bench`` as a user runs it; how long anything takes is nowhere asserted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import pytest

from osteo_edge import open_bundle
from osteo_edge.benchmark import measure, records
from osteo_edge.cli.main import _run
from tests.bundles import DENSITY

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/bench.schema.json").read_text())
SHORT = ("--seconds", 0, "--queries", 3, "--cold-rounds", 1)
SHORTER = ("--seconds", 0, "--queries", 2, "--cold-rounds", 0)
STAGES = {"read", "quality", "region", "prepare", "run", "decide"}


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = _run(["bench", *map(str, arguments)])
    printed = capfd.readouterr()
    return code, printed.out, printed.err


def read(path: Path) -> dict[str, Any]:
    record = json.loads(path.read_text())
    jsonschema.validate(record, SCHEMA)
    return record


def test_the_bundle_s_own_picture_is_measured_end_to_end_alone_and_cold(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text, error = run(capfd, *SHORT, "--engine", "onnxruntime", "--precision", "fp32", "--json", tmp_path / "a.json")
    assert code == 0
    report = read(tmp_path / "a.json")
    (row,) = report["rows"]
    (group,) = row["groups"]
    assert (row["status"], row["engine"], row["precision"], group["knees"]) == ("complete", "onnxruntime", "fp32", 1)
    whole, alone = group["end_to_end"], group["model_alone"]
    assert len(whole["samples_ms"]) == len(alone["samples_ms"]) == 3
    assert set(whole["stages_ms"]) == STAGES
    for number, total in enumerate(whole["samples_ms"]):
        assert 0 < sum(taken[number] for taken in whole["stages_ms"].values()) <= total + 0.001
    assert whole["is_complete"]
    assert whole["summary"]["p90_estimate"] is None
    assert row["circumstances"]["bundle_digest"] == open_bundle().digest
    assert len(row["cold"]) == 1
    assert row["cold"][0]["answer_ms"] <= row["cold"][0]["exit_ms"]
    assert row["memory"]["steady_bytes"] <= row["memory"]["peak_bytes"]
    assert report["settings"]["profile"] == "quick, changed"
    assert (report["limit"], report["interrupted"]) == (None, False)
    for said in (
        "end to end, one knee",
        "model alone, one knee",
        "decode",
        "cold start",
        "energy",
        "MLPerf-style",
        "throttled",
    ):
        assert said in text
    assert "measuring knee-" in error


def test_every_combination_is_a_row_and_those_that_cannot_be_are_told(
    bundle_copy: Path, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ("--engine", "onnxruntime,litert", "--precision", "fp32", "--threads", "1,2", "--json", tmp_path / "a.json")
    code, text, _ = run(capfd, *SHORTER, *arguments)
    report = read(tmp_path / "a.json")
    found = [(row["engine"], row["circumstances"]["threads"]) for row in report["rows"]]
    assert code == 0
    assert found == [("onnxruntime", 1), ("onnxruntime", 2), ("litert", 1), ("litert", 2)]
    assert "all rows, median ms" in text

    of_density = ("--bundle", DENSITY, *SHORTER, "--engine", "litert")
    code, text, _ = run(capfd, *of_density, "--precision", "fp32", "--precision", "int8", "--threads", 1)
    assert code == 0
    assert f"left out    {DENSITY} litert int8, 1 thread" in text
    code, text, error = run(capfd, *of_density, "--precision", "int8")
    assert (code, text) == (5, "")
    assert "no int8 file for litert" in error


def test_one_knee_and_two_are_reported_apart_and_what_is_not_answered_is_left_out(
    example: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "radiographs"
    folder.mkdir()
    knee = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    cv2.imwrite(str(folder / "one.png"), knee)
    cv2.imwrite(str(folder / "two.png"), np.hstack([knee, knee[:, ::-1]]))
    (folder / "notes.txt").write_text("no picture")
    code, text, _ = run(capfd, *SHORTER, "--threads", 1, "--json", tmp_path / "a.json", folder)
    (row,) = read(tmp_path / "a.json")["rows"]
    assert code == 0
    assert [group["knees"] for group in row["groups"]] == [1, 2]
    assert {Path(picture["path"]).name: picture["knees"] for picture in row["pictures"]} == {"one.png": 1, "two.png": 2}
    assert [Path(path).name for path in row["left_out"]] == ["notes.txt"]
    assert "1 with one knee, 1 with two knees" in text
    assert "end to end, two knees" in text


def test_within_a_budget_the_limit_in_force_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, text, _ = run(capfd, *SHORT, "--threads", 1, "--budget", "1GB", "--json", tmp_path / "a.json")
    report = read(tmp_path / "a.json")
    assert code == 0
    assert report["limit"]["kind"] in ("cgroup", "cgroup_v1", "rlimit_data")
    assert report["limit"]["limit_bytes"] == report["settings"]["budget_bytes"] == 10**9
    assert f"limit       1000 MB by {report['limit']['message']}" in text
    if report["limit"]["kind"] == "cgroup_v1":
        assert 10**6 < report["limit"]["peak_bytes"] < 10**9
        assert "of it in use" in text
    assert "within the limit" in text


@pytest.mark.parametrize("budget", ["1MB", "15MB", "30MB"])
def test_a_budget_that_is_too_small_is_told_and_the_report_still_written(
    budget: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, text, error = run(capfd, *SHORT, "--threads", 1, "--budget", budget, "--json", tmp_path / "a.json")
    (row,) = read(tmp_path / "a.json")["rows"]
    assert code in (8, 9)  # ended by the kernel, which may be anything; or refused before it came to that
    assert row["status"] == "failed"
    assert row["groups"] == []
    assert f"FAILED: it did not run within {budget.removesuffix('MB')} MB" in text
    assert "raise --budget" in text
    assert "Traceback" not in text + error


def test_a_row_that_fails_leaves_the_others(tmp_path: Path, bundle_copy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    next((bundle_copy / "members").glob("*.fp32.tflite")).write_bytes(b"changed")
    arguments = ("--engine", "litert,onnxruntime", "--precision", "fp32", "--threads", 1, "--json", tmp_path / "a.json")
    code, text, _ = run(capfd, *SHORTER, "--bundle", bundle_copy, *arguments)
    report = read(tmp_path / "a.json")
    assert code == 5
    assert [(row["status"], row["fault"]) for row in report["rows"]] == [("failed", "IntegrityError"), ("complete", None)]
    assert "not the file that the bundle recorded" in text


def children_of(process: int) -> list[int]:
    """Processes that it has started and that still run."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("stop", "code", "budget"),
    [
        (signal.SIGINT, 130, ()),
        (signal.SIGTERM, 143, ()),
        (signal.SIGINT, 130, ("--budget", "1GB")),
        (signal.SIGTERM, 143, ("--budget", "1GB")),
    ],
)
def test_ctrl_c_and_sigterm_keep_what_was_measured_and_end_everything(
    stop: signal.Signals, code: int, budget: tuple[str, ...], tmp_path: Path
) -> None:
    target = tmp_path / "a.json"
    command = [sys.executable, "-m", "osteo_edge", "bench", "--seconds", "600", "--json", str(target), *budget]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert "measuring" in process.stderr.readline()  # the model is loaded
        time.sleep(2.5)
        workers = children_of(process.pid)
        os.killpg(process.pid, stop)  # as a terminal does
        text, error = process.communicate(timeout=60)
    report = read(target)
    (row,) = report["rows"]
    assert process.returncode == code
    assert (report["interrupted"], row["status"]) == (True, "interrupted")
    assert row["groups"][0]["end_to_end"]["samples_ms"]
    assert not row["groups"][0]["end_to_end"]["is_complete"]
    assert row["memory"]["peak_bytes"] > 0
    assert "not finished" in text
    assert "interrupted" in error
    assert "Traceback" not in error
    assert workers
    assert not any(is_running(worker) for worker in workers)
    assert list(Path("/sys/fs/cgroup").rglob(f"osteo-edge-bench-{process.pid}")) == []


def test_sigterm_before_anything_is_measured_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "plan", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    assert run(capfd, *SHORTER, "--json", tmp_path / "a.json") == (143, "", "osteo-edge: interrupted\n")
    assert not (tmp_path / "a.json").exists()


def test_sigterm_while_the_report_is_written_comes_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    original = records.write_report

    def terminated(report: records.Report, target: Path) -> None:
        signal.raise_signal(signal.SIGTERM)
        original(report, target)

    monkeypatch.setattr(records, "write_report", terminated)
    code, _, error = run(capfd, *SHORTER, "--threads", 1, "--json", tmp_path / "a.json")
    assert (code, read(tmp_path / "a.json")["interrupted"]) == (143, False)
    assert "Traceback" not in error


def test_a_worker_that_is_killed_is_told_with_what_it_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As the kernel does when a board has no memory left."""
    original = measure.run_worker

    def killed_after_some(*arguments: Any, **options: Any) -> Any:
        for event in original(*arguments, **options):
            yield event
            if event["event"] == "samples":
                children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
                for child in children:
                    if b"benchmark.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                        os.kill(int(child), signal.SIGKILL)

    monkeypatch.setattr(measure, "run_worker", killed_after_some)
    code, text, _ = run(capfd, "--seconds", 600, "--json", tmp_path / "a.json")
    (row,) = read(tmp_path / "a.json")["rows"]
    assert code == 8
    assert row["status"] == "failed"
    assert row["groups"][0]["end_to_end"]["samples_ms"]
    assert "ended by SIGKILL" in text


def test_two_reports_are_compared(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    assert run(capfd, *SHORT, "--engine", "onnxruntime", "--threads", 1, "--json", first)[0] == 0
    assert run(capfd, *SHORT, "--engine", "litert", "--threads", 1, "--json", second)[0] == 0
    code, text, _ = run(capfd, "--compare", first, second)
    assert code == 0
    assert "WARNING     what ran differs" in text
    assert "model alone, one knee" in text
    code, text, _ = run(capfd, "--compare", first, first)
    assert (code, "WARNING" in text) == (0, False)
    assert run(capfd, "--compare", first, second, "--budget", "1GB")[0] == 2
    second.write_text("{}")
    code, _, error = run(capfd, "--compare", first, second)
    assert code == 2
    assert "b.json is not version 1 of what 'osteo-edge bench --json' writes" in error


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--bundle", "nothing"], 5, "no bundle named 'nothing'"),
        (["--engine", "tensorflow"], 2, "'tensorflow' is not one of"),
        (["--threads", "1,0"], 2, "0 is not in the range"),
        (["--threads", "two"], 2, "'two' is not a valid integer"),
        (["--budget", "little"], 2, "write for example 512MB"),
        (["--seconds", "nan"], 2, "not a number"),
        (["--json", "missing/a.json"], 7, "make it first"),
        (["--json", "."], 7, "it is a folder"),
        (["missing.png"], 3, "missing.png: No such file"),
        (["--compare", "missing.json", "missing.json"], 2, "does not exist"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_measured(
    arguments: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(measure, "measure", lambda *_, **__: pytest.fail("measured"))
    found, out, error = run(capfd, *arguments)
    assert (found, out) == (code, "")
    assert said in error
    assert "Traceback" not in error


def test_pictures_that_are_not_answered_are_no_measurement(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    code, _, error = run(capfd, tmp_path / "empty")
    assert code == 3
    assert "holds no files" in error
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((600, 600), 90, np.uint8))
    code, text, _ = run(capfd, *SHORT, "--threads", 1, tmp_path / "grey.png")
    assert code == 3
    assert "FAILED: no picture was answered" in text


def test_no_file_of_the_current_folder_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    assert run(capfd, *SHORTER, "--threads", 1)[0] == 0


def test_a_frozen_program_says_that_it_cannot_measure(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ``sys.executable`` is the program itself, which a measured process would start again."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    code, text, error = run(capfd, *SHORTER)
    assert (code, text) == (2, "")
    assert "a frozen program cannot start" in error
    assert "install osteo-edge with pip" in error


@pytest.mark.parametrize(
    ("kind", "said"), [("device", "a device or a pipe"), ("pipe", "a device or a pipe"), ("folder", "a folder")]
)
def test_a_report_takes_no_device_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], kind: str, said: str
) -> None:
    """Told before anything is measured; a link as ``/dev/stdout`` is one, and would be a file afterwards."""
    target = tmp_path / "report.json"
    if kind == "device":
        target.symlink_to("/dev/null")
    elif kind == "pipe":
        os.mkfifo(target)
    else:
        target.mkdir()
    monkeypatch.setattr("osteo_edge.benchmark.measure.measure", lambda *_, **__: pytest.fail("measured"))
    code, text, error = run(capfd, *SHORTER, "--json", target)
    assert (code, text) == (7, "")
    assert f"it is {said}" in error
    assert target.is_symlink() == (kind == "device")
    assert not target.is_file()
