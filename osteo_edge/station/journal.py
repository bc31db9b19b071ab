"""What became of each picture, in SQLite: the one record that decides, after a power cut too.

An outcome is written once and in one step. What follows from it (a line of the audit log, the picture in its folder) is done
after that and may be done again; a row says when all of it is done. The journal is one process's alone.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Final, Literal

from osteo_edge.errors import StationError

SCHEMA_VERSION: Final = 1
Kind = Literal["done", "refused", "failed"]

_TABLES: Final = """
CREATE TABLE attempts (arrival TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT;
CREATE TABLE outcomes (
    arrival TEXT PRIMARY KEY, kind TEXT NOT NULL, stem TEXT NOT NULL, ending TEXT NOT NULL, sha256 TEXT, asked TEXT NOT NULL,
    first TEXT, facts TEXT NOT NULL, is_settled INTEGER NOT NULL
) STRICT;
CREATE INDEX pictures ON outcomes (sha256, asked);
"""
_COLUMNS: Final = "arrival, kind, stem, ending, sha256, asked, first, facts"


@dataclass(frozen=True)
class Outcome:
    """What became of one picture.

    Attributes:
        arrival: of the picture: the same bytes that come twice arrive twice.
        stem, ending: what its files are named by; ``stem + ending`` is the picture's own.
        sha256: of its bytes; None where they could not be read.
        asked: stands for the bundles and the release that answered.
        first: stem of the picture whose bytes these are, which was answered before; None where there was none.
        facts: what the audit log tells of it.
    """

    arrival: str
    kind: Kind
    stem: str
    ending: str
    sha256: str | None
    asked: str
    first: str | None
    facts: Mapping[str, Any]


class Journal:
    """The journal in one file; several threads may use it."""

    def __init__(self, path: Path) -> None:
        """Open it, or make it.

        Raises:
            StationError: another process has it open, it is damaged, or it cannot be written.
        """
        self._path, self._lock = path, Lock()
        with self._told():
            self._base = sqlite3.connect(path, timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            with self._told():
                self._prepare()
        except BaseException:
            self._base.close()
            raise

    def _prepare(self) -> None:
        # EXTRA also flushes the folder once a change is whole. No write-ahead log: it cannot lie on every file system.
        for setting in ("locking_mode = EXCLUSIVE", "journal_mode = DELETE", "synchronous = EXTRA"):
            self._base.execute(f"PRAGMA {setting}")
        self._base.execute("BEGIN EXCLUSIVE")  # and the lock is kept from here on
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA_VERSION):
            raise StationError(f"the journal {self._path} is of another release; give this one an OUTBOX of its own")
        if version == 0:
            for statement in _TABLES.split(";\n"):
                self._base.execute(statement)
            self._base.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._base.execute("COMMIT")

    def begin(self, arrival: str) -> int:
        """Note that a picture is about to be answered; returns how often that was begun, this time among them."""
        self._change("INSERT INTO attempts VALUES (?, 1) ON CONFLICT (arrival) DO UPDATE SET count = count + 1", (arrival,))
        ((count,),) = self._rows("SELECT count FROM attempts WHERE arrival = ?", arrival)
        return int(count)

    def decide(self, outcome: Outcome) -> None:
        """Write what became of a picture, once and for all."""
        values = (outcome.arrival, outcome.kind, outcome.stem, outcome.ending, outcome.sha256, outcome.asked, outcome.first)
        self._change(
            f"INSERT INTO outcomes ({_COLUMNS}, is_settled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (*values, json.dumps(outcome.facts)),
        )

    def settle(self, outcome: Outcome) -> None:
        """Write that all is done that follows from it."""
        self._change("UPDATE outcomes SET is_settled = 1 WHERE arrival = ?", (outcome.arrival,))
        self.put_off(outcome.arrival)

    def put_off(self, arrival: str) -> None:
        """It was not answered, and the program has not ended by it."""
        self._change("DELETE FROM attempts WHERE arrival = ?", (arrival,))

    def outcome_of(self, arrival: str) -> Outcome | None:
        """What became of a picture; None where that is not decided."""
        return self._first("arrival = ?", arrival)

    def first_of(self, sha256: str, asked: str) -> Outcome | None:
        """What became of the first picture of these bytes, asked the same; of one on which the program failed, nothing did."""
        return self._first("sha256 = ? AND asked = ? AND first IS NULL AND kind <> 'failed' ORDER BY rowid", sha256, asked)

    def unsettled(self) -> list[Outcome]:
        """Outcomes after which something is left to do."""
        return [_outcome(row) for row in self._rows(f"SELECT {_COLUMNS} FROM outcomes WHERE is_settled = 0 ORDER BY rowid")]

    def close(self) -> None:
        with self._lock:
            self._base.close()

    def _first(self, where: str, *values: str) -> Outcome | None:
        rows = self._rows(f"SELECT {_COLUMNS} FROM outcomes WHERE {where} LIMIT 1", *values)
        return _outcome(rows[0]) if rows else None

    def _rows(self, query: str, *values: str) -> list[Any]:
        with self._lock, self._told():
            return self._base.execute(query, values).fetchall()

    def _change(self, statement: str, values: tuple[Any, ...]) -> None:
        """In a transaction of its own, which is on the disk afterwards."""
        with self._lock, self._told():
            self._base.execute(statement, values)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            reason = str(error)
            if "locked" in reason:
                reason = "another osteo-edge works there"
            raise StationError(f"the journal {self._path} cannot be used: {reason}") from error


def _outcome(row: tuple[Any, ...]) -> Outcome:
    arrival, kind, stem, ending, sha256, asked, first, facts = row
    return Outcome(arrival, kind, stem, ending, sha256, asked, first, json.loads(facts))
