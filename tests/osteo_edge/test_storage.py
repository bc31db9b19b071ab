"""Writing files: whole or not at all, through no link, and never into each other."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.storage import creating, exchange, flush_folder, replacing, write_file

KNOWN = bytes(range(8))


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def predictable(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of the unfinished file, as a stranger would have to know it."""
    monkeypatch.setattr(os, "urandom", lambda count: KNOWN[:count])
    return f".osteo-edge-{KNOWN.hex()}.part"


def test_a_file_is_written_and_replaced(tmp_path: Path) -> None:
    for content in (b"first", b"", b"second"):
        write_file(tmp_path / "file", content)
        assert (tmp_path / "file").read_bytes() == content
    assert os.listdir(tmp_path) == ["file"]


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")
    with replacing(tmp_path / "file") as file:
        file.write(b"half")
        file.flush()
        assert (tmp_path / "file").read_bytes() == b"old"
    assert (tmp_path / "file").read_bytes() == b"half"


def test_file_then_name_then_folder_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    fsync, replace = os.fsync, os.replace

    def flushing(descriptor: int) -> None:
        told.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else f"file of {os.fstat(descriptor).st_size}")
        fsync(descriptor)

    def renaming(source: Path, target: Path) -> None:
        told.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(os, "replace", renaming)
    write_file(tmp_path / "file", b"content")
    assert told == ["file of 7", "name", "folder"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError, ValueError])
def test_whatever_ends_it_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    write_file(tmp_path / "file", b"old")
    for write in (replacing(tmp_path / "file"), creating(tmp_path / "other")):
        with pytest.raises(error), write:
            raise error
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failure_at_the_end_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    write_file(tmp_path / "file", b"old")

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(error)):
        write_file(tmp_path / "file", b"new")
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"old")


