"""The one room that writes files: whole or not at all, through no link, shared with nobody on the way.

What is written first lies under a hidden name that no other process, thread, container or stranger can know beforehand, in the
target's own folder; it is flushed to the disk, renamed to its name, and the folder is flushed. Readers of the name see the old
file or the new one, also after a power cut. Everything here raises OSError; callers say what could not be written.

Two rules for what is at the name already. A link there is replaced and never followed, so that nobody who may write to the
folder chooses what is overwritten; what it led to stays as it is. A folder, a device or a pipe, also behind a link, is left
alone, with an error: nobody's ``/dev/stdout`` becomes a file.

A new file may be read and written by whom the umask allows, as files of any program; one that takes another's place is never
open to more people than that one was.

Two things are not written whole: lines that are added to a log (``appending``), and the journal of ``osteo_edge.station``,
which SQLite writes by rules of the same kind.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

_PART = ".osteo-edge-{}.part"
_NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_EVERYBODY = 0o666
_OWNER = 0o600
_COPY_BYTES = 1 << 20
# AT_FDCWD and RENAME_EXCHANGE of Linux's <fcntl.h> and <linux/fs.h>.
_HERE = -100
_EXCHANGE = 2
# What file systems say that cannot flush, as some that are mounted over a network; and of folders that may not be read.
_CANNOT_FLUSH = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EBADF})
# EPERM: of filters of system calls that do not know this one.
_CANNOT_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})
_CANNOT_LOCK = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP})
_CANNOT_OPEN = frozenset({errno.EACCES, errno.EPERM, errno.EISDIR})


def write_file(path: Path, data: bytes, *, by_way_of: Path | None = None) -> None:
    """Write ``data`` to ``path`` in one step, in place of what is there.

    Args:
        by_way_of: a folder on the same file system for the unfinished file, where a killed process may leave none in the
            target's own.

    Raises:
        OSError: it cannot be written; what was there is as it was, and nothing is left beside it.
    """
    with replacing(path, by_way_of=by_way_of) as file:
        file.write(data)


@contextmanager
def replacing(path: Path, *, by_way_of: Path | None = None) -> Iterator[BinaryIO]:
    """A file to write to, which takes the place of ``path`` once the block ends; if the block fails, it is gone.

    Args:
        by_way_of: as for ``write_file``.

    Raises:
        OSError: as ``write_file``.
    """
    if os.path.exists(path) and not os.path.isfile(path):
        raise OSError(errno.EEXIST, "something that is no file is there", str(path))
    mode, part = _mode_beside(path), (by_way_of or path.parent) / _PART.format(os.urandom(8).hex())
    with _removed_on_failure(part):
        with _create(part, mode) as file:
            yield file
            _flush(file)
        os.replace(part, path)
    flush_folder(path.parent)


@contextmanager
def creating(path: Path, *, mode: int = _EVERYBODY) -> Iterator[BinaryIO]:
    """A new file to write to, flushed when the block ends; if the block fails, it is removed.

    The folder is not flushed: whoever makes many files does that once.

    Args:
        mode: who may read and write it, from its first moment on, less what the umask takes.

    Raises:
        FileExistsError: something is there already, be it a link that leads nowhere.
        OSError: it cannot be written.
    """
    file = _create(path, mode)
    with _removed_on_failure(path), file:
        yield file
        _flush(file)


@contextmanager
def appending(path: Path) -> Iterator[BinaryIO]:
    """A file to add to, for its owner alone, made where there is none and flushed at the end; nobody else adds to it meanwhile.

    Raises:
        OSError: it cannot be written, or something that is no plain file is there, be it a link.
    """
    is_new = not path.exists()
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | _NO_LINK, _OWNER), "r+b") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EEXIST, "something that is no file is there", str(path))
        _lock(file.fileno())
        yield file
        _flush(file)
    if is_new:
        flush_folder(path.parent)


def move_file(source: Path, target: Path) -> None:
    """Let a file have another name, in place of what is there, also on another file system: it is never without one of them.

    Raises:
        OSError: it cannot be moved and lies where it was; or, from one file system to another, under both names.
    """
    try:
        os.replace(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with source.open("rb") as there, replacing(target) as file:
            shutil.copyfileobj(there, file, _COPY_BYTES)
        source.unlink()
    else:
        flush_folder(target.parent)
    flush_folder(source.parent)


def exchange(one: Path, other: Path) -> bool:
    """Let two names on one file system change places in one step: at no moment is either of them without a file or folder.

    Linux can, from 3.15 on (``renameat2`` with ``RENAME_EXCHANGE``), on the file systems of its disks; others mostly not.

    Returns:
        Whether they did; False where system, C library or file system cannot.

    Raises:
        OSError: one of them is not there, or may not be moved.
    """
    try:
        import ctypes

        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (ImportError, OSError, TypeError, AttributeError):  # no ctypes, no C library by that way, or an old one
        return False
    rename.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(one), None, str(other))


def flush_folders(top: Path) -> None:
    """Flush a folder and all in it; their files were flushed when they were written.

    Raises:
        OSError: the disk failed.
    """
    for folder, _, _ in os.walk(top, topdown=False):
        flush_folder(Path(folder))


def flush_folder(folder: Path) -> None:
    """Have the names in a folder on the disk, where its file system can.

    Raises:
        OSError: the disk failed.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0))
    except OSError as error:
        if error.errno in _CANNOT_OPEN:
            return
        raise
    try:
        _fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:  # an interruption too
        with suppress(OSError):
            os.unlink(path)
        raise


def _create(path: Path, mode: int) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _NO_LINK, mode), "wb")


def _mode_beside(path: Path) -> int:
    """That of the file at ``path``, of which the owner may always read and write; a link's own says nothing."""
    try:
        there = os.lstat(path)
    except OSError:
        return _EVERYBODY
    except ValueError as error:  # a NUL, or characters that no file name can have here
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    return _OWNER | (there.st_mode & _EVERYBODY) if stat.S_ISREG(there.st_mode) else _EVERYBODY


def _lock(descriptor: int) -> None:
    """Until the file is closed; where there are no locks, or not for it, whoever writes must be alone."""
    try:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except ImportError:
        return
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise


def _flush(file: BinaryIO) -> None:
    file.flush()
    _fsync(file.fileno())


def _fsync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_FLUSH:
            raise
