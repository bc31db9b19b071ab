"""What a user may name, or a stranger may have left where the command line reads: pipes, devices, endless folders."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from osteo_edge.cli.person import MAX_TABLE_BYTES
from osteo_edge.folders import remove_folder
from tests.osteo_edge.test_folders import nest

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """With 2 GiB of address space, so that what is read without end ends."""
    limit = 2 << 30
    done = subprocess.run(
        [sys.executable, "-m", "osteo_edge", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
        timeout=timeout,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    assert "Traceback" not in done.stdout + done.stderr
    return done


def test_an_endless_table(example: Path) -> None:
    done = run("predict", "--covariates-table", "/dev/zero", example)
    assert done.returncode == 2
    assert f"/dev/zero is larger than {MAX_TABLE_BYTES >> 20} MiB" in done.stderr


def test_endless_reports() -> None:
    done = run("bench", "--compare", "/dev/zero", "/dev/zero")
    assert done.returncode == 2
    assert "/dev/zero is larger than" in done.stderr


def test_a_table_from_a_pipe(example: Path, tmp_path: Path) -> None:
    """As a shell's <(...) gives it."""
    pipe = tmp_path / "table"
    os.mkfifo(pipe)
    held = os.open(pipe, os.O_RDWR)  # so that the pipe has a writer when it is opened
    os.write(held, f"file,age_years,sex\n{example},67,f\n".encode())
    options = ["--question", "bone_density", "--format", "csv", "--covariates-table", str(pipe)]
    reader = subprocess.Popen(
        [sys.executable, "-m", "osteo_edge", "predict", *options, str(example)],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    wait_for_reader(pipe, reader.pid)
    os.close(held)
    out, _ = reader.communicate(timeout=60)
    assert b"age_years=67;sex=1" in out


def wait_for_reader(pipe: Path, process: int) -> None:
    """Until the process has the pipe open."""
    for _ in range(6000):
        folder = Path(f"/proc/{process}/fd")
        if any(os.path.realpath(entry) == str(pipe) for entry in folder.iterdir()):
            return
        time.sleep(0.01)
    pytest.fail("the table was never opened")


def test_a_pipe_that_nobody_writes_to(example: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "table")
    done = run("predict", "--covariates-table", tmp_path / "table", example)
    assert done.returncode == 2
    assert "must have a column 'file'" in done.stderr


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xef\xbb\xbf", b"file,age_years\na\0b,67\n", b"\xff", b"file\n" + b"9" * 200_000]
)
def test_tables_that_hold_nothing_of_the_picture(example: Path, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    done = run("predict", "--covariates-table", tmp_path / "table.csv", example)
    assert done.returncode == 2
    assert "table.csv" in done.stderr


def test_folders_without_end(example: Path, tmp_path: Path) -> None:
    shutil.copy(example, tmp_path / "knee.png")
    nest(tmp_path)
    done = run("predict", "--recursive", "--format", "csv", tmp_path)
    remove_folder(tmp_path)
    assert done.returncode == 3
    assert "knee.png," in done.stdout
    assert ",unlisted_folder," in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 2000
