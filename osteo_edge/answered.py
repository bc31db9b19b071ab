"""The records at the pipeline's end: what is said of one picture, question by question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from osteo_edge.decision.scores import likeliest, median
from osteo_edge.findings import Finding
from osteo_edge.labels import Mode, Status
from osteo_edge.printable import printable
from osteo_edge.questions import Question

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats
    from osteo_edge.clinical.advice import NextStep, Risk
    from osteo_edge.joints import Box, Joint
    from osteo_edge.radiograph import Radiograph
    from osteo_edge.tags import Tags


@dataclass(frozen=True)
class Knee:
    """One knee that was found, as one question's networks scored it.

    Attributes:
        joint: centre and width of the joint in pixels of the upright picture.
        box: what the networks were shown, together; may reach beyond the picture.
        probabilities: label -> probability of this knee: from it alone where the question is of the picture; where it is of
            knees, together with what is known of the person, as in the answer.
        label_set: the classes that cannot be ruled out of this knee; empty where the question is of the picture.
        answer: code of this knee's answer; None where there is none, and where the question is of the picture.
        saliency: (rows, columns) float32 over the box, for the class that is likeliest from the picture alone; only when
            asked for. Exact for one network; see ``decision.explanation.laid_together`` for several.
    """

    joint: Joint
    box: Box
    probabilities: Mapping[str, float]
    label_set: tuple[str, ...] = ()
    answer: str | None = None
    saliency: Floats | None = field(default=None, repr=False, compare=False)

    @property
    def likeliest(self) -> str:
        """Research code of the class of the highest probability, which is no answer by itself."""
        return likeliest(self.probabilities)

    @property
    def median(self) -> str:
        """Research code of the class in the middle, for studies that want one grade a knee: nearest to all that it may be."""
        return median(self.probabilities)


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered: the bundle and its digest, the engine and precision that ran it.

    Attributes:
        precision: ``mixed`` where the members' differ.
        members: number of networks in the bundle.
    """

    bundle: str
    version: str
    digest: str
    engine: str
    precision: str
    members: int


@dataclass(frozen=True)
class Answer:
    """What one bundle says to its question of one picture.

    Attributes:
        asked: the question, with the answers that it can have.
        status: reported, referred or rejected.
        findings: the reasons for a referral or rejection.
        notes: what is worth knowing and is no reason for either, for example that covariates took no part.
        mode: what the answer rests on; None when rejected.
        probabilities: label -> probability; empty when rejected. Where the question is of knees, these, ``label_set`` and what
            follows from them are those of the gravest knee.
        image_probabilities: the same from the picture alone; equal to ``probabilities`` in the image mode.
        label_set: the classes that cannot be ruled out; empty when rejected.
        covariates_used: covariate -> number that took part; sex is 1 for female, yes is 1; empty in the image mode.
        members_answered: networks that were run; a cascade stops when it is sure.
        knees: left to right in the picture; empty when rejected.
        lead: place in ``knees`` of the gravest where the question is of knees, else None.
        age_years, sex: of the person where they were given, whether or not they took part; advice may follow from them.
        advised: the next step by published risk scores, where enough was given for one and the question is of bone density.
    """

    asked: Question
    status: Status
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    mode: Mode | None
    probabilities: Mapping[str, float]
    image_probabilities: Mapping[str, float]
    label_set: tuple[str, ...]
    covariates_used: Mapping[str, float]
    members_answered: int
    knees: tuple[Knee, ...]
    model: ModelIdentity
    intended_use: str
    lead: int | None = None
    age_years: float | None = None
    sex: str | None = None
    advised: NextStep | None = None

    @property
    def question(self) -> str:
        """The question's name."""
        return self.asked.name

    @property
    def title(self) -> str:
        """The question's name for people."""
        return self.asked.title

    @property
    def answer(self) -> str | None:
        """Code of the answer in which all classes lie that cannot be ruled out; None unless reported."""
        told = self.asked.answer_of(self.label_set) if self.status is Status.REPORTED else None
        return told.code if told else None

    @property
    def label(self) -> str | None:
        """Research code of the class that stands alone; None unless reported, and where others of the same answer remain."""
        return self.label_set[0] if self.status is Status.REPORTED and len(self.label_set) == 1 else None

    @property
    def likeliest(self) -> str | None:
        """Research code of the class of the highest probability, which is no answer unless reported; None when rejected."""
        return likeliest(self.probabilities) if self.probabilities else None

    @property
    def message(self) -> str:
        """What a person is told: the answer, its reason and the next step, as ``osteo_edge.wording`` gives them."""
        from osteo_edge import wording

        return wording.message(self)


