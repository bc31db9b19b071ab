"""Folders inside of folders, more than Python follows and longer than the system takes as one path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from osteo_edge.bundle import open_bundle
from osteo_edge.errors import IntegrityError
from osteo_edge.folders import list_files, remove_folder
from osteo_edge.installation import install_bundle, remove_bundle
from tests.making import keep_one_file, rename

# More than Python recurses, and with such names longer than the longest path.
DEPTH, NAME = 1100, "deep"


def nest(folder: Path) -> Path:
    """``DEPTH`` folders inside of one another, a picture's name in the last."""
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(folder)
        for _ in range(DEPTH):
            os.mkdir(NAME)
            os.chdir(NAME)
        Path("deep.png").write_bytes(b"")
    finally:
        os.fchdir(here)
        os.close(here)
    return folder


def test_files_are_listed_as_deep_as_the_system_goes(tmp_path: Path) -> None:
    inside = tmp_path / "b" / "c"
    inside.mkdir(parents=True)
    for path in (inside / "3.png", tmp_path / "b" / "2.png", tmp_path / "1.png"):
        path.write_bytes(b"")
    (tmp_path / "again").symlink_to(inside, target_is_directory=True)
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert [path.name for path in list_files(tmp_path, recursive=True).files] == ["1.png", "2.png", "3.png", "loop.png"]
    assert [path.name for path in list_files(tmp_path, recursive=False).files] == ["1.png", "loop.png"]
    listing = list_files(nest(tmp_path), recursive=True)
    assert len(listing.files) == 4
    ((_, fault),) = listing.faults
    assert fault.strerror == "File name too long"
    remove_folder(tmp_path)


def test_folders_that_are_too_deep_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "other" / NAME).mkdir(parents=True)
    remove_folder(nest(folder))
    assert not folder.exists()


@pytest.mark.parametrize("place", [".", "members"])
def test_a_bundle_with_folders_that_it_does_not_list(bundle_copy: Path, place: str) -> None:
    nest(bundle_copy / place)
    with pytest.raises(IntegrityError, match=r"deep in .* is not listed in the manifest"):
        list(open_bundle(bundle_copy).verify())
    remove_folder(bundle_copy)


def test_a_bundle_that_was_filled_with_folders_is_refused_and_removed(
    bundle_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(home))
    installed = install_bundle(rename(keep_one_file(bundle_copy), "knee-other"))
    nest(installed.root)
    with pytest.raises(IntegrityError, match="not listed"):
        install_bundle(installed.root, force=True)
    remove_bundle("knee-other")
    assert list(home.iterdir()) == []
