"""Folders of any depth, as users and strangers leave them: one level after the other, without recursion."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Listing:
    """What lies in a folder.

    Attributes:
        files: sorted; all that is no folder.
        faults: folders that could not be listed, sorted, each with the reason; those too deep for the system among them.
    """

    files: tuple[Path, ...]
    faults: tuple[tuple[Path, OSError], ...]


def list_files(folder: Path, *, recursive: bool) -> Listing:
    """The files of a folder and, where asked for, of all folders inside it; links to folders are not followed."""
    files: list[Path] = []
    faults: list[tuple[Path, OSError]] = []
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting += [place / entry.name] if recursive else []
                    elif not os.path.isdir(entry.path):  # unlike the entry's own question it never raises
                        files.append(place / entry.name)
        except OSError as error:
            faults.append((place, error))
    return Listing(tuple(sorted(files)), tuple(sorted(faults, key=lambda fault: fault[0])))


def remove_folder(folder: Path) -> None:
    """Remove a folder and all that is in it, as far as that is possible; nothing is said of what stays."""
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except RecursionError:
        _flatten(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _flatten(folder: Path) -> None:
    """Move the folders inside of folders up, until none holds another: each is then removed on its own."""
    number = 0
    waiting = _folders_in(folder)
    while waiting:
        place = waiting.pop()
        for inner in _folders_in(place):
            number += 1
            try:
                waiting.append(inner.rename(folder / f".flattened-{number}"))
            except OSError:
                continue


def _folders_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [folder / entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
