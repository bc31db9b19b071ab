"""What a bundle is asked: its question, the answers that it can give, and the sentences for people.

Labels are degrees of one thing, in order; an answer is a run of them. A question that the program does not know is answered
by its labels, its codes and the bundle's own sentences, so that a new one needs nothing but a bundle.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from osteo_edge.errors import IncompatibleBundleError, ManifestError
from osteo_edge.labels import BoneStatus

# In place of a question's name: all that there are.
ALL_QUESTIONS: Final = "all"
MIN_LABELS: Final = 2
MAX_LABELS: Final = 16
MAX_TITLE_LETTERS: Final = 60
MAX_SENTENCE_LETTERS: Final = 300
MAX_DEGREE_LETTERS: Final = 20
PLACE_OF_DEGREES: Final = "{}"
_CODE = re.compile(r"[a-z][a-z0-9_]{0,39}")

Unit = Literal["picture", "knee"]


@dataclass(frozen=True)
class PossibleAnswer:
    """One of the answers to a question.

    Attributes:
        code: for machines.
        labels: a run of the bundle's labels.
        sentence: for people.
    """

    code: str
    labels: tuple[str, ...]
    sentence: str


@dataclass(frozen=True)
class Question:
    """What a bundle is asked of a picture.

    Attributes:
        name: for machines, for example ``bone_density``.
        title: for people, for example ``bone density``.
        unit: what an answer is of: the ``picture``, whose knees' scores are averaged, or each ``knee``, of which the gravest
            leads.
        answers: in the order of the labels; together they hold each label once.
        unsure: the sentence where the labels that remain lie in more than one answer.
        next_step: what to do next; may be empty.
        degrees: one a label, in order: what stands for it in front of people, for example ``2``; empty where people are not
            told which labels remain.
        scale: how these degrees are spoken of, ``{}`` standing for them, for example ``grade {} of 4 (Kellgren-Lawrence)``.
    """

    name: str
    title: str
    unit: Unit
    answers: tuple[PossibleAnswer, ...]
    unsure: str
    next_step: str = ""
    degrees: tuple[str, ...] = ()
    scale: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, in order."""
        return tuple(label for answer in self.answers for label in answer.labels)

    def answer_of(self, label_set: Collection[str]) -> PossibleAnswer | None:
        """The answer in which all of these labels lie; None where there is none."""
        return next((one for one in self.answers if label_set and set(label_set) <= set(one.labels)), None)

    def degrees_of(self, label_set: Sequence[str]) -> str:
        """These labels for people, for example ``grade 2 or 3 of 4 (Kellgren-Lawrence)``; empty where people are not told.

        Args:
            label_set: in the labels' order and without a gap.
        """
        names = dict(zip(self.labels, self.degrees, strict=False))  # there are no degrees, or one a label
        told = [names[label] for label in label_set if label in names]
        if not told:
            return ""
        several = f"{told[0]} to {told[-1]}" if len(told) > 2 else " or ".join(told)
        return self.scale.replace(PLACE_OF_DEGREES, several)

    def places_of(self, label_set: Collection[str]) -> tuple[int, int]:
        """The first and the last answer that these labels leave possible."""
        places = [place for place, one in enumerate(self.answers) if set(one.labels) & set(label_set)]
        return places[0], places[-1]


BONE_DENSITY: Final = Question(
    name="bone_density",
    title="bone density",
    unit="picture",
    answers=(
        PossibleAnswer("no_sign", (BoneStatus.NORMAL.value,), "No sign found by this test; it misses cases."),
        PossibleAnswer(
            "higher_chance",
            (BoneStatus.OSTEOPENIA.value, BoneStatus.OSTEOPOROSIS.value),
            "Higher chance of low bone density: ask about a DXA scan.",
        ),
    ),
    unsure="This test cannot tell from this picture.",
)
# Questions of which the program says more than their bundles do; ``osteo_edge.wording`` has it.
_KNOWN: Final = {BONE_DENSITY.name: BONE_DENSITY}


