"""Putting a bundle into the user's folder, and taking it out again.

What is installed was verified and self-tested before, lies flushed on the disk, and appears under its name in one step: a run
that is killed, or a power cut, leaves the old bundle or the new one, and nothing else that could be opened. Only files that the
bundle's own manifest lists are written, under paths that were checked, so that no name inside an archive decides where anything
goes. They pass through in small pieces: no file is ever in memory whole.

An old bundle and a new one change places (``storage.exchange``). Where a file system cannot do that, two renames do, and
between them the old one is found under a name of its own (``bundle.REPLACED``), which the next run clears.
"""

from __future__ import annotations

import os
import stat
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Protocol

from osteo_edge.bundle import (
    DEFAULT_BUNDLES,
    MANIFEST,
    MANIFEST_DIGEST,
    MANIFEST_SIGNATURE,
    REPLACED,
    Bundle,
    embedded_bundles,
    installed_bundles,
    open_bundle,
    parse_bundle,
    user_folder,
)
from osteo_edge.errors import BundleNotFoundError, InstallationError, IntegrityError
from osteo_edge.folders import remove_folder
from osteo_edge.integrity import PIECE_BYTES, read_in_pieces, require_digest_of_pieces
from osteo_edge.manifest_rules import MAX_MANIFEST_BYTES
from osteo_edge.storage import creating, exchange, flush_folder, flush_folders

MAX_MODEL_BYTES = 512 << 20
MAX_OTHER_BYTES = 64 << 20
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


class Pieces(Protocol):
    """The bytes of one of a bundle's files, from wherever the bundle is."""

    def __call__(self, path: str, *, max_bytes: int) -> Iterator[bytes]:
        """Raises IntegrityError where it is missing, damaged or larger."""
        ...


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
        OutOfMemoryError: a limit of this process leaves too little memory.
    """
    from osteo_edge.engines.select import require_room_for
    from osteo_edge.signature import require_signature

    require_room_for()
    from osteo_edge.selftest import require_self_test

    source, folder = Path(source), _require_user_folder()
    with _opened(source) as (claimed, pieces):
        target = folder / claimed.manifest.name
        _require_free(target, force=force)
        _require_size(claimed)
        with _writing(folder), folder_beside(target) as staging:
            _write(claimed, pieces, staging)
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
        _recover(target)
        target.rename(aside / name)
        flush_folder(target.parent)
    return target


def put_in_place(folder: Path, target: Path, *, force: bool) -> None:
    """Move ``folder``, whose files were flushed, to ``target``: in one step, and on the disk when this returns.

    What ``force`` replaces is at ``folder`` afterwards; the caller removes it.

    Raises:
        OSError: it cannot be moved; what was at ``target`` is there still.
    """
    flush_folders(folder)
    _recover(target)
    if not (force and target.exists()):
        folder.rename(target)
    elif not exchange(folder, target):
        _replace(folder, target)
    flush_folder(target.parent)


def _replace(folder: Path, target: Path) -> None:
    """The same as an exchange where there is none: between two steps the old one is found under a name of its own."""
    old = target.with_name(f"{REPLACED}{target.name}")
    try:
        target.rename(old)
        flush_folder(target.parent)
        folder.rename(target)
    except BaseException:  # an interruption too
        _recover(target)
        raise
    flush_folder(target.parent)
    old.rename(folder)


def _recover(target: Path) -> None:
    """Clear what a run that was killed between two steps left: the old one gets its name back, or goes if a new one has it."""
    old = target.with_name(f"{REPLACED}{target.name}")
    if not os.path.lexists(old):
        return
    if not os.path.lexists(target):
        old.rename(target)
        return
    with folder_beside(target) as aside:
        old.rename(aside / target.name)


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
    if target.name in (*embedded_bundles(), *DEFAULT_BUNDLES):
        raise InstallationError(f"{target.name} is the name of an embedded bundle; the bundle must be made under another name")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise InstallationError(f"{target} is in the way; remove it")
    if not force and (target.exists() or target.name in installed_bundles()):
        raise InstallationError(f"{target.name} is installed already; --force replaces it")


def _require_size(bundle: Bundle) -> None:
    """Before anything is unpacked: the manifest says how large every file may be, and no more is read."""
    from osteo_edge.selftest import model_files

    files = bundle.manifest.files
    models = {choice.path for member in bundle.manifest.members for choice in model_files(member)}
    others = max((entry.size for path, entry in files.items() if path not in models), default=0)
    sizes = [entry.size for entry in files.values()]
    if len(sizes) > MAX_FILES or max(sizes) > MAX_MODEL_BYTES or others > MAX_OTHER_BYTES or sum(sizes) > MAX_BUNDLE_BYTES:
        raise InstallationError(
            f"the bundle is too large: at most {MAX_FILES} files, {MAX_MODEL_BYTES >> 20} MiB for a model, "
            f"{MAX_OTHER_BYTES >> 20} MiB for any other file and {MAX_BUNDLE_BYTES >> 20} MiB in all are installed"
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


def _write(bundle: Bundle, pieces: Pieces, folder: Path) -> None:
    for path, entry in bundle.manifest.files.items():
        unproved = pieces(path, max_bytes=entry.size)
        _write_one(folder / path, require_digest_of_pieces(unproved, sha256=entry.sha256, size=entry.size, path=path))
    for path in (MANIFEST, MANIFEST_DIGEST):
        _write_one(folder / path, pieces(path, max_bytes=MAX_MANIFEST_BYTES))
    if bundle.signature is not None:
        _write_one(folder / MANIFEST_SIGNATURE, (bundle.signature,))


def _write_one(path: Path, pieces: Iterable[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with creating(path) as file:
        file.writelines(pieces)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[Bundle, Pieces]]:
    """What the manifest at ``source`` claims, and how to read its files; nothing but the manifest was checked yet."""
    if os.path.isfile(source / MANIFEST):
        bundle = open_bundle(source)
        bundle.refuse_unlisted()
        yield bundle, partial(read_in_pieces, bundle.root)
    elif os.path.isfile(source):
        with _Archive(source) as archive:
            bundle = parse_bundle(lambda path, size: b"".join(archive.pieces(path, max_bytes=size)), source)
            archive.refuse_unlisted(bundle)
            yield bundle, archive.pieces
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

    def pieces(self, path: str, *, max_bytes: int) -> Iterator[bytes]:
        """The bytes of an entry: never more than ``max_bytes`` and one are unpacked, nor more than a piece at a time.

        Raises:
            IntegrityError: it is missing, damaged or larger.
        """
        entry = self._entries.get(path)
        if entry is None:
            raise IntegrityError(f"{path} is missing in {self._path}")
        try:
            with self._zip.open(entry) as file:
                while piece := file.read(min(PIECE_BYTES, max_bytes + 1)):
                    max_bytes -= len(piece)
                    if max_bytes < 0:
                        raise IntegrityError(f"{path} in {self._path} is larger than it should be")
                    yield piece
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise IntegrityError(f"{path} in {self._path} cannot be unpacked: {error}") from error

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
