"""The one worker: a picture that was taken gets exactly one outcome, whatever ends the program on the way.

In this order: the answer is written, the outcome goes into the journal, the audit log gets its line, the picture goes to its
folder, the journal notes that all is done. What comes before the journal may be done again and is then the same; what comes
after it follows from the journal alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from osteo_edge import __version__, findings
from osteo_edge.errors import InferenceError, InputError, OutOfMemoryError, StationError
from osteo_edge.integrity import read_up_to, sha256_hex
from osteo_edge.labels import Status
from osteo_edge.printable import printable
from osteo_edge.station.audit import AuditLog
from osteo_edge.station.inbox import Arrival, shape_of
from osteo_edge.station.journal import Journal, Kind, Outcome
from osteo_edge.station.outbox import Outbox

if TYPE_CHECKING:
    from osteo_edge.answered import ModelIdentity
    from osteo_edge.prediction import Prediction

SCHEMA_VERSION: Final = 1
ANSWERED: Final = "answered"
MAX_BYTES: Final = 64 << 20
# A picture at which the program ended so often is not tried again: it may be what ends it.
MOST_ATTEMPTS: Final = 5
_ENDED_THE_PROGRAM: Final = "ended_the_program"
_LONGEST_NAME: Final = 100


class Answering(Protocol):
    """What ``OsteoPredictor`` does for a worker."""

    @property
    def models(self) -> tuple[ModelIdentity, ...]: ...
    def predict(self, image: bytes | str, *, source: str, explain: bool) -> Prediction: ...
    def reject(self, source: str, error: InputError) -> Prediction: ...


class Product(Protocol):
    """What else is made of an answer, such as a page; made again it is the same."""

    @property
    def needs_explanation(self) -> bool:
        """Saliency and pixels are wanted."""
        ...

    def make(self, prediction: Prediction, picture: bytes, stem: str) -> str:
        """Make and write it; returns why there is none of this picture, without any name, where there should be one.

        Raises:
            StationError, ReportError: it cannot be written now.
        """
        ...


class Worker:
    """Takes pictures to their outcomes, one at a time."""

    def __init__(
        self,
        predictor: Answering,
        outbox: Outbox,
        journal: Journal,
        audit: AuditLog,
        products: Sequence[Product] = (),
    ) -> None:
        self._predictor, self._outbox, self._journal, self._audit = predictor, outbox, journal, audit
        self._products = products
        self._explains = any(product.needs_explanation for product in products)
        self._asked = asked_of(predictor.models)

    def finish_begun(self, arrivals: Iterable[Arrival]) -> None:
        """Do what is left to do after outcomes that the journal has.

        Args:
            arrivals: pictures that were taken and not moved on.

        Raises:
            StationError: it cannot be done now.
        """
        places = {arrival.identity: arrival.path for arrival in arrivals}
        for outcome in self._journal.unsettled():
            self._settle(outcome, places.get(outcome.arrival))

    def take(self, arrival: Arrival, *, is_final: bool = True) -> Outcome | None:
        """Give a picture its outcome.

        Args:
            is_final: whether it has stood still so long that nobody will write to it any more.

        Returns:
            None where it was written to while it was read, or cannot be read and may yet be: take it again later.

        Raises:
            StationError: something cannot be written now; the picture lies where it was.
            OsteoEdgeError: no picture can be answered: a bundle was damaged, an engine is missing.
        """
        outcome = self._journal.outcome_of(arrival.identity) or self._decide(arrival, is_final=is_final)
        if outcome is not None:
            self._settle(outcome, arrival.path)
        return outcome

    def _settle(self, outcome: Outcome, picture: Path | None) -> None:
        self._audit.append(ANSWERED, outcome.facts, once=True)
        if picture is not None:
            self._outbox.put_away(picture, outcome.kind, outcome.stem + outcome.ending)
        self._journal.settle(outcome)

    def _decide(self, arrival: Arrival, *, is_final: bool) -> Outcome | None:
        """What ends the program at once leaves the attempt in the journal; what is raised is no fault of the picture's."""
        attempt = self._journal.begin(arrival.identity)
        try:
            outcome = self._attempt(arrival, attempt, is_final=is_final)
        except BaseException:
            self._journal.put_off(arrival.identity)
            raise
        if outcome is None:
            self._journal.put_off(arrival.identity)
        return outcome

    def _attempt(self, arrival: Arrival, attempt: int, *, is_final: bool) -> Outcome | None:
        before = shape_of(arrival.path)
        try:
            data = read_up_to(arrival.path, MAX_BYTES)
        except OSError as error:
            raise StationError(f"a picture that was taken cannot be read: {error.strerror}") from error
        sha256 = sha256_hex(data) if len(data) <= MAX_BYTES else None
        stem = _stem(arrival, sha256)
        if attempt > MOST_ATTEMPTS:
            message = f"the program ended {MOST_ATTEMPTS} times while it answered this picture, which is not tried again"
            return self._fail(arrival, stem, sha256, _ENDED_THE_PROGRAM, message)
        if sha256 is not None and (first := self._journal.first_of(sha256, self._asked)) is not None:
            return self._repeat(arrival, stem, first)
        try:
            prediction = self._answer(arrival, data, stem + arrival.ending)
        except (InferenceError, OutOfMemoryError) as error:
            return self._fail(arrival, stem, sha256, _code_of(error), str(error))
        if shape_of(arrival.path) != before or (_may_be_unfinished(prediction) and not is_final):
            return None
        lacking = [told for product in self._products if (told := product.make(prediction, data, stem))]
        kind: Kind = "refused" if prediction.status is Status.REJECTED else "done"
        facts = facts_of(prediction) | ({"not_made": lacking} if lacking else {})
        return self._write(arrival, kind, stem, sha256, prediction.to_dict(), facts)

    def _answer(self, arrival: Arrival, data: bytes, source: str) -> Prediction:
        image = data if len(data) <= MAX_BYTES else str(arrival.path)
        try:
            return self._predictor.predict(image, source=source, explain=self._explains)
        except InputError as error:
            rejected = self._predictor.reject(source, error)
            return replace(rejected, digest=sha256_hex(data)) if isinstance(image, bytes) else rejected

    def _repeat(self, arrival: Arrival, stem: str, first: Outcome) -> Outcome:
        message = "these bytes came before, and were answered then"
        record = _note(arrival.name, first.sha256, "duplicate", message, first=first.stem)
        return self._write(arrival, first.kind, stem, first.sha256, record, {"duplicate_of": first.stem}, first=first.stem)

    def _fail(self, arrival: Arrival, stem: str, sha256: str | None, code: str, message: str) -> Outcome:
        record = _note(arrival.name, sha256, "failed", message)
        return self._write(arrival, "failed", stem, sha256, record, {"failed": code})

    def _write(
        self,
        arrival: Arrival,
        kind: Kind,
        stem: str,
        sha256: str | None,
        record: Mapping[str, Any],
        facts: Mapping[str, Any],
        *,
        first: str | None = None,
    ) -> Outcome:
        told = {
            "arrival": arrival.identity,
            "sha256": sha256,
            "outcome": kind,
            **facts,
            "bundles": bundles_of(self._predictor.models),
        }
        outcome = Outcome(arrival.identity, kind, stem, arrival.ending, sha256, self._asked, first, told)
        self._outbox.put_answer(stem, record)
        self._journal.decide(outcome)
        return outcome


