"""An audit log: what was answered when, by what, in lines that are chained, so that a change or a cut is seen.

A line is one JSON object. It holds the SHA-256 of the line before it and ends with its own, over all that stands in front of
that. No line names a person or a file. Who may write the whole file can make a whole new chain: the head, which
``verify`` tells, is to be noted elsewhere now and then, and ``verify`` takes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from osteo_edge import __version__
from osteo_edge.errors import AuditError, ManifestError, StationError
from osteo_edge.integrity import sha256_hex
from osteo_edge.records import parse_json
from osteo_edge.storage import appending

SCHEMA_VERSION: Final = 1
START: Final = "0" * 64
MAX_LINE_BYTES: Final = 1 << 20
_TAIL_BYTES: Final = MAX_LINE_BYTES + 1
_DIGEST: Final = ', "digest": "'
_BEGINNING: Final = b'{"audit": 1, "number": '
_FIELDS: Final = ("audit", "number", "time", "event", "software", "facts", "previous", "digest")

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """One entry.

    Attributes:
        time: UTC, ISO 8601, by this machine's clock.
        event: what happened, for example ``answered``.
        facts: what is told of it.
        previous, digest: SHA-256 of the line before, and of this one.
    """

    number: int
    time: str
    event: str
    facts: Facts
    previous: str
    digest: str


@dataclass(frozen=True)
class Chain:
    """A log that is whole: so many lines, and the digest of the last."""

    lines: int
    head: str


class AuditLog:
    """A log to add to; several processes may add to the same one."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self._clock = path, clock

    def append(self, event: str, facts: Facts, *, once: bool = False) -> None:
        """Add a line, which is on the disk when this returns.

        What a power cut left of a last line is taken away; that it was is told in the next one.

        Args:
            facts: types of JSON alone.
            once: not if the last line says the same already.

        Raises:
            StationError: it cannot be written.
            AuditError: the last line is no line of an audit log.
        """
        try:
            with appending(self.path) as file:
                last, torn_bytes = _last_line(file, self.path)
                if once and last is not None and last.event == event and last.facts == {**last.facts, **facts}:
                    return
                file.write(self._next(last, event, facts, torn_bytes))
        except OSError as error:
            raise StationError(f"the audit log {self.path} cannot be written: {error.strerror}") from error

    def _next(self, last: Line | None, event: str, facts: Facts, torn_bytes: int) -> bytes:
        lines = b""
        if torn_bytes:
            lines, last = self._sealed(last, "unfinished_line_removed", {"bytes": torn_bytes})
        return lines + self._sealed(last, event, facts)[0]

    def _sealed(self, last: Line | None, event: str, facts: Facts) -> tuple[bytes, Line]:
        time = self._clock().isoformat(timespec="milliseconds")
        if last is not None and time < last.time:
            facts = {**facts, "clock_went_back": True}
        number, previous = (last.number + 1, last.digest) if last else (1, START)
        written = sealed(number, time, event, facts, previous)
        return written, parse_line(written, str(self.path))


def sealed(number: int, time: str, event: str, facts: Facts, previous: str) -> bytes:
    """The bytes of one line, its end included."""
    values = (SCHEMA_VERSION, number, time, event, f"osteo-edge {__version__}", dict(facts), previous)
    text = json.dumps(dict(zip(_FIELDS[:-1], values, strict=True)))[:-1]
    return f'{text}{_DIGEST}{sha256_hex(text.encode())}"}}\n'.encode()


def parse_line(line: bytes, where: str) -> Line:
    """One line, of which the digest is right.

    Raises:
        AuditError: it is none, or was changed.
    """
    text, mark, end = line.decode("utf-8", errors="replace").rpartition(_DIGEST)
    if not mark or not line.endswith(b'"}\n'):
        raise AuditError(f"{where} is no line of an audit log, or only the beginning of one")
    if end != f'{sha256_hex(text.encode(errors="surrogatepass"))}"}}\n':
        raise AuditError(f"{where} was changed: its digest is of another text")
    try:
        plain = parse_json(line, what=where)
    except ManifestError as error:
        raise AuditError(str(error)) from error
    if not _is_line(plain):
        raise AuditError(f"{where} is a line of another release, or of no audit log")
    return Line(*(plain[name] for name in ("number", "time", "event", "facts", "previous", "digest")))


def _is_line(plain: Any) -> bool:
    return (
        isinstance(plain, dict)
        and tuple(plain) == _FIELDS
        and plain["audit"] == SCHEMA_VERSION
        and type(plain["number"]) is int
        and all(type(plain[name]) is str for name in ("time", "event", "software", "previous"))
        and isinstance(plain["facts"], dict)
    )


def verify(path: Path, *, head: str | None = None) -> Chain:
    """Read a log from its first line to its last.

    Args:
        head: digest of a line that was noted before, which must still stand in it.

    Raises:
        AuditError: names the first line that is not the one that was written; or the log cannot be read.
    """
    lines, last, is_met = 0, START, head is None
    try:
        with path.open("rb") as file:
            for line in _lines(file, path):
                lines += 1
                _require_next(line, lines, last, path)
                last = line.digest
                is_met = is_met or last == head
    except OSError as error:
        raise AuditError(f"the audit log {path} cannot be read: {error.strerror}") from error
    if not is_met:
        raise AuditError(f"{path}: no line has the digest {head}, which was noted: lines were taken away, or all made anew")
    return Chain(lines, last)


def _require_next(line: Line, number: int, previous: str, path: Path) -> None:
    if line.previous != previous or line.number != number:
        before = "it does not begin the log" if number == 1 else f"it does not follow line {number - 1}"
        raise AuditError(f"{path}, line {number}: {before}: lines were taken away, added or put elsewhere")


def _lines(file: BinaryIO, path: Path) -> Iterator[Line]:
    number = 0
    while text := file.readline(MAX_LINE_BYTES):
        number += 1
        yield parse_line(text, f"{path}, line {number}")


def _last_line(file: BinaryIO, path: Path) -> tuple[Line | None, int]:
    """The last whole line; and how many bytes of an unfinished one stood after it and are gone now."""
    size = file.seek(0, 2)
    start = file.seek(max(0, size - 2 * _TAIL_BYTES))
    tail = file.read()
    end = tail.rfind(b"\n") + 1
    whole, torn = tail[:end], tail[end:]
    if (start and not whole) or not _is_beginning(torn):
        raise AuditError(f"{path} ends in something that is no line of an audit log")
    last = whole[whole[:-1].rfind(b"\n") + 1 :]
    line = parse_line(last, f"the last line of {path}") if last else None
    file.truncate(size - len(torn))  # not before all else is known to be an audit log
    file.seek(0, 2)
    return line, len(torn)


def _is_beginning(torn: bytes) -> bool:
    """Whether a power cut may have left it of a line: its first letters, or the room for it without any."""
    return torn[: len(_BEGINNING)] == _BEGINNING[: len(torn)] or not torn.strip(b"\0")
