"""What a bundle's documents say of the radiographs that its run was trained on; a small TOML file, one a data set."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.records import parse_record


@dataclass(frozen=True)
class DataCard:
    """Sentences for people.

    Attributes:
        source: name, authors and address of the data set.
        use: what its licence allows, as "for research use".
        selection: where it is from and what was left out.
        label_source, label_caveat: how the labels came about, and how far they can be trusted.
        limits: whom it does not represent.
        unlabelled_source: name of the data set whose pictures without labels starting weights were taught on.
    """

    source: str
    use: str
    selection: str
    label_source: str
    label_caveat: str
    limits: tuple[str, ...]
    unlabelled_source: str = ""


def read_data_card(path: Path) -> DataCard:
    """Read a data card.

    Raises:
        ExportError: it is missing, is not TOML, or a field is missing or unknown.
    """
    try:
        return parse_record(DataCard, tomllib.loads(path.read_text(encoding="utf-8")), where=path.name)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); check --data-card") from error
    except (ManifestError, ValueError) as error:
        raise ExportError(f"{path} is not a data card: {error}") from error
