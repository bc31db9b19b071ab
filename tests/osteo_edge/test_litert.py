"""What LiteRT's engine says while it loads."""

from __future__ import annotations

import os
from typing import Any

import pytest

from osteo_edge.engines import litert
from osteo_edge.errors import InferenceError


def test_its_greeting_is_kept_off_standard_error_and_nothing_else_is(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def greet(**settings: Any) -> None:
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nlibpng warning: of another thread\n")
        raise ValueError("no such model")

    monkeypatch.setattr(litert, "Interpreter", greet)
    with pytest.raises(InferenceError, match="no such model"):
        litert.LitertEngine(b"", threads=1)
    os.write(2, b"afterwards\n")
    assert capfd.readouterr().err == "libpng warning: of another thread\nafterwards\n"
