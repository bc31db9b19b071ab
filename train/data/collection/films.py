"""The export's pictures: which files there are, and which one a row of the table means."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from osteo_edge.folders import list_files
from osteo_edge.images.dicom import INSTALL
from train.data.collection.config import PATIENT, CollectionConfig
from train.data.collection.table import same_patient
from train.data.dataset import DatasetError

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

    def by_patient(self, patient_of: Callable[[PurePosixPath], str]) -> tuple[Mapping[str, Sequence[PurePosixPath]], int]:
        """Films by patient, as ``same_patient`` spells the number, and how many tell of none."""
        found: dict[str, list[PurePosixPath]] = defaultdict(list)
        without = 0
        for name in self.names:
            patient = patient_of(name)
            if patient:
                found[same_patient(patient)].append(name)
            else:
                without += 1
        return found, without


def patient_in_path(pattern: str) -> Callable[[PurePosixPath], str]:
    """What the pattern's group ``patient`` finds in a film's path; empty where it finds nothing."""

    def patient_of(name: PurePosixPath) -> str:
        match = re.search(pattern, name.as_posix())
        return match[PATIENT] or "" if match else ""

    return patient_of


def patient_in_tag(folder: Path, keyword: str) -> Callable[[PurePosixPath], str]:
    """What a DICOM file's tag holds; empty for other files.

    Raises:
        DatasetError: pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.errors import InvalidDicomError
    except ImportError as error:
        raise DatasetError(f"films_tag: DICOM's tags are read with pydicom: {INSTALL}") from error

    def patient_of(name: PurePosixPath) -> str:
        try:
            tags = pydicom.dcmread(folder / name, stop_before_pixels=True, specific_tags=[keyword])
        except (InvalidDicomError, OSError, ValueError, NotImplementedError, RecursionError):
            return ""  # no DICOM, or a damaged one: it is told as a file without a patient
        return str(tags.get(keyword, "") or "").strip()

    return patient_of


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
