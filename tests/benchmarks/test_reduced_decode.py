"""Half-scale decoding is judged by what it changes."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.reduced_decode import command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    pixels = cv2.imread("examples/synthetic-knee.png", cv2.IMREAD_GRAYSCALE)
    large = cv2.resize(pixels, None, fx=1.5, fy=1.5, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(tmp_path / "knee.jpg"), large)
    cv2.imwrite(str(tmp_path / "small.jpg"), pixels)
    cv2.imwrite(str(tmp_path / "empty.jpg"), np.zeros((1500, 1500), np.uint8))
    return tmp_path


def test_large_pictures_are_compared(folder: Path) -> None:
    target = folder / "out.json"
    done = CliRunner().invoke(command, ["--data", str(folder), "--json", str(target)])
    assert done.exit_code == 0, done.output
    assert "2 JPEGs of 2.2 to 2.4 megapixels" in done.output
    empty, knee = sorted(json.loads(target.read_text())["pictures"], key=lambda row: row["megapixels"])
    assert empty["difference"] is None
    assert empty["same_label"]
    assert 0 < knee["difference"] < 0.5
    assert knee["half_ms"] > 0
    assert knee["same_label"] or knee["margin"] <= knee["difference"] * 2


def test_a_folder_without_large_pictures_is_named(folder: Path) -> None:
    done = CliRunner().invoke(command, ["--data", str(folder), "--megapixels", "30"])
    assert done.exit_code == 1
    assert "no JPEG of 30 megapixels or more" in done.output
