"""Interpreters and their engines, with AVX-512 and without."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from benchmarks.places import HIDDEN, environments, folder_of
from export.portability.places import has_avx512


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(click.ClickException, match="has no package no_such_engine"):
        folder_of("no_such_engine", sys.executable)


@pytest.mark.skipif(not has_avx512(), reason="this processor has no AVX-512 to hide")
def test_the_hidden_engine_is_the_copy_and_leaves_nothing_behind() -> None:
    with environments(("onnxruntime",)) as forms:
        told = subprocess.run(
            [sys.executable, "-c", "import onnxruntime; print(onnxruntime.__file__)"],
            env=dict(forms[HIDDEN]),
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert Path(told).exists()
        assert Path(told).parent != folder_of("onnxruntime", sys.executable)
    assert not Path(told).exists()
