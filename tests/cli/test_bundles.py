"""``osteo-edge bundles``: installing, listing, using and removing, as a user does."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from osteo_edge.bundle import MANIFEST
from tests.commands import run
from tests.making import keep_one_file, rename

ROOT = Path(__file__).resolve().parents[2]
NAME = "knee-other"


@pytest.fixture
def other(bundle_copy: Path) -> Path:
    return rename(keep_one_file(bundle_copy), NAME)


def osteo_edge(home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return run(*arguments, environment={"HOME": str(home), "OSTEO_EDGE_BUNDLES": None, "XDG_DATA_HOME": None})


def test_the_life_of_an_installed_bundle(other: Path, tmp_path: Path, example: Path) -> None:
    home = tmp_path / "home"
    done = osteo_edge(home, "bundles", "install", other)
    assert done.returncode == 0, done.stderr
    assert (home / ".local/share/osteo-edge/bundles" / NAME / MANIFEST).is_file()
    assert f"predict --bundle {NAME}" in done.stdout
    assert f"{NAME} (installed)" in osteo_edge(home, "bundles", "list").stdout
    assert osteo_edge(home, "bundles", "verify", NAME).returncode == 0
    assert osteo_edge(home, "bundles", "show", NAME).stdout.startswith("#")
    assert NAME in osteo_edge(home, "predict", "--verbose", "--bundle", NAME, example).stdout
    again = osteo_edge(home, "bundles", "install", other)
    assert (again.returncode, "--force" in again.stderr) == (5, True)
    assert osteo_edge(home, "bundles", "install", "--force", other).returncode == 0
    assert osteo_edge(home, "bundles", "remove", NAME).returncode == 0
    unknown = osteo_edge(home, "predict", "--bundle", NAME, example)
    assert (unknown.returncode, "installed: none" in unknown.stderr) == (5, True)


def test_a_damaged_one_is_listed_as_such(other: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert osteo_edge(home, "bundles", "install", other).returncode == 0
    (home / ".local/share/osteo-edge/bundles" / NAME / MANIFEST).write_text("{}")
    done = osteo_edge(home, "bundles", "list")
    assert done.returncode == 5
    assert "(default)" in done.stdout
    assert f"{NAME} (installed)  cannot be used" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["install", "nowhere.zip"], "there is no bundle at nowhere.zip"),
        (["install", "README.md"], "not a .zip file"),
        (["remove", "nothing"], "no installed bundle"),
        (["remove", "knee-mobilenet_v2"], "belong to the package"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = osteo_edge(tmp_path, "bundles", *arguments)
    assert (done.returncode, done.stdout) == (5, "")
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_embedded_one_is_not_installed_twice(bundle_copy: Path, tmp_path: Path) -> None:
    done = osteo_edge(tmp_path / "home", "bundles", "install", "--force", bundle_copy)
    assert (done.returncode, "name of an embedded bundle" in done.stderr) == (5, True)
