"""Digests, and reading a file of a folder so that the bytes that are checked are the bytes that are used."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from osteo_edge.errors import IntegrityError

PIECE_BYTES = 1 << 20


def sha256_hex(data: bytes) -> str:
    """SHA-256 in lower-case hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def read_regular_file(root: Path, relative: str, *, max_bytes: int) -> bytes:
    """Read ``root/relative`` without following a link at any step below ``root``.

    Hard links are allowed: package managers make them, and since the bytes read here are the bytes that are
    hashed and loaded, a hard link cannot show one content to the check and another to the engine.

    Raises:
        IntegrityError: missing, a link, not a regular file, not readable, or larger than ``max_bytes``.
    """
    with _opened(root, relative) as file:
        # Asked for a limit, Python first takes that much memory.
        data = file.read(min(os.fstat(file.fileno()).st_size, max_bytes) + 1)
    if len(data) > max_bytes:
        raise _too_large(root, relative)
    return data


def read_in_pieces(root: Path, relative: str, *, max_bytes: int) -> Iterator[bytes]:
    """The same bytes, a mebibyte at a time, for files that nobody needs to have in memory whole.

    Raises:
        IntegrityError: as ``read_regular_file``; when it is too large, after the last piece that is not.
    """
    with _opened(root, relative) as file:
        while piece := file.read(min(PIECE_BYTES, max_bytes + 1)):
            max_bytes -= len(piece)
            if max_bytes < 0:
                raise _too_large(root, relative)
            yield piece


@contextmanager
def _opened(root: Path, relative: str) -> Iterator[BinaryIO]:
    path = root
    try:
        for part in relative.split("/"):
            path = path / part
            if path.is_symlink():
                raise IntegrityError(f"{relative} in {root} is a link; a bundle holds plain files only")
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise IntegrityError(f"{relative} in {root} is not a regular file")
            yield file
    except FileNotFoundError as error:
        raise IntegrityError(f"{relative} is missing in {root}; install the bundle again") from error
    except OSError as error:
        raise IntegrityError(f"{relative} in {root} cannot be read: {error.strerror}") from error


def _too_large(root: Path, relative: str) -> IntegrityError:
    return IntegrityError(f"{relative} in {root} is larger than it should be; install the bundle again")


def read_up_to(path: Path, max_bytes: int) -> bytes:
    """The first bytes of what a user named: a file, or a pipe or a device, of whose size the system tells nothing.

    A named pipe that nobody writes to is empty.

    Returns:
        all of it, or ``max_bytes`` and one byte where it holds more.

    Raises:
        OSError: it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error)) from error
    try:
        os.set_blocking(descriptor, True)
        data = bytearray()
        while len(data) <= max_bytes and (piece := os.read(descriptor, min(PIECE_BYTES, max_bytes + 1 - len(data)))):
            data += piece
        return bytes(data)
    finally:
        os.close(descriptor)


def require_digest(data: bytes, *, sha256: str, size: int, path: str) -> bytes:
    """Return ``data`` when it is the file that was recorded.

    Raises:
        IntegrityError: the size or the digest differs.
    """
    for _ in require_digest_of_pieces((data,), sha256=sha256, size=size, path=path):
        pass
    return data


def require_digest_of_pieces(pieces: Iterable[bytes], *, sha256: str, size: int, path: str) -> Iterator[bytes]:
    """Pass the pieces on, and raise after the last of them unless together they are the file that was recorded.

    Raises:
        IntegrityError: the size or the digest differs.
    """
    digest, read = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        read += len(piece)
        yield piece
    if read != size or digest.hexdigest() != sha256:
        raise IntegrityError(f"{path} is not the file that the bundle recorded; install the bundle again")
