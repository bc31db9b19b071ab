"""A program frozen by PyInstaller with the hook that ships in the wheel.

PyInstaller (GPL, with an exception for the programs it builds) is a tool of whoever freezes a program: it is installed into
this test's own environment, and nothing here depends on it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from osteo_edge import open_bundle

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import sys

from osteo_edge import OsteoPredictor

if __name__ == "__main__":
    with OsteoPredictor(engine=sys.argv[2]) as predictor:
        prediction = predictor.predict(sys.argv[1])
    print(len(prediction.knees), *prediction.probabilities)
"""
ANSWERED = (0, 4)
ENGINES = ("onnxruntime", "litert")

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """In a place that knows nothing of this checkout or of any Python."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def frozen(wheel: Path, make_environment: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds two frozen programs, of the command line and of a script; the environment they came from is gone."""
    place = tmp_path_factory.mktemp("frozen")
    environment = make_environment(wheel, "ai-edge-litert", "pyinstaller>=6,<7")
    (place / "script.py").write_text(SCRIPT)
    (place / "command.py").write_text("from osteo_edge.cli.main import main\n\nmain()\n")
    for name in ("script", "command"):
        built = run(environment / "bin/pyinstaller", "--noconfirm", "--onedir", "--log-level", "ERROR", f"{name}.py", cwd=place)
        assert built.returncode == 0, built.stderr
    shutil.rmtree(environment)
    return place / "dist"


@pytest.mark.parametrize("engine", ENGINES)
def test_the_command_line_answers(frozen: Path, engine: str, tmp_path: Path, example: Path) -> None:
    done = run(
        frozen / "command/command", "predict", "--format", "json", "--explain", "--engine", engine, example, cwd=tmp_path
    )
    assert done.returncode in ANSWERED, done.stderr
    answer = json.loads(done.stdout)
    assert answer["status"] in ("reported", "referred")
    assert len(answer["joints"]) == 1
    assert list(tmp_path.glob("*.png"))  # the overlay


@pytest.mark.parametrize("engine", ENGINES)
def test_a_script_answers(frozen: Path, engine: str, tmp_path: Path, example: Path) -> None:
    done = run(frozen / "script/script", example, engine, cwd=tmp_path)
    assert done.stdout == f"1 {' '.join(open_bundle().manifest.labels)}\n", done.stderr


def test_the_doctor_finds_all_well_and_knows_the_versions(frozen: Path, tmp_path: Path) -> None:
    done = run(frozen / "command/command", "doctor", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["engines"] == {"onnxruntime": True, "litert": True}
    assert all(
        report["packages"][name] for name in ("numpy", "opencv-python-headless", "onnxruntime", "ai-edge-litert", "click")
    )
    assert {result["status"] for bundle in report["bundles"] for result in bundle["self_test"]} == {"passed"}


@pytest.mark.parametrize("arguments", [("bundles", "verify"), ("predict", "--help"), ("tune", "--forget")], ids=" ".join)
def test_other_commands_are_there(frozen: Path, arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run(frozen / "command/command", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_bench_says_that_it_is_not_for_frozen_programs(frozen: Path, tmp_path: Path) -> None:
    done = run(frozen / "command/command", "bench", cwd=tmp_path)
    assert done.returncode == 2
    assert "a frozen program cannot start" in done.stderr
