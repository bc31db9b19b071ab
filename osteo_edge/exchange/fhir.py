"""An answer as FHIR R4 (4.0.1): a Bundle of a report, an Observation a finding, a Device a bundle, a RiskAssessment a score.

All is preliminary. Questions and answers have codes of this program's own: those of DXA would say that bone density was
measured. Nobody is named: the report's subject is what the caller gives, else it has none, and a score's is a sentence.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from osteo_edge import __version__
from osteo_edge.integrity import sha256_hex
from osteo_edge.labels import Status
from osteo_edge.reports.risk import INTENDED_USE, verdict
from osteo_edge.wording import sentence_of_knee

if TYPE_CHECKING:
    from osteo_edge.answered import Answer, Answered, Knee, ModelIdentity
    from osteo_edge.clinical.advice import Risk
    from osteo_edge.clinical.assessment import Outcome

Resource = dict[str, Any]

QUESTIONS: Final = "urn:osteo-edge:question"
ANSWERS: Final = "urn:osteo-edge:answer"
SCORES: Final = "urn:osteo-edge:score"
DIGESTS: Final = "urn:osteo-edge:bundle-sha256"
_ABSENT: Final = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
_SNOMED: Final = "http://snomed.info/sct"
_KNEE_JOINT: Final = "49076000"
# Code of the reason why there is no answer, by the status.
_WHY_ABSENT: Final[Mapping[Status, tuple[str, str]]] = {
    Status.REFERRED: ("unknown", "Unknown"),
    Status.REJECTED: ("not-performed", "Not Performed"),
}
_SOMEBODY: Final = "the person of whom this was told"
_METHOD: Final = "research test of a plain radiograph; no measurement of bone density"


def to_bundle(prediction: Answered, *, issued: datetime, subject: str | None = None) -> Resource:
    """The Bundle, types of JSON alone; the same answer gives the same identities.

    Args:
        issued: when this was made; with a time zone.
        subject: reference to the person, such as ``Patient/12``; None where it is not to be said.
    """
    return _Writer(prediction, issued, subject).bundle()


class _Writer:
    def __init__(self, prediction: Answered, issued: datetime, subject: str | None) -> None:
        self._prediction, self._issued = prediction, issued.isoformat(timespec="seconds")
        self._subject = {"reference": subject} if subject else None

    def bundle(self) -> Resource:
        devices = {answer.model.digest: self._device(answer.model) for answer in self._prediction.answers}
        observations = [made for answer in self._prediction.answers for made in self._observations(answer)]
        risk = self._prediction.risk
        risks = [] if risk is None else list(self._risks(risk))
        resources = [self._report(observations), *observations, *devices.values(), *risks]
        entries = [{"fullUrl": f"urn:uuid:{one['id']}", "resource": one} for one in resources]
        return {"resourceType": "Bundle", "type": "collection", "timestamp": self._issued, "entry": entries}

    def _identity(self, *what: object) -> str:
        digest = sha256_hex(
            "\0".join(map(str, (self._prediction.source, self._prediction.digest, *what))).encode(errors="replace")
        )
        return str(uuid.UUID(digest[:32], version=5))

    def _of_subject(self) -> Resource:
        return {"subject": self._subject} if self._subject else {}

    def _report(self, observations: list[Resource]) -> Resource:
        return {
            "resourceType": "DiagnosticReport",
            "id": self._identity("report"),
            "status": "preliminary",
            "code": {"text": "Research screening of a knee radiograph: not a medical device and not a diagnosis"},
            **self._of_subject(),
            "issued": self._issued,
            "result": [_reference(one) for one in observations],
            "conclusion": self._prediction.message,
        }

    def _observations(self, answer: Answer) -> Iterator[Resource]:
        """One a knee where the question is asked of knees, else one."""
        if answer.lead is None:
            yield self._observation(answer, 0, answer.answer, answer.message)
            return
        for number, knee in enumerate(answer.knees, start=1):
            yield self._observation(answer, number, knee.answer, sentence_of_knee(knee, answer), knee)

    def _observation(self, answer: Answer, number: int, code: str | None, said: str, knee: Knee | None = None) -> Resource:
        return {
            "resourceType": "Observation",
            "id": self._identity("observation", answer.question, number),
            "status": "preliminary",
            "code": _concept(QUESTIONS, answer.question, answer.title),
            **self._of_subject(),
            "issued": self._issued,
            **_value(answer, code, said),
            "bodySite": _site(knee),
            "method": {"text": _METHOD},
            "device": {"reference": f"urn:uuid:{self._identity('device', answer.model.digest)}"},
            "note": [{"text": answer.intended_use}],
        }

    def _device(self, model: ModelIdentity) -> Resource:
        return {
            "resourceType": "Device",
            "id": self._identity("device", model.digest),
            "identifier": [{"system": DIGESTS, "value": model.digest}],
            "manufacturer": "osteo-edge",
            "deviceName": [{"name": model.bundle, "type": "model-name"}],
            "type": {"text": "software: a model for research"},
            "version": [{"value": model.version}, {"type": {"text": "software"}, "value": f"osteo-edge {__version__}"}],
            "note": [{"text": f"SHA-256 {model.digest}, {model.engine} {model.precision}"}],
        }

    def _risks(self, risk: Risk) -> Iterator[Resource]:
        """One a computed score; what could not be computed says nothing."""
        for outcome in risk.assessment.computed:
            yield self._risk(outcome, risk)

    def _risk(self, outcome: Outcome, risk: Risk) -> Resource:
        instrument = outcome.instrument
        return {
            "resourceType": "RiskAssessment",
            "id": self._identity("risk", instrument.code),
            "status": "preliminary",
            "method": {"text": f"{instrument.title}: {instrument.formula}; {instrument.source}"},
            "code": _concept(SCORES, instrument.code, instrument.name),
            "subject": self._subject or {"display": _SOMEBODY},
            "prediction": [
                {
                    "outcome": {"text": "low bone density at a DXA scan"},
                    "qualitativeRisk": {"text": verdict(outcome)},
                    "rationale": f"{instrument.name} is {outcome.value}",
                }
            ],
            "mitigation": f"{risk.step.sentence} ({risk.step.source})",
            "note": [{"text": text} for text in (*outcome.notes, INTENDED_USE)],
        }


def _value(answer: Answer, code: str | None, said: str) -> Resource:
    if code is not None:
        return {"valueCodeableConcept": _concept(ANSWERS, code, said)}
    status = Status.REFERRED if answer.status is Status.REPORTED else answer.status  # one knee of several has no answer
    reason, display = _WHY_ABSENT[status]
    return {"dataAbsentReason": {"coding": [{"system": _ABSENT, "code": reason, "display": display}], "text": said}}


def _site(knee: Knee | None) -> Resource:
    side = knee.joint.laterality.value if knee and knee.joint.laterality else ""
    coding = {"system": _SNOMED, "code": _KNEE_JOINT, "display": "Knee joint"}
    return {"coding": [coding], "text": f"{side} knee joint".strip()}


def _concept(system: str, code: str, text: str) -> Resource:
    return {"coding": [{"system": system, "code": code}], "text": text}


def _reference(resource: Resource) -> Resource:
    return {"reference": f"urn:uuid:{resource['id']}"}
