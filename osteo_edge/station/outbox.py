"""The folder for what becomes of pictures: these themselves by outcome, and an answer of each."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from osteo_edge.errors import StationError
from osteo_edge.station.journal import Kind
from osteo_edge.storage import move_file, write_file

ANSWERS: Final = "answers"
REPORTS: Final = "reports"
DICOM: Final = "dicom"
JOURNAL: Final = "journal.sqlite"
AUDIT: Final = "audit.jsonl"
KINDS: Final[tuple[Kind, ...]] = ("done", "refused", "failed")


class Outbox:
    """Its folders, made where they are not there."""

    def __init__(self, folder: Path) -> None:
        """Make the folders.

        Raises:
            StationError: they cannot be made.
        """
        self.folder = folder
        for name in ("", *KINDS, ANSWERS):
            try:
                (folder / name).mkdir(parents=not name, exist_ok=True)
            except OSError as error:
                raise StationError(f"the folder {folder / name} cannot be made: {error.strerror}") from error

    @property
    def journal(self) -> Path:
        return self.folder / JOURNAL

    def free_bytes(self) -> int:
        """Left on its disk for this user.

        Raises:
            StationError: the folder is gone.
        """
        try:
            return shutil.disk_usage(self.folder).free
        except OSError as error:
            raise StationError(f"the disk of {self.folder} cannot be looked at: {error.strerror}") from error

    def put_answer(self, stem: str, record: Mapping[str, Any]) -> None:
        """Write an answer; the same once more changes nothing.

        Raises:
            StationError: it cannot be written.
        """
        target = self.folder / ANSWERS / f"{stem}.json"
        try:
            write_file(target, f"{json.dumps(record)}\n".encode())
        except OSError as error:
            raise StationError(f"the answer {target} cannot be written: {error.strerror}") from error

    def put_away(self, picture: Path, kind: Kind, name: str) -> None:
        """Move a picture to where it belongs; nothing is done where that was done before.

        Raises:
            StationError: it cannot be moved, and lies where it was.
        """
        target = self.folder / kind / name
        if not os.path.lexists(picture) and os.path.lexists(target):
            return
        try:
            move_file(picture, target)
        except OSError as error:
            raise StationError(f"a picture cannot be moved to {target}: {error.strerror}") from error
