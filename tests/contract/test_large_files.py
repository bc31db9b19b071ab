"""What makes every clone heavy is a model that a bundle holds, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LARGE_BYTES = 8 << 20


def test_large_tracked_files_are_weights_of_bundles() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout: what is tracked is not known")
    files = [Path(name) for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    large = {file for file in files if (ROOT / file).stat().st_size > LARGE_BYTES}
    assert large <= {Path("train/results", run, "weights.npz") for run in _runs_in_bundles()}


def test_every_folder_of_results_says_how_it_is_made_again() -> None:
    table = (ROOT / "train/results/README.md").read_text(encoding="utf-8")
    told = re.findall(r"`([^`]+)`", table)
    for folder in (path for path in (ROOT / "train/results").iterdir() if path.is_dir()):
        assert any(fnmatch(folder.name, one) for one in told), folder.name


def _runs_in_bundles() -> set[str]:
    """Those that the Makefile makes bundles of, and the members of their ensembles."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (target,) = re.findall(r"^bundles: (.*)$", makefile, re.MULTILINE)
    names = re.findall(r"dist/([\w-]+)\.zip", target)
    assert names
    return {member for name in names for member in (name, *_members(name))}


def _members(run: str) -> list[str]:
    record = json.loads((ROOT / "train/results" / run / "run.json").read_text(encoding="utf-8"))
    return [member["run"] for member in record.get("members", ())]
