"""What a terminal shows: answers that fit it, and a bar that no answer is mixed with."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = 60


@pytest.fixture
def folder(tmp_path: Path, example: Path) -> Path:
    for number in range(3):
        shutil.copy(example, tmp_path / f"{number}.png")
    return tmp_path


def read_all(terminal: int) -> str:
    data = b""
    while True:
        try:
            piece = os.read(terminal, 1 << 16)
        except OSError:  # how Linux says that the other end was closed
            piece = b""
        if not piece:
            return data.decode()
        data += piece


def on_terminal(*arguments: object, stdout: bool) -> tuple[str, str]:
    """Standard output, and what the terminal shows: standard error, and standard output as well where asked for."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    command = [sys.executable, "-m", "osteo_edge", "predict", "--threads", "1", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=theirs if stdout else subprocess.PIPE,
        stderr=theirs,
        env=environment | {"PYTHONPATH": str(ROOT), "TERM": "xterm"},
    )
    os.close(theirs)
    shown = read_all(ours)
    printed = process.stdout.read().decode() if process.stdout else ""
    process.wait()
    os.close(ours)
    assert process.returncode in (0, 4)
    return printed, shown


def test_the_bar_is_on_standard_error_alone(folder: Path) -> None:
    printed, shown = on_terminal("--format", "jsonl", folder, stdout=False)
    assert len(printed.splitlines()) == 3
    assert "predicting" not in printed
    assert "\x1b" not in printed
    assert "predicting" in shown
    assert "100%" in shown
    assert '"status"' not in shown


def test_one_picture_has_no_bar_and_fits_the_terminal(example: Path) -> None:
    _, shown = on_terminal("--verbose", os.path.relpath(example), stdout=True)
    assert "predicting" not in shown
    lines = shown.replace("\r\n", "\n").splitlines()
    assert [line for line in lines if len(line) > COLUMNS and " " in line[COLUMNS // 2 : COLUMNS]] == []
    assert "  Next: " in shown
    assert "is no diagnosis and no substitute for one." in " ".join(shown.split())


def test_answers_replace_the_bar(folder: Path) -> None:
    _, shown = on_terminal(folder, stdout=True)
    parts = re.split("re(?:ported|ferred) - ", shown)
    assert len(parts) == 4
    for before in parts[:-1]:
        line = before.rpartition("\n")[2].rpartition("\x1b[K")[2]
        assert "predicting" not in line
