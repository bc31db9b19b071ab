"""A limit on memory is real, told, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.benchmark.limits import Confinement, confinement, parse_bytes

LIMIT = 200_000_000
# Touches every page, since a cgroup counts what is resident.
ALLOCATE = "import sys; block = bytearray(int(sys.argv[1])); block[::4096] = b'1' * len(block[::4096]); print(len(block))"


def allocate(size: int, limits: Confinement) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-I", "-S", "-c", ALLOCATE, str(size)]
    return subprocess.run(command, capture_output=True, text=True, preexec_fn=limits.enter, check=False)


def can_make_v1() -> bool:
    """Asked of the kernel, not of the code that is tested."""
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next((path for _, controllers, path in lines if "memory" in controllers.split(",")), None)
    if own is None:
        return False
    folder = Path(f"/sys/fs/cgroup/memory{own}/osteo-edge-test-{os.getpid()}")
    try:
        folder.mkdir()
    except OSError:
        return False
    try:
        return (folder / "memory.limit_in_bytes").exists() and os.access(folder / "cgroup.procs", os.W_OK)
    finally:
        folder.rmdir()


V2_FILES = {"memory.max": "max\n", "memory.swap.max": "max\n", "cgroup.procs": "", "memory.events": "oom 0\noom_kill 0\n"}
V1_FILES = {
    "memory.limit_in_bytes": "9223372036854771712\n",
    "memory.memsw.limit_in_bytes": "9223372036854771712\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
    "memory.failcnt": "0\n",
    "memory.max_usage_in_bytes": "0\n",
    "cgroup.procs": "",
    "tasks": "",
}


@dataclass
class Kernel:
    """What puts files into new folders, and takes folders with these files away."""

    files: dict[str, str] = field(default_factory=lambda: dict(V1_FILES))

    def mkdir(self, folder: Path, *_: Any) -> None:
        os.mkdir(folder)
        for name, text in self.files.items():
            (folder / name).write_text(text)

    def rmdir(self, folder: Path) -> None:
        for name in self.files:
            (folder / name).unlink()
        os.rmdir(folder)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    kernel = Kernel()
    monkeypatch.setattr(Path, "mkdir", lambda folder, *_: kernel.mkdir(folder))
    monkeypatch.setattr(Path, "rmdir", lambda folder: kernel.rmdir(folder))
    return kernel


def fake_cgroup(root: Path, path: str, controllers: str) -> Path:
    folder = root / path
    os.makedirs(folder, exist_ok=True)
    (folder / "cgroup.subtree_control").write_text(f"{controllers}\n")
    return folder


def fake_v1(root: Path) -> Path:
    own = root / "memory" / "session"
    os.makedirs(own)
    return own


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
        assert limits.kills() == 0
        over = allocate(2 * LIMIT, limits)
        assert over.returncode != 0
        assert str(2 * LIMIT) not in over.stdout
        if limits.limit.kind != "rlimit_data":
            assert limits.kills() == 1
    assert allocate(2 * LIMIT, Confinement(None, None, int)).stdout.strip() == str(2 * LIMIT)


@pytest.mark.skipif(not can_make_v1(), reason="no cgroup of version 1 can be made here")
def test_version_1_ends_what_goes_over_it_and_leaves_the_rest_and_no_cgroup() -> None:
    lines = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    own = next(path for _, controllers, path in lines if "memory" in controllers.split(","))
    folder = Path(f"/sys/fs/cgroup/memory{own}/osteo-edge-bench-{os.getpid()}")
    with confinement(LIMIT) as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "cgroup_v1"
        assert folder.name in limits.limit.message
        assert LIMIT - 65536 < int((folder / "memory.limit_in_bytes").read_text()) <= LIMIT
        inside = allocate(LIMIT // 2, limits)
        assert (inside.returncode, inside.stdout.strip()) == (0, str(LIMIT // 2))
        assert LIMIT // 2 <= (limits.peak_bytes() or 0) < LIMIT
        assert limits.kills() == 0
        over = allocate(2 * LIMIT, limits)
        assert (over.returncode, over.stdout, limits.kills()) == (-signal.SIGKILL, "", 1)
        in_the_end = limits.limit_with_peak()
        assert in_the_end is not None
        assert in_the_end.peak_bytes == pytest.approx(LIMIT, rel=0.05)
    assert not folder.exists()


@pytest.mark.skipif(not can_make_v1(), reason="no cgroup of version 1 can be made here")
def test_an_interruption_ends_what_still_runs_there_and_removes_the_cgroup() -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupted() -> None:
        with confinement(LIMIT) as limits:
            started.append(subprocess.Popen(["sleep", "600"], preexec_fn=limits.enter))
            assert limits.limit is not None
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert started[0].wait(timeout=10) == -signal.SIGKILL
    assert list(Path("/sys/fs/cgroup/memory").rglob(f"osteo-edge-bench-{os.getpid()}")) == []


def test_without_a_cgroup_of_ours_rlimit_data_is_in_force_and_says_so(tmp_path: Path) -> None:
    with confinement(LIMIT, cgroups=tmp_path, memberships="0::/user.slice\n") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "rlimit_data"
        assert "RLIMIT_DATA" in limits.limit.message
        assert limits.limit_with_peak() == limits.limit
        over = allocate(2 * LIMIT, limits)
    assert over.returncode == 1
    assert "MemoryError" in over.stderr


def test_this_process_stays_free() -> None:
    with confinement(1_000_000):
        assert len(bytearray(LIMIT)) == LIMIT


def test_the_nearest_cgroup_that_hands_memory_down_gets_a_child(tmp_path: Path, kernel: Kernel) -> None:
    kernel.files = dict(V2_FILES)
    fake_cgroup(tmp_path, "", "cpu memory")
    parent = fake_cgroup(tmp_path, "user.slice", "cpu memory pids")
    own = fake_cgroup(tmp_path, "user.slice/session.scope", "")
    with confinement(LIMIT, cgroups=tmp_path, memberships="0::/user.slice/session.scope\n") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "cgroup"
        assert "version 2, without swap" in limits.limit.message
        (child,) = (path for path in parent.iterdir() if path.is_dir() and path != own)
        assert child.name == f"osteo-edge-bench-{os.getpid()}"
        assert (child / "memory.max").read_text() == str(LIMIT)
        assert (child / "memory.swap.max").read_text() == "0"
        (child / "cgroup.procs").write_text("")
        assert allocate(1000, limits).returncode == 0
        assert (child / "cgroup.procs").read_text() == "0"
        assert (limits.kills(), limits.peak_bytes()) == (0, None)
        (child / "memory.events").write_text("oom 1\noom_kill 2\n")
        assert limits.kills() == 2
    assert not child.exists()
    assert (parent / "cgroup.subtree_control").read_text() == "cpu memory pids\n"


def test_of_version_1_our_own_cgroup_gets_a_child(tmp_path: Path, kernel: Kernel) -> None:
    own = fake_v1(tmp_path)
    with confinement(LIMIT, cgroups=tmp_path, memberships="4:cpu:/\n3:hugetlb,memory:/session\n0::/\n") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "cgroup_v1"
        assert "version 1, swap included" in limits.limit.message
        (child,) = own.iterdir()
        for name in ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"):
            assert (child / name).read_text() == str(LIMIT)
        (child / "cgroup.procs").write_text("")
        assert allocate(1000, limits).returncode == 0
        assert (child / "cgroup.procs").read_text() == "0"
        (child / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
        (child / "memory.max_usage_in_bytes").write_text("123456\n")
        assert (limits.kills(), limits.peak_bytes()) == (3, 123456)
        (child / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\n")  # before Linux 4.13
        (child / "memory.failcnt").write_text("7\n")
        assert limits.kills() == 7
    assert list(own.iterdir()) == []


def test_version_1_without_swap_and_without_cgroup_procs(tmp_path: Path, kernel: Kernel) -> None:
    for name in ("memory.memsw.limit_in_bytes", "cgroup.procs"):
        del kernel.files[name]
    own = fake_v1(tmp_path)
    with confinement(LIMIT, cgroups=tmp_path, memberships="3:memory:/session\n") as limits:
        assert limits.limit is not None
        assert "swap not counted" in limits.limit.message
        (child,) = own.iterdir()
        assert (child / "tasks").read_text() == "0"


def test_where_version_1_pauses_what_goes_over_it_killing_is_asked_for(tmp_path: Path, kernel: Kernel) -> None:
    kernel.files["memory.oom_control"] = "oom_kill_disable 1\nunder_oom 0\noom_kill 0\n"
    own = fake_v1(tmp_path)
    with confinement(LIMIT, cgroups=tmp_path, memberships="3:memory:/session\n"):
        (child,) = own.iterdir()
        assert (child / "memory.oom_control").read_text() == "0"


def test_in_a_container_the_mount_is_our_own_cgroup(tmp_path: Path, kernel: Kernel) -> None:
    os.mkdir(tmp_path / "memory")
    with confinement(LIMIT, cgroups=tmp_path, memberships="3:memory:/docker/of-the-host\n") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "cgroup_v1"
        assert [path.name for path in (tmp_path / "memory").iterdir()] == [f"osteo-edge-bench-{os.getpid()}"]


@pytest.mark.parametrize("version", [1, 2])
def test_a_folder_without_the_kernel_s_control_file_limits_nothing_and_is_no_cgroup(tmp_path: Path, version: int) -> None:
    parent = fake_v1(tmp_path) if version == 1 else fake_cgroup(tmp_path, "session", "memory")
    before = sorted(parent.iterdir())
    memberships = "3:memory:/session\n" if version == 1 else "0::/session\n"
    with confinement(LIMIT, cgroups=tmp_path, memberships=memberships) as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "rlimit_data"
    assert sorted(parent.iterdir()) == before


def test_a_limit_that_the_kernel_did_not_take_is_not_told(
    tmp_path: Path, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fake_v1(tmp_path)
    monkeypatch.setattr("osteo_edge.benchmark.limits._write", lambda *_: None)
    with confinement(LIMIT, cgroups=tmp_path, memberships="3:memory:/session\n") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "rlimit_data"
    assert list(own.iterdir()) == []


def test_a_cgroup_above_the_mount_is_never_looked_at(tmp_path: Path) -> None:
    fake_cgroup(tmp_path, "", "memory")
    inside = fake_cgroup(tmp_path, "mount", "")
    with confinement(LIMIT, cgroups=inside, memberships="0::/\n") as limits:
        assert limits.limit is not None
        assert limits.limit.kind == "rlimit_data"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cgroup.subtree_control", "mount"]


def test_no_limit_is_none() -> None:
    with confinement(None) as limits:
        assert (limits.limit, limits.enter, limits.limit_with_peak()) == (None, None, None)
