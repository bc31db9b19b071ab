"""Reasons: why a picture is rejected or an answer referred, and what is worth knowing of one. Their codes are for machines.

What cannot be read has a code of its own, which is its ``InputError``'s.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Finding:
    """One reason for a rejection or referral, or a note: a stable code for machines and a sentence for people."""

    code: str
    message: str


TOO_MANY_PIXELS: Final = "too_many_pixels"
TOO_MANY_BYTES: Final = "too_many_bytes"
TOO_MANY_PARTS: Final = "too_many_parts"
# A sound file over the limits of what is read.
TOO_LARGE: Final = (TOO_MANY_PIXELS, TOO_MANY_BYTES, TOO_MANY_PARTS)

TOO_SMALL: Final = "too_small"
CONSTANT: Final = "constant"
COLOUR: Final = "colour"
NO_KNEE: Final = "no_knee"
NOT_A_KNEE: Final = "not_a_knee"
INVERTED: Final = "inverted"
IMMATURE: Final = "immature"
# Of the joint that was found.
EXPOSURE: Final = "exposure"
FEW_GREYS: Final = "few_grey_levels"
BLUR: Final = "blur"
COMPRESSION: Final = "compression"
METAL: Final = "metal"
COVERED: Final = "covered"
CUT_OFF: Final = "cut_off"
DEFECTS: Final = (EXPOSURE, FEW_GREYS, BLUR, COMPRESSION, METAL, COVERED, CUT_OFF)
# By a DICOM file's tags.
NOT_A_RADIOGRAPH: Final = "not_a_radiograph"
FOR_PROCESSING: Final = "for_processing"
BODY_PART: Final = "body_part"
VIEW: Final = "view"
NOT_SQUARE: Final = "pixels_not_square"
IMPLANT: Final = "implant"
BY_TAGS: Final = (NOT_A_RADIOGRAPH, FOR_PROCESSING, BODY_PART, VIEW, NOT_SQUARE, IMPLANT)
# A picture that was read, and that no network is shown.
UNFIT: Final = (TOO_SMALL, CONSTANT, COLOUR, NO_KNEE, NOT_A_KNEE, INVERTED, IMMATURE, *DEFECTS, *BY_TAGS)

UNSURE: Final = "not_sure"
UNPROVEN: Final = "unproven"
NOT_SUPPORTED: Final = "outside_support"
PICTURE_ADDS_NOTHING: Final = "picture_adds_nothing"
WAY_UP_UNSURE: Final = "way_up_unsure"
# A picture whose scores are doubtful, whatever they say.
DOUBTFUL: Final = (WAY_UP_UNSURE, *DEFECTS)
# Scores from which no answer is made.
REFERRED: Final = (UNSURE, UNPROVEN, NOT_SUPPORTED, PICTURE_ADDS_NOTHING, *DOUBTFUL)

# Notes, beside an answer or a referral.
PICTURE_DISAGREES: Final = "picture_disagrees"
COVARIATES_NOT_USED: Final = "covariates_not_used"
COVARIATES_INCOMPLETE: Final = "covariates_incomplete"
TURNED: Final = "turned"
TAKEN_AS_NEGATIVE: Final = "taken_as_negative"
ONE_LEFT_OUT: Final = "one_left_out"
SECONDARY_CAPTURE: Final = "secondary_capture"
NO_WINDOW: Final = "no_window"
SEVERAL_WINDOWS: Final = "several_windows"
WINDOW_IGNORED: Final = "window_ignored"
TAGS_ABSENT: Final = "tags_absent"
TAGS_NOT_UNDERSTOOD: Final = "tags_not_understood"
PERSON_FROM_FILE: Final = "person_from_file"
PERSON_CONTRADICTED: Final = "person_contradicted"
PERSON_NOT_UNDERSTOOD: Final = "person_not_understood"
BURNED_IN_TEXT: Final = "burned_in_text"
SIDE_CONTRADICTED: Final = "side_contradicted"