@dataclass(frozen=True)
class Answered:
    """What was answered of one picture; see ``osteo_edge.prediction.Prediction``, which every one of them is.

    Attributes:
        source: the name by which the caller knows the picture.
        digest: SHA-256 of the picture's bytes; None where they could not be read.
        answers: one a question, in the order of the predictor's bundles; never empty. Of a picture that was rejected as a whole
            all have the same findings.
        joints: the knee joints that were found, left to right in the picture.
        timings_ms: stage -> milliseconds of wall clock, of all questions together; takes no part in comparing two answers.
        radiograph: kept for the overlay, only when an explanation was asked for.
        risk: published risk scores from what is known of the person alone, where a weight was given; no answer takes part.
        tags: what a DICOM file says of its picture; None of other files, and where it could not be read.
        turned_degrees: clockwise, by which the picture was turned to be looked at: 0, 90, 180 or 270. All places are those of
            the picture as it was given; knees stand in the order of the turned one.
    """

    source: str
    digest: str | None
    answers: tuple[Answer, ...]
    joints: tuple[Joint, ...]
    timings_ms: Mapping[str, float] = field(compare=False)
    radiograph: Radiograph | None = field(default=None, repr=False, compare=False)
    risk: Risk | None = None
    tags: Tags | None = None
    turned_degrees: int = 0

    @property
    def status(self) -> Status:
        """Rejected where no question could be asked; else reported where one at least was answered; else referred."""
        found = {answer.status for answer in self.answers}
        if found == {Status.REJECTED}:
            return Status.REJECTED
        return Status.REPORTED if Status.REPORTED in found else Status.REFERRED

    @property
    def side(self) -> Literal["by_tag", "assumed"] | None:
        """What the joints' sides rest on: the file's tag, with which the only knee's fibula agrees, or the fibula alone.

        Of a mirrored picture the fibula tells the other side, and nothing in the picture tells that it is one.
        """
        sides = [joint.laterality for joint in self.joints if joint.laterality]
        if not sides:
            return None
        return "by_tag" if self.tags and len(self.joints) == 1 and sides == [self.tags.laterality] else "assumed"

    @property
    def message(self) -> str:
        """What a person is told of the picture: each answer with its reason and the next step."""
        from osteo_edge import wording

        return wording.message_of(self)

    def answer_to(self, question: str) -> Answer:
        """The answer to the question of this name.

        Raises:
            KeyError: it was not asked.
        """
        for answer in self.answers:
            if answer.question == question:
                return answer
        raise KeyError(f"{question!r} was not asked; asked: {', '.join(answer.question for answer in self.answers)}")

    @property
    def first(self) -> Answer:
        """The answer to the first question, of which the properties below speak."""
        return self.answers[0]

    @property
    def answer(self) -> str | None:
        return self.first.answer

    @property
    def label(self) -> str | None:
        return self.first.label

    @property
    def likeliest(self) -> str | None:
        return self.first.likeliest

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.first.findings

    @property
    def notes(self) -> tuple[Finding, ...]:
        return self.first.notes

    @property
    def mode(self) -> Mode | None:
        return self.first.mode

    @property
    def probabilities(self) -> Mapping[str, float]:
        return self.first.probabilities

    @property
    def image_probabilities(self) -> Mapping[str, float]:
        return self.first.image_probabilities

    @property
    def label_set(self) -> tuple[str, ...]:
        return self.first.label_set

    @property
    def covariates_used(self) -> Mapping[str, float]:
        return self.first.covariates_used

    @property
    def members_answered(self) -> int:
        return self.first.members_answered

    @property
    def knees(self) -> tuple[Knee, ...]:
        return self.first.knees

    @property
    def model(self) -> ModelIdentity:
        return self.first.model

    @property
    def intended_use(self) -> str:
        return self.first.intended_use

    @property
    def age_years(self) -> float | None:
        return self.first.age_years

    @property
    def sex(self) -> str | None:
        return self.first.sex

    def __str__(self) -> str:
        """One line for people, without escapes: the source, the status and the sentence."""
        return printable(f"{self.source}: {self.status.value} - {self.message}")
