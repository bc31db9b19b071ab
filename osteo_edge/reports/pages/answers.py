"""What ``predict`` wrote as JSON, read again: a page is made of it alone, so that it says what was answered then."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from osteo_edge.answered import ModelIdentity
from osteo_edge.errors import ManifestError, ReportError
from osteo_edge.findings import Finding
from osteo_edge.integrity import read_up_to
from osteo_edge.joints import Box
from osteo_edge.records import parse_json, parse_record
from osteo_edge.reports.structured import SCHEMA_VERSION
from osteo_edge.wording import Said

MAX_BYTES: Final = 256 << 20
Status = Literal["reported", "referred", "rejected"]
Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Told:
    """The sentences for people, piece by piece."""

    knees: tuple[Said, ...]
    why: tuple[str, ...]
    next_step: str


@dataclass(frozen=True)
class FoundJoint:
    """Of the picture's pixels, upright."""

    x_px: float
    y_px: float
    width_px: float
    score: float
    laterality: Literal["right", "left"] | None


@dataclass(frozen=True)
class FoundKnee:
    """As one question's networks scored it."""

    box: Box
    joint: FoundJoint
    answer: str | None
    message: str | None
    likeliest: str
    median: str
    label_set: tuple[str, ...]
    probabilities: Numbers


@dataclass(frozen=True)
class Answer:
    """To one question."""

    question: str
    title: str
    status: Status
    answer: str | None
    message: str
    told: Told
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    mode: Literal["image", "fused"] | None
    label: str | None
    likeliest: str | None
    label_set: tuple[str, ...]
    probabilities: Numbers
    image_probabilities: Numbers
    covariates_used: Numbers
    members_answered: int
    knees: tuple[FoundKnee, ...]
    lead: int | None
    model: ModelIdentity
    intended_use: str


@dataclass(frozen=True)
class SaidByTags:
    """What a DICOM file says of its picture."""

    kind: str
    coding: str
    greys: str
    body_part: str | None
    view_position: str | None
    laterality: Literal["right", "left"] | None
    pixel_spacing_mm: tuple[float, ...] | None
    taken_on: str | None


@dataclass(frozen=True)
class Score:
    """One published risk score; what it was made for and what studies reported is not read here."""

    name: str
    status: Literal["computed", "missing", "outside"]
    value: int | None
    verdict: str
    missing: tuple[str, ...]
    reason: str
    notes: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Step:
    """What is advised, and by whom."""

    sentence: str
    source: str


@dataclass(frozen=True)
class Risk:
    """All scores of a person, and what follows."""

    known: Mapping[str, float]
    sex: Literal["female", "male"] | None
    scores: tuple[Score, ...]
    not_open: Mapping[str, str]
    next_step: Step
    notes: tuple[str, ...]
    intended_use: str


@dataclass(frozen=True)
class Answered:
    """One picture, as ``prediction.schema.json`` describes it.

    Attributes:
        risk: published scores, where a weight was known.
    """

    software: str
    source: str
    sha256: str | None
    status: Status
    findings: tuple[Finding, ...]
    turned_degrees: Literal[0, 90, 180, 270]
    side: Literal["by_tag", "assumed"] | None
    joints: tuple[FoundJoint, ...]
    answers: tuple[Answer, ...]
    tags: SaidByTags | None
    risk: Risk | None = None

    @property
    def boxes(self) -> tuple[tuple[FoundJoint, Box], ...]:
        """Each knee with what was shown of it, of the first question that was asked of knees at all."""
        asked = next((one.knees for one in self.answers if one.knees), ())
        return tuple((knee.joint, knee.box) for knee in asked)


def read_answers(path: Path) -> list[Answered]:
    """The pictures of a file that ``predict --format json`` or ``jsonl`` wrote.

    Raises:
        ReportError: it cannot be read, is something else, or was written by another release.
    """
    try:
        data = read_up_to(path, MAX_BYTES)
    except OSError as error:
        raise ReportError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ReportError(f"{path} is larger than {MAX_BYTES >> 20} MiB")
    return [parse_answered(record, where=where) for where, record in _records(data, str(path))]


def parse_answered(record: Any, *, where: str) -> Answered:
    """The record of one picture.

    Raises:
        ReportError: it is something else, or was written by another release.
    """
    version = record.get("schema_version") if isinstance(record, dict) else None
    if version != SCHEMA_VERSION:
        raise ReportError(
            f"{where} is no answer of this release (JSON version {SCHEMA_VERSION}): have it written again by "
            "'osteo-edge predict --format json'"
        )
    left_out = ("schema_version", "message", "timings_ms", "overlay")
    try:
        plain = {name: value for name, value in record.items() if name not in left_out}
        if "risk" in plain:
            plain["risk"] = _plain_risk(plain["risk"])
        answered = parse_record(Answered, plain, where=where)
    except ManifestError as error:
        raise ReportError(str(error)) from error
    if not answered.answers or not all(one.told.knees for one in answered.answers):
        raise ReportError(f"{where} holds no answer")
    return answered


def _plain_risk(risk: Any) -> Any:
    """What a page has no place for is left out; sex stands apart from what are numbers."""
    if not (isinstance(risk, dict) and isinstance(risk.get("known"), dict) and isinstance(risk.get("scores"), list)):
        return risk
    known = {name: value for name, value in risk["known"].items() if value is not None}
    fields = {"known": known, "sex": known.pop("sex", None)}
    fields["scores"] = [_part(one, Score) for one in risk["scores"]]
    fields["next_step"] = _part(risk.get("next_step"), Step)
    return _part(risk, Risk) | fields


def _part(record: Any, cls: type) -> Any:
    return {name: record[name] for name in cls.__annotations__ if name in record} if isinstance(record, dict) else record


def _records(data: bytes, name: str) -> list[tuple[str, Any]]:
    """Each record with where it stands: of one object, of an array, or an object a line."""
    lines = [(number, line) for number, line in enumerate(data.splitlines(), start=1) if line.strip()]
    try:
        if len(lines) > 1 and all(line.startswith(b"{") and line.rstrip().endswith(b"}") for _, line in lines):
            return [(f"{name}, line {number}", parse_json(line, what=f"{name}, line {number}")) for number, line in lines]
        whole = parse_json(data, what=name)
    except ManifestError as error:
        raise ReportError(str(error)) from error
    if isinstance(whole, list):
        return [(f"{name}, picture {number}", record) for number, record in enumerate(whole, start=1)]
    return [(name, whole)]


def as_answered(record: Mapping[str, Any]) -> Answered:
    """The same of what ``structured.to_dict`` has just made: one way from an answer to its page."""
    return parse_answered(json.loads(json.dumps(record)), where="the answer")
