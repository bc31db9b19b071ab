"""ONNX Runtime's telemetry is off wherever this repository imports it, and where another did, that is said."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osteo_edge.engines.telemetry import SWITCH

ROOT = Path(__file__).resolve().parents[2]
# ONNX Runtime sends nothing by itself where CI is set.
_UNSET = (SWITCH, "XDG_CACHE_HOME", "XDG_DATA_HOME", "CI")


def left_in_home(home: Path, code: str, **more: str) -> tuple[list[str], str]:
    """What a fresh process leaves in the user's home, and what it says."""
    kept = {name: value for name, value in os.environ.items() if name not in _UNSET}
    environment = kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | more
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return [path.name for path in home.rglob("*") if path.is_file()], done.stderr


@pytest.mark.parametrize(
    "tree", ["osteo_edge.engines.onnx", "train", "export", "export.__main__", "benchmarks", "tests.conftest"]
)
def test_it_is_off_in_every_tree(tree: str, tmp_path: Path) -> None:
    assert left_in_home(tmp_path, f"import {tree}, onnxruntime") == ([], "")


def test_an_earlier_import_is_warned_of_once(tmp_path: Path) -> None:
    code = "import onnxruntime\nfrom osteo_edge import OsteoPredictor\n" + 2 * "OsteoPredictor(engine='onnxruntime').close()\n"
    left, said = left_in_home(tmp_path, code)
    assert "deviceid" in left  # which is what the warning is of
    assert said.count("TelemetryWarning: ONNX Runtime was imported before osteo-edge, with its telemetry on") == 1
    assert f"set {SWITCH}=1" in said


def test_an_earlier_import_with_telemetry_off_is_not(tmp_path: Path) -> None:
    code = "import onnxruntime\nfrom osteo_edge import OsteoPredictor\nOsteoPredictor(engine='onnxruntime').close()"
    assert left_in_home(tmp_path, code, **{SWITCH: "1"}) == ([], "")


def test_the_switch_has_one_name_and_place() -> None:
    sources = [path for tree in ("osteo_edge", "train", "export", "benchmarks") for path in (ROOT / tree).rglob("*.py")]
    naming = [path.name for path in sources if SWITCH in path.read_text(encoding="utf-8")]
    assert naming == ["telemetry.py"]
