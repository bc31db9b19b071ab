"""What LiteRT's engine does to the host's standard error: nothing."""

from __future__ import annotations

import os
from typing import Any

import pytest

from osteo_edge.engines import litert
from osteo_edge.errors import InferenceError


def test_the_host_s_standard_error_is_left_alone(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither an application's log nor its children's errors may be held back, and a greeting is the host's to hide."""
    lines = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nINFO: of the application's own log\n"

    def greet(**settings: Any) -> None:
        os.write(2, lines.encode())
        assert os.path.samestat(os.stat("/proc/self/fd/2"), error)
        raise ValueError("no such model")

    monkeypatch.setattr(litert, "Interpreter", greet)
    error = os.stat("/proc/self/fd/2")
    with pytest.raises(InferenceError, match="no such model"):
        litert.LitertEngine(b"", threads=1)
    assert capfd.readouterr().err == lines
