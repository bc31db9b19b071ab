"""What the tags of a DICOM file say of its picture and person, as a record. They are never trusted alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from osteo_edge.findings import Finding
from osteo_edge.labels import Laterality


@dataclass(frozen=True)
class Tags:
    """Facts by the file's own account; None where it says nothing that can be understood.

    Of the person nothing is kept but age and sex; these and the day of the picture are not printed.

    Attributes:
        kind: of object: ``CR``, ``DX`` or ``SC``.
        coding: how the pixels are stored, for example ``JPEG Lossless``.
        greys: what the brightness was made by: ``window``, ``lut`` or ``stored``.
        body_part, view_position: DICOM's words in lower case. A part that may hold a knee or not, such as a leg, is None.
        laterality: side of the patient.
        pixel_spacing_mm: between rows, between columns; at the detector where nothing better is known.
        aspect: of a pixel's sides, 1 for a square; from the spacing or the file's own word.
        names_implant: whether a description names an implant.
        taken_on: day of the picture, as ``2026-03-01``.
        age_years, sex: of the person; ``female`` or ``male``.
        notes: what is worth telling of how the file was understood.
    """

    kind: str
    coding: str
    greys: str
    body_part: str | None = None
    view_position: str | None = None
    laterality: Laterality | None = None
    pixel_spacing_mm: tuple[float, float] | None = None
    aspect: float | None = None
    names_implant: bool = False
    taken_on: str | None = field(default=None, repr=False)
    age_years: float | None = field(default=None, repr=False)
    sex: str | None = field(default=None, repr=False)
    notes: tuple[Finding, ...] = ()
