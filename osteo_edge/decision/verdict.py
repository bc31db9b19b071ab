"""From the picture's logits, and what is known of the person, to what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from osteo_edge.covariates import Person, spoken
from osteo_edge.decision.conformal import label_set, nearly_likeliest, without_gap
from osteo_edge.decision.scores import softmax
from osteo_edge.errors import InferenceError
from osteo_edge.findings import (
    COVARIATES_INCOMPLETE,
    COVARIATES_NOT_USED,
    IMMATURE,
    NOT_SUPPORTED,
    PICTURE_ADDS_NOTHING,
    PICTURE_DISAGREES,
    UNPROVEN,
    UNSURE,
    Finding,
)
from osteo_edge.labels import Mode
from osteo_edge.manifest import Covariate, Fusion, Manifest
from osteo_edge.printable import enumerate_words
from osteo_edge.questions import Question
from osteo_edge.records import FrozenMapping

if TYPE_CHECKING:
    from osteo_edge.arrays import Doubles, Reals


@dataclass(frozen=True)
class Verdict:
    """What is said of one picture or knee; see ``Answer`` for the fields. The findings are the reasons for a referral."""

    mode: Mode
    label_set: tuple[str, ...]
    probabilities: Mapping[str, float]
    image_probabilities: Mapping[str, float]
    covariates_used: Mapping[str, float]
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]


def refuse(person: Person) -> tuple[Finding, ...]:
    """Reasons, if any, why no picture of this person is answered, whatever the bundle and before it is asked."""
    return (Finding(IMMATURE, "this test has not learnt from bones that still grow"),) if person.is_child else ()


def decide(manifest: Manifest, logits: Reals, person: Person) -> Verdict:
    """Judge one picture, or one knee of it where the question is of knees.

    Args:
        logits: (labels,) of the picture or knee alone.
        person: covariates take part where the bundle has a fusion and everything that it requires is known.
    """
    image = _named(manifest, softmax(logits))
    fusion = manifest.fusion
    if fusion is None or not person.values or person.missing:
        labels = label_set(image, manifest.conformal, manifest.question)
        unsure = _not_sure(manifest.question, labels, manifest.conformal.coverage)
        findings = (*_unproven(manifest.is_proven), *unsure)
        return Verdict(Mode.IMAGE, labels, image, image, _NOTHING, findings, tuple(_left_out(person)))
    return _decide_with(fusion, manifest, logits, image, person)


_NOTHING: Mapping[str, float] = FrozenMapping()
_TOGETHER = "the picture and what is known of the person do"


def _decide_with(fusion: Fusion, manifest: Manifest, logits: Reals, image: Mapping[str, float], person: Person) -> Verdict:
    from osteo_edge.decision.fusion import fuse, outside_support, weighs_picture

    values = person.values
    fused = _named(manifest, softmax(fuse(fusion, logits, values)))
    told_apart = label_set(fused, fusion.conformal, manifest.question)
    unsupported = outside_support(fusion, values)
    # What training never saw for such a person cannot be ruled out either.
    labels = without_gap({*told_apart, *(label for _, label in unsupported)}, manifest.labels)
    by_name = {covariate.name: covariate for covariate in fusion.covariates}
    used = FrozenMapping({name: values[name] for name in by_name if name in values})
    findings = (
        *_unproven(fusion.is_proven),
        *(_unsupported(by_name[name], label, values[name]) for name, label in unsupported),
        *_adds_nothing(fusion, [by_name[name] for name in used], heeds_picture=weighs_picture(fusion)),
        *_not_sure(manifest.question, told_apart, fusion.conformal.coverage, evidence=_TOGETHER),
    )
    notes = (*_disagrees(manifest.question, image, labels), *_left_out(person))
    return Verdict(Mode.FUSED, labels, fused, image, used, findings, notes)


def _named(manifest: Manifest, probabilities: Doubles) -> Mapping[str, float]:
    if not np.isfinite(probabilities).all():
        raise InferenceError("the bundle's numbers make a score that is not a number; run: osteo-edge doctor")
    return FrozenMapping(dict(zip(manifest.labels, probabilities.tolist(), strict=True)))


def _unproven(is_proven: bool) -> Iterator[Finding]:
    if not is_proven:
        yield Finding(
            UNPROVEN,
            "this bundle was not shown to tell more than chance or the picture's file and border would; "
            "its scores are for research alone",
        )


def _not_sure(
    question: Question, labels: tuple[str, ...], coverage: float, *, evidence: str = "the picture does"
) -> Iterator[Finding]:
    """Where the classes that remain lie in more than one answer."""
    if question.answer_of(labels) is None:
        told = f"{evidence} not tell {' from '.join(labels)} at the bundle's coverage of {coverage:.0%}"
        yield Finding(UNSURE, told)


def _unsupported(covariate: Covariate, label: str, value: float) -> Finding:
    told = f"training held no radiograph labelled {label} of a person {_such(covariate, label, value)}"
    return Finding(NOT_SUPPORTED, f"{told}, so {label} can be neither shown nor ruled out here")


def _such(covariate: Covariate, label: str, value: float) -> str:
    if covariate.kind == "sex":
        return f"of {'female' if value else 'male'} sex"
    if covariate.kind == "yes_no":
        return f"with {spoken(covariate)}: {'yes' if value else 'no'}"
    low, high = covariate.support[label]
    limit = f"under {low:g}" if value < low else f"over {high:g}"
    return f"{limit} {covariate.unit} of age" if covariate.name == "age_years" else f"with {spoken(covariate)} {limit}"


def _adds_nothing(fusion: Fusion, covariates: list[Covariate], *, heeds_picture: bool) -> Iterator[Finding]:
    """What the answer rests on where that is not the picture; the sentence for people begins with it."""
    if fusion.image_adds:
        return
    known = enumerate_words([spoken(covariate) for covariate in covariates])
    if heeds_picture:
        yield Finding(PICTURE_ADDS_NOTHING, f"from {known} (the picture was not shown to add to that)")
    else:
        yield Finding(PICTURE_ADDS_NOTHING, f"from {known} alone (the picture does not count in it)")


def _disagrees(question: Question, image: Mapping[str, float], labels: tuple[str, ...]) -> Iterator[Finding]:
    """Where the classes that remain say one thing, and what is likeliest from the picture alone says another."""
    told, of_picture = question.answer_of(labels), question.answer_of(nearly_likeliest(image))
    if told and of_picture and told is not of_picture:
        yield Finding(PICTURE_DISAGREES, "the picture's own score points the other way")


def _left_out(person: Person) -> Iterator[Finding]:
    """What was given and took no part is told, never passed over."""
    if person.unused:
        given = enumerate_words([name.removesuffix("_years").replace("_", " ") for name in person.unused])
        yield Finding(COVARIATES_NOT_USED, f"this bundle was made to answer without them; not used: {given}")
    if person.missing:
        wanted = enumerate_words(person.missing)
        told = f"the answer is from the picture alone; to use what is known of the person, also give {wanted}"
        yield Finding(COVARIATES_INCOMPLETE, told)
