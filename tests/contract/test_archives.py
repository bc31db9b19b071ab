"""Imported from a zip file: said to be unsupported, in words."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel holds it."""
    path = tmp_path_factory.mktemp("archive") / "osteo_edge.whl"
    with zipfile.ZipFile(path, "w") as opened:
        for file in sorted((ROOT / "osteo_edge").rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                opened.write(file, file.relative_to(ROOT).as_posix())
    return path


@pytest.mark.parametrize(
    "arguments", [("predict", "image.png"), ("bundles", "list"), ("bundles", "verify"), ("tune",)], ids=" ".join
)
def test_a_command_from_an_archive_says_what_is_wrong(archive: Path, arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "osteo_edge", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (5, "")
    assert f"imported from the archive {archive}, which is not supported" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_script_from_an_archive_gets_an_error_of_the_tree(archive: Path, tmp_path: Path) -> None:
    code = (
        "import osteo_edge\n"
        "try: osteo_edge.OsteoPredictor()\n"
        "except osteo_edge.BundleNotFoundError as error: print(osteo_edge.__file__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(archive)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(archive / "osteo_edge"))
    assert "pip install" in done.stdout
