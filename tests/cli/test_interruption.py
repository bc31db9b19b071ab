"""Ctrl-C during ``osteo-edge predict`` of a folder, for real."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import jsonschema
import pytest

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "osteo_edge/reports/prediction.schema.json").read_text())
PICTURES = 300


@pytest.fixture
def many(tmp_path: Path, example: Path) -> Path:
    """Far more pictures than are answered before the interruption."""
    folder = tmp_path / "radiographs"
    folder.mkdir()
    for number in range(PICTURES):
        (folder / f"{number:03}.png").symlink_to(example)
    return folder


def in_session(session: int) -> list[int]:
    """Processes of the session that run; those that ended and are not waited for are left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_process = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(of_process) == session and state != "Z":
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("lines_before", [1, 20])
@pytest.mark.parametrize("style", ["json", "jsonl", "csv", "text"])
def test_ctrl_c_keeps_whole_answers_and_ends_at_once(many: Path, style: str, lines_before: int) -> None:
    command = [sys.executable, "-m", "osteo_edge", "predict", "--format", style, str(many)]
    process = subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    before = [process.stdout.readline() for _ in range(lines_before)]
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    late = threading.Timer(30, process.kill)  # the test fails then, rather than waits
    late.start()
    # Not communicate(), which does not know what readline() holds back; standard error is one line.
    rest, error = process.stdout.read(), process.stderr.read()
    process.wait()
    late.cancel()
    assert process.returncode == 130
    assert error.strip() == "osteo-edge: interrupted"  # after the line that the terminal shows ^C on
    assert in_session(process.pid) == []
    printed = "".join(before) + rest
    assert printed.endswith("\n")
    if style in ("json", "jsonl"):
        records = json.loads(printed) if style == "json" else [json.loads(line) for line in printed.splitlines()]
        assert lines_before - 1 <= len(records) < PICTURES
        for number, record in enumerate(records):
            jsonschema.validate(record, SCHEMA)
            assert Path(record["source"]).name == f"{number:03}.png"
    if style == "csv":
        header, *rows = csv.reader(io.StringIO(printed))
        assert lines_before - 1 <= len(rows) < PICTURES
        assert all(len(row) == len(header) for row in rows)
