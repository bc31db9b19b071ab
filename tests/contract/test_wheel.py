"""The wheel holds the runtime and the bundle alone, is small, and answers from an empty folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MAX_WHEEL_BYTES = 24_000_000

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the tracked sources, so that no stale build folder takes part."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "osteo_edge", source / "osteo_edge", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "train").mkdir()
    (source / "train" / "__init__.py").touch()
    target = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", target, source, cwd=source)
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


def test_the_wheel_is_small_and_holds_the_runtime_alone(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"osteo_edge"}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "osteo_edge").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("osteo_edge/")} == {path for path in shipped if "__pycache__" not in path}


def test_it_installs_and_answers_from_an_empty_folder(wheel: Path, tmp_path: Path, example: Path) -> None:
    environment = tmp_path / "environment"
    assert run(sys.executable, "-m", "venv", environment, cwd=tmp_path).returncode == 0
    installed = run(
        environment / "bin/pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", wheel, cwd=tmp_path
    )
    assert installed.returncode == 0, installed.stderr
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
