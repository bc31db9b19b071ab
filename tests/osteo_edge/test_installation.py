"""Installing bundles: what is proved before, what attacks meet, and that nothing half-done is ever found."""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from osteo_edge import OsteoPredictor, install_bundle, installation, installed_bundles, open_bundle, remove_bundle
from osteo_edge.bundle import REPLACED, user_folder
from osteo_edge.errors import (
    BundleError,
    BundleNotFoundError,
    InstallationError,
    IntegrityError,
    ManifestError,
    OsteoEdgeError,
    SelfTestError,
)
from osteo_edge.selftest import EXPECTED
from osteo_edge.storage import exchange
from tests.bundles import DENSITY
from tests.making import keep_one_file, rename, rewrite_file, rewrite_manifest

NAME = "knee-other"
PREFIX = ".osteo-edge-unfinished-"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that bundles are installed into; it does not exist yet."""
    folder = tmp_path / "data" / "bundles"
    monkeypatch.setenv("OSTEO_EDGE_BUNDLES", str(folder))
    return folder


@pytest.fixture
def other(bundle_copy: Path) -> Path:
    return rename(keep_one_file(bundle_copy), NAME)


def zipped(folder: Path, *, top: str = "", change: Callable[[zipfile.ZipFile], object] | None = None) -> Path:
    target = folder.with_suffix(".zip")
    with warnings.catch_warnings(), zipfile.ZipFile(target, "w") as archive:
        warnings.simplefilter("ignore")  # of names that stand twice
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{top}{path.relative_to(folder).as_posix()}")
        if change:
            change(archive)
    return target


def test_a_folder_is_installed_and_found_by_name(other: Path, home: Path, example: Path) -> None:
    assert installed_bundles() == ()
    bundle = install_bundle(other)
    assert (bundle.root, installed_bundles()) == (home / NAME, (NAME,))
    assert bundle.digest == open_bundle(other).digest
    assert list(open_bundle(NAME).verify())
    assert OsteoPredictor(NAME).predict(example).model.bundle == NAME
    assert [path.name for path in home.iterdir()] == [NAME], "nothing else is left"


@pytest.mark.parametrize("top", ["", "knee-other/", "some folder/"])
def test_a_zip_is_installed_too(other: Path, top: str) -> None:
    assert install_bundle(zipped(other, top=top)).digest == open_bundle(other).digest


def test_the_runtime_only_reads_what_is_installed(other: Path, home: Path, example: Path) -> None:
    install_bundle(other)
    paths = [home, *home.rglob("*")]
    for path in reversed(paths):
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert OsteoPredictor(NAME).predict(example).model.bundle == NAME
    finally:
        for path in paths:
            path.chmod(0o755)


def test_a_name_is_taken_once_unless_forced(other: Path, home: Path) -> None:
    install_bundle(other)
    with pytest.raises(InstallationError, match="--force"):
        install_bundle(other)
    rewrite_manifest(other, lambda manifest: manifest.update(version="9.9"))
    install_bundle(other, force=True)
    assert open_bundle(NAME).manifest.version == "9.9"
    assert [path.name for path in home.iterdir()] == [NAME]


def test_the_embedded_name_cannot_be_shadowed(bundle_copy: Path, home: Path) -> None:
    with pytest.raises(InstallationError, match="embedded"):
        install_bundle(bundle_copy, force=True)
    home.mkdir(parents=True)
    shutil.copytree(bundle_copy, home / DENSITY)
    assert open_bundle(DENSITY).root != home / DENSITY


def test_removing(other: Path, home: Path) -> None:
    install_bundle(other)
    assert remove_bundle(NAME) == home / NAME
    assert list(home.iterdir()) == []
    for name in (NAME, DENSITY, "..", "../x", ""):
        with pytest.raises(BundleNotFoundError):
            remove_bundle(name)


def test_what_fails_its_self_test_is_not_installed(other: Path, home: Path) -> None:
    text = (other / EXPECTED).read_text().replace('"joint_tolerance": 0.02', '"joint_tolerance": 0.0')
    rewrite_file(other, EXPECTED, text.replace('"width_px": ', '"width_px": 1').encode())
    with pytest.raises(SelfTestError):
        install_bundle(other)
    assert list(home.iterdir()) == []


def test_a_damaged_or_enlarged_folder_is_not_installed(other: Path, home: Path) -> None:
    model = next((other / "members").glob("*.onnx"))
    content = model.read_bytes()
    model.write_bytes(content[:-1] + b"x")
    with pytest.raises(IntegrityError):
        install_bundle(other)
    model.write_bytes(content)
    (other / "extra.txt").write_text("x")
    with pytest.raises(IntegrityError, match="not listed"):
        install_bundle(other)
    (other / "extra.txt").unlink()
    (other / "LICENSE").unlink()
    (other / "LICENSE").symlink_to("/etc/hostname")
    with pytest.raises(IntegrityError, match="link"):
        install_bundle(other)
    assert not home.exists() or list(home.iterdir()) == []


def _add(name: str, data: bytes = b"x") -> Callable[[zipfile.ZipFile], object]:
    return lambda archive: archive.writestr(name, data)


def _add_link(archive: zipfile.ZipFile) -> None:
    entry = zipfile.ZipInfo("members/link")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(entry, "/etc/passwd")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_add("../outside.txt"), "not listed"),
        (_add("/tmp/outside.txt"), "not listed"),
        (_add("members\\..\\..\\outside.txt"), "not listed"),
        (_add("C:/outside.txt"), "not listed"),
        (_add("extra.txt"), "not listed"),
        (_add("LICENSE"), "stands twice"),
        (_add_link, "a link"),
        (lambda archive: archive.writestr("x.bin", b"x", zipfile.ZIP_LZMA), "odd way"),
        (lambda archive: setattr(archive, "comment", b"hello"), "without comment"),
        (lambda archive: [archive.writestr(f"{number:0200d}", b"") for number in range(5000)], "too many entries"),
    ],
)
def test_an_archive_that_tries_something_is_refused(
    other: Path, home: Path, tmp_path: Path, change: Callable[[zipfile.ZipFile], object], said: str
) -> None:
    with pytest.raises(IntegrityError, match=said):
        install_bundle(zipped(other, change=change))
    assert not home.exists() or list(home.iterdir()) == []
    assert not list(tmp_path.rglob("outside.txt"))
    assert not Path("/tmp/outside.txt").exists()


def test_an_unsafe_path_in_the_manifest_is_refused_before_anything_is_written(other: Path, home: Path) -> None:
    entry = {"../outside.txt": {"sha256": "0" * 64, "size": 1}}
    rewrite_manifest(other, lambda manifest: manifest["files"].update(entry))
    with pytest.raises(ManifestError, match="unsafe path"):
        install_bundle(zipped(other, change=_add("../outside.txt")))
    assert not home.exists()


def test_a_bomb_is_not_unpacked(other: Path, home: Path) -> None:
    """An entry of 20 MB in a few kilobytes, first under an honest manifest and then under one that allows it."""
    bomb = zipped(other)
    packed = io.BytesIO(bomb.read_bytes())
    with zipfile.ZipFile(packed) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    entries["LICENSE"] = bytes(20 << 20)
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(IntegrityError, match="larger than it should be"):
        install_bundle(bomb)
    model = next(path.relative_to(other).as_posix() for path in (other / "members").glob("*.onnx"))
    for name, size in (("LICENSE", 1 << 40), ("LICENSE", (64 << 20) + 1), (model, (512 << 20) + 1)):
        enlarged = Path(shutil.copytree(other, other.with_name("enlarged")))
        rewrite_manifest(enlarged, lambda manifest, name=name, size=size: manifest["files"][name].update(size=size))
        with pytest.raises(InstallationError, match="too large"):
            install_bundle(zipped(enlarged))
        shutil.rmtree(enlarged)
    assert not home.exists() or list(home.iterdir()) == []


_MEASURED = """
import re, sys
from pathlib import Path
import osteo_edge.selftest
from osteo_edge import install_bundle
osteo_edge.selftest.require_self_test = lambda *_, **__: ()
install_bundle(sys.argv[1])
# Not the resource module's figure, which begins with the memory of the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) >> 10)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of memory is read from /proc")
@pytest.mark.parametrize("form", ["zip", "folder"])
def test_a_large_file_passes_through_in_pieces(other: Path, form: str) -> None:
    """A model of 200 MiB of zeros is copied, digested and verified, and never in memory, where it would be more than once."""
    size_mib, zeros = 200, bytes(1 << 20)
    model = next((other / "members").glob("*.onnx"))
    name = model.relative_to(other).as_posix()
    with model.open("wb") as file:
        file.truncate(size_mib << 20)
    with model.open("rb") as file:
        entry = {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": size_mib << 20}
    rewrite_manifest(other, lambda manifest: manifest["files"].update({name: entry}))
    source = other
    if form == "zip":
        model.unlink()
        source = zipped(other)
        with zipfile.ZipFile(source, "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive, archive.open(name, "w") as packed:
            for _ in range(size_mib):
                packed.write(zeros)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", _MEASURED, str(source)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert int(done.stdout) < 100
    assert (open_bundle(NAME).root / name).stat().st_size == size_mib << 20


def test_every_cut_and_many_changed_bytes_are_found(other: Path, home: Path) -> None:
    content = zipped(other).read_bytes()
    target = other.with_suffix(".zip")
    for length in (0, 1, 21, 22, 1000, len(content) // 2, len(content) - 1):
        target.write_bytes(content[:length])
        with pytest.raises(BundleError):
            install_bundle(target)
    for position in range(50, len(content), len(content) // 40):
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        target.write_bytes(bytes(damaged))
        try:
            install_bundle(target, force=True)
        except OsteoEdgeError:
            continue
        assert list(open_bundle(NAME).verify()), "a byte that no content hangs on, as a date"


def test_the_64_bit_form_is_refused(other: Path) -> None:
    content = zipped(other).read_bytes()
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, len(content), 1)
    other.with_suffix(".zip").write_bytes(content[:-22] + locator + content[-22:])
    with pytest.raises(IntegrityError, match="64-bit"):
        install_bundle(other.with_suffix(".zip"))


@pytest.mark.parametrize("content", [None, b"", b"text", "folder"])
def test_what_is_no_bundle_is_named(tmp_path: Path, content: object) -> None:
    path = tmp_path / "thing"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "folder":
        path.mkdir()
    with pytest.raises(BundleError, match="thing"):
        install_bundle(path)


def test_an_interrupted_installation_is_never_found_and_keeps_what_was_there(
    other: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_bundle(other)
    before = open_bundle(NAME).digest
    rewrite_manifest(other, lambda manifest: manifest.update(version="9.9"))

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("osteo_edge.selftest.require_self_test", interrupt)
        with pytest.raises(KeyboardInterrupt):
            install_bundle(other, force=True)
    real = Path.rename

    def fail_last(self: Path, target: Path) -> Path:
        if target == home / NAME and self.name.startswith(PREFIX):
            raise OSError(28, "No space left on device")
        return real(self, target)

    def fail(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    for changing_places in (fail, lambda *_: False):
        with monkeypatch.context() as patched:
            patched.setattr(installation, "exchange", changing_places)
            patched.setattr(Path, "rename", fail_last)
            with pytest.raises(InstallationError, match="No space"):
                install_bundle(other, force=True)
        assert open_bundle(NAME).digest == before
        assert [path.name for path in home.iterdir()] == [NAME]


# All that changes names or flushes; ``exchange`` is our own.
STEPS = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "fsync")


@pytest.fixture
def newer(other: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another version of an installed bundle; the self-test, which changes no name, is left out."""
    monkeypatch.setattr("osteo_edge.selftest.require_self_test", lambda *_, **__: ())
    install_bundle(other)
    return rewrite_manifest(other, lambda manifest: manifest.update(version="9.9"))


def watch(monkeypatch: pytest.MonkeyPatch, before_each: Callable[[str, tuple[object, ...]], None]) -> None:
    """Have ``before_each`` called with every step and what it is done to, before it is done."""

    def watched(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def step(*arguments: object, **options: object) -> object:
            before_each(name, arguments)
            return real(*arguments, **options)

        return step

    for name in STEPS:
        monkeypatch.setattr(os, name, watched(name, getattr(os, name)))
    monkeypatch.setattr(installation, "exchange", watched("exchange", installation.exchange))


def killed_before(number: int, action: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do ``action`` in a process that is killed before its n-th step, counted from 0; whether it came that far."""
    child = os.fork()
    if child == 0:
        steps = iter(range(number + 1))
        watch(monkeypatch, lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(steps) == number else None)
        action()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def recover(home: Path, newer: Path) -> None:
    """After a kill the bundle can be installed again, or removed; all that is left is hidden, and what was removed stays so."""
    if any(path.name.startswith(REPLACED) for path in home.iterdir()):
        killed = Path(shutil.copytree(home, home.with_name("killed")))
        install_bundle(newer, force=True)
        assert open_bundle(NAME).digest == open_bundle(newer).digest
        assert [path.name for path in home.iterdir() if not path.name.startswith(PREFIX)] == [NAME]
        shutil.rmtree(home)
        killed.rename(home)
    remove_bundle(NAME)
    assert installed_bundles() == ()
    assert [path.name for path in home.iterdir() if not path.name.startswith(PREFIX)] == []


def folders_can_be_exchanged(tmp_path: Path) -> bool:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    return exchange(one, other)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_kill_at_any_step_leaves_the_old_bundle_or_the_new_one(
    newer: Path, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(installation, "exchange", lambda *_: False)
    elif not folders_can_be_exchanged(tmp_path):
        pytest.skip("no folders are exchanged here")
    before, after = open_bundle(NAME).digest, open_bundle(newer).digest
    pristine = home.rename(tmp_path / "pristine")
    found = []
    for number in range(1000):
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(pristine, home)
        was_killed = killed_before(number, lambda: install_bundle(newer, force=True), monkeypatch)
        assert installed_bundles() == (NAME,)
        assert list(open_bundle(NAME).verify())
        found.append(open_bundle(NAME).digest)
        if not was_killed:
            break
        recover(home, newer)
    changed = found.index(after)
    assert found == [before] * changed + [after] * (len(found) - changed)
    assert changed > 10, "steps before"
    assert len(found) - changed > 10, "and after"
    assert [path.name for path in home.iterdir()] == [NAME]


def test_a_kill_at_any_step_of_a_first_installation_leaves_nothing_or_all(
    newer: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    for number in range(1000):
        shutil.rmtree(home, ignore_errors=True)
        was_killed = killed_before(number, lambda: install_bundle(newer), monkeypatch)
        seen.append(installed_bundles())
        assert not seen[-1] or list(open_bundle(NAME).verify())
        if not was_killed:
            break
    assert set(seen) == {(), (NAME,)}
    assert seen == sorted(seen)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_all_is_on_the_disk_before_names_change_and_names_before_the_old_goes(
    newer: Path, home: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    """A power cut cannot be had in a test; the order in which things are flushed can."""
    done: list[tuple[str, str]] = []
    if not can_exchange:
        monkeypatch.setattr(installation, "exchange", lambda *_: False)

    def note(step: str, arguments: tuple[object, ...]) -> None:
        place = arguments[0]
        done.append((step, os.readlink(f"/proc/self/fd/{place}") if isinstance(place, int) else str(place)))

    with monkeypatch.context() as patched:
        watch(patched, note)
        install_bundle(newer, force=True)
    listed = open_bundle(NAME).listed
    names = [number for number, (step, _) in enumerate(done) if step in ("rename", "exchange")]
    staging = Path(next(place for step, place in done if step == "mkdir" and PREFIX in place))
    wanted = {staging, *(staging / path for path in listed), *((staging / path).parent for path in listed)}
    assert wanted == {Path(place) for step, place in done[: names[0]] if step == "fsync"}
    removals = [number for number, (step, _) in enumerate(done) if step in ("unlink", "rmdir")]
    real = [names[0]] if exchange_is_real(done) else names[1:3]
    for number in real:
        assert done[number + 1] == ("fsync", str(home)), "each name is on the disk before anything else happens"
    assert max(names) < min(removals)


def exchange_is_real(done: list[tuple[str, str]]) -> bool:
    return [step for step, _ in done if step in ("rename", "exchange")] == ["exchange"]


_COMMAND = "import sys; from osteo_edge.cli.main import main; sys.argv = ['osteo-edge', *sys.argv[1:]]; main()"
_CALLS = ("rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "fsync")


def traced(source: Path, log: Path, *options: str) -> subprocess.CompletedProcess[bytes]:
    command = ("strace", "-f", "-qq", "-o", str(log), "-e", f"trace={','.join(_CALLS)}", *options)
    install = (sys.executable, "-c", _COMMAND, "bundles", "install", "--force", str(source))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run([*command, *install], capture_output=True, env=environment, check=False)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_command_is_killed_at_every_system_call_that_changes_names(other: Path, home: Path, tmp_path: Path) -> None:
    """The same from outside, by the system's own hand, self-test and all."""
    install_bundle(other)
    rewrite_manifest(other, lambda manifest: manifest.update(version="9.9"))
    before, after = open_bundle(NAME).digest, open_bundle(other).digest
    pristine = Path(shutil.copytree(home, tmp_path / "pristine"))
    log = tmp_path / "log"
    if traced(other, log).returncode != 0:
        pytest.skip("no process may be traced here")
    calls = re.findall(r"^\d+ +(\w+)\(", log.read_text(), re.MULTILINE)
    found = []
    for place, call in enumerate(calls):
        shutil.rmtree(home)
        shutil.copytree(pristine, home)
        number = calls[: place + 1].count(call)
        assert traced(other, log, "-e", f"inject={call}:signal=KILL:when={number}").returncode != 0
        assert installed_bundles() == (NAME,)
        assert list(open_bundle(NAME).verify())
        found.append(open_bundle(NAME).digest)
    changed = found.index(after)
    assert found == [before] * changed + [after] * (len(found) - changed)
    assert changed > 10, "calls before"
    assert len(found) - changed > 10, "and after"


def test_what_a_killed_run_left_is_hidden_and_cleared_later(other: Path, home: Path) -> None:
    left, recent, foreign = (home / name for name in (f"{PREFIX}old", f"{PREFIX}new", ".config-of-another-program"))
    for folder in (left, recent, foreign):
        shutil.copytree(other, folder)
    for folder in (left, foreign):
        os.utime(folder, (0, 0))
    assert installed_bundles() == ()
    install_bundle(other)
    assert [folder.exists() for folder in (left, recent, foreign)] == [False, True, True]


def test_a_folder_that_cannot_be_made_is_named(other: Path, home: Path) -> None:
    home.parent.write_text("a file where a folder should be")
    with pytest.raises(InstallationError, match="cannot be written"):
        install_bundle(other)


def test_a_file_in_the_way_is_left_alone(other: Path, home: Path) -> None:
    home.mkdir(parents=True)
    (home / NAME).write_text("mine")
    with pytest.raises(InstallationError, match="in the way"):
        install_bundle(other, force=True)
    assert (home / NAME).read_text() == "mine"


def test_where_bundles_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert user_folder() == tmp_path / "data" / "bundles"
    monkeypatch.delenv("OSTEO_EDGE_BUNDLES")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_folder() == tmp_path / "osteo-edge" / "bundles"
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/someone")
    assert user_folder() == Path("/home/someone/.local/share/osteo-edge/bundles")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert (user_folder(), installed_bundles()) == (None, ())
    with pytest.raises(InstallationError, match="OSTEO_EDGE_BUNDLES"):
        installation.install_bundle(tmp_path)
