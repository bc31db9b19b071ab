# ruff: noqa: N999  PyInstaller prescribes the file's name
"""Modules that are imported by name on use, the embedded bundles, and the versions that ``doctor`` tells."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

from osteo_edge.cli.doctor import PACKAGES


def _installed_metadata() -> Iterator[tuple[str, str]]:
    """Of what is installed where the program is frozen."""
    for name in ("osteo-edge", *PACKAGES):
        try:
            yield from copy_metadata(name)
        except PackageNotFoundError:
            continue


hiddenimports = collect_submodules("osteo_edge", filter=lambda name: not name.startswith("osteo_edge._pyinstaller"))
datas = [*collect_data_files("osteo_edge"), *_installed_metadata()]
