"""What a site says of its kiosk, in a JSON file: that it knows what the program is for, and where its pictures lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from osteo_edge.errors import ManifestError, SiteError
from osteo_edge.integrity import read_up_to
from osteo_edge.records import parse_json, parse_record

ACKNOWLEDGEMENT: Final = (
    "We use this as a screening aid for research and not for diagnosis, and a clinician looks at every person it is used for."
)
_MAX_BYTES: Final = 64 << 10


@dataclass(frozen=True)
class Site:
    """One site.

    Attributes:
        acknowledged: ``ACKNOWLEDGEMENT``, word by word; anything else leaves the kiosk a demonstration.
        by: who answers for that.
        pictures: a folder from which pictures may be chosen, seen from the site file's own; None where there is none.
    """

    schema_version: Literal[1]
    acknowledged: str = ""
    by: str = ""
    pictures: str | None = None

    @property
    def is_acknowledged(self) -> bool:
        return " ".join(self.acknowledged.split()) == ACKNOWLEDGEMENT and bool(self.by.strip())


DEMONSTRATION: Final = Site(1)


def read_site(path: Path) -> Site:
    """The site file.

    Raises:
        SiteError: it cannot be read, or is none.
    """
    try:
        data = read_up_to(path, _MAX_BYTES)
    except OSError as error:
        raise SiteError(f"the site file {path} cannot be read: {error.strerror}") from error
    if len(data) > _MAX_BYTES:
        raise SiteError(f"the site file {path} is larger than {_MAX_BYTES >> 10} KiB")
    try:
        return parse_record(Site, parse_json(data, what=str(path)), where=str(path))
    except ManifestError as error:
        raise SiteError(f"{error}; docs/kiosk.md shows a site file") from error