def bundles_of(models: Iterable[ModelIdentity]) -> dict[str, str]:
    """Name -> digest, as the audit log tells them."""
    return {model.bundle: model.digest for model in models}


def asked_of(models: Iterable[ModelIdentity]) -> str:
    """Stands for the release and the bundles: another answer may come from others."""
    return sha256_hex("\n".join([__version__, *sorted(model.digest for model in models)]).encode())


def _stem(arrival: Arrival, sha256: str | None) -> str:
    """The beginning of the bytes' digest and the arrival's number; with names, that instead of the digest."""
    stem = printable(os.path.splitext(arrival.name)[0]).replace("/", "_").strip(". ")[:_LONGEST_NAME]
    shown = stem or (sha256[:12] if sha256 else "unread")
    return f"{shown}-{arrival.identity}"


def _may_be_unfinished(prediction: Prediction) -> bool:
    """Whether more may still come of a picture that could not be read."""
    return prediction.status is Status.REJECTED and prediction.findings[0].code not in (*findings.UNFIT, *findings.TOO_LARGE)


def facts_of(prediction: Prediction) -> dict[str, Any]:
    """What the audit log tells of an answer, in codes alone."""
    if prediction.status is Status.REJECTED:
        return {"status": prediction.status.value, "reasons": [finding.code for finding in prediction.findings]}
    return {"status": prediction.status.value, "answers": dict(_codes(prediction))}


def _codes(prediction: Prediction) -> Iterator[tuple[str, str]]:
    for answer in prediction.answers:
        reasons = ",".join(finding.code for finding in answer.findings)
        yield answer.question, answer.answer or f"{answer.status.value}:{reasons}"


def _code_of(error: Exception) -> str:
    return "memory" if isinstance(error, OutOfMemoryError) else "engine"


def _note(name: str, sha256: str | None, outcome: str, message: str, *, first: str | None = None) -> dict[str, Any]:
    """In place of an answer."""
    told = {"station": SCHEMA_VERSION, "outcome": outcome, "message": message, "sha256": sha256, "first": first}
    return {**told, "name": printable(name)} if name else told
