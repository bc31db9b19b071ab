"""The control groups that this process is in, of version 2 or 1, and what they leave it of the machine."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIPS = Path("/proc/self/cgroup")


@cache
def own_memberships() -> str:
    """As ``/proc/self/cgroup`` tells; empty where it does not."""
    try:
        return _MEMBERSHIPS.read_text()
    except (OSError, ValueError):
        return ""


def folders_v2(root: Path, memberships: str) -> list[Path]:
    """Our own group of the unified hierarchy, then those above it up to ``root``."""
    own = next((line.removeprefix("0::") for line in memberships.splitlines() if line.startswith("0::")), None)
    return [] if own is None else _upwards(root / own.lstrip("/"), root)


def folders_v1(controller: str, root: Path, memberships: str) -> list[Path]:
    """The same of one controller of version 1, each of which has a folder of its own in ``root``.

    In a container the path may be that of the host, and the mount our own group.
    """
    fields = (line.split(":", 2) for line in memberships.splitlines())
    own = next((of[2] for of in fields if len(of) == 3 and controller in of[1].split(",")), None)
    if own is None:
        return []
    nearest = root / controller / own.lstrip("/")
    return _upwards(nearest if nearest.is_dir() else root / controller, root / controller)


def cpu_quota(root: Path = ROOT, memberships: str | None = None) -> float | None:
    """Processors' worth of time that the tightest of our groups allows; None where none limits it.

    Version 2: ``cpu.max``, two numbers of microseconds or ``max``; version 1: ``cpu.cfs_quota_us``, -1 for none, and
    ``cpu.cfs_period_us`` (kernel documentation, cgroup-v2.rst and sched-bwc.rst).
    """
    memberships = own_memberships() if memberships is None else memberships
    groups = [_read(folder / "cpu.max") for folder in folders_v2(root, memberships)]
    for folder in folders_v1("cpu", root, memberships):
        groups.append(_read(folder / "cpu.cfs_quota_us") + _read(folder / "cpu.cfs_period_us"))
    shares = (quota / period for quota, period in map(_two_numbers, groups) if quota > 0 and period > 0)
    return min(shares, default=None)


def memory_limit(root: Path = ROOT, memberships: str | None = None) -> int | None:
    """Bytes that the tightest of our groups allows; None where none limits them below what any machine has."""
    memberships = own_memberships() if memberships is None else memberships
    words = [_read(folder / "memory.max") for folder in folders_v2(root, memberships)]
    words += [_read(folder / "memory.limit_in_bytes") for folder in folders_v1("memory", root, memberships)]
    limits = (int(word) for (word,) in (of for of in words if len(of) == 1) if word.isdecimal())
    # Version 1 has the largest number of whole pages for none.
    return min((limit for limit in limits if 0 < limit < 1 << 60), default=None)


def _upwards(nearest: Path, root: Path) -> list[Path]:
    return [folder for folder in (nearest, *nearest.parents) if folder.is_relative_to(root)]


def _read(path: Path) -> list[str]:
    """The words of a small file of the kernel."""
    try:
        return path.read_text().split()
    except (OSError, ValueError):
        return []


def _two_numbers(words: list[str]) -> tuple[float, float]:
    try:
        quota, period = map(int, words)
    except ValueError:  # no limit, or nothing told
        return math.nan, math.nan
    return quota, period
