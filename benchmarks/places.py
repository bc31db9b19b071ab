"""Interpreters that entries run under: this one or another, each with its engines as they are and with AVX-512 hidden."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from benchmarks.contest import ROOT
from export.errors import ExportError
from export.portability.hidden import without_avx512
from export.portability.places import has_avx512
from osteo_edge.engines import telemetry

Form = str
NATIVE: Form = "native"
HIDDEN: Form = "avx512_hidden"

_WHERE = "import importlib.util, sys; print(importlib.util.find_spec(sys.argv[1]).submodule_search_locations[0])"


@contextmanager
def environments(packages: Sequence[str], python: str = sys.executable) -> Iterator[Mapping[Form, Mapping[str, str]]]:
    """Variables of processes whose engines see this processor as it is and, where it has AVX-512, without it.

    Args:
        packages: import names of the engines that ``python`` has.

    Raises:
        ClickException: ``python`` does not have them, or one cannot be patched.
    """
    own = {NATIVE: _environment([])}
    if not has_avx512():
        yield own
        return
    folders = {name: folder_of(name, python) for name in packages}
    try:
        with without_avx512(folders) as hidden:
            for folder in folders.values():
                _copy_libraries(folder, hidden.folder)
            yield own | {HIDDEN: _environment([hidden.folder])}
    except ExportError as error:
        raise click.ClickException(str(error)) from error


def folder_of(package: str, python: str) -> Path:
    """Where ``python`` has a package.

    Raises:
        ClickException: it has not.
    """
    done = subprocess.run([python, "-c", _WHERE, package], capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{Path(python).name} has no package {package}; name an interpreter that has it")
    return Path(done.stdout.strip())


def _copy_libraries(package: Path, target: Path) -> None:
    """What a wheel brings along in a folder beside its package, such as the OpenMP runtime."""
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)


def _environment(search: Sequence[Path]) -> dict[str, str]:
    path = os.pathsep.join(map(str, (*search, ROOT)))
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", telemetry.SWITCH: "1"}
