"""The field's closed vocabularies. Values are the codes that stand in JSON, CSV and manifests."""

from __future__ import annotations

from enum import StrEnum


class BoneStatus(StrEnum):
    """Research code of a radiograph's class, in order of falling bone density."""

    NORMAL = "normal"
    OSTEOPENIA = "osteopenia"
    OSTEOPOROSIS = "osteoporosis"


class BodyPart(StrEnum):
    """DICOM Body Part Examined, lower case."""

    KNEE = "knee"


class Laterality(StrEnum):
    """Side of the patient, from the fibula's side in an antero-posterior view."""

    RIGHT = "right"
    LEFT = "left"


class Status(StrEnum):
    """What became of a picture.

    reported: one class stands alone. referred: read, but the classes cannot be told apart surely enough.
    rejected: no answer; the findings say why.
    """

    REPORTED = "reported"
    REFERRED = "referred"
    REJECTED = "rejected"


class Mode(StrEnum):
    """What an answer rests on: the picture alone, or the picture and what is known of the person."""

    IMAGE = "image"
    FUSED = "fused"
