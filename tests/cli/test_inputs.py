"""Which files of a folder are pictures, and which are passed over."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from osteo_edge.cli.group import cli
from osteo_edge.cli.inputs import find_inputs
from osteo_edge.errors import InferenceError
from osteo_edge.predictor import OsteoPredictor

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 50), np.uint8)
DICOM = b"\0" * 128 + b"DICM" + b"\2\0\0\0UL\4\0"


def names_in(folder: Path, *, recursive: bool = False) -> list[str]:
    return [os.path.relpath(picture.name, folder) for picture in find_inputs([str(folder)], recursive=recursive).pictures]


def fill(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, PIXELS)[1].tobytes()


def others(folder: Path) -> dict[str, bytes]:
    """What lies beside pictures on a clinic's disc."""
    archive = folder.parent / "archive.zip"
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr("x", "x")
    return {
        "Thumbs.db": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600,
        "desktop.ini": b"[.ShellClassInfo]\r\n",
        ".DS_Store": b"\0\0\0\1Bud1",
        "._knee.png": b"\0\5\x16\7",
        "DICOMDIR": DICOM,
        "dicomdir": DICOM,
        "table.csv": b"file;age\n",
        "BMI.csv": b"BMI;age\n" + b"24;60\n" * 100,
        "BM": b"BM",
        "notes.txt": b"II* not a picture, but MM neither",
        "page.html": b"<html><img src=x.png></html>",
        "letter.pdf": b"%PDF-1.7\n",
        "book.xlsx": archive.read_bytes(),
        "archive.zip": archive.read_bytes(),
        "answers.json": b'{"source": "x.png"}',
        "empty": b"",
        "sound.wav": b"RIFF\x24\0\0\0WAVEfmt ",
        "knee-0123456789ab.overlay.png": encoded(".png"),
        "KNEE.OVERLAY.PNG": encoded(".png"),
    }


def pictures() -> dict[str, bytes]:
    """Pictures by name or by content, whole or broken, read here or only named."""
    return {
        "a.png": encoded(".png"),
        "b.JPG": encoded(".jpg"),
        "broken.png": encoded(".png")[:30],
        "dicom_without_ending": DICOM,
        "empty.png": b"",
        "garbage.tif": b"not a picture",
        "jpeg_without_ending": encoded(".jpg"),
        "large_header": b"\xff\xd8\xff\xe1" + struct.pack(">H", 60000) + b"\0" * 60000,
        "misnamed.txt": encoded(".png"),
        "phone.heic": b"\0\0\0\x18ftypheic",
        "scan.bmp.old": encoded(".bmp"),
        "scan.dcm": b"",
        "tiff.dat": encoded(".tiff"),
        "web.webp.bak": b"RIFF\x24\0\0\0WEBPVP8 ",
    }


def test_only_pictures_are_answered_and_the_rest_is_counted(tmp_path: Path) -> None:
    folder = fill(tmp_path / "disc", others(tmp_path / "disc") | pictures())
    assert names_in(folder) == sorted(pictures())
    assert find_inputs([str(folder)], recursive=False).passed_over == len(others(folder))


@pytest.mark.parametrize("name", ["Thumbs.db", "empty", "letter.pdf", "knee-0123456789ab.overlay.png", ".DS_Store", "missing"])
def test_a_path_given_by_name_is_always_answered_for(tmp_path: Path, name: str) -> None:
    folder = fill(tmp_path / "disc", others(tmp_path / "disc"))
    found = find_inputs([str(folder / name)], recursive=False)
    assert [picture.name for picture in found.pictures] == [str(folder / name)]
    assert (found.passed_over, found.is_one_path) == (0, True)


def test_other_files_do_not_change_the_exit_code(tmp_path: Path, example: Path) -> None:
    folder = fill(tmp_path / "disc", others(tmp_path / "disc"))
    shutil.copy(example, folder / "a.png")
    done = CliRunner().invoke(cli, ["predict", "--format", "jsonl", str(folder)], standalone_mode=False)
    assert (done.return_value in (0, 4), done.exception) == (True, None)
    assert done.stderr == f"osteo-edge: {len(others(folder))} other files passed over\n"
    assert len(done.stdout.splitlines()) == 1
    text = CliRunner().invoke(cli, ["predict", "--question", "bone_density", str(folder)], standalone_mode=False).stdout
    assert text.endswith(f"1 picture: 0 reported, 1 referred, 0 rejected; {len(others(folder))} other files passed over\n")


