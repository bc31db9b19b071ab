"""A real limit on the memory of processes that are started: a cgroup of their own, else a limit on their data.

A cgroup counts what is resident, as a small board would. It can be made where this process's own cgroup, or one above it,
hands memory down to its children and may be written to: as root, in a systemd session of a user, in a container with a
delegated tree. Nothing of the existing tree is changed. Elsewhere ``RLIMIT_DATA`` counts writable private memory as soon as it
is asked for, threads' whole stacks among it; what starts under it needs less than the limit, not more.
"""

from __future__ import annotations

import os
import re
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from osteo_edge.benchmark.records import LimitInForce

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


@dataclass(frozen=True)
class Confinement:
    """What makes a started process keep a limit.

    Attributes:
        limit: None where there is none.
        enter: to be called in the process before its program starts; None as above.
        kills: how many processes the kernel has ended for going over it.
    """

    limit: LimitInForce | None
    enter: Callable[[], None] | None
    kills: Callable[[], int]


UNLIMITED = Confinement(None, None, lambda: 0)


def parse_bytes(text: str) -> int:
    """``512MB``, ``1.5 GiB``: a number and a unit, decimal or binary.

    Raises:
        ValueError: it is no size above zero.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    if found is None or unit is None or not (size := round(float(found[1]) * unit)):
        raise ValueError(f"{text!r} is no size of memory; write for example 512MB, 1GB or 4GB")
    return size


@contextmanager
def confinement(
    limit_bytes: int | None, *, cgroups: Path = Path("/sys/fs/cgroup"), own: str | None = None
) -> Iterator[Confinement]:
    """A limit for the processes that are started within the block; none for None.

    Args:
        cgroups: where the unified hierarchy is mounted.
        own: path of this process's cgroup in it, as ``/proc/self/cgroup`` tells by default.
    """
    if limit_bytes is None:
        yield UNLIMITED
        return
    folder = _make_cgroup(limit_bytes, cgroups, _own_cgroup() if own is None else own)
    if folder is None:
        yield _by_rlimit(limit_bytes)
        return
    try:
        yield _by_cgroup(folder, limit_bytes)
    finally:
        with suppress(OSError):  # a process that has not ended yet keeps it; an empty cgroup costs nothing
            folder.rmdir()


def _by_rlimit(limit_bytes: int) -> Confinement:
    def enter() -> None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = limit_bytes if hard == resource.RLIM_INFINITY else min(limit_bytes, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    message = (
        "RLIMIT_DATA of each measured process, as no memory cgroup can be made here: counts writable memory when it is "
        "reserved, which is more than is resident"
    )
    return Confinement(LimitInForce("rlimit_data", limit_bytes, message), enter, lambda: 0)


def _by_cgroup(folder: Path, limit_bytes: int) -> Confinement:
    def kills() -> int:
        try:
            found = re.search(r"^oom_kill (\d+)$", (folder / "memory.events").read_text(), re.MULTILINE)
        except OSError:
            return 0
        return int(found[1]) if found else 0

    message = f"memory.max of the cgroup {folder.name}, without swap: counts resident memory and the files it reads"
    return Confinement(LimitInForce("cgroup", limit_bytes, message), _entering(folder), kills)


def _make_cgroup(limit_bytes: int, cgroups: Path, own: str | None) -> Path | None:
    """A new cgroup under the nearest one that hands memory down and takes a child from us."""
    if own is None:
        return None
    nearest = cgroups / own.lstrip("/")
    for parent in (nearest, *nearest.parents):
        if not parent.is_relative_to(cgroups):
            break
        if not _hands_memory_down(parent):
            continue
        folder = parent / f"osteo-edge-bench-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        if _takes_processes(folder) and _set(folder, limit_bytes):
            return folder
        with suppress(OSError):
            folder.rmdir()
    return None


def _hands_memory_down(cgroup: Path) -> bool:
    try:
        return "memory" in (cgroup / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _set(folder: Path, limit_bytes: int) -> bool:
    """Whether the kernel took the limit."""
    try:
        (folder / "memory.max").write_text(str(limit_bytes))
        with suppress(OSError):  # a kernel without swap has no such file
            (folder / "memory.swap.max").write_text("0")
        kept = int((folder / "memory.max").read_text())
    except (OSError, ValueError):
        return False
    # The kernel rounds down to whole pages.
    return limit_bytes - kept < resource.getpagesize()


def _takes_processes(folder: Path) -> bool:
    """Whether a process of ours may be put there: that also asks for rights above the folder."""
    try:
        done = subprocess.run(["true"], preexec_fn=_entering(folder), check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _entering(folder: Path) -> Callable[[], None]:
    members = os.fspath(folder / "cgroup.procs")

    def enter() -> None:
        with open(members, "w", encoding="ascii") as file:
            file.write("0")  # the process that writes

    return enter


def _own_cgroup() -> str | None:
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    return next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
