"""A folder into which others copy pictures: only what stands still is taken, in one step, under a name that says nothing.

No notice of the file system is waited for: a share tells nothing of what other machines write. Whoever copies slowly does best
to write under another name (``knee.png.part``) and to rename at the end.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from osteo_edge.errors import StationError
from osteo_edge.folders import list_files
from osteo_edge.storage import move_file

TAKEN: Final = ".osteo-edge-taken"
_IDENTITY: Final = re.compile(r"([0-9a-f]{16})(.*)", re.DOTALL)
_MAX_NAME_BYTES: Final = 200
# What systems leave in folders, and what programs name files that they have not finished.
_SYSTEM_FILES: Final = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "$recycle.bin"})
_UNFINISHED: Final = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp", ".swp", ".lock", "~")


@dataclass(frozen=True)
class Shape:
    """What changes while a file is written."""

    size: int
    changed_ns: int
    number: int


@dataclass(frozen=True)
class Arrival:
    """A picture that was taken and has no outcome yet.

    Attributes:
        identity: 16 digits of its own.
        path: where it lies now.
        name: as it was brought; empty where names are not kept.
        ending: of its name, as ``.png``, if it is one of pictures.
    """

    identity: str
    path: Path
    name: str
    ending: str


def is_ignored(name: str) -> bool:
    """Files of systems, hidden ones, and those that a program has not finished."""
    lowered = name.lower()
    return lowered.startswith((".", "~$")) or lowered in _SYSTEM_FILES or lowered.endswith(_UNFINISHED)


def shape_of(path: Path) -> Shape | None:
    """None where it is gone, or no plain file: links, pipes and devices are not taken."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return Shape(status.st_size, status.st_mtime_ns, status.st_ino) if stat.S_ISREG(status.st_mode) else None


class Stillness:
    """Since when files look as they do, by this machine's own clock: another's may go wrong."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[Shape, float]] = {}

    def look(self, paths: Collection[Path], now: float) -> None:
        """Look at these files, and forget all others."""
        shapes = {path: shape for path in paths if (shape := shape_of(path)) is not None}
        self._seen = {path: (shape, self._since(path, shape, now)) for path, shape in shapes.items()}

    def _since(self, path: Path, shape: Shape, now: float) -> float:
        before = self._seen.get(path)
        return before[1] if before and before[0] == shape else now

    def forget(self, path: Path) -> None:
        """It was taken, or is gone."""
        self._seen.pop(path, None)

    def __len__(self) -> int:
        return len(self._seen)

    def still(self, now: float, seconds: float) -> list[Path]:
        """Files that have looked the same for so long, those first that have done so the longest."""
        found = [(since, path) for path, (shape, since) in self._seen.items() if now - since >= seconds * _times(shape)]
        return [path for _, path in sorted(found)]


def _times(shape: Shape) -> int:
    """Many a program makes a file long before it has anything to write."""
    return 10 if shape.size == 0 else 1


class Inbox:
    """The folder, and one inside it that holds what was taken from it."""

    def __init__(self, folder: Path, *, endings: Collection[str], recursive: bool, keeps_names: bool) -> None:
        """Make the inner folder.

        Raises:
            StationError: the folder is not there, or nothing can be written into it.
        """
        self.folder, self._taken = folder, folder / TAKEN
        self._endings, self._recursive, self._keeps_names = endings, recursive, keeps_names
        self._stillness = Stillness()
        try:
            self._taken.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StationError(f"pictures cannot be taken from {folder}: {error.strerror}") from error

    def left_over(self) -> list[Arrival]:
        """What was taken and not moved on, as by a program that was ended, in the order of its numbers."""
        try:
            names = sorted(os.listdir(self._taken))
        except OSError as error:
            raise StationError(f"{self._taken} cannot be read: {error.strerror}") from error
        found = [(name, _IDENTITY.fullmatch(name)) for name in names]
        return [self._arrival(match[1], match[2], self._taken / name) for name, match in found if match]

    def look(self, now: float) -> None:
        """Look at what is in the folder.

        Raises:
            StationError: it cannot be read.
        """
        listing = list_files(self.folder, recursive=self._recursive)
        faults = {place: error for place, error in listing.faults if place == self.folder}
        if faults:
            raise StationError(f"{self.folder} cannot be read: {faults[self.folder].strerror}")
        self._stillness.look([path for path in listing.files if not self._is_passed_over(path)], now)

    @property
    def waits(self) -> bool:
        """Whether something was there at the last look that was not taken."""
        return len(self._stillness) > 0

    def _is_passed_over(self, path: Path) -> bool:
        *folders, name = path.relative_to(self.folder).parts
        return is_ignored(name) or any(one.startswith(".") for one in folders)

    def take_still(self, now: float, seconds: float, may_take: Callable[[Path], bool]) -> Iterator[Arrival]:
        """Take, one by one, what has stood still for so long, as far as it may be taken.

        Raises:
            StationError: one cannot be taken.
        """
        for path in self._stillness.still(now, seconds):
            if not may_take(path):
                return
            arrival = self._take(path)
            self._stillness.forget(path)
            if arrival is not None:
                yield arrival

    def _take(self, path: Path) -> Arrival | None:
        ending = _ending_of(path.name, self._endings)
        identity = secrets.token_hex(8)
        target = self._taken / (identity + (f".{_shortened(path.name)}" if self._keeps_names else ending))
        try:
            move_file(path, target)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StationError(f"a picture in {self.folder} cannot be taken: {error.strerror}") from error
        return self._arrival(identity, target.name[len(identity) :], target)

    def _arrival(self, identity: str, rest: str, path: Path) -> Arrival:
        name = rest.removeprefix(".") if self._keeps_names else ""
        return Arrival(identity, path, name, _ending_of(rest, self._endings))


def _ending_of(name: str, endings: Collection[str]) -> str:
    """Of those that are known, for any other word may be somebody's name."""
    found = os.path.splitext(f"x{name}")[1].lower()
    return found if found in endings else ""


def _shortened(name: str) -> str:
    stem, ending = os.path.splitext(name)
    raw = os.fsencode(stem)[: _MAX_NAME_BYTES - len(os.fsencode(ending[:20]))]
    return os.fsdecode(raw) + ending[:20]
