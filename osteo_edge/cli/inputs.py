"""Which pictures are meant: paths as they were given, and the pictures among the files of a folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from osteo_edge.errors import InputError, UnreadableImageError
from osteo_edge.printable import counted

STDIN = "-"
OVERLAY_ENDING = ".overlay.png"
# Names under which pictures are kept: such a file is answered for, whatever it holds. What is not read here is named then.
PICTURE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".bmp", ".dib", ".webp"),
    *(".dcm", ".dicom", ".gif", ".jp2", ".j2k", ".jpx", ".jxl", ".heic", ".heif", ".avif"),
)
# The index of a disc of DICOM files begins as one of them and holds no picture: given itself, it stands for the disc.
_DICOM_INDEX = "dicomdir"
_START_BYTES = 512
MAX_SHOWN_PATH = 400


@dataclass(frozen=True)
class Input:
    """A path, or a fault found before any picture could be opened."""

    name: str
    fault: InputError | None = None

    @property
    def is_file(self) -> bool:
        return self.fault is None and self.name != STDIN


@dataclass(frozen=True)
class Inputs:
    """All that is to be answered for.

    Attributes:
        pictures: in order; of a folder, sorted by name.
        passed_over: number of other files in the folders.
        is_one_path: one path was given, and it is no folder.
    """

    pictures: tuple[Input, ...]
    passed_over: int
    is_one_path: bool


def find_inputs(paths: Iterable[str], *, recursive: bool) -> Inputs:
    """Folders as the pictures in them, and the index of a disc as all pictures of the disc; everything else as it is.

    Files without a picture's name are looked into: system files, tables, text, documents, archives and overlays made before
    are passed over. Hidden folders, and links to folders, are not entered.
    """
    given = tuple(paths)
    below = [_below(path, recursive=recursive) for path in given]
    pictures: list[Input] = []
    passed_over = 0
    for path, found in zip(given, below, strict=True):
        if found is None:
            pictures.append(Input(path, None if path else UnreadableImageError("the name is empty", code="not_found")))
        else:
            pictures += found.pictures
            passed_over += found.passed_over
    return Inputs(tuple(pictures), passed_over, is_one_path=below == [None])


def _below(path: str, *, recursive: bool) -> Inputs | None:
    """The pictures of a folder, or of the disc that this is the index of; None for any other path."""
    if path in ("", STDIN):
        return None
    if os.path.isdir(path):
        return _in_folder(path, recursive=recursive)
    if os.path.basename(path).lower() == _DICOM_INDEX and os.path.isfile(path):
        return _in_folder(os.path.dirname(path) or os.curdir, recursive=True)
    return None


def _in_folder(folder: str, *, recursive: bool) -> Inputs:
    from osteo_edge.folders import list_files  # a single picture need not wait for it

    listing = list_files(Path(folder), recursive=recursive)
    files = [file for file in listing.files if not _in_hidden(file, folder)]
    faults = [(place, _unlisted(place, error)) for place, error in listing.faults if not _in_hidden(place, folder)]
    meant = [(file, Input(str(file))) for file in files if is_picture(file)]
    pictures = [one for _, one in sorted([*faults, *meant], key=lambda found: found[0])]
    others = len(files) - len(meant)
    if not pictures:
        pictures = [Input(folder, _none_found(others, recursive=recursive))]
    return Inputs(tuple(pictures), others, is_one_path=False)


def _in_hidden(file: Path, folder: str) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts[:-1])


def _unlisted(folder: Path, error: OSError) -> Input:
    fault = UnreadableImageError(f"the folder cannot be listed: {error.strerror}", code="unlisted_folder")
    return Input(_shortened(str(folder)), fault)


def _shortened(path: str) -> str:
    """The beginning and the end of a path of thousands of characters."""
    return path if len(path) <= MAX_SHOWN_PATH else f"{path[: MAX_SHOWN_PATH // 2]}...{path[-MAX_SHOWN_PATH // 2 :]}"


def _none_found(others: int, *, recursive: bool) -> InputError:
    hint = "" if recursive else "; --recursive also reads the folders inside it"
    if others:
        files = counted(others, "other file")
        return UnreadableImageError(f"the folder holds no picture, but {files}{hint}", code="no_pictures")
    return UnreadableImageError(f"the folder holds no files{hint}", code="empty_folder")


def is_picture(file: Path) -> bool:
    """By its name, or else by how it begins."""
    from osteo_edge.images.formats import begins_as_picture  # as above

    name = file.name.lower()
    if name.startswith(".") or name.endswith(OVERLAY_ENDING):
        return False
    return name.endswith(PICTURE_ENDINGS) or (name != _DICOM_INDEX and begins_as_picture(_start_of(file)))


def _start_of(path: Path) -> bytes:
    """Nothing where it cannot be read, or is a pipe or device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            return file.read(_START_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b""
    except (OSError, ValueError):
        return b""
