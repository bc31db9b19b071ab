"""The export's pictures: which files there are, and which one a row of the table means."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from osteo_edge.folders import list_files
from train.collection.config import PATIENT, CollectionConfig
from train.collection.table import same_patient
from train.dataset import DatasetError

# Left by file managers, and the index of a disc of DICOM files, which holds no picture.
_NO_FILMS = ("thumbs.db", "desktop.ini", "dicomdir", "lockfile", "version")


@dataclass(frozen=True)
class Films:
    """The files of an export that may be films: paths within it, sorted."""

    names: tuple[PurePosixPath, ...]

    def named(self, cell: str) -> tuple[PurePosixPath, ...]:
        """The files that a cell may mean: the one of this path, else those of this name, with a suffix or without, anywhere."""
        wanted = PurePosixPath(cell.replace("\\", "/").lstrip("/"))
        if wanted in self.names:
            return (wanted,)
        of_folder = [name for name in self.names if _ends_as(name.parent, wanted.parent)]
        return tuple(name for name in of_folder if name.name == wanted.name) or tuple(
            name for name in of_folder if wanted.name in (name.stem, name.name) or name.name == wanted.stem
        )

    def by_patient(self, pattern: str) -> tuple[Mapping[str, Sequence[PurePosixPath]], int]:
        """Films by patient, as ``same_patient`` spells the number, and how many files' paths tell of none."""
        found: dict[str, list[PurePosixPath]] = defaultdict(list)
        without = 0
        for name in self.names:
            match = re.search(pattern, name.as_posix())
            if match and match[PATIENT]:
                found[same_patient(match[PATIENT])].append(name)
            else:
                without += 1
        return found, without


def find_films(folder: Path, config: CollectionConfig) -> Films:
    """All files of the export that are not its table, hidden, or known to be none.

    Raises:
        DatasetError: the folder, or one within it, cannot be listed.
    """
    listing = list_files(folder, recursive=True)
    for place, error in listing.faults:
        raise DatasetError(f"{place}: cannot be listed ({error.strerror})") from error
    names = [PurePosixPath(path.relative_to(folder).as_posix()) for path in listing.files]
    return Films(tuple(name for name in names if _may_be_film(name, config)))


def _may_be_film(name: PurePosixPath, config: CollectionConfig) -> bool:
    hidden = any(part.startswith(".") for part in name.parts)
    return not hidden and name.name.lower() not in _NO_FILMS and name.as_posix() != config.table


def _ends_as(folder: PurePosixPath, wanted: PurePosixPath) -> bool:
    """Whether a folder ends in the wanted one, so that a table may name the whole path or its last part."""
    parts = wanted.parts
    return not parts or folder.parts[-len(parts) :] == parts
