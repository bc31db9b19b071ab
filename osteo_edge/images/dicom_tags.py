"""What a DICOM file says of its picture and person, in the words that are known here; anything else is told as not understood.

No text of the file is passed on but for words of these tables, so that nobody's name stands where it should not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Final

from osteo_edge.findings import (
    BURNED_IN_TEXT,
    PERSON_NOT_UNDERSTOOD,
    SECONDARY_CAPTURE,
    TAGS_ABSENT,
    TAGS_NOT_UNDERSTOOD,
    Finding,
)
from osteo_edge.images.dicom_elements import DAYS, DESCRIPTIONS, Elements
from osteo_edge.labels import Laterality
from osteo_edge.printable import enumerate_words
from osteo_edge.tags import Tags


def _words(*lines: str) -> frozenset[str]:
    return frozenset(word for line in lines for word in line.split())


# PS3.16, annex L, and words that are written in their place.
_OTHER_PARTS: Final = _words(
    "ABDOMEN ANKLE ARM BREAST CALCANEUS CERVICALSPINE CHEST CLAVICLE COCCYX CSPINE ELBOW FACE FINGER FOOT FOREARM HAND HEAD",
    "HEART HEEL HIP HUMERUS JAW LSPINE LUMBARSPINE MANDIBLE MAXILLA NECK PELVIS RIB RIBS SACRUM SCAPULA SHOULDER SKULL SPINE",
    "SSPINE STERNUM TEETH THORACICSPINE THORAX THUMB TOE TOOTH TSPINE ULNA WRIST",
)
# A knee may be in it or not, which is for the picture to show.
_MAY_HOLD_A_KNEE: Final = _words(
    "BONE EXTREMITIES EXTREMITY FEMUR FIBULA JOINT LEG LEGS LOWEREXTREMITY LOWERLEG LOWERLIMB LWREXTREMITY PATELLA SKELETON",
    "THIGH TIBIA TIBIAFIBULA WHOLEBODY",
)
_VIEWS: Final[Mapping[str, frozenset[str]]] = {
    "ap": _words("AP ANTEROPOSTERIOR"),
    "pa": _words("PA POSTEROANTERIOR"),
    "lateral": _words("LL RL LLD RLD LAT LATERAL LLAT RLAT ML LM MEDIOLATERAL LATEROMEDIAL LEFTLATERAL RIGHTLATERAL"),
    "oblique": _words("LLO RLO LAO RAO LPO RPO OBL OBLIQUE MLO LMO"),
    "axial": _words("AXIAL HUGHSTON MERCHANT SKYLINE SUNRISE TAN TANGENTIAL"),
    "tunnel": _words("NOTCH TUNNEL"),
}
# Code meanings are sentences: the first of these words that stands in one tells the view.
_MEANINGS: Final = (
    ("oblique", "oblique"),
    ("antero-posterior", "ap"),
    ("postero-anterior", "pa"),
    ("lateral", "lateral"),
    ("axial", "axial"),
    ("skyline", "axial"),
    ("tangential", "axial"),
    ("tunnel", "tunnel"),
)
_SPACINGS: Final = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
# No detector or scanner of films has pixels outside of this.
_LEAST_MM, _MOST_MM = 0.01, 5.0
_IMPLANT: Final = re.compile(
    r"\b(tkr|tka|ukr|uka|tep|k-?tep|\w*prosthe\w*|\w*prothes\w*|arthroplast\w*|implant\w*|osteosynthes\w*|orif|hardware|screws?"
    r"|(?:knee|joint) replacement|(?:intramedullary|im) nail\w*)\b",
    re.IGNORECASE,
)
# An implant that is not there, or not yet.
_NOT_THERE: Final = re.compile(
    r"\b(no|without|w/o|pre|pre-?op|preoperative|before|for|planned|planning)\W{1,3}$", re.IGNORECASE
)
_AGE: Final = re.compile(r"([0-9]{3})([DWMY])")
_UNITS_A_YEAR: Final = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0}
_OLDEST_YEARS: Final = 120
_SEXES: Final = {"F": "female", "M": "male"}
_SIDES: Final = {"R": Laterality.RIGHT, "L": Laterality.LEFT}


def read_tags(elements: Elements, kind: str, coding: str, greys: str, notes: tuple[Finding, ...]) -> Tags:
    """The record of a file; ``notes`` are those of its greys."""
    part, view, side = _body_part(elements), _view(elements), _side(elements)
    spacing = _spacing(elements)
    age, sex = _age(elements), _SEXES.get(elements.text("PatientSex"))
    absent = [
        name for name, found in (("body part", part), ("view", view), ("side", side), ("pixel spacing", spacing)) if not found
    ]
    return Tags(
        kind=kind,
        coding=coding,
        greys=greys,
        body_part=part,
        view_position=view,
        laterality=side,
        pixel_spacing_mm=spacing,
        aspect=_aspect(elements, spacing),
        names_implant=any(map(names_implant, (text for keyword in DESCRIPTIONS for text in elements.texts(keyword)))),
        taken_on=_day(elements),
        age_years=age,
        sex=sex,
        notes=(
            *_of_kind(kind),
            *_burned_in(elements),
            *notes,
            *_not_said(absent),
            *_not_understood(elements, part, view),
            *_of_person(elements, age),
        ),
    )


def age_of(text: str) -> float | None:
    """Years by an age string such as ``067Y`` or ``018M`` (PS3.5, 6.2); None where it is none, or nobody's."""
    found = _AGE.fullmatch(text)
    years = int(found[1]) / _UNITS_A_YEAR[found[2]] if found else 0.0
    return years if 0 < years <= _OLDEST_YEARS else None


