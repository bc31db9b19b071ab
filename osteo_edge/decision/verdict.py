"""From the picture's logits, and what is known of the person, to what is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteo_edge.covariates import Person, enumerate_words, spoken
from osteo_edge.decision.conformal import label_set
from osteo_edge.decision.scores import softmax
from osteo_edge.images.quality import Finding
from osteo_edge.labels import Mode
from osteo_edge.manifest import Covariate, Fusion, Manifest
from osteo_edge.mapping import FrozenMapping
from osteo_edge.reports.wording import NOT_SUPPORTED, PICTURE_ADDS_NOTHING, UNPROVEN


@dataclass(frozen=True)
class Verdict:
    """What is said of one picture; see ``Prediction`` for the fields. The findings are the reasons for a referral."""

    mode: Mode
    label_set: tuple[str, ...]
    probabilities: Mapping[str, float]
    image_probabilities: Mapping[str, float]
    covariates_used: Mapping[str, float]
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]


def decide(manifest: Manifest, logits: NDArray[np.floating], person: Person) -> Verdict:
    """Judge one picture.

    Args:
        logits: (labels,) of the picture alone.
        person: covariates take part where the bundle has a fusion and everything that it requires is known.
    """
    image = _named(manifest, softmax(logits))
    fusion = manifest.fusion
    if fusion is None or not person.values or person.missing:
        labels = label_set(image, manifest.conformal)
        findings = (*_unproven(manifest.is_proven), *_not_sure(labels, manifest.conformal.coverage))
        return Verdict(Mode.IMAGE, labels, image, image, _NOTHING, findings, tuple(_left_out(person)))
    return _decide_with(fusion, manifest, logits, image, person.values)


_NOTHING: Mapping[str, float] = FrozenMapping()


def _decide_with(
    fusion: Fusion, manifest: Manifest, logits: NDArray[np.floating], image: Mapping[str, float], values: Mapping[str, float]
) -> Verdict:
    from osteo_edge.decision.fusion import fuse, outside_support, weighs_picture

    fused = _named(manifest, softmax(fuse(fusion, logits, values)))
    told_apart, unsupported = label_set(fused, fusion.conformal), outside_support(fusion, values)
    # What training never saw for such a person cannot be ruled out either.
    labels = tuple(name for name in manifest.labels if name in told_apart or name in {label for _, label in unsupported})
    by_name = {covariate.name: covariate for covariate in fusion.covariates}
    findings = (
        *_unproven(fusion.is_proven),
        *(_unsupported(by_name[name], label, values[name]) for name, label in unsupported),
        *_not_sure(told_apart, fusion.conformal.coverage, evidence="the picture and what is known of the person do"),
    )
    used = FrozenMapping({name: values[name] for name in by_name if name in values})
    notes = () if fusion.image_adds else (_rests_on([by_name[name] for name in used], heeds_picture=weighs_picture(fusion)),)
    return Verdict(Mode.FUSED, labels, fused, image, used, findings, notes)


def _named(manifest: Manifest, probabilities: NDArray[np.float64]) -> Mapping[str, float]:
    return FrozenMapping(dict(zip(manifest.labels, probabilities.tolist(), strict=True)))


def _unproven(is_proven: bool) -> Iterator[Finding]:
    if not is_proven:
        yield Finding(
            UNPROVEN,
            "this bundle was not shown to tell more than chance or the picture's file and border would; "
            "its scores are for research alone",
        )


def _not_sure(labels: tuple[str, ...], coverage: float, *, evidence: str = "the picture does") -> Iterator[Finding]:
    if len(labels) > 1:
        told = f"{evidence} not tell {' from '.join(labels)} at the bundle's coverage of {coverage:.0%}"
        yield Finding("not_sure", told)


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


def _rests_on(covariates: list[Covariate], *, heeds_picture: bool) -> Finding:
    known = enumerate_words([spoken(covariate) for covariate in covariates])
    if not heeds_picture:
        return Finding(PICTURE_ADDS_NOTHING, f"this answer rests on {known} alone; the picture has no weight in it")
    return Finding(PICTURE_ADDS_NOTHING, f"this answer rests on {known}; the picture was not shown to add to it")


def _left_out(person: Person) -> Iterator[Finding]:
    """What was given and took no part is told, never passed over."""
    if person.unused:
        given = enumerate_words(person.unused)
        yield Finding("covariates_not_used", f"this bundle answers from the picture alone; not used: {given}")
    if person.missing:
        wanted = enumerate_words(person.missing)
        told = f"the answer is from the picture alone; to use what is known of the person, also give {wanted}"
        yield Finding("covariates_incomplete", told)
