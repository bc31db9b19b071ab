"""The wheel holds the runtime and the bundle alone, is small, and answers from an empty folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from tests import dicoms

ROOT = Path(__file__).resolve().parents[2]
MAX_WHEEL_BYTES = 24_000_000

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)


def test_the_wheel_is_small_and_holds_the_runtime_alone(wheel: Path) -> None:
    assert wheel.stat().st_size <= MAX_WHEEL_BYTES
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"osteo_edge"}
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "osteo_edge").rglob("*") if path.is_file()}
    assert {name for name in names if name.startswith("osteo_edge/")} == {path for path in shipped if "__pycache__" not in path}


def test_it_installs_and_answers_from_an_empty_folder(
    wheel: Path, make_environment: Callable[..., Path], tmp_path: Path, example: Path
) -> None:
    environment = make_environment(wheel)
    empty = tmp_path / "empty"
    empty.mkdir()
    shutil.copy(example, empty / "image.png")
    done = run(environment / "bin/osteo-edge", "predict", "--format", "json", "image.png", cwd=empty)
    assert done.returncode in (0, 4), done.stderr
    assert json.loads(done.stdout)["status"] in ("reported", "referred")
    assert run(environment / "bin/osteo-edge", "doctor", cwd=empty).returncode == 0
    litert = run(environment / "bin/osteo-edge", "predict", "--engine", "litert", "image.png", cwd=empty)
    assert litert.returncode == 8
    assert "osteo-edge[litert]" in litert.stderr


def test_dicom_is_read_with_its_extra_and_the_extra_is_named_without(
    wheel: Path, make_environment: Callable[..., Path], tmp_path: Path, example: Path
) -> None:
    film = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    for name, syntax in (
        ("plain", dicoms.EXPLICIT),
        ("lossless", dicoms.JPEG_LOSSLESS_FIRST),
        ("wavelets", dicoms.J2K_LOSSLESS),
    ):
        (tmp_path / name).write_bytes(dicoms.file(film, syntax, **dicoms.OF_A_KNEE))
    without, extra = make_environment(wheel), make_environment(f"osteo-edge[dicom] @ {wheel.as_uri()}")
    told = run(without / "bin/osteo-edge", "predict", "plain", cwd=tmp_path)
    assert (told.returncode, 'pip install "osteo-edge[dicom]"' in told.stdout) == (3, True)
    done = run(extra / "bin/osteo-edge", "predict", "--format", "jsonl", tmp_path, cwd=tmp_path)
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["tags"]["body_part"] for answer in answers] == ["knee"] * 3
    assert answers[0]["joints"]
    assert answers[0]["joints"] == answers[1]["joints"] == answers[2]["joints"]
