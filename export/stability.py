"""How steady a bundle's answers are when the same radiograph comes otherwise: what was measured, and what the card says of it.

``python -m benchmarks stability`` measures it on a packed bundle, and it goes into the next packing while the model files are
the same to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.printable import counted
from osteo_edge.records import parse_record

SCHEMA_VERSION: Literal[1] = 1
# What is aimed at, of every kind of change.
MAX_CHANGED_SHARE = 0.05
MAX_CROSSED = 0
MAX_MEAN_CHANGE = 0.02
ALL = "all of them"


@dataclass(frozen=True)
class Disturbed:
    """What one change of the picture did, of one set of pictures.

    Attributes:
        pictures: their folder.
        kind: several changes may be of one, for example ``gamma``.
        name: of the change itself; ``ALL`` for all of the kind together, and for all kinds where that is the kind.
        asked: changed pictures of which the unchanged one was answered.
        refused: of these, refused.
        knees: found before, and to be found again in the changed pictures that were answered.
        lost: of these, not found again; all else is of the others.
        changed: knees with another likeliest label.
        crossed: reported before and after, with another answer.
        withdrawn: reported before and not after.
        mean_change, largest_change: of a probability, absolute.
    """

    pictures: str
    kind: str
    name: str
    asked: int
    refused: int
    knees: int
    lost: int
    changed: int
    crossed: int
    withdrawn: int
    mean_change: float
    largest_change: float

    @property
    def compared(self) -> int:
        return self.knees - self.lost

    @property
    def changed_share(self) -> float:
        return self.changed / self.compared if self.compared else 0.0

    @property
    def is_steady(self) -> bool:
        """Whether it is what is aimed at."""
        few = self.changed_share <= MAX_CHANGED_SHARE and self.crossed <= MAX_CROSSED
        return few and self.mean_change <= MAX_MEAN_CHANGE


@dataclass(frozen=True)
class Stability:
    """``stability.json``.

    Attributes:
        files: path in the bundle -> SHA-256 of every model file.
        engine, precision: what answered.
        pictures: folder -> pictures that were answered unchanged.
        rows: by folder, kind and change.
    """

    schema_version: Literal[1]
    bundle: str
    files: Mapping[str, str]
    engine: str
    precision: str
    pictures: Mapping[str, int]
    rows: tuple[Disturbed, ...]

    def kinds(self) -> tuple[Disturbed, ...]:
        """All changes of a kind together, and all kinds."""
        return tuple(row for row in self.rows if row.name == ALL)


def read_stability(plain: Any) -> Stability:
    """The record of decoded JSON.

    Raises:
        ExportError: it is not what the command writes.
    """
    try:
        return parse_record(Stability, plain, where="stability.json")
    except ManifestError as error:
        raise ExportError(f"{error}; measure it anew (python -m benchmarks stability)") from error


def stability_section(found: Stability) -> list[str]:
    """What the card says."""
    return ["## The same film, come otherwise", "", *stability_lines(found)]


def stability_lines(found: Stability) -> list[str]:
    """What was done, a table for people, and a sentence on what is aimed at."""
    asked = ", ".join(f"{counted(count, 'picture')} of {folder}" for folder, count in found.pictures.items())
    return [
        f"Each picture was changed and asked again ({asked}; {found.bundle}, {found.engine} {found.precision}), knee by knee.",
        "",
        "| pictures | change | knees | label changed | other answer | no longer reported | mean change of a probability "
        "| largest | picture refused | knee lost |",
        f"|{'---|' * 10}",
        *(_row(row) for row in found.kinds()),
        "",
        *_verdict(found.kinds()),
    ]


def _row(row: Disturbed) -> str:
    cells = [
        row.pictures,
        row.kind,
        str(row.compared),
        f"{row.changed} ({row.changed_share:.1%})",
        str(row.crossed),
        str(row.withdrawn),
        f"{row.mean_change:.3f}",
        f"{row.largest_change:.2f}",
        f"{row.refused} of {row.asked}",
        str(row.lost),
    ]
    return f"| {' | '.join(cells)} |"


def _verdict(rows: Sequence[Disturbed]) -> Iterator[str]:
    aim = (
        f"Aimed at: at most {MAX_CHANGED_SHARE:.0%} of labels change, none from one reported answer to another, and a "
        f"probability by {MAX_MEAN_CHANGE:g} in the mean."
    )
    missed = [f"{row.kind} ({row.pictures})" for row in rows if not row.is_steady]
    yield f"{aim} Missed by: {', '.join(missed)}." if missed else f"{aim} Every kind of change keeps to it."
