"""From files and records to a bundle on disk: written beside its place, proved, and put there in one step."""

from __future__ import annotations

import json
import os
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from export.errors import ExportError
from osteo_edge.bundle import MANIFEST, MANIFEST_DIGEST, Bundle, manifest_digest_line, open_bundle
from osteo_edge.installation import folder_beside, put_in_place
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import FileEntry, Manifest
from osteo_edge.records import to_plain
from osteo_edge.selftest import require_self_test
from osteo_edge.storage import creating, replacing

_UNIX = 3


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
    with folder_beside(output) as folder:
        write_files(manifest, files, folder)
        prove(folder)
        put_in_place(folder, output, force=force)
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


def write_files(manifest: Manifest, files: Mapping[str, bytes], folder: Path) -> None:
    """The files, the manifest that lists them and its digest, unproved, into a folder that has none of them."""
    manifest_bytes = to_json(manifest)
    digest_line = manifest_digest_line(sha256_hex(manifest_bytes))
    for path, data in {**files, MANIFEST: manifest_bytes, MANIFEST_DIGEST: digest_line}.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with creating(target) as file:
            file.write(data)


def write_zip(bundle: Bundle, target: Path) -> None:
    """The bundle as one .zip in a folder of its name, for ``osteo-edge bundles install``; the same files give the same bytes.

    Raises:
        ExportError: it cannot be written.
    """
    try:
        with replacing(target) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for path in sorted(bundle.listed):
                archive.writestr(_entry(f"{bundle.manifest.name}/{path}"), (bundle.root / path).read_bytes())
    except OSError as error:
        raise ExportError(f"{target} cannot be written: {error.strerror}") from error


def _entry(name: str) -> zipfile.ZipInfo:
    """An entry without date, owner or system."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.create_system = _UNIX
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    return entry