def test_overlays_made_before_are_no_pictures(tmp_path: Path, example: Path) -> None:
    for name in ("a.png", "b.png"):
        shutil.copy(example, tmp_path / name)
    command = ["predict", "--question", "bone_density", "--explain", "--output", str(tmp_path), str(tmp_path)]
    first = CliRunner().invoke(cli, command, standalone_mode=False).stdout
    assert f"\n2 overlays in {tmp_path}\n" in first
    assert first.endswith("2 pictures: 0 reported, 2 referred, 0 rejected\n")
    again = CliRunner().invoke(cli, command, standalone_mode=False).stdout
    assert again.endswith("2 pictures: 0 reported, 2 referred, 0 rejected; 2 other files passed over\n")


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ({}, "empty_folder", "the folder holds no files"),
        ({"a.txt": b"x"}, "no_pictures", "the folder holds no picture, but 1 other file"),
        ({"a.txt": b"x", "Thumbs.db": b"x"}, "no_pictures", "the folder holds no picture, but 2 other files"),
        ({"in/a.png": b""}, "empty_folder", "the folder holds no files; --recursive also reads the folders inside it"),
        ({"in/a.png": b"", "a.txt": b""}, "no_pictures", "no picture, but 1 other file; --recursive also reads the folders"),
    ],
)
def test_a_folder_without_pictures_is_told(tmp_path: Path, files: dict[str, bytes], code: str, said: str) -> None:
    (folder,) = (fill(tmp_path, files),)
    (picture,) = find_inputs([str(folder)], recursive=False).pictures
    assert picture.fault is not None
    assert picture.fault.code == code
    assert said in str(picture.fault)
    done = CliRunner().invoke(cli, ["predict", str(folder)], standalone_mode=False)
    assert done.return_value == 3
    assert said in done.stdout.replace("The folder", "the folder")


def test_inner_folders_are_read_in_order_and_neither_links_nor_hidden_ones(tmp_path: Path) -> None:
    picture = encoded(".png")
    fill(tmp_path, dict.fromkeys(("a/1.png", "a/b/2.png", "a.png", "c/3.png", ".thumbnails/4.png", "c/.x/5.png"), picture))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "z").symlink_to(tmp_path / "c")
    (tmp_path / "linked.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert names_in(tmp_path) == ["a.png", "dangling.png", "linked.png"]
    expected = ["a/1.png", "a/b/2.png", "a.png", "c/3.png", "dangling.png", "linked.png"]
    assert names_in(tmp_path, recursive=True) == expected
    assert names_in(tmp_path / "z") == ["3.png"], "a link given by name is read"
    assert names_in(tmp_path / ".thumbnails") == ["4.png"], "so is a hidden folder"


def test_no_depth_is_too_much(tmp_path: Path) -> None:
    """Deeper than Python recurses, and than a path can be long."""
    (tmp_path / "first.png").write_bytes(b"")
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(2500):
            os.mkdir("in")
            os.chdir("in")
        os.chdir(here)
        first, inner = find_inputs([str(tmp_path)], recursive=True).pictures
    finally:
        os.chdir(here)
        subprocess.run(["rm", "-rf", tmp_path / "in"], check=True)  # Python's own way recurses
    assert first.name == str(tmp_path / "first.png")
    assert inner.fault is not None
    assert "cannot be listed: File name too long" in str(inner.fault)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    os.mkfifo(tmp_path / "pipe.png")
    assert names_in(tmp_path) == ["pipe.png"]


def test_an_engine_that_fails_leaves_whole_json(tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer, answered = OsteoPredictor._answer, []

    def fail(self: OsteoPredictor, look: object) -> object:
        answered.append(look)
        if len(answered) > 2:
            raise InferenceError("the engine failed")
        return answer(self, look)  # type: ignore[arg-type]

    monkeypatch.setattr(OsteoPredictor, "_answer", fail)
    for number in range(5):
        shutil.copy(example, tmp_path / f"{number}.png")
    arguments = ["predict", "--threads", "1", "--format", "json", str(tmp_path)]
    done = CliRunner().invoke(cli, arguments, standalone_mode=False)
    assert isinstance(done.exception, InferenceError)
    assert [Path(record["source"]).name for record in json.loads(done.stdout)] == ["0.png", "1.png"]
