"""``watch`` with the embedded bundles: real pictures through the real pipeline, and what is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest

from osteo_edge.cli import exit_codes
from osteo_edge.cli.group import run
from tests import dicoms

AT_ONCE = ["--once", "--settle", "0", "--interval", "0.01", "--keep-free", "0"]


def test_a_folder_is_answered_and_reported(tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    shutil.copy(example, inbox / "Doe Jane.png")
    shutil.copy(example, inbox / "again.png")
    (inbox / "notes.txt").write_text("Doe")
    (inbox / "half.png").write_bytes(example.read_bytes()[:9000])
    options = [*AT_ONCE, "--report", "--html-only", "--language", "en", "--question", "osteoarthritis"]
    assert run(["watch", *options, str(inbox), str(outbox)]) == exit_codes.ANSWERED
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 4
    assert sum(": done (osteoarthritis " in line for line in told) == 1
    assert sum(": done (duplicate_of " in line for line in told) == 1
    assert sum(": refused (" in line for line in told) == 2
    assert len(list((outbox / "done").iterdir())) == 2
    pages = sorted(path.name for path in (outbox / "reports").iterdir())
    assert len(pages) == 3  # of the picture and of the two that were refused, whose pages say why
    assert all(name.endswith(".report.en.html") for name in pages)
    assert not [path for path in outbox.rglob("*") if "Doe" in path.name]
    assert run(["audit", "verify", str(outbox / "audit.jsonl")]) == exit_codes.ANSWERED
    lines = [json.loads(line)["facts"] for line in (outbox / "audit.jsonl").read_text().splitlines()]
    assert all(
        set(line) <= {"arrival", "sha256", "outcome", "status", "answers", "reasons", "duplicate_of", "bundles"}
        for line in lines
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["in", "in"], "must lie apart"),
        (["in", "in/out"], "must lie apart"),
        (["nothing", "out"], "does not exist"),
        (["--language", "es", "in", "out"], "need --report"),
        (["--settle", "-1", "in", "out"], "--settle"),
    ],
)
def test_misuse_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    assert run(["watch", *arguments]) == exit_codes.USAGE
    assert told in capsys.readouterr().err


def test_a_full_disk_is_a_sentence_and_the_picture_waits(
    tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(example, tmp_path / "in/knee.png")
    options = [*AT_ONCE[:-1], str(1 << 40)]
    assert run(["watch", *options, str(tmp_path / "in"), str(tmp_path / "out")]) == exit_codes.OUTPUT
    assert "pictures wait in" in capsys.readouterr().err
    assert (tmp_path / "in/knee.png").read_bytes() == example.read_bytes()


def test_dicom_pictures_get_dicom_objects(tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("highdicom")
    inbox, outbox = tmp_path / "in", tmp_path / "out"
    inbox.mkdir()
    pixels = cv2.imread(str(example), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    of_study = {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.2", **dicoms.OF_A_KNEE, **dicoms.SECRETS}
    (inbox / "one.dcm").write_bytes(dicoms.file(pixels, **of_study))
    (inbox / "of no study.dcm").write_bytes(dicoms.file(pixels, **dicoms.OF_A_KNEE))
    shutil.copy(example, inbox)
    assert run(["watch", *AT_ONCE, "--dicom", str(inbox), str(outbox)]) == exit_codes.ANSWERED
    told = capsys.readouterr().out
    assert "the picture's file has no StudyInstanceUID" in told
    made = sorted(path.name.partition(".")[2] for path in (outbox / "dicom").iterdir())
    assert made in (["pdf.dcm", "sc.dcm", "sr.dcm"], ["sc.dcm", "sr.dcm"])
    assert len(list((outbox / "done").iterdir())) == 3
    assert not [path for path in outbox.rglob("*.json*") if b"ecretname" in path.read_bytes()]
