"""Fixtures that all tests share."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from osteo_edge.bundle import EMBEDDED_FOLDER
from osteo_edge.engines.telemetry import switch_off
from tests.bundles import DENSITY

switch_off()  # before any test imports ONNX Runtime


ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def no_stored_choices(tmp_path_factory: pytest.TempPathFactory) -> None:
    """What ``osteo-edge tune`` stored on this machine takes no part in any test."""
    os.environ["OSTEO_EDGE_TUNING"] = str(tmp_path_factory.mktemp("tuning") / "empty")


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_reaches_children() -> None:
    """Processes that a shell starts in the background ignore SIGINT, and so do all that they start."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real radiographs; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("OSTEO_EDGE_DATA", ROOT / "../shared/data")).resolve()
    if not (folder / "knee" / "labels.csv").is_file():
        pytest.skip(f"no radiographs at {folder}; set OSTEO_EDGE_DATA")
    return folder


@pytest.fixture(scope="session")
def example() -> Path:
    """The synthetic one-knee radiograph of the repository."""
    return ROOT / "examples" / "synthetic-knee.png"


@pytest.fixture
def bundle_copy(tmp_path: Path) -> Path:
    """A copy of the embedded bundle that a test may damage."""
    return Path(shutil.copytree(EMBEDDED_FOLDER / DENSITY, tmp_path / "bundle"))
