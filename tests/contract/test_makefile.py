"""What ``make bundles`` runs, with radiographs and without; nothing is made here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ("knee-cnn_ensemble", "knee-convnext_tiny")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a fresh clone has of what bundles are made of, with nothing beside it."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    folder = tmp_path / "place" / "clone"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    for name in BUNDLES:
        for tree in ("train/results", "export/results"):
            (folder / tree / name).mkdir(parents=True)
            for file in (ROOT / tree / name).iterdir():
                (folder / tree / name / file.name).touch()
    (folder / "osteo_edge").mkdir()
    for needed in ("pyproject.toml", "setup.py", "constraints.txt"):
        (folder / needed).touch()
    return folder


def commands(clone: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if name not in ("DATA", "MAKEFLAGS", "EVIDENCE")}
    return subprocess.run(
        ["make", "-n", "bundles", *variables], cwd=clone, env=surroundings, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("variables", [(), ("DATA=",)], ids=["nothing named", "none wanted"])
def test_a_fresh_clone_makes_them_without_radiographs(clone: Path, variables: tuple[str, ...]) -> None:
    done = commands(clone, *variables)
    assert done.returncode == 0, done.stderr
    for name in BUNDLES:
        assert f"--measured export/results/{name}/measured.npz" in done.stdout
        assert f"--latency export/results/{name}/latency.json" in done.stdout
    assert "--data " not in done.stdout
    assert "--unlabelled" not in done.stdout


def test_everything_that_is_named_is_committed() -> None:
    for name in BUNDLES:
        for file in ("plan.json", "measured.npz", "portability.json", "latency.json"):
            assert (ROOT / "export/results" / name / file).is_file()


def test_radiographs_beside_the_clone_are_compared_on(clone: Path) -> None:
    for name in ("knee", "knee_unlabelled"):
        (clone.parent / "shared/data" / name).mkdir(parents=True)
    done = commands(clone)
    assert done.stdout.count("--data ../shared/data/knee --unlabelled ../shared/data/knee_unlabelled") == len(BUNDLES)


def test_knees_without_a_label_may_be_absent(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "mine/knee").mkdir(parents=True)
    done = commands(clone, f"DATA={tmp_path}/mine")
    assert done.stdout.count(f"--data {tmp_path}/mine/knee ") == len(BUNDLES)
    assert "--unlabelled" not in done.stdout


def test_a_named_folder_without_radiographs_is_an_error_that_names_the_variable(clone: Path) -> None:
    done = commands(clone, "DATA=/nowhere")
    assert done.returncode != 0
    assert "DATA=/nowhere: there are no radiographs" in done.stderr


def test_measurements_may_be_left_out(clone: Path) -> None:
    assert "latency" not in commands(clone, "EVIDENCE=").stdout
