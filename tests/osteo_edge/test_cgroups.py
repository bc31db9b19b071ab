"""What the control groups leave a process, in the files of both versions."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from osteo_edge.cgroups import ROOT, cpu_quota, memory_limit
from osteo_edge.engines import select

SOURCES = Path(__file__).resolve().parents[2]
V2 = "0::/system.slice/docker-1.scope\n"
V1 = "4:memory:/docker/1\n3:cpuacct,cpu:/docker/1\n1:name=systemd:/docker/1\n0::/\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")


@pytest.mark.parametrize(
    ("memberships", "files", "quota"),
    [
        (V2, {"system.slice/docker-1.scope/cpu.max": "150000 100000"}, 1.5),
        (V2, {"system.slice/docker-1.scope/cpu.max": "max 100000", "system.slice/cpu.max": "max 100000"}, None),
        (V2, {"system.slice/docker-1.scope/cpu.max": "max 100000", "system.slice/cpu.max": "20000 10000"}, 2),
        (V2, {"system.slice/docker-1.scope/cpu.max": "50000 100000", "system.slice/cpu.max": "200000 100000"}, 0.5),
        ("0::/\n", {"cpu.max": "400000 100000"}, 4),  # a container with a namespace of its own
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "300000", "cpu/docker/1/cpu.cfs_period_us": "100000"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),  # the mount is the group
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "-1", "cpu/docker/1/cpu.cfs_period_us": "100000"}, None),
        (V1, {"cpu/docker/1/cpu.cfs_quota_us": "100000"}, None),
        (V2, {"system.slice/docker-1.scope/cpu.max": "nonsense"}, None),
        (V2, {"system.slice/docker-1.scope/cpu.max": "0 0"}, None),
        (V2, {}, None),
        ("", {"cpu.max": "100000 100000"}, None),
        ("nonsense\n5:\n", {}, None),
    ],
)
def test_quota_of_time(memberships: str, files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert cpu_quota(tmp_path, memberships) == quota


@pytest.mark.parametrize(
    ("memberships", "files", "limit"),
    [
        (V2, {"system.slice/docker-1.scope/memory.max": "536870912", "system.slice/memory.max": "max"}, 536870912),
        (V2, {"system.slice/docker-1.scope/memory.max": "536870912", "system.slice/memory.max": "1000000"}, 1000000),
        (V2, {"system.slice/docker-1.scope/memory.max": "max"}, None),
        (V1, {"memory/docker/1/memory.limit_in_bytes": "536870912"}, 536870912),
        (V1, {"memory/docker/1/memory.limit_in_bytes": "9223372036854771712"}, None),
        (V1, {"memory/memory.limit_in_bytes": "4096"}, 4096),
        (V2, {"system.slice/docker-1.scope/memory.max": "-5"}, None),
        ("", {}, None),
    ],
)
def test_limit_of_memory(memberships: str, files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    write(tmp_path, files)
    assert memory_limit(tmp_path, memberships) == limit


@pytest.mark.parametrize(
    ("processors", "quota", "threads"),
    [(8, None, 8), (8, 2.0, 2), (8, 1.5, 2), (8, 0.1, 1), (2, 16.0, 2), (8, 2.0001, 3)],
)
def test_threads_are_the_smaller_of_affinity_and_quota(
    processors: int, quota: float | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(processors)), raising=False)
    monkeypatch.setattr(select, "cpu_quota", lambda: quota)
    assert select.available_threads() == threads


def test_threads_where_the_affinity_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> set[int]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(select, "cpu_quota", lambda: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    assert select.available_threads() == 6
    monkeypatch.delattr(os, "sched_getaffinity")
    assert select.available_threads() == 6
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert select.available_threads() == 1


@pytest.fixture
def group() -> Iterator[Path]:
    """A real control group of version 1 or 2 with a quota of half a processor."""
    folder = (ROOT / "cpu" if (ROOT / "cpu").is_dir() else ROOT) / f"osteo-edge-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("no control group can be made here")
    try:
        with suppress(OSError):
            (folder / "cpu.cfs_quota_us").write_text("50000")
        with suppress(OSError):
            (folder / "cpu.max").write_text("50000 100000")
        yield folder
    finally:
        folder.rmdir()


def test_a_real_group_is_heeded(group: Path) -> None:
    def enter() -> None:
        (group / "cgroup.procs").write_text("0")

    code = "from osteo_edge.engines.select import available_threads; from osteo_edge.cgroups import cpu_quota\n"
    code += "print(cpu_quota(), available_threads())"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONPATH": str(SOURCES)},
            preexec_fn=enter,
            capture_output=True,
            text=True,
            check=True,
        )
    except subprocess.SubprocessError:
        pytest.skip("no process can be put into a control group here")
    assert done.stdout == "0.5 1\n"
