"""One bundle at its question: from the knees of a picture to its answer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from osteo_edge.answered import Answer, Knee, ModelIdentity
from osteo_edge.covariates import Given, Person, describe
from osteo_edge.decision.ensemble import combine, is_sure, shares
from osteo_edge.decision.explanation import laid_together, read_head_weights, saliency, union
from osteo_edge.decision.scores import likeliest, mean_logits, softmax
from osteo_edge.decision.verdict import Verdict, decide
from osteo_edge.errors import IncompatibleBundleError, InferenceError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.findings import TAKEN_AS_NEGATIVE, Finding
from osteo_edge.images.preprocess import is_mirrored, prepare_knee
from osteo_edge.joints import Box, Joint, box_around
from osteo_edge.labels import Status
from osteo_edge.manifest import InputSpec, RegionProfile
from osteo_edge.model import LoadingModel
from osteo_edge.records import FrozenMapping
from osteo_edge.turning import Turn

if TYPE_CHECKING:
    from osteo_edge.arrays import Doubles, Floats, Pixels, Tensor

    # SHA-256 of the finder's file, what is shown of each knee, and how -> one tensor a knee.
    Tensors = dict[tuple[str, RegionProfile, InputSpec], list[Tensor]]

_NOTHING: Final[FrozenMapping[float]] = FrozenMapping()


@dataclass(frozen=True)
class MemberAnswer:
    """One member's answer for one picture.

    Attributes:
        logits: (labels,) of the picture.
        knees: (knees, labels).
        features: one (1, rows, columns, features) a knee.
    """

    logits: Doubles
    knees: Floats
    features: list[Floats]


@dataclass(frozen=True)
class Case:
    """What one bundle is to answer for in a picture: its joints, or the findings that forbid an answer.

    Attributes:
        person: what this bundle can use of what is known.
        notes: what the file's tags and the picture are worth telling of, beside what the verdict tells.
        doubts: reasons, of the picture, for which its answer is referred whatever the scores.
        turn: how the picture was turned; the joints are places of the turned one.
    """

    person: Person
    findings: tuple[Finding, ...] = ()
    joints: tuple[Joint, ...] = field(default=(), compare=False)
    notes: tuple[Finding, ...] = ()
    doubts: tuple[Finding, ...] = ()
    turn: Turn | None = None


class Respondent:
    """A bundle's model, finder and head weights. Nothing of it changes: several threads may ask.

    Attributes:
        finder_digest: SHA-256 of the finder's file; bundles of the same one have their knees in common.
        identity: which model answers.
        known: names of what it can use beside the picture.
    """

    def __init__(self, model: LoadingModel) -> None:
        """Read the finder and the head weights.

        Raises:
            BundleError: one of them is damaged.
        """
        self.model, self.manifest = model, model.bundle.manifest
        manifest, bundle = self.manifest, model.bundle
        self.finder_digest = manifest.files[manifest.finder].sha256
        self.identity = _identity(model)
        self.known = frozenset(covariate.name for covariate in manifest.fusion.covariates) if manifest.fusion else frozenset()
        self._is_of_knees = manifest.question.unit == "knee"
        self._head_weights = [
            read_head_weights(bundle.read(member.head_weights), labels=len(manifest.labels)) for member in manifest.members
        ]

    def read_finder(self) -> JointFinder:
        return JointFinder.from_bytes(self.model.bundle.read(self.manifest.finder))

    def describe(self, given: Given, known_to_others: Collection[str]) -> Person:
        """What the bundle can use of what is known of a person.

        Raises:
            CovariateError: as ``OsteoPredictor.predict``.
        """
        return describe(self.manifest.fusion, given, known_to_others)

    def prepare(self, pixels: Pixels, joints: Sequence[Joint], tensors: Tensors) -> None:
        """Add the knees once for each region and input that is not there: members and bundles that share both share them."""
        for member in self.manifest.members:
            key = (self.finder_digest, member.region, member.input)
            if key not in tensors:
                tensors[key] = [prepare_knee(pixels, joint, member.region, member.input) for joint in joints]

    def run(self, tensors: Tensors) -> list[MemberAnswer]:
        """Member by member, all knees of the picture through each; a cascade stops when it is sure.

        Raises:
            InferenceError: an engine failed, or was closed.
            IncompatibleBundleError: a model does not go with its head weights.
        """
        answers: list[MemberAnswer] = []
        for index, member in enumerate(self.manifest.members):
            answers.append(self._run_member(index, tensors[self.finder_digest, member.region, member.input]))
            if self._are_sure(answers):
                break
        return answers

    def answer(self, case: Case, answers: Sequence[MemberAnswer], *, explain: bool) -> Answer:
        """Decide, of the picture or knee by knee, and put together what is said.

        Raises:
            InferenceError: the scores are no numbers.
        """
        verdicts = [_doubted(decide(self.manifest, logits, case.person), case) for logits in self._logits(answers)]
        lead = self._gravest(verdicts) if self._is_of_knees else None
        verdict = verdicts[lead or 0]
        explained = self.manifest.labels.index(likeliest(verdict.image_probabilities)) if explain else None
        if self._is_of_knees:
            knees = tuple(
                self._knee(index, joint, answers, explained, one)
                for index, (joint, one) in enumerate(zip(case.joints, verdicts, strict=True))
            )
        else:
            knees = tuple(self._knee(index, joint, answers, explained, None) for index, joint in enumerate(case.joints))
        answer = Answer(
            asked=self.manifest.question,
            status=Status.REFERRED if verdict.findings else Status.REPORTED,
            findings=verdict.findings,
            notes=(*case.notes, *verdict.notes, *_taken_as_negative(case.joints)),
            mode=verdict.mode,
            probabilities=verdict.probabilities,
            image_probabilities=verdict.image_probabilities,
            label_set=verdict.label_set,
            covariates_used=verdict.covariates_used,
            members_answered=len(answers),
            knees=knees,
            model=self.identity,
            intended_use=self.manifest.intended_use,
            lead=lead,
            age_years=case.person.age_years,
            sex=case.person.sex,
        )
        return answer if case.turn is None else replace(answer, knees=tuple(_as_given(knee, case.turn) for knee in knees))

    def reject(self, findings: tuple[Finding, ...]) -> Answer:
        return Answer(
            asked=self.manifest.question,
            status=Status.REJECTED,
            findings=findings,
            notes=(),
            mode=None,
            probabilities=_NOTHING,
            image_probabilities=_NOTHING,
            label_set=(),
            covariates_used=_NOTHING,
            members_answered=0,
            knees=(),
            model=self.identity,
            intended_use=self.manifest.intended_use,
        )

    def _run_member(self, index: int, tensors: Sequence[Tensor]) -> MemberAnswer:
        engine = self.model.engine(index)
        outputs = [engine.run({engine.inputs[0].name: tensor}) for tensor in tensors]
        if any(output["features"].shape[-1] != len(self._head_weights[index]) for output in outputs):
            raise IncompatibleBundleError("the head weights do not fit the model's features")
        knees = np.stack([output["logits"][0] for output in outputs])
        if not np.isfinite(knees).all():
            raise InferenceError("the model gave a score that is not a number; run: osteo-edge doctor")
        return MemberAnswer(mean_logits(knees), knees, [output["features"] for output in outputs])

    def _are_sure(self, answers: Sequence[MemberAnswer]) -> bool:
        """Of the picture; of each of its knees where the question is of knees."""
        ensemble = self.manifest.ensemble
        if not self._is_of_knees:
            return is_sure(ensemble, [answer.logits for answer in answers])
        return all(is_sure(ensemble, [answer.knees[knee] for answer in answers]) for knee in range(len(answers[0].knees)))

    def _logits(self, answers: Sequence[MemberAnswer]) -> list[Doubles]:
        """What is decided on, one (labels,) each: the picture, or each of its knees."""
        if self._is_of_knees:
            return [self._logits_of_knee(knee, answers) for knee in range(len(answers[0].knees))]
        return [combine(self.manifest.ensemble, np.stack([answer.logits for answer in answers]))]

    def _logits_of_knee(self, knee: int, answers: Sequence[MemberAnswer]) -> Doubles:
        return combine(self.manifest.ensemble, np.stack([answer.knees[knee] for answer in answers]))

    def _gravest(self, verdicts: Sequence[Verdict]) -> int:
        """The knee that leads: first by the answers that remain possible, then by the label's expected place.

        One that surely has signs comes before one that may have, and that before one that surely has none.
        """

        def gravity(verdict: Verdict) -> tuple[int, int, float]:
            expected = sum(place * share for place, share in enumerate(verdict.probabilities.values()))
            return (*self.manifest.question.places_of(verdict.label_set), expected)

        return max(range(len(verdicts)), key=lambda knee: gravity(verdicts[knee]))

    def _knee(
        self, index: int, joint: Joint, answers: Sequence[MemberAnswer], explained: int | None, verdict: Verdict | None
    ) -> Knee:
        manifest = self.manifest
        boxes = [box_around(joint, member.region) for member in manifest.members[: len(answers)]]
        heat = None if explained is None else self._saliency(index, joint, boxes, answers, explained)
        if verdict is not None:
            told = None if verdict.findings else manifest.question.answer_of(verdict.label_set)
            return Knee(joint, union(boxes), verdict.probabilities, verdict.label_set, told.code if told else None, heat)
        shares_of_knee = softmax(self._logits_of_knee(index, answers)).tolist()
        return Knee(joint, union(boxes), FrozenMapping(dict(zip(manifest.labels, shares_of_knee, strict=True))), saliency=heat)

    def _saliency(self, knee: int, joint: Joint, boxes: list[Box], answers: Sequence[MemberAnswer], label_index: int) -> Floats:
        # Fewer answers than members where a cascade has stopped.
        asked = zip(answers, self._head_weights, self.manifest.members, strict=False)
        maps = [
            _as_in_picture(saliency(answer.features[knee], head, label_index), joint, member.region)
            for answer, head, member in asked
        ]
        return laid_together(maps, boxes, shares(self.manifest.ensemble, len(answers)))


def _doubted(verdict: Verdict, case: Case) -> Verdict:
    return replace(verdict, findings=(*case.doubts, *verdict.findings)) if case.doubts else verdict


def _taken_as_negative(joints: Sequence[Joint]) -> tuple[Finding, ...]:
    if not any(joint.is_negative for joint in joints):
        return ()
    return (Finding(TAKEN_AS_NEGATIVE, "bone is dark in this picture: it was looked at with dark and bright exchanged"),)


def _as_given(knee: Knee, turn: Turn) -> Knee:
    """In the picture as it was given."""
    heat = None if knee.saliency is None else turn.map_as_given(knee.saliency)
    return replace(knee, joint=turn.joint_as_given(knee.joint), box=turn.box_as_given(knee.box), saliency=heat)


def _as_in_picture(values: Floats, joint: Joint, region: RegionProfile) -> Floats:
    return np.ascontiguousarray(values[:, ::-1]) if is_mirrored(joint, region) else values


def _identity(model: LoadingModel) -> ModelIdentity:
    manifest, choices = model.bundle.manifest, model.choices
    precisions = {choice.precision for choice in choices}
    precision = precisions.pop() if len(precisions) == 1 else "mixed"
    return ModelIdentity(manifest.name, manifest.version, model.bundle.digest, choices[0].engine, precision, len(choices))
