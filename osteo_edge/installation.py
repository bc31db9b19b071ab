"""Putting a bundle into the user's folder, and taking it out again.

What is installed was verified and self-tested before, and appears under its name in one step: a run that is
interrupted leaves nothing that could be opened. Only files that the bundle's own manifest lists are written, under
paths that were checked, so that no name inside an archive decides where anything goes.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from osteo_edge.bundle import (
    DEFAULT_BUNDLE,
    MANIFEST,
    MANIFEST_DIGEST,
    MANIFEST_SIGNATURE,
    Bundle,
    embedded_bundles,
    installed_bundles,
    open_bundle,
    parse_bundle,
    user_folder,
)
from osteo_edge.errors import BundleNotFoundError, InstallationError, IntegrityError
from osteo_edge.folders import remove_folder
from osteo_edge.integrity import read_regular_file, require_digest
from osteo_edge.manifest import MAX_MANIFEST_BYTES

MAX_FILE_BYTES = 512 << 20
MAX_BUNDLE_BYTES = 1 << 30
MAX_FILES = 1000
_MAX_DIRECTORY_BYTES = 1 << 20
_STALE_SECONDS = 24 * 3600
# Hidden, so that nothing in such a folder is found; and so odd that what bears it is surely ours to remove.
_UNFINISHED = ".osteo-edge-unfinished-"
_ENCRYPTED = 1
# The end of a .zip: signature, two numbers of parts, two of entries, size and place of the directory, length of the comment.
_END = struct.Struct("<4s4H2IH")
_LOCATOR_BYTES = 20

Read = Callable[[str, int], bytes]


def install_bundle(source: str | Path, *, force: bool = False, key: bytes | None = None) -> Bundle:
    """Verify and self-test the bundle at ``source``, and put it into ``user_folder()`` under its own name.

    Args:
        source: a bundle's folder, or a .zip that holds one, at its top or in one folder.
        force: replace an installed bundle of the same name.
        key: public key (PEM) that must have signed the bundle; None asks for no signature. It is not stored.

    Raises:
        BundleNotFoundError: there is neither a folder nor a .zip with a manifest.
        InstallationError: the name is taken or reserved, the bundle is too large, or the folder cannot be written.
        SignatureError: the key was given and did not sign the bundle.
        BundleError: the bundle is damaged, incompatible, or fails its self-test on this device.
        EngineUnavailableError: no engine that it has a file for is installed.
    """
    from osteo_edge.selftest import require_self_test
    from osteo_edge.signature import require_signature

    source, folder = Path(source), _require_user_folder()
    with _opened(source) as (claimed, read):
        target = folder / claimed.manifest.name
        _require_free(target, force=force)
        _require_size(claimed)
        with _writing(folder), folder_beside(target) as staging:
            _write(claimed, read, staging)
            bundle = open_bundle(staging)
            for _ in bundle.verify():
                pass
            if key is not None:
                require_signature(bundle, key)
            require_self_test(bundle)
            put_in_place(staging, target, force=force)
    return open_bundle(target)


def remove_bundle(name: str) -> Path:
    """Remove an installed bundle; returns where it was.

    Raises:
        BundleNotFoundError: no bundle of that name was installed.
        InstallationError: it cannot be removed.
    """
    if name not in installed_bundles():
        hint = "; the embedded ones belong to the package" if name in embedded_bundles() else ""
        raise BundleNotFoundError(f"no installed bundle is named {name[:60]!r}{hint}")
    target = _require_user_folder() / name
    with _writing(target.parent), folder_beside(target) as aside:
        target.rename(aside / name)
    return target


def put_in_place(folder: Path, target: Path, *, force: bool) -> None:
    """Move ``folder`` to ``target`` in one step; what ``force`` replaces is put back if that fails."""
    if not (force and target.exists()):
        folder.rename(target)
        return
    with folder_beside(target) as aside:
        target.rename(aside / target.name)
        try:
            folder.rename(target)
        except BaseException:  # an interruption too
            (aside / target.name).rename(target)
            raise


@contextmanager
def folder_beside(target: Path) -> Iterator[Path]:
    """An empty folder on the file system of ``target``, hidden; it is removed unless it was moved away."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{_UNFINISHED}{target.name}-", dir=target.parent))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        remove_folder(folder)


def _require_user_folder() -> Path:
    folder = user_folder()
    if folder is None:
        raise InstallationError("this user has no home; name a folder for bundles in OSTEO_EDGE_BUNDLES")
    return folder


def _require_free(target: Path, *, force: bool) -> None:
    if target.name in (*embedded_bundles(), DEFAULT_BUNDLE):
        raise InstallationError(f"{target.name} is the name of an embedded bundle; the bundle must be made under another name")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InstallationError(f"{target} is in the way; remove it")
    if target.exists() and not force:
        raise InstallationError(f"{target.name} is installed already; --force replaces it")


