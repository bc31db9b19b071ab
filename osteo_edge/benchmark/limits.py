"""A real limit on the memory of processes that are started: a cgroup of their own, else a limit on their data.

A cgroup counts what is resident, but pages of files, libraries among them, only where nobody had read them before. In version 2
it can be made where this process's own cgroup, or one above it, hands memory down to its children and may be written to: as
root, in a systemd session of a user, in a container with a delegated tree; in version 1 where this process's own cgroup of the
memory controller may be written to, mostly as root. Nothing of the existing tree is changed. Elsewhere ``RLIMIT_DATA`` counts
writable private memory as soon as it is asked for, threads' whole stacks among it; what starts under it needs less than the
limit, not more.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from osteo_edge.benchmark.records import LimitInForce, LimitKind
from osteo_edge.cgroups import ROOT, folders_v1, folders_v2, own_memberships
from osteo_edge.interruption import held_back

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}
_MAX_BYTES = 1 << 53
# For the kernel to take a killed process out of its cgroup.
_UNTIL_EMPTY_S = 2.0
_BETWEEN_TRIES_S = 0.01


@dataclass(frozen=True)
class Confinement:
    """What makes a started process keep a limit.

    Attributes:
        limit: None where there is none.
        enter: to be called in the process before its program starts; None as above.
        kills: how many processes the kernel has ended for going over it; where an older kernel does not count them, how often
            the limit was reached.
        peak_bytes: the most that all processes under it held at a time until now; None where nothing counts it.
    """

    limit: LimitInForce | None
    enter: Callable[[], None] | None
    kills: Callable[[], int]
    peak_bytes: Callable[[], int | None] = lambda: None

    def limit_with_peak(self) -> LimitInForce | None:
        """The limit, and what was held under it until now."""
        return replace(self.limit, peak_bytes=self.peak_bytes()) if self.limit else None


UNLIMITED = Confinement(None, None, lambda: 0)


def parse_bytes(text: str) -> int:
    """``512MB``, ``1.5 GiB``: a number and a unit, decimal or binary.

    Raises:
        ValueError: it is no size above zero.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    unit = _UNITS.get(found[2].upper()) if found else None
    size = float(found[1]) * unit if found and unit else 0.0
    if not 1 <= size <= _MAX_BYTES:
        raise ValueError(f"{text[:40]!r} is no size of memory; write for example 512MB, 1GB or 4GB")
    return round(size)


@contextmanager
def confinement(limit_bytes: int | None, *, cgroups: Path = ROOT, memberships: str | None = None) -> Iterator[Confinement]:
    """A limit for the processes that are started within the block; none for None.

    What still runs in the cgroup at the end of the block is killed, and the cgroup removed.

    Args:
        cgroups: where the unified hierarchy is mounted, or the controllers of version 1 each in a folder.
        memberships: the cgroups of this process, as ``/proc/self/cgroup`` tells by default.
    """
    if limit_bytes is None:
        yield UNLIMITED
        return
    group: _Cgroup | None = None
    try:
        with held_back():  # an interruption finds either no cgroup or one that is known
            group = _make_cgroup(limit_bytes, cgroups, own_memberships() if memberships is None else memberships)
        yield _by_cgroup(group, limit_bytes) if group else _by_rlimit(limit_bytes)
    finally:
        if group:
            with held_back():
                group.remove()


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


def _by_cgroup(group: _Cgroup, limit_bytes: int) -> Confinement:
    limit = LimitInForce(group.files.kind, limit_bytes, group.describe())
    return Confinement(limit, group.enter, group.kills, group.peak_bytes)


@dataclass(frozen=True)
class _Files:
    """The kernel's names in one version of cgroups.

    Attributes:
        swap: limits swap alone in version 2, memory and swap together in version 1.
        events: a line of it is ``oom_kill`` and a number.
        reached: how often the limit was reached; None where ``events`` always counts kills.
    """

    kind: LimitKind
    version: int
    limit: str
    swap: str
    events: str
    reached: str | None
    peak: str


_V2 = _Files("cgroup", 2, "memory.max", "memory.swap.max", "memory.events", None, "memory.peak")
_V1 = _Files(
    kind="cgroup_v1",
    version=1,
    limit="memory.limit_in_bytes",
    swap="memory.memsw.limit_in_bytes",
    events="memory.oom_control",
    reached="memory.failcnt",
    peak="memory.max_usage_in_bytes",
)


