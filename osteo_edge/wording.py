"""The sentences for people. Class names are research codes and never stand alone in front of a person.

A message has three pieces: the answer, the reason where it needs one, and the next step. Of a question that the program does
not know, the answer and the next step are the bundle's own sentences. Of bone density they stand here: what is advised follows
the US Preventive Services Task Force's statement of January 2025: DXA for women of 65 and over, and for younger women after
menopause who have risk factors; for men the evidence is insufficient. To a young adult neither is said.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from osteo_edge.findings import (
    BLUR,
    BODY_PART,
    COLOUR,
    COMPRESSION,
    CONSTANT,
    COVERED,
    CUT_OFF,
    DEFECTS,
    EXPOSURE,
    FEW_GREYS,
    FOR_PROCESSING,
    IMMATURE,
    IMPLANT,
    INVERTED,
    METAL,
    NO_KNEE,
    NOT_A_KNEE,
    NOT_A_RADIOGRAPH,
    NOT_SQUARE,
    NOT_SUPPORTED,
    PICTURE_ADDS_NOTHING,
    PICTURE_DISAGREES,
    TOO_MANY_BYTES,
    TOO_MANY_PARTS,
    TOO_MANY_PIXELS,
    TOO_SMALL,
    UNPROVEN,
    VIEW,
    WAY_UP_UNSURE,
    Finding,
)
from osteo_edge.labels import Laterality, Mode, Status
from osteo_edge.questions import BONE_DENSITY, PossibleAnswer, Question
from osteo_edge.records import FrozenMapping

if TYPE_CHECKING:
    from osteo_edge.answered import Answer, Answered, Knee
    from osteo_edge.clinical.advice import Risk

# Notes that a message says where they matter.
SPOKEN_NOTES: Final = (PICTURE_ADDS_NOTHING, PICTURE_DISAGREES)

_NO_SIGN, _HIGHER_CHANCE = BONE_DENSITY.answers
# Nobody is told of no sign while a published score advises a DXA scan.
_OUTWEIGHED: Final = "What this test says of the picture does not outweigh a published risk score."
_NOT_LEARNT: Final = "This test has not learnt from persons like this one and cannot tell."
_STILL_ADVISED: Final = "If you are over 65 or have risk factors, DXA is still advised."
_ASK: Final = "If you are over 65 or have risk factors, ask about a DXA scan."

# What a person of whom nothing is known is told, and by these sentences training counts its label sets.
HIGHER_CHANCE: Final = _HIGHER_CHANCE.sentence
NO_SIGN: Final = f"{_NO_SIGN.sentence} {_STILL_ADVISED}"
NOT_SURE: Final = f"{BONE_DENSITY.unsure} {_ASK}"

BY_SCORES: Final = "Bone density, by published risk scores"
NOT_READ: Final = "This picture cannot be read."
BOTH_KNEES: Final = "both knees"
BURNED_IN: Final = "AI research screening aid, not for diagnosis"

WOMEN_FROM_YEARS: Final = 65
# Below it nobody is told of menopause or of age as a risk.
YOUNG_BELOW_YEARS: Final = 40
_YOUNG: Final = (
    "At this age DXA is not advised as a rule; ask a doctor about it if you have risk factors, such as a bone that broke in a "
    "slight fall."
)
_OLDER_WOMAN: Final = "DXA is advised for women of 65 and over."
_WOMAN: Final = "Before 65, DXA is advised for women after menopause who have risk factors."
_MAN: Final = "For men it is not settled who gains from DXA; ask a doctor about it if you have risk factors."
_OTHERS: Final = "Men with risk factors should ask a doctor about it."

# Code of what is wrong with a picture that is a sound file: what is said, and what to do.
REJECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    NO_KNEE: (
        "No knee was found in this picture.",
        "Check that it shows a whole knee from the front, that it is upright, and that bone is bright in it.",
    ),
    NOT_A_KNEE: (
        "What this picture shows does not look like a knee from the front.",
        "Give a radiograph of a whole knee from the front, upright and with bone bright.",
    ),
    INVERTED: (
        "This picture seems to be a negative, in which bone is dark.",
        "Exchange dark and bright, so that bone is bright, and try again.",
    ),
    TOO_SMALL: ("This picture is too small.", "Export it at its full size and try again."),
    CONSTANT: ("This picture shows almost one single grey.", "Check how it was exposed and exported, and try again."),
    COLOUR: ("This picture is in colour.", "Give the radiograph itself: an export of it in grey."),
    TOO_MANY_PIXELS: ("This picture is too large.", "Save it with fewer pixels and try again."),
    TOO_MANY_BYTES: ("This file is too large.", "Save the picture as a smaller file and try again."),
    TOO_MANY_PARTS: ("This file consists of too many parts.", "Save the picture again, as a grey PNG for example."),
    EXPOSURE: (
        "The joint is exposed too much or too little in this picture.",
        "Export the radiograph with its own window, or take it again, and try again.",
    ),
    FEW_GREYS: ("This picture has too few grey levels.", "Export the radiograph in 8 or 16 bit grey and try again."),
    BLUR: ("The joint is blurred in this picture.", "Give the radiograph itself, sharp and at its full size."),
    COMPRESSION: ("This picture was compressed too much.", "Export it as PNG, or as a JPEG of better quality, and try again."),
    METAL: ("There seems to be metal in this joint.", "No answer is given for such knees."),
    COVERED: ("Something covers the joint in this picture.", "Export the radiograph without text or frames and try again."),
    CUT_OFF: ("The joint is not whole in this picture.", "Give a radiograph of the whole joint."),
    NOT_A_RADIOGRAPH: ("This is not a plain radiograph.", "Give the radiograph of the knee from the front."),
    FOR_PROCESSING: ("This picture is not made to be looked at.", "Send the one for presentation."),
    BODY_PART: (
        "This is a picture of another body part.",
        "If the file's tags are wrong, have them put right, or export the picture.",
    ),
    VIEW: ("This is not a view from the front.", "Give the view from the front."),
    NOT_SQUARE: ("This picture is stretched.", "Export it with pixels as high as wide and try again."),
    IMPLANT: ("This knee has an implant, by the file's tags.", "No answer is given for such knees."),
    IMMATURE: ("Below 18 years of age no answer is given.", "Ask a doctor."),
}
# Code of what makes a picture's answers doubtful: what to do.
DOUBTS: Final[Mapping[str, str]] = {
    WAY_UP_UNSURE: "Look which way up it is; if it is upright, ask somebody to read it.",
    **{code: REJECTIONS[code][1] for code in DEFECTS},
}
# The same of a folder; what to do stands in the finding's message.
FOLDERS: Final[Mapping[str, tuple[str, str]]] = {
    "no_pictures": ("There is no picture in this folder.", ""),
    "empty_folder": ("There is no picture in this folder.", ""),
    "unlisted_folder": ("This folder cannot be read.", ""),
}
# Of these the finding's message only says the answer again.
_NEEDS_NO_REASON: Final = (NO_KNEE, CONSTANT)


@dataclass(frozen=True)
class _Speech:
    """What is said of one question.

    Attributes:
        sentences: code of the answer -> sentence.
        unsure: where no answer can be told from the picture alone; and ``unsure_together`` from it and what is known.
        without_picture: code of the answer, None for none -> how the sentence goes on after what it rests on.
        how_much: where the answer leaves several classes.
        next_step: from the answer, code of what is told or None, to what to do next; may be empty.
    """

    sentences: Mapping[str, str]
    unsure: str
    unsure_together: str
    without_picture: Mapping[str | None, str]
    how_much: str
    next_step: Callable[[Answer, str | None], str]


def _of_bone_density(answer: Answer, told: str | None) -> str:
    """Empty where the answer says it: to ask about a DXA scan."""
    if told == _HIGHER_CHANCE.code:
        return ""
    return advice(answer.age_years, answer.sex, nothing_found=told == _NO_SIGN.code)


def _own_sentences(question: Question) -> _Speech:
    sentences = {one.code: one.sentence for one in question.answers}
    after: dict[str | None, str] = {code: _continued(sentence) for code, sentence in sentences.items()}
    after[None] = _continued(question.unsure)
    return _Speech(sentences, question.unsure, question.unsure, after, "", lambda answer, _: answer.asked.next_step)


_SPEECHES: Final[Mapping[str, _Speech]] = {
    BONE_DENSITY.name: _Speech(
        sentences=FrozenMapping({one.code: one.sentence for one in BONE_DENSITY.answers}),
        unsure=BONE_DENSITY.unsure,
        unsure_together="This test cannot tell.",
        without_picture={
            _HIGHER_CHANCE.code: "higher chance of low bone density: ask about a DXA scan.",
            _NO_SIGN.code: "no sign of low bone density; this misses cases.",
            None: "this test cannot tell.",
        },
        how_much="How low, it cannot tell.",
        next_step=_of_bone_density,
    )
}


def _speech(answer: Answer) -> _Speech:
    return _SPEECHES.get(answer.question) or _own_sentences(answer.asked)


def sentence_of(label_set: Collection[str]) -> str:
    """What a set alone tells of bone density to a person of whom nothing is known."""
    told = BONE_DENSITY.answer_of(label_set)
    return {_HIGHER_CHANCE: HIGHER_CHANCE, _NO_SIGN: NO_SIGN, None: NOT_SURE}[told]


def message_of(prediction: Answered) -> str:
    """All that a person is told of a picture: of several questions, each after its title.

    Last comes what published scores advise, where no answer tells it.
    """
    told = _after_titles(prediction, message)
    risk = untold_risk(prediction)
    return f"{told} {BY_SCORES}: {_continued(risk.step.sentence)}" if risk else told


def untold_risk(prediction: Answered) -> Risk | None:
    """The scores whose next step no answer tells, as the picture was not asked of bone density, or was rejected."""
    is_told = any(answer.advised and answer.status is not Status.REJECTED for answer in prediction.answers)
    return None if is_told else prediction.risk


def sentences_of(prediction: Answered) -> str:
    """The answers alone, likewise."""
    return _after_titles(prediction, sentence)


def _after_titles(prediction: Answered, tell: Callable[[Answer], str]) -> str:
    told = told_apart(prediction)
    if len(told) == 1:
        return tell(told[0])
    return " ".join(f"{titled(answer)}: {tell(answer)}" for answer in told)


def told_apart(prediction: Answered) -> tuple[Answer, ...]:
    """The answers of which something is to be said: one for all where the picture itself was refused."""
    first, *others = prediction.answers
    is_whole = first.status is Status.REJECTED and all(one.findings == first.findings for one in others)
    return (first,) if is_whole else prediction.answers


def titled(answer: Answer) -> str:
    """The question for people, with a capital letter."""
    return _capitalised(answer.title)


def message(answer: Answer) -> str:
    """All that a person is told of one question: the answer, the reason where it needs one, and the next step."""
    return " ".join(piece for piece in (sentence(answer), reason(answer), next_step(answer)) if piece)


def sentence(answer: Answer) -> str:
    """The first piece: what the test says, or that it cannot tell, or what is wrong with the picture. Never empty.

    It begins with what it rests on where that is not the picture. Where the question is of knees, ``sentences_by_knee`` has it.
    """
    return " ".join(sentences_by_knee(answer))


def sentences_by_knee(answer: Answer) -> list[str]:
    """The first piece, one a knee where the question is of knees: each with its side, the gravest first.

    Where the same is said of both it is one, as it is where the question is of the picture.
    """
    return [
        f"{_capitalised(said.place)}: {_continued(said.sentence)}" if said.place else said.sentence
        for said in said_by_knee(answer)
    ]


@dataclass(frozen=True)
class Said:
    """What is said of one knee, or of the picture.

    Attributes:
        place: how the knee is called; empty where nothing need be told apart.
        sentence: one or two sentences.
    """

    place: str
    sentence: str


def said_by_knee(answer: Answer) -> list[Said]:
    """The same with what is said apart from where."""
    if answer.status is Status.REJECTED or answer.lead is None:
        return [Said("", sentence_alone(answer))]
    lead = answer.knees[answer.lead]
    told = {
        place_of(knee, answer): sentence_of_knee(knee, answer) for knee in (lead, *answer.knees)
    }  # the lead keeps its place
    if len(told) > 1 and len(set(told.values())) == 1:
        told = {BOTH_KNEES: sentence_of_knee(lead, answer)}
    return [Said(place, sentence) for place, sentence in told.items()]


def sentence_alone(answer: Answer) -> str:
    """The first piece without sides and degrees: where the question is of knees, of the gravest alone."""
    if answer.status is Status.REJECTED:
        return _rejection(answer)[0]
    return _sentence_for(answer, _told(answer, answer.label_set))


def sentence_of_knee(knee: Knee, answer: Answer) -> str:
    """What is said of one knee, where the question is of knees, without its side: with the degrees that remain possible."""
    told, degrees = _told(answer, knee.label_set), degrees_told(knee, answer)
    said = _sentence_for(answer, told)
    if not degrees:
        return said
    return f"{said} {_capitalised(degrees)}." if told else f"{said} It leaves {degrees} open."


def degrees_told(knee: Knee, answer: Answer) -> str:
    """The degrees that cannot be ruled out of a knee; empty where there is nothing to tell: no degrees, or all remain."""
    tells = _tells(answer) and len(knee.label_set) < len(answer.asked.labels)
    return answer.asked.degrees_of(knee.label_set) if tells else ""


def _sentence_for(answer: Answer, told: str | None) -> str:
    if _finding(answer, NOT_SUPPORTED):
        return _NOT_LEARNT
    if told == _NO_SIGN.code and answer.advised and answer.advised.scores:
        return _OUTWEIGHED
    speech, rests_on = _speech(answer), _finding(answer, PICTURE_ADDS_NOTHING)
    if rests_on:
        return f"{_capitalised(rests_on.message)}: {speech.without_picture[told]}"
    if told is None:
        return speech.unsure if answer.mode is Mode.IMAGE else speech.unsure_together
    return speech.sentences[told]


def place_of(knee: Knee, answer: Answer) -> str:
    """How a knee is called: by its side where the fibula tells it, and of two tells them apart; else by its place among two."""
    sides = [one.joint.laterality for one in answer.knees]
    side = knee.joint.laterality
    if side is not None and sides.count(side) == 1 and None not in sides:
        return f"{_SIDES[side]} knee (by its fibula)"
    if len(sides) == 1:
        return ""
    at = "left" if answer.knees[0] is knee else "right"
    return f"knee at the {at} of the picture"


_SIDES: Final = {Laterality.RIGHT: "right", Laterality.LEFT: "left"}


def reason(answer: Answer) -> str:
    """The second piece: why there is no answer, or what speaks against it, in one or two sentences; empty where neither is."""
    return " ".join(reasons(answer))


def reasons(answer: Answer) -> Iterator[str]:
    """The same, sentence by sentence."""
    if answer.status is Status.REJECTED:
        first = answer.findings[0]
        if first.code not in _NEEDS_NO_REASON:
            yield f"{_capitalised(first.message).rstrip('.')}."
        return
    yield from (f"{_capitalised(one.message)}." for one in answer.findings if one.code in DOUBTS)
    told = _told(answer, answer.label_set)
    if _finding(answer, NOT_SUPPORTED):
        yield "It has seen nobody like this for one of the answers that it can give."
    elif _finding(answer, UNPROVEN):
        yield "The test was not shown to tell more than chance."
    elif told and len(answer.label_set) > 1 and _speech(answer).how_much:
        yield _speech(answer).how_much
    if told and _finding(answer, PICTURE_DISAGREES):
        yield "The picture's own score points the other way."


def next_step(answer: Answer) -> str:
    """The third piece, one or two sentences: what to do with the picture, or what is advised for such a person.

    Empty where the answer says it, or the reason does (what to do about a file that cannot be read).
    """
    if answer.status is Status.REJECTED:
        return _rejection(answer)[1]
    if doubt := next((one for one in answer.findings if one.code in DOUBTS), None):
        return DOUBTS[doubt.code]
    if answer.advised:
        return answer.advised.sentence
    return _speech(answer).next_step(answer, _told(answer, answer.label_set))


def advice(age_years: float | None, sex: str | None, *, nothing_found: bool) -> str:
    """What is advised for such an adult who is not told of a higher chance.

    Args:
        age_years: 18 or more; None where it is not known.
        sex: ``female``, ``male`` or None.
        nothing_found: whether the test found no sign; else it could not tell.
    """
    if age_years is None:
        if sex == "male":
            return _MAN
        return _STILL_ADVISED if nothing_found else _ASK
    if age_years < YOUNG_BELOW_YEARS:
        return _YOUNG
    if sex == "male":
        return _MAN
    for_women = _OLDER_WOMAN if age_years >= WOMEN_FROM_YEARS else _WOMAN
    return for_women if sex == "female" else f"{for_women} {_OTHERS}"


def _rejection(answer: Answer) -> tuple[str, str]:
    """What is said of a picture without an answer, by the first thing that is wrong with it, and what to do."""
    code = answer.findings[0].code
    return REJECTIONS.get(code) or FOLDERS.get(code) or (NOT_READ, "")


def _told(answer: Answer, label_set: Collection[str]) -> str | None:
    """Code of the answer in which these classes lie, be it one to rest on or not; it need not be reported to be said.

    Neither an unproven bundle nor a person whose like was not in training gets a sentence such as "higher chance".
    """
    if not _tells(answer):
        return None
    told: PossibleAnswer | None = answer.asked.answer_of(label_set)
    return told.code if told else None


def _tells(answer: Answer) -> bool:
    """Whether its sets are worth telling people."""
    return not any(_finding(answer, code) for code in (NOT_SUPPORTED, UNPROVEN, *DOUBTS))


def _finding(answer: Answer, code: str) -> Finding | None:
    return next((one for one in (*answer.findings, *answer.notes) if one.code == code), None)


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _continued(sentence: str) -> str:
    """As it stands after a colon: with a small letter, but for abbreviations."""
    is_word = sentence[1:2].islower() or sentence[1:2] == " "
    return sentence[:1].lower() + sentence[1:] if is_word else sentence
