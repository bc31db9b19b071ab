"""Intermediate results under the run's folder, each named by a digest of all that it was made from."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteo_edge.integrity import sha256_hex
from osteo_edge.records import to_plain
from osteo_edge.storage import replacing, write_file
from train.runs.folder import RunError
from train.runs.versions import versions

CACHE_FOLDER = "cache"
_LINE = 128


def open_cache(run_folder: Path) -> Path:
    """The cache's folder; it hides itself from git, since it holds pixels of patients.

    Raises:
        RunError: the run's folder cannot be written.
    """
    folder = run_folder / CACHE_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    except OSError as error:
        raise RunError(f"{run_folder}: cannot be the folder of a run ({error.strerror})") from error
    return folder


def empty_folder(path: Path) -> Path:
    """A new folder; what a stopped run has left in it goes."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir()
    return path


def remove_cache(run_folder: Path) -> None:
    shutil.rmtree(run_folder / CACHE_FOLDER)


def key(*parts: Any) -> str:
    """Twelve hexadecimal digits that change with any part (records, mappings, numbers, strings) and any package's version."""
    return sha256_hex(json.dumps([versions(), to_plain(parts)], sort_keys=True).encode())[:12]


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an ``.npz`` file in one step: a stopped run leaves the old file or the new one, never half of one."""
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def kept(path: Path, make: Callable[[], Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """The arrays of the ``.npz`` file ``path``; where there is none, they are made and kept there first."""
    if not path.exists():
        save_arrays(path, make())
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def save_json(path: Path, plain: Any) -> None:
    """Write JSON in one step, as ``save_arrays``; a NaN or an infinity, which JSON does not know, is a ValueError."""
    write_file(path, (json_text(to_plain(plain)) + "\n").encode())


def json_text(plain: Any, depth: int = 0) -> str:
    """JSON in which what fits into a line is one: short for machines, and a difference of two files shows whole records."""
    line = json.dumps(plain, allow_nan=False)
    if depth + len(line) <= _LINE or not plain or not isinstance(plain, (dict, list)):
        return line
    inner = "\n" + " " * (depth + 1)
    if isinstance(plain, list):
        return f"[{inner}{f',{inner}'.join(json_text(one, depth + 1) for one in plain)}{inner[:-1]}]"
    # A key is told as JSON tells it: numbers, True and None become strings.
    parts = (f"{json.dumps({key: 0})[1:-4]}: {json_text(one, depth + 1)}" for key, one in plain.items())
    return f"{{{inner}{f',{inner}'.join(parts)}{inner[:-1]}}}"
