"""What stands on a page besides the answers: its headings, labels and fixed sentences, in English."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TITLE: Final = "Knee radiograph: what the program found"
DRAFT: Final = (
    "A machine made this translation and no speaker of the language has read it yet. Where in doubt, the English page counts."
)
FOREIGN: Final = "EN: shown in English, as it is not translated yet."

STATUS: Final[Mapping[str, str]] = {"reported": "Answered", "referred": "Cannot tell", "rejected": "No answer"}
ASKED_OF: Final = {True: "Asked of each knee", False: "Asked of the picture as a whole"}
ANSWER: Final = "Answer"
WHY: Final = "Why"
RECORDED: Final = "Recorded reason"
NEXT: Final = "What to do next"
NOTE: Final = "Worth knowing"
REMAINING: Final = "Research codes that cannot be ruled out"
RESTS_ON: Final = "The answer rests on the picture and on what is known of the person."

SCORES: Final = "Published risk scores, without the picture"
NOT_COMPUTED: Final = "Not computed"
ALSO_ASKS: Final = "not computed; it also asks"
SOURCE: Final = "Source"

LIMITS: Final = "Limits"
NOTHING_ELSE: Final = (
    "Only what is named above was asked: no fracture, no tumour and no other disease was looked for in the picture."
)
BOTH_WAYS: Final = "It can be wrong in both directions; whoever cares for the person decides."

IDENTITY: Final = "What answered, and of what"
PICTURE: Final = "Picture (SHA-256)"
FILE: Final = "File"
TAGS: Final = "By the file's tags"
PERSON: Final = "Known of the person"
PROGRAM: Final = "Program"
BUNDLE: Final = "Bundle (SHA-256 of its manifest)"
MADE: Final = "Page made"
NO_DIGEST: Final = "not known, as the file could not be read"

BOXES: Final = (
    "Frames: what the networks were shown. R? and L? are the right and the left side of the person, as the fibula suggests."
)
ALT: Final = "The radiograph, with a frame about each knee that was found"
NO_BOXES: Final = "The picture that was given; no knee was looked at."
NOT_FOUND: Final = "The picture is not shown: its file cannot be read, or is not there any more."
ANOTHER: Final = "The picture is not shown: its file is another one than was answered for."

# Of what is known of a person, in words.
AGE: Final = "{n} years"
FEMALE: Final = "female"
MALE: Final = "male"
WEIGHT: Final = "{n} kg"
YES: Final = "yes"
NO: Final = "no"

# Between the parts of a list.
SEPARATOR: Final = "; "

# Words of DICOM tags.
TAG_WORDS: Final[Mapping[str, str]] = {
    "CR": "computed radiograph",
    "DX": "digital radiograph",
    "SC": "secondary capture",
    "knee": "knee",
    "right": "right side",
    "left": "left side",
    "ap": "from the front (AP)",
    "pa": "from behind (PA)",
    "lateral": "from the side",
    "oblique": "oblique",
    "axial": "axial",
    "tunnel": "tunnel view",
}

# Why a file is not read, by the code of what is wrong with it: the program's own message tells more, in English.
UNREAD: Final[Mapping[str, str]] = {
    "bad_rescale": "The file says of its greys what makes no sense.",
    "damaged": "The file is damaged.",
    "decoder_failed": "The file's decoder broke down on it.",
    "decoder_memory": "Decoding the file takes too much memory.",
    "decoder_too_slow": "Decoding the file takes too long.",
    "empty": "The file is empty.",
    "empty_folder": "There is no picture in this folder.",
    "multi_frame": "The file holds several pictures.",
    "needs_decoder": "A decoder for this file is not installed.",
    "needs_extra": "The part of the program that reads such files is not installed.",
    "no_pictures": "There is no picture in this folder.",
    "not_an_image": "The file is no picture.",
    "not_found": "There is no such file.",
    "not_regular": "This is a folder, a pipe or a device, and no file.",
    "permission": "The file may not be read by this user.",
    "too_deep": "The file is built too deeply to be read.",
    "transparent": "The picture has transparent parts.",
    "truncated": "The file ends too early.",
    "unlisted_folder": "This folder cannot be read.",
    "unreadable": "The file cannot be read.",
    "unsupported_format": "Files of this format are not read.",
    "unsupported_pixels": "Pixels of this kind are not read.",
    "unsupported_shape": "A picture of this shape is not read.",
}

SUMMARY: Final = "Summary of several radiographs"
PICTURES: Final = "Pictures"
PICTURE_NAME: Final = "Picture"
SAYS: Final = "What the program says"
FURTHER: Final = "Table, part {n} of {n}"
COURSE_TITLE: Final = "Knee radiographs over time"
SAME_PERSON: Final = "Whoever asked for this page said that the pictures are of one person; the program did not check it."
CHART: Final = (
    "A bar a picture, from the lowest to the highest class that cannot be ruled out; the right side in red, the left side "
    "dashed in blue."
)
CHART_ALT: Final = "A chart of the same by date"
OVERALL: Final = "From the first to the last day"
ONE_STEP: Final = "From {} to {}"
CHANGE: Final[Mapping[str, str]] = {
    "higher": "Higher: what the later picture leaves possible lies wholly above what the earlier one does.",
    "lower": "Lower: what the later picture leaves possible lies wholly below what the earlier one does.",
    "open": "Change not interpretable: what the two pictures leave possible overlaps.",
    "unsteady": "Change not interpretable: pictures of one day already differ as much.",
    "another_model": "Change not interpretable: another model answered, or another version of it.",
    "no_answer": "Change not interpretable: there is no answer to one of the pictures.",
}
STEADY: Final = (
    "How steady the model is: of {n} knees whose films were cut, resized, brightened, mirrored or stored again, {n} got "
    "another answer and {n} another likeliest class."
)
NOT_MEASURED: Final = "How steady the model is was not measured, or the model is not at hand."
SCORES_CHANGE: Final = (
    "Scores follow from age and weight: one point more or less of OST, OSTA or OSIRIS can come of rounding alone."
)
PROGRAM_NAME: Final = "osteo-edge"
