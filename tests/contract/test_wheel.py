"""The wheel holds the runtime and the bundle alone, is small, and answers from an empty folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_WHEEL_BYTES = 24_000_000

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_wheel_is_small_and_holds_the_runtime_alone(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"osteo_edge"}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "osteo_edge").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("osteo_edge/")} == {path for path in shipped if "__pycache__" not in path}


def test_it_installs_and_answers_from_an_empty_folder(
    wheel: Path, make_environment: Callable[..., Path], tmp_path: Path, example: Path
) -> None:
    environment = make_environment(wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(example, empty / "image.png")
    done = run(environment / "bin/osteo-edge", "predict", "--format", "json", "image.png", cwd=empty)
    assert done.returncode in (0, 4), done.stderr
    assert json.loads(done.stdout)["status"] in ("reported", "referred")
    assert run(environment / "bin/osteo-edge", "doctor", cwd=empty).returncode == 0
    litert = run(environment / "bin/osteo-edge", "predict", "--engine", "litert", "image.png", cwd=empty)
    assert litert.returncode == 8
    assert "osteo-edge[litert]" in litert.stderr