def check_question(question: Question, labels: Sequence[str]) -> None:
    """Check that ``question`` fits the bundle's labels, and that one which the program knows is asked as it knows it.

    Raises:
        ManifestError: names the field.
    """
    _require(MIN_LABELS <= len(labels) <= MAX_LABELS, "labels", f"must hold {MIN_LABELS} to {MAX_LABELS} labels")
    _require(all(map(_CODE.fullmatch, labels)), "labels", "must be lower-case letters, digits and _")
    _require(len(set(labels)) == len(labels), "labels", "must each be named once")
    is_code = _CODE.fullmatch(question.name) is not None and question.name != ALL_QUESTIONS
    _require(is_code, "question.name", f"must be lower-case letters, digits and _, and not {ALL_QUESTIONS!r}")
    codes = [answer.code for answer in question.answers]
    _require(all(map(_CODE.fullmatch, codes)), "question.answers", "must have codes of lower-case letters, digits and _")
    _require(len(set(codes)) == len(codes) > 1, "question.answers", "must be at least two, each with a code of its own")
    _require(all(answer.labels for answer in question.answers), "question.answers", "must each have a label")
    _require(question.labels == tuple(labels), "question.answers", "must hold each of the labels once, in their order")
    _check_sentences(question)
    _check_degrees(question)
    if known := _KNOWN.get(question.name):
        form, known_form = ([(one.code, one.labels) for one in each.answers] for each in (question, known))
        _require(form == known_form, "question.answers", f"must be those of {known.name}: {', '.join(known.labels)}")
        _require(question.title == known.title, "question.title", f"must be {known.title!r} for {known.name}")
        _require(question.unit == known.unit, "question.unit", f"must be {known.unit} for {known.name}")
        _require(question.degrees == known.degrees, "question.degrees", f"must be those of {known.name}")


def _check_sentences(question: Question) -> None:
    is_titled = bool(question.title.strip()) and len(question.title) <= MAX_TITLE_LETTERS and question.title.isprintable()
    _require(is_titled, "question.title", f"must have 1 to {MAX_TITLE_LETTERS} letters")
    for answer in question.answers:
        _require(_is_sentence(answer.sentence), f"question.answers: the sentence of {answer.code}", _SENTENCE)
    _require(_is_sentence(question.unsure), "question.unsure", _SENTENCE)
    _require(not question.next_step or _is_sentence(question.next_step), "question.next_step", _SENTENCE)


def _check_degrees(question: Question) -> None:
    degrees, scale = question.degrees, question.scale
    _require(len(degrees) in (0, len(question.labels)), "question.degrees", "must be one a label, or none")
    _require(len(set(degrees)) == len(degrees), "question.degrees", "must each be named once")
    are_short = all(one.strip() and len(one) <= MAX_DEGREE_LETTERS and one.isprintable() for one in degrees)
    _require(are_short, "question.degrees", f"must each have 1 to {MAX_DEGREE_LETTERS} letters")
    holds_them = scale.count(PLACE_OF_DEGREES) == 1 and len(scale) <= MAX_TITLE_LETTERS and scale.isprintable()
    _require(
        holds_them if degrees else not scale,
        "question.scale",
        f"must hold {PLACE_OF_DEGREES} once and have at most {MAX_TITLE_LETTERS} letters; empty without degrees",
    )


_SENTENCE: Final = f"must be a sentence of at most {MAX_SENTENCE_LETTERS} letters that ends with a full stop"


def _is_sentence(text: str) -> bool:
    return len(text) <= MAX_SENTENCE_LETTERS and len(text.strip()) > 1 and text.endswith(".") and text.isprintable()


def require_together(asked: Sequence[tuple[str, Question, str]]) -> None:
    """Raise unless these can be asked of one picture.

    Args:
        asked: name of each bundle, its question and its body part.

    Raises:
        IncompatibleBundleError: two answer one question, or they are of different body parts.
    """
    for place, (name, question, body_part) in enumerate(asked):
        for other, same, elsewhere in asked[:place]:
            if question.name == same.name:
                raise IncompatibleBundleError(
                    f"{other} and {name} answer the same question, {question.name}; ask one of them at a time"
                )
            if body_part != elsewhere:
                raise IncompatibleBundleError(
                    f"{other} is of the {elsewhere} and {name} of the {body_part}; one picture cannot be asked both"
                )


def _require(condition: bool, field: str, message: str) -> None:
    if not condition:
        raise ManifestError(f"manifest.json: {field} {message}")