def names_implant(text: str) -> bool:
    """Whether a description names an implant, and not that there is none or that one is planned."""
    return any(not _NOT_THERE.search(text[: found.start()]) for found in _IMPLANT.finditer(text))


def _body_part(elements: Elements) -> str | None:
    word = _letters(elements.text("BodyPartExamined"))
    if not word:
        item = elements.first_item("AnatomicRegionSequence")
        word = _letters(item.text("CodeMeaning")) if item else ""
    if "KNEE" in word:
        return "knee"
    return word.lower() if word in _OTHER_PARTS else None


def _view(elements: Elements) -> str | None:
    word = _letters(elements.text("ViewPosition"))
    if word:
        return next((view for view, words in _VIEWS.items() if word in words), None)
    item = elements.first_item("ViewCodeSequence")
    meaning = item.text("CodeMeaning").lower() if item else ""
    return next((view for part, view in _MEANINGS if part in meaning), None)


def _side(elements: Elements) -> Laterality | None:
    said = {elements.text(keyword) for keyword in ("ImageLaterality", "Laterality")} - {""}
    return _SIDES.get(said.pop()) if len(said) == 1 else None


def _spacing(elements: Elements) -> tuple[float, float] | None:
    """Of the first tag that gives one; not of a further one where that makes no sense."""
    for keyword in _SPACINGS:
        if elements.text(keyword):
            found = elements.decimals(keyword)
            is_sound = found is not None and len(found) == 2 and all(_LEAST_MM <= side <= _MOST_MM for side in found)
            return (found[0], found[1]) if is_sound and found else None
    return None


def _aspect(elements: Elements, spacing: tuple[float, float] | None) -> float | None:
    sides = spacing or elements.decimals("PixelAspectRatio")
    return sides[0] / sides[1] if sides and len(sides) == 2 and min(sides) > 0 else None


def _day(elements: Elements) -> str | None:
    """Of the first tag that holds a day of the calendar (PS3.5, 6.2: ``20260301``)."""
    for keyword in DAYS:
        text = elements.text(keyword)
        if len(text) == 8 and text.isascii() and text.isdecimal():
            try:
                return date.fromisoformat(text).isoformat()
            except ValueError:
                continue
    return None


def _age(elements: Elements) -> float | None:
    return age_of(elements.text("PatientAge"))


def _of_kind(kind: str) -> Iterator[Finding]:
    if kind == "SC":
        yield Finding(
            SECONDARY_CAPTURE,
            "this is a secondary capture: its greys may have been changed on the way, and text may stand in it",
        )


def _burned_in(elements: Elements) -> Iterator[Finding]:
    if elements.text("BurnedInAnnotation") == "YES":
        yield Finding(BURNED_IN_TEXT, "by the file's tags text stands in the picture, perhaps a name; overlays show it too")


def _not_said(absent: list[str]) -> Iterator[Finding]:
    if absent:
        yield Finding(TAGS_ABSENT, f"the file's tags do not settle {enumerate_words(absent)}, which could not be checked")


def _not_understood(elements: Elements, part: str | None, view: str | None) -> Iterator[Finding]:
    word = _letters(elements.text("BodyPartExamined"))
    unknown = ["body part"] if word and part is None and word not in _MAY_HOLD_A_KNEE else []
    unknown += ["view"] if elements.text("ViewPosition") and view is None else []
    unknown += ["pixel spacing"] if any(map(elements.text, _SPACINGS)) and _spacing(elements) is None else []
    if unknown:
        yield Finding(TAGS_NOT_UNDERSTOOD, f"what the file's tags say of {enumerate_words(unknown)} is not known here")


def _of_person(elements: Elements, age: float | None) -> Iterator[Finding]:
    if elements.text("PatientAge") and age is None:
        yield Finding(PERSON_NOT_UNDERSTOOD, "the age in the file's tags is none, and is not used")


def _letters(text: str) -> str:
    """Without the blanks and marks that some writers put between."""
    return re.sub(r"[^A-Z]", "", text.upper())
