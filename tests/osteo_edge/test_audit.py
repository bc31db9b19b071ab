"""A chained log: whatever is changed in it, the first such line is named."""

from __future__ import annotations

import errno
import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from osteo_edge.cli import exit_codes
from osteo_edge.cli.group import run
from osteo_edge.errors import AuditError, StationError
from osteo_edge.station import audit
from osteo_edge.station.audit import START, AuditLog, Chain, sealed, verify

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    """Of five lines."""
    times = iter([NOON + timedelta(seconds=second) for second in range(100)])
    made = AuditLog(tmp_path / "audit.jsonl", clock=lambda: next(times))
    for number in range(5):
        made.append("answered", {"sha256": f"{number}" * 64, "outcome": "done"})
    return made


def lines_of(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def test_a_whole_log(log: AuditLog) -> None:
    last = json.loads(lines_of(log)[-1])
    assert verify(log.path) == Chain(5, last["digest"])
    assert last["number"] == 5
    assert last["previous"] == json.loads(lines_of(log)[-2])["digest"]
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_any_change_of_any_byte_is_seen_and_its_line_named(log: AuditLog) -> None:
    whole = log.path.read_bytes()
    for place in range(0, len(whole), 13):
        log.path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        number = whole.count(b"\n", 0, place) + 1
        with pytest.raises(AuditError, match=rf"line {number}\b"):
            verify(log.path)


def taken_away(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], *lines[3:]]


def exchanged(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[3], lines[2], *lines[4:]]


def repeated(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], lines[1], *lines[2:]]


def made_anew(lines: list[bytes]) -> list[bytes]:
    """With a digest of its own that is right."""
    line = json.loads(lines[1])
    return [lines[0], sealed(2, line["time"], "answered", {"outcome": "refused"}, line["previous"]), *lines[2:]]


def without_the_first(lines: list[bytes]) -> list[bytes]:
    return lines[1:]


@pytest.mark.parametrize(
    ("change", "number"), [(taken_away, 3), (exchanged, 3), (repeated, 3), (made_anew, 3), (without_the_first, 1)]
)
def test_lines_elsewhere_are_seen(log: AuditLog, change: Any, number: int) -> None:
    log.path.write_bytes(b"".join(change(lines_of(log))))
    with pytest.raises(AuditError, match=f"line {number}: "):
        verify(log.path)


def test_a_cut_is_seen_by_a_head_that_was_noted(log: AuditLog) -> None:
    head = verify(log.path).head
    log.append("answered", {})
    assert verify(log.path, head=head).lines == 6
    log.path.write_bytes(b"".join(lines_of(log)[:4]))
    assert verify(log.path).lines == 4
    with pytest.raises(AuditError, match="was noted"):
        verify(log.path, head=head)


@pytest.mark.parametrize("left", [b'{"audit": 1, "num', b"{", b'{"audit": 1, "number": 6, "time": "2026-03', bytes(17)])
def test_what_a_power_cut_left_of_a_line_is_removed_and_that_is_told(log: AuditLog, left: bytes) -> None:
    whole = log.path.read_bytes()
    log.path.write_bytes(whole + left)
    with pytest.raises(AuditError, match="line 6"):
        verify(log.path)
    log.append("answered", {"sha256": None})
    told = [json.loads(line) for line in lines_of(log)]
    assert verify(log.path).lines == 7
    assert [line["event"] for line in told[5:]] == ["unfinished_line_removed", "answered"]
    assert told[5]["facts"] == {"bytes": len(left)}


def test_a_line_is_written_once(log: AuditLog) -> None:
    for _ in range(2):
        log.append("answered", {"arrival": "a"}, once=True)
    assert verify(log.path).lines == 6
    log.append("answered", {"arrival": "b"}, once=True)
    assert verify(log.path).lines == 7


def test_a_clock_that_went_back_is_told(tmp_path: Path) -> None:
    times = iter([NOON, NOON - timedelta(hours=1)])
    log = AuditLog(tmp_path / "log", clock=lambda: next(times))
    log.append("answered", {})
    log.append("answered", {"arrival": "b"}, once=True)
    log.append("answered", {"arrival": "b"}, once=True)
    assert [json.loads(line)["facts"] for line in lines_of(log)] == [{}, {"arrival": "b", "clock_went_back": True}]


@pytest.mark.parametrize("content", [b"Dear Sir", b"Dear Sir\n", b"a,b\n1,2", b"\n", b"\xff" * 100, b"x" * 3_000_000])
def test_nothing_is_added_to_something_else(tmp_path: Path, content: bytes) -> None:
    other = tmp_path / "letter.txt"
    other.write_bytes(content)
    with pytest.raises(AuditError, match="no line of an audit log"):
        AuditLog(other).append("answered", {})
    assert other.read_bytes() == content
    (tmp_path / "link").symlink_to(other)
    with pytest.raises(StationError, match="cannot be written"):
        AuditLog(tmp_path / "link").append("answered", {})


def test_a_full_disk_is_a_sentence_and_the_next_line_follows(log: AuditLog, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def full(path: Path) -> Any:
        with path.open("r+b") as file:
            yield file
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(audit, "appending", full)
        with pytest.raises(StationError, match="No space left"):
            log.append("answered", {"arrival": "a"})
    log.append("answered", {"arrival": "a"}, once=True)
    assert verify(log.path).lines == 6


def test_the_command(log: AuditLog, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify", str(log.path)]) == exit_codes.ANSWERED
    assert f"5 lines, whole; head {verify(log.path).head}" in capsys.readouterr().out
    assert run(["audit", "verify", "--head", START, str(log.path)]) == exit_codes.BUNDLE
    log.path.write_bytes(log.path.read_bytes().replace(b"done", b"dome", 1))
    assert run(["audit", "verify", str(log.path)]) == exit_codes.BUNDLE
    assert "line 1 was changed" in capsys.readouterr().err


def test_predict_adds_its_answers(tmp_path: Path, example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "Doe Jane.png").write_bytes(example.read_bytes()[:9000])
    log = tmp_path / "log"
    pictures = [str(example), str(tmp_path / "Doe Jane.png")]
    given = ["predict", "--question", "osteoarthritis", "--format", "jsonl", "--audit"]
    assert run([*given, str(log), *pictures]) == exit_codes.UNREADABLE
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    facts = [json.loads(line)["facts"] for line in log.read_text().splitlines()]
    assert verify(log).lines == 2
    assert [one["sha256"] for one in facts] == [answer["sha256"] for answer in answers]
    assert [one["status"] for one in facts] == [answer["status"] for answer in answers]
    assert "Doe" not in log.read_text()
    (tmp_path / "letter").write_text("Dear Sir")
    assert run([*given, str(tmp_path / "letter"), str(example)]) == exit_codes.OUTPUT
    done = capsys.readouterr()
    assert json.loads(done.out)["status"]
    assert (tmp_path / "letter").read_text() == "Dear Sir"
