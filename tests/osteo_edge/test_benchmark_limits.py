"""A limit on memory is real, told, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from osteo_edge.benchmark.limits import Confinement, confinement, parse_bytes

LIMIT = 200_000_000
# Touches every page, since a cgroup counts what is resident.
ALLOCATE = "import sys; block = bytearray(int(sys.argv[1])); block[::4096] = b'1' * len(block[::4096]); print(len(block))"


def allocate(size: int, limits: Confinement) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", ALLOCATE, str(size)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limits.enter, check=False)


def fake_cgroup(root: Path, path: str, controllers: str) -> Path:
    folder = root / path
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cgroup.subtree_control").write_text(f"{controllers}\n")
    return folder


@pytest.mark.parametrize(
    ("text", "size"),
    [("512MB", 512_000_000), ("4GB", 4_000_000_000), ("1.5 GiB", 3 << 29), ("64mib", 64 << 20), ("1000", 1000)],
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "0", "-1GB", "5XB", "1,5GB", "1e9", "nan"])
def test_what_is_no_size_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="512MB"):
        parse_bytes(text)


def test_the_limit_in_force_refuses_or_ends_what_goes_over_it() -> None:
    """By a cgroup where one can be made, else by RLIMIT_DATA."""
    with confinement(LIMIT) as limits:
        assert limits.limit is not None
        assert limits.limit.limit_bytes == LIMIT
        assert allocate(LIMIT // 4, limits).returncode == 0
        over = allocate(2 * LIMIT, limits)
        assert over.returncode != 0
        assert str(2 * LIMIT) not in over.stdout
        if limits.limit.kind == "cgroup":
            assert limits.kills() == 1
    assert allocate(2 * LIMIT, Confinement(None, None, int)).stdout.strip() == str(2 * LIMIT)


def test_without_a_cgroup_of_ours_rlimit_data_is_in_force_and_says_so(tmp_path: Path) -> None:
    with confinement(LIMIT, cgroups=tmp_path, own="/user.slice") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "rlimit_data"
        assert "RLIMIT_DATA" in limits.limit.message
        over = allocate(2 * LIMIT, limits)
    assert over.returncode == 1
    assert "MemoryError" in over.stderr


def test_this_process_stays_free() -> None:
    with confinement(1_000_000):
        assert len(bytearray(LIMIT)) == LIMIT


def test_the_nearest_cgroup_that_hands_memory_down_gets_a_child(tmp_path: Path) -> None:
    fake_cgroup(tmp_path, "", "cpu memory")
    parent = fake_cgroup(tmp_path, "user.slice", "cpu memory pids")
    own = fake_cgroup(tmp_path, "user.slice/session.scope", "")
    with confinement(LIMIT, cgroups=tmp_path, own="/user.slice/session.scope") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "cgroup"
        (child,) = (path for path in parent.iterdir() if path.is_dir() and path != own)
        assert child.name == f"osteo-edge-bench-{os.getpid()}"
        assert (child / "memory.max").read_text() == str(LIMIT)
        assert (child / "memory.swap.max").read_text() == "0"
        (child / "cgroup.procs").unlink()
        assert allocate(1000, limits).returncode == 0
        assert (child / "cgroup.procs").read_text() == "0"
        assert limits.kills() == 0
        (child / "memory.events").write_text("oom 1\noom_kill 2\n")
        assert limits.kills() == 2
        for file in child.iterdir():  # the kernel's own files go with their folder
            file.unlink()
    assert not child.exists()
    assert (parent / "cgroup.subtree_control").read_text() == "cpu memory pids\n"


def test_a_cgroup_above_the_mount_is_never_looked_at(tmp_path: Path) -> None:
    fake_cgroup(tmp_path, "", "memory")
    inside = fake_cgroup(tmp_path, "mount", "")
    with confinement(LIMIT, cgroups=inside, own="/") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "rlimit_data"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cgroup.subtree_control", "mount"]


def test_no_limit_is_none() -> None:
    with confinement(None) as limits:
        assert (limits.limit, limits.enter) == (None, None)