@dataclass(frozen=True)
class _Cgroup:
    """A cgroup that was made here; only files that the kernel put there are ever written."""

    folder: Path
    files: _Files

    def set(self, limit_bytes: int) -> bool:
        """Whether the kernel took the limit, and kills for it rather than lets wait."""
        try:
            _write(self.folder / self.files.limit, str(limit_bytes))
            kept = int((self.folder / self.files.limit).read_text())
            with suppress(OSError):  # a kernel that does not count swap has no such file
                _write(self.folder / self.files.swap, "0" if self.files is _V2 else str(limit_bytes))
            if self.files is _V1 and self._number("oom_kill_disable"):  # handed down from above
                _write(self.folder / self.files.events, "0")
        except (OSError, ValueError):
            return False
        # The kernel rounds down to whole pages.
        return 0 <= limit_bytes - kept < resource.getpagesize()

    def takes_processes(self) -> bool:
        """Whether a process of ours may be put there: that also asks for rights above the folder."""
        try:
            done = subprocess.run(["true"], preexec_fn=self.enter, check=False)
        except (OSError, subprocess.SubprocessError):
            return False
        return done.returncode == 0

    def enter(self) -> None:
        _write(self._members(), "0")  # the process that writes

    def kills(self) -> int:
        counted = self._number("oom_kill")
        if counted is None and self.files.reached:
            counted = _read_int(self.folder / self.files.reached)
        return counted or 0

    def peak_bytes(self) -> int | None:
        return _read_int(self.folder / self.files.peak)

    def describe(self) -> str:
        swap = self.folder / self.files.swap
        counts = "without swap" if self.files is _V2 else "swap included" if swap.exists() else "swap not counted"
        version = f"version {self.files.version}, {counts}"
        counted = "counts resident memory; of files only what was not in memory before"
        return f"{self.files.limit} of the cgroup {self.folder.name} ({version}): {counted}"

    def remove(self) -> None:
        """Whatever still runs in it is ours, and ends first."""
        end = time.monotonic() + _UNTIL_EMPTY_S
        while True:
            self._kill_members()
            try:
                self.folder.rmdir()
            except OSError:
                if not self.folder.exists() or time.monotonic() > end:
                    return  # a process that does not end keeps it
                time.sleep(_BETWEEN_TRIES_S)
            else:
                return

    def _kill_members(self) -> None:
        with suppress(OSError, ValueError):
            for member in (self.folder / "cgroup.procs").read_text().split():
                if int(member) > 0:  # 0 is a process of another namespace, and would mean ourselves
                    with suppress(OSError):
                        os.kill(int(member), signal.SIGKILL)

    def _members(self) -> Path:
        procs = self.folder / "cgroup.procs"
        return procs if procs.exists() or self.files is _V2 else self.folder / "tasks"  # older kernels' only writable one

    def _number(self, name: str) -> int | None:
        """Of the line of this name among the events."""
        try:
            found = re.search(rf"^{name} (\d+)$", (self.folder / self.files.events).read_text(), re.MULTILINE)
        except OSError:
            return None
        return int(found[1]) if found else None


def _make_cgroup(limit_bytes: int, cgroups: Path, memberships: str) -> _Cgroup | None:
    """A new cgroup under the nearest one that takes a child from us, of version 2 before version 1."""
    parents = [(parent, _V2) for parent in folders_v2(cgroups, memberships) if _hands_memory_down(parent)]
    # Under one above our own of version 1, the limits of ours would not hold.
    parents += [(parent, _V1) for parent in folders_v1("memory", cgroups, memberships)[:1]]
    for parent, files in parents:
        group = _Cgroup(parent / f"osteo-edge-bench-{os.getpid()}", files)
        try:
            group.folder.mkdir()
        except OSError:
            continue
        # A folder on anything but a cgroup file system can be made as well, and limits nothing.
        if (group.folder / files.limit).exists() and group.set(limit_bytes) and group.takes_processes():
            return group
        group.remove()
    return None


def _hands_memory_down(cgroup: Path) -> bool:
    try:
        return "memory" in (cgroup / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _read_int(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    """Into a file that is there; none is made."""
    file = os.open(path, os.O_WRONLY | os.O_TRUNC)
    try:
        os.write(file, text.encode("ascii"))
    finally:
        os.close(file)