def _require_size(bundle: Bundle) -> None:
    """Before anything is unpacked: the manifest says how large every file may be, and no more is read."""
    sizes = [entry.size for entry in bundle.manifest.files.values()]
    if len(sizes) > MAX_FILES or max(sizes) > MAX_FILE_BYTES or sum(sizes) > MAX_BUNDLE_BYTES:
        raise InstallationError(
            f"the bundle is too large: at most {MAX_FILES} files, {MAX_FILE_BYTES >> 20} MiB each and "
            f"{MAX_BUNDLE_BYTES >> 20} MiB in all are installed"
        )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Make the folder, clear what runs that were killed long ago left in it, and say so when it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob(f"{_UNFINISHED}*"):
            if left.is_dir() and not left.is_symlink() and time.time() - left.stat().st_mtime > _STALE_SECONDS:
                remove_folder(left)
        yield
    except OSError as error:
        raise InstallationError(f"bundles cannot be written to or removed from {folder}: {error.strerror}") from error


def _write(bundle: Bundle, read: Read, folder: Path) -> None:
    for path, entry in bundle.manifest.files.items():
        data = require_digest(read(path, entry.size), sha256=entry.sha256, size=entry.size, path=path)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    for path in (MANIFEST, MANIFEST_DIGEST):
        (folder / path).write_bytes(read(path, MAX_MANIFEST_BYTES))
    if bundle.signature is not None:
        (folder / MANIFEST_SIGNATURE).write_bytes(bundle.signature)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[Bundle, Read]]:
    """What the manifest at ``source`` claims, and how to read its files; nothing but the manifest was checked yet."""
    if os.path.isfile(source / MANIFEST):
        bundle = open_bundle(source)
        bundle.refuse_unlisted()
        yield bundle, lambda path, size: read_regular_file(bundle.root, path, max_bytes=size)
    elif os.path.isfile(source):
        with _Archive(source) as archive:
            bundle = parse_bundle(archive.read, source)
            archive.refuse_unlisted(bundle)
            yield bundle, archive.read
    else:
        raise BundleNotFoundError(f"there is no bundle at {source}: neither a folder with {MANIFEST} nor a .zip of one")


class _Archive:
    """A .zip of one bundle, read entry by entry and never unpacked by its own word."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            _require_small_directory(path)
            self._zip = zipfile.ZipFile(path)
        # NotImplementedError is zipfile's word for an archive of a newer version of the format.
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise IntegrityError(f"{path} is not a .zip file that can be read ({error})") from error
        try:
            self._entries = self._checked()
        except IntegrityError:
            self._zip.close()
            raise

    def __enter__(self) -> _Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def refuse_unlisted(self, bundle: Bundle) -> None:
        """Raise IntegrityError for an entry that is not part of the bundle."""
        for name in sorted(set(self._entries) - bundle.listed):
            raise IntegrityError(f"{name[:100]!r} in {self._path} is not listed in the manifest; remove it")

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of an entry, of which no more than ``max_bytes`` and one are ever unpacked.

        Raises:
            IntegrityError: it is missing, damaged or larger.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise IntegrityError(f"{name} is missing in {self._path}")
        try:
            with self._zip.open(entry) as file:
                data = file.read(max_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise IntegrityError(f"{name} in {self._path} cannot be unpacked: {error}") from error
        if len(data) > max_bytes:
            raise IntegrityError(f"{name} in {self._path} is larger than it should be")
        return data

    def _checked(self) -> dict[str, zipfile.ZipInfo]:
        """Path in the bundle -> entry; the one folder that all may lie in is left out."""
        entries = [entry for entry in self._zip.infolist() if not entry.is_dir()]
        for entry in entries:
            kind = stat.S_IFMT(entry.external_attr >> 16)
            plain = kind in (0, stat.S_IFREG) and entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            if not plain or entry.flag_bits & _ENCRYPTED:
                raise IntegrityError(f"{entry.filename[:100]!r} in {self._path} is a link, encrypted, or packed in an odd way")
        top = next((entry.filename.removesuffix(MANIFEST) for entry in entries if _is_top_manifest(entry.filename)), "")
        found = {entry.filename.removeprefix(top): entry for entry in entries}
        if len(found) != len(entries):
            raise IntegrityError(f"an entry stands twice in {self._path}")
        return found


def _is_top_manifest(name: str) -> bool:
    return name == MANIFEST or (name.endswith(f"/{MANIFEST}") and name.count("/") == 1)


def _require_small_directory(path: Path) -> None:
    """The list of entries is read whole before any of them can be looked at, so its size is looked at first.

    Raises:
        BadZipFile: no plain .zip, without a comment and not of the 64-bit form, with a directory of reasonable size.
    """
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(-min(file.tell(), _END.size + _LOCATOR_BYTES), os.SEEK_CUR)
        tail = file.read()
    if len(tail) < _END.size or tail[: -_END.size].startswith(b"PK\x06\x07"):
        raise zipfile.BadZipFile("it is too short, or of the 64-bit form")
    signature, *_, directory_bytes, _, comment_bytes = _END.unpack(tail[-_END.size :])
    if signature != b"PK\x05\x06" or comment_bytes or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise zipfile.BadZipFile("no end of a .zip without comment, or too many entries")
