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
    """What became of a picture, or of a question that it was asked.

    reported: there is an answer, in which all classes lie that cannot be ruled out. referred: read, but it cannot be told
    surely enough, or rests on too little. rejected: no answer; the findings say why.
    """

    REPORTED = "reported"
    REFERRED = "referred"
    REJECTED = "rejected"


class Mode(StrEnum):
    """What an answer rests on: the picture alone, or the picture and what is known of the person."""

    IMAGE = "image"
    FUSED = "fused"
