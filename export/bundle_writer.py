"""From files and records to a bundle on disk: written beside its place, proved, and put there in one step."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export.errors import ExportError
from osteo_edge.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, manifest_digest_line, open_bundle
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import FileEntry, Manifest
from osteo_edge.records import to_plain
from osteo_edge.selftest import require_self_test


def to_json(value: Any) -> bytes:
    """Records, mappings and tuples as JSON: sorted keys, indented, one newline at the end.

    Raises:
        ExportError: a number is not finite.
    """
    try:
        return (json.dumps(to_plain(value), indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise ExportError(f"a figure of the bundle is not a finite number: {error}") from error


def list_files(files: Mapping[str, bytes]) -> dict[str, FileEntry]:
    """The manifest's entry of each file."""
    return {path: FileEntry(sha256_hex(data), len(data)) for path, data in files.items()}


def zipped_size(files: Mapping[str, bytes]) -> int:
    """Bytes that the files take in a wheel, which is a zip file; its directory, a few kilobytes, is not counted."""
    return sum(len(zlib.compress(data, 6)) for data in files.values())


def require_place(output: Path, *, force: bool) -> None:
    """Check, before anything costly, that the bundle may be written to ``output``.

    Raises:
        ExportError: something is there already, and ``force`` is not set or it is no bundle.
    """
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{output.parent} cannot be made: {error.strerror}; choose another --output") from error
    if not os.access(output.parent, os.W_OK):
        raise ExportError(f"{output.parent} may not be written to; choose another --output")
    if not (output.exists() or output.is_symlink()):
        return
    if not force:
        raise ExportError(f"{output} exists already; add --force to replace it")
    if output.is_symlink() or not (output / MANIFEST).is_file():
        raise ExportError(f"{output} exists and is no bundle, so it is not replaced; remove it or choose another --output")


def write_bundle(manifest: Manifest, files: Mapping[str, bytes], output: Path, *, force: bool) -> Bundle:
    """Write, open, verify and self-test the bundle, then move it to ``output``.

    Raises:
        ExportError: ``output`` is taken.
        OsteoEdgeError: the runtime does not accept what was written; nothing is left at ``output``.
    """
    require_place(output, force=force)
    with _folder_beside(output) as folder:
        _write_files(manifest, files, folder)
        prove(folder)
        _put_in_place(folder, output)
    return open_bundle(output)


def prove(folder: Path) -> None:
    """Open the bundle as the runtime does, verify every file, and run the self-test.

    Raises:
        OsteoEdgeError: the runtime does not accept it.
    """
    bundle = open_bundle(folder)
    for _ in bundle.verify():
        pass
    require_self_test(bundle)


def _write_files(manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> None:
    manifest_bytes = to_json(manifest)
    digest_line = manifest_digest_line(sha256_hex(manifest_bytes))
    for path, data in {**files, MANIFEST: manifest_bytes, MANIFEST_DIGEST: digest_line}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


@contextmanager
def _folder_beside(output: Path) -> Iterator[Path]:
    """An empty folder on the same file system; it is removed unless it was moved away."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _put_in_place(folder: Path, output: Path) -> None:
    if not output.exists():
        folder.rename(output)
        return
    with _folder_beside(output) as old:
        output.rename(old / output.name)
        try:
            folder.rename(output)
        except BaseException:  # an interruption too: the bundle that was there is put back
            (old / output.name).rename(output)
            raise
