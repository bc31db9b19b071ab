"""Whose each film is, and all that is wrong: rows without a film, one picture twice, one person with two labels."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import click

from osteo_edge.errors import InputError
from osteo_edge.images.reader import read
from osteo_edge.integrity import sha256_hex
from osteo_edge.printable import counted, enumerate_words
from train.data.collection.config import FILE, CollectionConfig
from train.data.collection.films import Films, find_films, patient_in_path, patient_in_tag
from train.data.collection.table import Entry, read_table, same_patient
from train.data.dataset import size_class

_NAMED_AT_MOST = 5


@dataclass(frozen=True)
class Film:
    """One film that can be used.

    Attributes:
        name: its path within the export.
        entry: the row that it belongs to.
        pixels_sha256: of its size and pixels, which two copies share whatever their files are.
        acquisition: as the table says; else the picture's size class, which stands for the unknown device.
    """

    name: PurePosixPath
    entry: Entry
    pixels_sha256: str = ""
    acquisition: str = ""

    @property
    def patient(self) -> str:
        return same_patient(self.entry.patient)


@dataclass(frozen=True)
class Collected:
    """What an export comes to.

    Attributes:
        films: that can be used, in the table's order.
        faults: what must be settled, or left out, a sentence each.
        notes: what is only worth knowing.
    """

    films: tuple[Film, ...]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def collect(folder: Path, config: CollectionConfig) -> Collected:
    """Read the table, find the films, and settle whose each one is.

    Raises:
        DatasetError: the table or the folder cannot be read at all.
    """
    table, films = read_table(folder / config.table, config), find_films(folder, config)
    entries, contradictions = _unanimous(table.entries)
    found, faults, notes = _join(entries, films, config, folder)
    faults = [*table.faults, *contradictions, *faults]
    for settle in (_unequivocal, _readable(folder), _single):
        found, more, told = settle(found)
        faults += more
        notes += told
    return Collected(tuple(found), tuple(faults), tuple(notes))


_Settled = tuple[list[Film], list[str], list[str]]


def _unanimous(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """A patient whose rows carry two labels cannot be learnt from."""
    by_patient: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_patient[same_patient(entry.patient)].append(entry)
    faults, contradicting = [], set()
    for patient, several in by_patient.items():
        labels = list(dict.fromkeys(entry.label for entry in several))
        if len(labels) > 1:
            contradicting.add(patient)
            lines = enumerate_words([str(entry.line) for entry in several])
            faults.append(
                f"patient {several[0].patient!r}: contradicting labels {enumerate_words(labels)} in lines {lines}; settle it "
                "in the table"
            )
    return [entry for entry in entries if same_patient(entry.patient) not in contradicting], faults


def _join(entries: Sequence[Entry], films: Films, config: CollectionConfig, folder: Path) -> _Settled:
    if FILE in config.columns:
        return _join_by_name(entries, films)
    if config.films_tag:
        return _join_by_patient(entries, films, patient_in_tag(folder, config.films_tag), f"tag {config.films_tag}")
    return _join_by_patient(entries, films, patient_in_path(config.films), "path")


def _join_by_name(entries: Sequence[Entry], films: Films) -> _Settled:
    found, faults = [], []
    for entry in entries:
        meant = films.named(entry.file)
        if len(meant) == 1:
            found.append(Film(meant[0], entry))
        elif meant:
            faults.append(f"line {entry.line}: {len(meant)} files are called '{entry.file}' ({_named(meant)}); give the path")
        else:
            faults.append(f"line {entry.line}: the export holds no file '{entry.file}'; export it, or take the row out")
    return (
        found,
        faults,
        _strangers(set(films.names) - {film.name for film in found}, "no row that can be used names"),
    )


def _join_by_patient(
    entries: Sequence[Entry], films: Films, patient_of: Callable[[PurePosixPath], str], place: str
) -> _Settled:
    by_patient, without = films.by_patient(patient_of)
    found, faults, seen = [], [], set()
    for entry in entries:
        patient = same_patient(entry.patient)
        meant = by_patient.get(patient, ())
        if not meant:
            faults.append(
                f"line {entry.line}: no film's {place} tells of patient {entry.patient!r}; export one, or take the row out"
            )
        seen.add(patient)
        found += [Film(name, entry) for name in meant]
    others = {name for patient, names in by_patient.items() if patient not in seen for name in names}
    notes = _strangers(others, "of patients of whom no row can be used:")
    if without:
        notes.append(f"{counted(without, 'file')} left aside: no patient in the {place}")
    return found, faults, notes


def _strangers(names: Iterable[PurePosixPath], why: str) -> list[str]:
    several = sorted(names)
    return [f"{counted(len(several), 'file')} left aside: {why} {_named(several)}"] if several else []


def _unequivocal(films: Sequence[Film]) -> _Settled:
    """Of two rows that mean one film, the first counts where both are of one patient."""
    kept, faults, notes = [], [], []
    for name, several in _grouped(films, lambda film: film.name.as_posix()).items():
        lines = enumerate_words([str(film.entry.line) for film in several])
        if len({film.patient for film in several}) > 1:
            faults.append(f"{name}: lines {lines} give it to different patients; settle it in the table")
            continue
        kept.append(several[0])
        if len(several) > 1:
            notes.append(f"{name}: stands in lines {lines}; counted once, as line {several[0].entry.line} says")
    return kept, faults, notes


def _readable(folder: Path) -> Callable[[Sequence[Film]], _Settled]:
    """Every film is decoded once, by the runtime's own reader."""

    def settle(films: Sequence[Film]) -> _Settled:
        kept, faults = [], []
        with click.progressbar(films, label="Reading films", file=sys.stderr) as rows:
            for film in rows:
                try:
                    pixels = read(folder / film.name).pixels
                except InputError as error:
                    faults.append(f"{film.name}: {error}")
                else:
                    height_px, width_px = pixels.shape
                    digest = sha256_hex(f"{pixels.dtype} {pixels.shape} ".encode() + pixels.tobytes())
                    acquisition = film.entry.acquisition or size_class(width_px, height_px)
                    kept.append(replace(film, pixels_sha256=digest, acquisition=acquisition))
        return kept, faults, []

    return settle


def _single(films: Sequence[Film]) -> _Settled:
    """One picture under two names is counted once; under two patients nobody knows whose it is."""
    kept, faults, notes = [], [], []
    for several in _grouped(films, lambda film: film.pixels_sha256).values():
        names = enumerate_words([film.name.as_posix() for film in several])
        patients = list(dict.fromkeys(film.entry.patient for film in several))
        if len({film.patient for film in several}) > 1:
            faults.append(f"{names} are one picture of patients {enumerate_words(patients)}; find out whose it is")
            continue
        kept.append(several[0])
        if len(several) > 1:
            notes.append(f"{names} are one picture; counted once")
    return sorted(kept, key=lambda film: (film.entry.line, film.name)), faults, notes


def _grouped(films: Iterable[Film], key: Callable[[Film], str]) -> Mapping[str, list[Film]]:
    groups: dict[str, list[Film]] = defaultdict(list)
    for film in films:
        groups[key(film)].append(film)
    return groups


def _named(names: Sequence[PurePosixPath]) -> str:
    return ", ".join(_some(names))


def _some(names: Sequence[PurePosixPath]) -> Iterator[str]:
    yield from (name.as_posix() for name in names[:_NAMED_AT_MOST])
    if len(names) > _NAMED_AT_MOST:
        yield f"and {len(names) - _NAMED_AT_MOST} more"
