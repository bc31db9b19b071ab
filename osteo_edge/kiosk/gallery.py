"""Pictures to choose from, under names that say nothing of the files'."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from osteo_edge.errors import InputError, UnreadableImageError
from osteo_edge.folders import list_files
from osteo_edge.images.reader import MAX_FILE_BYTES
from osteo_edge.integrity import read_up_to
from osteo_edge.reports.pages.picture import Read, small_jpeg

# The newest; more do not fit on a page.
MOST: Final = 24


class Gallery:
    """The pictures of a folder as they are at the moment."""

    def __init__(self, paths: Callable[[], Collection[Path]], read: Read) -> None:
        """Look at nothing yet.

        Args:
            paths: lists the files.
            read: decodes a picture.
        """
        self._paths, self._read = paths, read
        self._key = secrets.token_bytes(16)

    def names(self) -> tuple[str, ...]:
        """One a picture, the newest first; the same picture has the same name as long as the service runs."""
        return tuple(self._named())

    def data(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            InputError: there is no such picture any more, or it cannot be read.
        """
        path = self._named().get(name)
        if path is None:
            raise UnreadableImageError("the picture is not there any more", code="not_found")
        try:
            return read_up_to(path, MAX_FILE_BYTES)
        except OSError as error:
            raise UnreadableImageError("the picture cannot be read", code="unreadable") from error

    def thumbnail(self, name: str) -> bytes:
        """A small JPEG of it; empty where it cannot be decoded."""
        try:
            return small_jpeg(self._read(self.data(name), source=name))
        except InputError:
            return b""

    def _named(self) -> Mapping[str, Path]:
        return {self._name(path): path for path in self._paths()}

    def _name(self, path: Path) -> str:
        return hashlib.blake2s(str(path).encode(errors="surrogateescape"), key=self._key, digest_size=12).hexdigest()


def newest_of(folder: Path, endings: Collection[str]) -> list[Path]:
    """The newest pictures right in the folder; no links, and nothing where it cannot be listed."""
    found: list[tuple[float, Path]] = []
    for path in list_files(folder, recursive=False).files:
        if path.suffix.lower() in endings and not path.name.startswith(".") and not path.is_symlink():
            try:
                found.append((path.stat().st_mtime, path))
            except OSError:  # taken away just now
                continue
    return [path for _, path in sorted(found, key=lambda one: (-one[0], one[1]))[:MOST]]