def test_a_disk_that_is_full_is_told(tmp_path: Path) -> None:
    """A limit of file sizes stands in for it: the system refuses in the middle of a file."""
    write_file(tmp_path / "file", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_file(tmp_path / "file", bytes(1 << 20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (os.listdir(tmp_path), (tmp_path / "file").read_bytes()) == (["file"], b"old")


@pytest.mark.parametrize("leads_to", ["a file", "nothing"])
def test_a_link_at_the_unfinished_file_s_name_is_never_followed(tmp_path: Path, predictable: str, leads_to: str) -> None:
    theirs = tmp_path / "theirs"
    if leads_to == "a file":
        theirs.write_bytes(b"precious")
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / predictable).symlink_to(theirs)
    with pytest.raises(FileExistsError):
        write_file(folder / "file", b"new")
    assert not (folder / "file").exists()
    assert (theirs.read_bytes() if theirs.exists() else None) == (b"precious" if leads_to == "a file" else None)


def test_a_link_at_the_name_is_replaced_and_what_it_led_to_stays(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"precious")
    for number, leads_to in enumerate(("theirs", "nothing", "self")):
        path = tmp_path / f"link-{number}"
        path.symlink_to(path if leads_to == "self" else tmp_path / leads_to)
        write_file(path, b"new")
        assert (path.is_symlink(), path.read_bytes()) == (False, b"new")
    assert (tmp_path / "theirs").read_bytes() == b"precious"
    assert not (tmp_path / "nothing").exists()


def test_a_file_of_two_names_keeps_its_content_under_the_other(tmp_path: Path) -> None:
    (tmp_path / "theirs").write_bytes(b"precious")
    os.link(tmp_path / "theirs", tmp_path / "file")
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "theirs").read_bytes() == b"precious"


@pytest.mark.parametrize("kind", ["folder", "link to a folder", "device", "pipe"])
def test_what_is_no_file_is_left_alone(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "thing"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if kind == "device" else tmp_path)
    before = os.lstat(path)
    with pytest.raises(OSError, match="no file is there"):
        write_file(path, b"new")
    assert (os.lstat(path).st_ino, os.listdir(tmp_path)) == (before.st_ino, ["thing"])


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 300])
def test_a_name_that_no_file_can_have_is_an_os_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match=r"null|surrogates|too long"):
        write_file(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("umask", "after"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_the_umask_says_who_may_read(tmp_path: Path, umask: int, after: int) -> None:
    os.umask(umask)
    write_file(tmp_path / "file", b"new")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == after


@pytest.mark.parametrize(("before", "after"), [(0o600, 0o600), (0o640, 0o640), (0o666, 0o644), (0o777, 0o644), (0o000, 0o600)])
def test_a_file_that_was_closed_to_others_stays_closed(tmp_path: Path, before: int, after: int) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "file").chmod(before)
    write_file(tmp_path / "file", b"new")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == after


def test_a_folder_that_cannot_be_flushed_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def refuse(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(22, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(5, "Input/output error")))
    with pytest.raises(OSError, match="Input/output"):
        flush_folder(tmp_path)


def test_creating_takes_nobody_s_place(tmp_path: Path) -> None:
    with creating(tmp_path / "secret", mode=0o600) as file:
        assert stat.S_IMODE(os.fstat(file.fileno()).st_mode) == 0o600
        file.write(b"first")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("secret", "link"):
        with pytest.raises(FileExistsError), creating(tmp_path / name) as file:
            file.write(b"second")
    assert (tmp_path / "secret").read_bytes() == b"first"
    assert not (tmp_path / "nothing").exists()


def test_threads_write_into_one_folder_and_to_one_name(tmp_path: Path) -> None:
    """Every name gets one writer's bytes, whole: with a temporary name that threads share, bytes were lost or swapped."""

    def write(number: int) -> None:
        write_file(tmp_path / f"own-{number}", str(number).encode() * 5000)
        write_file(tmp_path / "common", str(number % 10).encode() * 5000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    assert all((tmp_path / f"own-{number}").read_bytes() == str(number).encode() * 5000 for number in range(200))
    common = (tmp_path / "common").read_bytes()
    assert len(common) == 5000
    assert len(set(common)) == 1
    assert len(os.listdir(tmp_path)) == 201


_WRITER = """
import os, sys
from pathlib import Path
from osteo_edge.storage import write_file
if len(sys.argv) > 2: os.getpid = lambda: 1
assert os.getpid() == 1, os.getpid()
for number in range(100):
    write_file(Path(f"{sys.argv[1]}-{number}"), f"{sys.argv[1]} {number}".encode() * 500)
"""


def _alone() -> list[str]:
    """How to start a program that is process 1, as in a container; empty where that is not permitted."""
    wanted = ["unshare", "-fp"] if os.getuid() == 0 else ["unshare", "-Urfp"]
    works = shutil.which(wanted[0]) and subprocess.run([*wanted, "true"], check=False, capture_output=True).returncode == 0
    return wanted if works else []


def test_containers_that_share_a_folder_never_share_a_file(tmp_path: Path) -> None:
    """Each is process 1. Where a process may not be given numbers of its own, one that takes itself for number 1 stands in."""
    alone = _alone()
    names = [f"container-{number}" for number in range(3)]
    told = [] if alone else ["stand-in"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([*alone, sys.executable, "-c", _WRITER, name, *told], cwd=tmp_path, env=environment) for name in names
    ]
    assert [process.wait() for process in running] == [0, 0, 0]
    for name in names:
        for number in range(100):
            assert (tmp_path / f"{name}-{number}").read_bytes() == f"{name} {number}".encode() * 500
    assert len(os.listdir(tmp_path)) == 300


def test_two_folders_change_places(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    if not exchange(tmp_path / "one", tmp_path / "other"):
        pytest.skip("no folders are exchanged here")
    assert [(tmp_path / name / "file").read_text() for name in ("one", "other")] == ["other", "one"]
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "one", tmp_path / "missing")


@pytest.mark.parametrize("library", [OSError, TypeError, lambda *_, **__: object()])
def test_a_system_that_cannot_exchange_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    """No C library by that way, or one without the call."""

    def load(*_: object, **__: object) -> object:
        if isinstance(library, type):
            raise library
        return library()

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert not exchange(tmp_path, tmp_path)


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")
    child = os.fork()
    if child == 0:
        with replacing(tmp_path / "file") as file:
            file.write(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert (tmp_path / "file").read_bytes() == b"old"
