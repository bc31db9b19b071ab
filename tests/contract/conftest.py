"""The wheel, and environments of its own that a test may install it into."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, in which an older build left files of its own."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(ROOT / "osteo_edge", source / "osteo_edge", ignore=shutil.ignore_patterns("__pycache__"))
    (source / "train").mkdir()
    (source / "train" / "__init__.py").touch()
    for stale in ("osteo_edge/junk.py", "osteo_edge/bundles/old/manifest.json", "train/__init__.py"):
        left = source / "build" / "lib" / stale
        left.parent.mkdir(parents=True, exist_ok=True)
        left.touch()
    target = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", target, source, cwd=source)
    assert done.returncode == 0, done.stderr
    return next(target.glob("*.whl"))


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``make_environment(*requirements, python=...)``: a fresh virtual environment's folder."""

    def make(*requirements: str | Path, python: str | Path = sys.executable) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        made = run(python, "-m", "venv", folder, cwd=folder)
        assert made.returncode == 0, made.stderr
        installed = run(
            folder / "bin/pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *requirements, cwd=folder
        )
        assert installed.returncode == 0, installed.stderr
        return folder

    return make
