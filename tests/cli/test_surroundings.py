"""The command line where the system gives little: limits on files, memory and address space."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGINES = pytest.mark.parametrize("engine", ["onnxruntime", "litert"])


def predict(*arguments: str | Path, enter: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "osteo_edge", "predict", "--format", "json", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, preexec_fn=enter, capture_output=True, text=True, timeout=300, check=False)


def limited(kind: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (limit, limit))


@ENGINES
def test_a_limit_on_the_size_of_files_changes_no_answer(engine: str, example: Path) -> None:
    done = predict(example, "--engine", engine, enter=limited(resource.RLIMIT_FSIZE, 4096))
    assert (done.returncode, done.stderr) == (4, "")
    assert json.loads(done.stdout)["status"] == "referred"
