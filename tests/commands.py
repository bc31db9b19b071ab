"""The command line, run in this process: a start costs half a second, and few tests are about starting."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from osteo_edge.cli import main


def run(
    *arguments: object, stdin: bytes = b"", cwd: Path | None = None, environment: Mapping[str, str | None] | None = None
) -> subprocess.CompletedProcess[str]:
    """What ``osteo-edge ARGUMENTS`` answers, with the streams of UTF-8 pipes; a variable that is None is taken away."""
    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", errors="backslashreplace", write_through=True))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", errors="backslashreplace", write_through=True))
        patch.setenv("COLUMNS", "80")
        for name, value in (environment or {}).items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        code = main._run([str(one) for one in arguments])
        done = subprocess.CompletedProcess(list(arguments), code, out.getvalue().decode(), err.getvalue().decode())
    assert "Traceback" not in done.stdout + done.stderr
    return done
