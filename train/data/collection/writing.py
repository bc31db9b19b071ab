"""The folder that training reads: copies of the films and ``labels.csv``, under names that tell nothing of a patient."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import cv2

from osteo_edge.images.formats import read_header
from osteo_edge.images.reader import read
from osteo_edge.integrity import sha256_hex
from osteo_edge.storage import creating, write_file
from train.data.collection.joining import Film
from train.data.columns import COLUMNS, T_SCORE
from train.data.dataset import LABELS, LABELS_FILE, DatasetError

_NAME_DIGITS = 16
_NOBODY_ELSE = 0o600
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
_AS_PNG = ("DICOM",)


def write_collection(export: Path, films: Sequence[Film], output: Path, key: Path | None) -> Path:
    """Copy the films, write ``labels.csv`` last, and the list that leads back to the export where one is asked for.

    Args:
        output: a folder that is new or empty.
        key: CSV to write: our file, the export's file, the patient, the patient's group. It is patients' data.

    Returns:
        ``labels.csv``.

    Raises:
        DatasetError: a class is without a film, the folder holds something already, or a file cannot be written or read again.
    """
    _require_every_class(films)
    try:
        output.mkdir(parents=True, exist_ok=True)
        if any(output.iterdir()):
            raise DatasetError(f"{output}: holds something already; give a new folder")
        groups = _groups(films)
        rows = [_copy(export / film.name, film, groups[film.patient], output) for film in films]
        if key is not None:
            originals = [film.name for film in films]
            with creating(key, mode=_NOBODY_ELSE) as file:
                file.write(_as_csv(_keys(rows, originals, films)))
        write_file(output / LABELS_FILE, _as_csv(rows))
    except OSError as error:
        raise DatasetError(f"{error.filename or output}: cannot be read or written ({error.strerror})") from error
    return output / LABELS_FILE


def _require_every_class(films: Sequence[Film]) -> None:
    for label in LABELS:
        if not any(film.entry.label == label for film in films):
            raise DatasetError(f"no film that can be used is {label}; every one of {', '.join(LABELS)} is needed")


def _groups(films: Iterable[Film]) -> dict[str, str]:
    """Patients numbered as they come; the hospital's own numbers are not told."""
    patients = list(dict.fromkeys(film.patient for film in films))
    return {patient: f"p{number:0{len(str(len(patients)))}}" for number, patient in enumerate(patients, 1)}


def _copy(path: Path, film: Film, group: str, output: Path) -> dict[str, object]:
    """The film's row, once its file lies in the folder."""
    data, suffix = _without_tags(path)
    digest = sha256_hex(data)
    name = digest[:_NAME_DIGITS] + suffix
    (output / name).write_bytes(data)
    entry = film.entry
    row: dict[str, object] = {"file": name, "label": entry.label, "patient_group": group, "acquisition": film.acquisition}
    row[T_SCORE.name] = "" if entry.t_score is None else entry.t_score
    row |= {column: _cell(column, entry.covariates) for column in COLUMNS}
    return row | {"sha256": digest}


def _without_tags(path: Path) -> tuple[bytes, str]:
    """A file's bytes, and a suffix that fits them: of DICOM the greys alone, as PNG, since its tags name the patient."""
    data = path.read_bytes()
    stored = read_header(data).format
    if stored in _AS_PNG:
        encoded, png = cv2.imencode(".png", read(data).pixels)
        if not encoded:
            raise DatasetError(f"{path}: its greys cannot be stored as PNG")
        return png.tobytes(), ".png"
    return data, _SUFFIXES.get(stored, f".{stored.lower()}")


def _cell(column: str, covariates: Mapping[str, float]) -> object:
    if column not in covariates:
        return ""
    value = covariates[column]
    if COLUMNS[column].kind == "sex":
        return "female" if value else "male"
    return int(value) if COLUMNS[column].kind == "yes_no" else round(value, 2)


def _keys(
    rows: Sequence[Mapping[str, object]], originals: Sequence[PurePosixPath], films: Sequence[Film]
) -> list[dict[str, object]]:
    return [
        {"file": row["file"], "export": name.as_posix(), "patient": film.entry.patient, "patient_group": row["patient_group"]}
        for row, name, film in zip(rows, originals, films, strict=True)
    ]


def _as_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Columns that say something of somebody; the first ones always."""
    kept = [name for name in rows[0] if any(row[name] != "" for row in rows)]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, kept, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
