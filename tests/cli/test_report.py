"""``predict --report`` and ``report``: the same pages while answering and later, and what goes wrong in a sentence."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from osteo_edge.cli import exit_codes
from osteo_edge.cli.group import run

# What becomes of the synthetic picture is the bundle's matter.
TOLD = (exit_codes.ANSWERED, exit_codes.NO_ANSWER)


@pytest.fixture(autouse=True)
def stated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1772357400")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_pages_made_while_answering_are_those_made_later(
    tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.png").write_bytes(example.read_bytes()[:5000])
    first, later = tmp_path / "first", tmp_path / "later"
    pictures = [str(example), str(tmp_path / "broken.png")]
    options = ["--language", "en"]
    assert run(["predict", "--format", "jsonl", "--report", str(first), *options, *pictures]) == exit_codes.UNREADABLE
    done = capsys.readouterr()
    assert "pages of 2 pictures in" in done.err
    answers = tmp_path / "answers.jsonl"
    answers.write_text(done.out)
    assert run(["report", "--output", str(later), *options, str(answers)]) == exit_codes.ANSWERED
    assert files(first) == files(later)
    assert len(files(first)) == 2 * 2 + 1  # pictures, kinds of files; and a summary
    assert not any("synthetic" in name or "broken" in name for name in files(first))


def test_a_picture_from_standard_input_is_shown(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(example.read_bytes())))
    assert run(["predict", "--html-only", "--report", str(tmp_path), "-"]) in TOLD
    (page,) = tmp_path.iterdir()
    assert b"data:image/jpeg" in page.read_bytes()


def test_strangers_pictures_are_shown_without_decoding_them_here(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*arguments: object, **options: object) -> None:
        raise AssertionError("decoded in this process")

    monkeypatch.setattr("osteo_edge.images.reader.decode", read)
    assert run(["predict", "--untrusted", "--html-only", "--report", str(tmp_path), str(example)]) in TOLD
    (page,) = tmp_path.iterdir()
    assert b"data:image/jpeg" in page.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["predict", "--language", "es", "x.png"], "need --report"),
        (["predict", "--names", "x.png"], "need --report"),
        (["report", "--language", "xx", "setup.py"], "xx"),
        (["report", "setup.py"], "not valid JSON"),
        (["report", "no-such-file.json"], "does not exist"),
    ],
)
def test_misuse_is_told(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == exit_codes.USAGE
    assert told in capsys.readouterr().err


def test_a_missing_extra_is_told_before_any_answer(
    tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("osteo_edge.reports.pages.pdf.find_spec", lambda name: None)
    assert run(["predict", "--report", str(tmp_path), str(example)]) == exit_codes.USAGE
    done = capsys.readouterr()
    assert "pip install 'osteo-edge[report]'" in done.err
    assert "--html-only" in done.err
    assert done.out == ""


def test_a_folder_that_cannot_be_made_costs_no_answer(
    tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").write_text("a file")
    arguments = ["predict", "--format", "json", "--html-only", "--report", str(tmp_path / "taken"), str(example)]
    assert run(arguments) in (exit_codes.OUTPUT, exit_codes.USAGE)
    arguments[-2] = str(tmp_path / "taken" / "inside")
    assert run(arguments) == exit_codes.OUTPUT
    done = capsys.readouterr()
    assert json.loads(done.out)["status"] in ("reported", "referred")
    assert "cannot be made" in done.err


@pytest.fixture
def two_days(tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """Answers to the example and to a copy of it."""
    (tmp_path / "second.png").write_bytes(example.read_bytes())
    assert run(["predict", "--format", "jsonl", str(example), str(tmp_path / "second.png")]) in TOLD
    answers = tmp_path / "answers.jsonl"
    answers.write_text(capsys.readouterr().out)
    return answers


def test_pictures_over_time_are_one_page(two_days: Path, tmp_path: Path, example: Path) -> None:
    table = tmp_path / "dates.csv"
    table.write_text(f"File;Date\n{example};2024-01-01\nsecond.png;2026-01-01\n")
    arguments = ["report", "--over-time", "--dates", str(table), "--output", str(tmp_path / "pages"), str(two_days)]
    assert run(arguments) == exit_codes.ANSWERED
    page, printed = sorted((tmp_path / "pages").iterdir())
    assert (page.suffix, printed.suffix) == (".html", ".pdf")
    assert "Change not interpretable: " in page.read_text()


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("file,date\nsecond.png,2026-01-01\n", "no date is known of"),
        ("file,date\nsecond.png,1.1.2026\n", "line 2: a date is written as"),
        ("file,date\nsecond.png,2026-01-01\nsecond.png,2026-01-02\n", "line 3: this file has a row already"),
        ("file,date\nsecond.png,2026-01-01\nEXAMPLE,2026-01-01\n", "two days"),
        ("picture,date\n", "must have a column 'file'"),
    ],
)
def test_dates_that_cannot_be_used_are_told(
    two_days: Path, tmp_path: Path, example: Path, table: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dates.csv").write_text(table.replace("EXAMPLE", str(example)))
    assert run(["report", "--over-time", "--dates", str(tmp_path / "dates.csv"), str(two_days)]) == exit_codes.USAGE
    assert told in capsys.readouterr().err
