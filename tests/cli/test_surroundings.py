"""The command line where the system gives little: limits on files, memory and address space."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from osteo_edge.benchmark.limits import confinement

ROOT = Path(__file__).resolve().parents[2]
ANSWERED = (0, 4)
ENGINES = pytest.mark.parametrize("engine", ["onnxruntime", "litert"])


def predict(*arguments: str | Path, enter: Callable[[], None]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "osteo_edge", "predict", "--format", "json", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(command, env=environment, preexec_fn=enter, capture_output=True, text=True, timeout=300, check=False)


def limited(kind: int, limit: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(kind, (limit, limit))


@ENGINES
def test_a_limit_on_the_size_of_files_changes_no_answer(engine: str, example: Path) -> None:
    done = predict(example, "--engine", engine, enter=limited(resource.RLIMIT_FSIZE, 4096))
    assert (done.returncode in ANSWERED, done.stderr) == (True, "")
    assert json.loads(done.stdout)["status"] in ("reported", "referred")


MIB = 1 << 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, example: Path) -> Path:
    """Several pictures, which are answered side by side."""
    folder = tmp_path_factory.mktemp("radiographs")
    for number in range(6):
        (folder / f"{number}.png").symlink_to(example)
    return folder


@ENGINES
@pytest.mark.parametrize("threads", [1, 3])
def test_little_address_space_gives_an_answer_or_says_so(engine: str, threads: int, example: Path) -> None:
    require_answers_or_words(resource.RLIMIT_AS, range(100, 500, 40), example, engine, threads)


@ENGINES
def test_little_address_space_for_pictures_side_by_side(engine: str, folder: Path) -> None:
    require_answers_or_words(resource.RLIMIT_AS, range(360, 640, 40), folder, engine, threads=3)


@ENGINES
def test_little_writable_memory_gives_an_answer_or_says_so(engine: str, example: Path) -> None:
    require_answers_or_words(resource.RLIMIT_DATA, range(40, 200, 20), example, engine, threads=1)


@ENGINES
def test_little_address_space_for_a_large_picture(engine: str, tmp_path: Path, example: Path) -> None:
    """The library may be loaded and the pixels not fit, or only what is made of them."""
    path = tmp_path / "large.jpg"
    cv2.imwrite(str(path), cv2.resize(cv2.imread(str(example), cv2.IMREAD_GRAYSCALE), (6000, 6000)))
    for limit in range(375, 415, 8):
        done = predict("--engine", engine, "--threads", "2", path, enter=limited(resource.RLIMIT_AS, limit * MIB))
        assert done.returncode in (*ANSWERED, 9), done.stderr
        assert (done.returncode == 9) == done.stderr.startswith("osteo-edge: too little memory")


def require_answers_or_words(kind: int, limits_mib: range, picture: Path, engine: str, threads: int) -> None:
    """Whatever the limit: never a crash; first the words, then the answers."""
    codes = []
    for limit in limits_mib:
        done = predict("--engine", engine, "--threads", str(threads), picture, enter=limited(kind, limit * MIB))
        codes.append(done.returncode)
        if done.returncode == 9:
            assert done.stdout == ""
            assert done.stderr.startswith("osteo-edge: too little memory")
            assert "\n" not in done.stderr.strip()
        else:
            assert (done.returncode in ANSWERED, done.stderr) == (True, ""), limit
    assert codes == sorted(codes, reverse=True)
    assert set(codes) in ({code, 9} for code in ANSWERED)


@pytest.mark.parametrize("command", [("doctor",), ("bundles", "verify", "knee-mobilenet_v2"), ("predict", "missing.png")])
def test_every_command_says_so(command: tuple[str, ...]) -> None:
    for limit in (60, 120, 180, 240, 300):
        done = subprocess.run(
            [sys.executable, "-m", "osteo_edge", *command],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            preexec_fn=limited(resource.RLIMIT_AS, limit * MIB),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 9, (limit, done.stderr)
        assert done.stderr.startswith("osteo-edge: too little memory")


def test_a_container_without_memory_is_told_rather_than_killed(example: Path) -> None:
    with confinement(40 * MIB) as container:
        if container.limit is None or container.limit.kind == "rlimit_data":
            pytest.skip("no control group can be made here")
        assert container.enter is not None
        done = predict(example, enter=container.enter)
    assert done.returncode == 9
    assert "this container is limited to 40" in done.stderr


@ENGINES
def test_large_pictures_side_by_side_stay_within_a_container(engine: str, tmp_path: Path, example: Path) -> None:
    """Eight threads would hold eight pictures of 36 megapixels, of which this container has room for two."""
    large = cv2.resize(cv2.imread(str(example), cv2.IMREAD_GRAYSCALE), (6000, 6000))
    cv2.imwrite(str(tmp_path / "0.jpg"), large)
    for number in range(1, 10):
        (tmp_path / f"{number}.jpg").symlink_to("0.jpg")
    with confinement(320 * MIB) as container:
        if container.limit is None or container.limit.kind == "rlimit_data":
            pytest.skip("no control group can be made here")
        assert container.enter is not None
        done = predict("--engine", engine, "--threads", "8", tmp_path, enter=container.enter)
        assert (done.returncode in ANSWERED, container.kills()) == (True, 0)
        assert len(json.loads(done.stdout)) == 10
