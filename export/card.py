"""The bundle's model card and licence. Every figure in the card comes from the run or from this export's measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from export.card_classes import sections_of_classes
from export.card_commands import commands_section
from export.card_files import Pictures, files_section, precision_section
from export.card_grades import sections_of_grades
from export.data_card import DataCard
from export.members import ExportedMember
from export.origin import Origin
from export.plans import FoldFigures
from export.question_card import QuestionCard
from export.source import Source
from export.stability import read_stability, stability_section
from osteo_edge.manifest import Manifest, Member, RegionProfile
from osteo_edge.questions import Question

LICENCE_ID = "LicenseRef-osteo-edge-research-model"
_ENSEMBLES = {
    "mean": "whose probabilities are averaged",
    "weighted": "whose probabilities are averaged with weights",
    "vote": "each of which has one vote for its likeliest code",
    "gompertz": "whose ranks of the codes are fused by Gompertz functions",
    "stacking": "whose scores a small model, fitted on radiographs that none of them was trained on, weighs against each other",
    "forest": "whose scores a forest of small trees, fitted on out-of-fold scores, turns into one",
    "cascade": "run one after the other until the mean of their probabilities is sure",
}


def model_card(
    manifest: Manifest,
    source: Source,
    members: Sequence[ExportedMember],
    question_card: QuestionCard,
    data_card: DataCard,
    origins: Sequence[Origin],
    *,
    together: Mapping[str, FoldFigures],
    pictures: Pictures,
    stability: Mapping[str, Any] | None = None,
) -> str:
    """The card, Markdown.

    Args:
        together: engine -> figures of the whole ensemble in int8.
        stability: decoded evidence; None where it was not measured.
    """
    of_kind = sections_of_grades if source.kind == "grades" else sections_of_classes
    sections = [
        _head(manifest, question_card),
        _intended_use(question_card),
        _training(manifest, source.metrics, data_card, origins),
        *of_kind(manifest, source.metrics),
        *([stability_section(read_stability(stability))] if stability else []),
        _limits(source.metrics, question_card, data_card),
        files_section(members, pictures),
        *_precisions_of(members, together),
        commands_section(manifest, source, origins),
    ]
    return "\n\n".join("\n".join(section) for section in sections) + "\n"


def _precisions_of(members: Sequence[ExportedMember], together: Mapping[str, FoldFigures]) -> Iterator[list[str]]:
    for place, member in enumerate(members):
        is_last = place == len(members) - 1
        if section := precision_section(member, together, is_alone=len(members) == 1, is_last=is_last):
            yield section


def licence(origins: Sequence[Origin], data_card: DataCard) -> str:
    """The text of the bundle's LICENSE."""
    return _LICENCE.format(training_set=data_card.source, use=data_card.use, weights=_told(origins))


def _head(manifest: Manifest, question_card: QuestionCard) -> list[str]:
    return [
        f"# {manifest.name} {manifest.version}",
        "",
        f"A research model that looks at antero-posterior knee radiographs for {question_card.looks_for}.",
        "**Not a medical device. Not for clinical use. Its answers are research codes, not diagnoses.**",
        "",
        *(_networks(manifest) if len(manifest.members) > 1 else [f"- Network: {_network(manifest.members[0])}."]),
        *dict.fromkeys(_sees(member.region, manifest.question) for member in manifest.members),
        f"- Question: {manifest.question.title}, one answer a {manifest.question.unit}.",
        f"- Answers: {_answers(manifest.question)}; probabilities of these research codes, and the set of codes that cannot be "
        "ruled out.",
    ]


def _answers(question: Question) -> str:
    return ", ".join(f"`{one.code}` ({', '.join(one.labels)})" for one in question.answers)


def _networks(manifest: Manifest) -> list[str]:
    return [
        f"- Networks: {len(manifest.members)}, {_ENSEMBLES[manifest.ensemble.kind]}.",
        *(f"  - {member.name}: {_network(member)}." for member in manifest.members),
    ]


def _network(member: Member) -> str:
    size = f"{member.input.height_px} x {member.input.width_px} pixels"
    backbone, _, last = member.backbone.partition("@")
    ended = f", ended after its layer {last}" if last else ""
    return f"{backbone}{ended}, one grey channel, {size}, linear head on the mean of the feature map"


def _sees(region: RegionProfile, question: Question) -> str:
    averaged = " and their logits averaged" if question.unit == "picture" else ", and the gravest leads"
    return (
        f"- Sees: a box around each knee joint that the finder finds ({region.half_width:g} knee widths to each side, "
        f"{region.above:g} above and {region.below:g} below the joint); two knees are scored apart{averaged}."
    )


def _intended_use(question_card: QuestionCard) -> list[str]:
    *others, last = question_card.must_not
    return [
        "## Intended use",
        "",
        question_card.intended_use,
        "",
        "- Who: researchers and engineers; clinicians in an approved study.",
        "- On whom: adults like those of the training set, antero-posterior view of the knee.",
        f"- What it may inform: {question_card.may_inform}.",
        "",
        "It must not be used",
        "",
        *(f"- {one};" for one in others),
        f"- {last}.",
    ]


def _training(manifest: Manifest, metrics: Mapping[str, Any], data_card: DataCard, origins: Sequence[Origin]) -> list[str]:
    counts = metrics.get("radiographs", {})
    by_label = ", ".join(f"{count} {label}" for label, count in counts.get("scored_by_label", {}).items())
    return [
        "## What it was trained on",
        "",
        f"- {manifest.provenance['training_radiographs']} radiographs{f' ({by_label})' if by_label else ''}: "
        f"{data_card.source}. {data_card.selection}",
        f"- Labels: {data_card.label_source}. {data_card.label_caveat}",
        f"- It started from {_told(origins)}.",
        f"- SHA-256 of the sorted digests of the training radiographs: `{manifest.provenance['training_digests_sha256']}`.",
        *_calibrated_on(manifest.provenance),
    ]


def _calibrated_on(provenance: Mapping[str, str]) -> Iterator[str]:
    if "calibration_radiographs" in provenance:
        yield (
            f"- SHA-256 of the sorted digests of the {provenance['calibration_radiographs']} radiographs that it was "
            f"calibrated and judged on: `{provenance['calibration_digests_sha256']}`."
        )


def _limits(metrics: Mapping[str, Any], question_card: QuestionCard, data_card: DataCard) -> list[str]:
    lost = metrics.get("radiographs", {}).get("without_knee")
    return [
        "## Who it does not represent, and where it fails",
        "",
        *(f"- {limit}" for limit in (*data_card.limits, *question_card.limits)),
        *([f"- The finder found no knee on {lost} of the radiographs that were to be trained on."] if lost is not None else []),
        "- The intervals are of the scores as they came out; they do not hold what another training would change.",
    ]


def _told(origins: Sequence[Origin]) -> str:
    return "; ".join(dict.fromkeys(origin.told for origin in origins))


_LICENCE = """\
Licence of this model bundle (LicenseRef-osteo-edge-research-model)

This licence covers the model files, the reference picture and the documents of this folder. The code of
osteo-edge has a licence of its own, the Apache License 2.0.

Permission is granted, free of charge, to use, copy, change and share these files for research, education
and demonstration, under these conditions:

1. Not for clinical use. The files must not be used to diagnose, treat, or decide about the care of any
   person, and must not be offered as, or built into, a medical device. Using them in a study with human
   participants needs the approval that the law of the place asks for.
2. Attribution. Whoever shares these files or results obtained with them names their sources:
   - radiographs: {training_set}, {use};
   - starting weights: {weights}.
3. This text and MODEL_CARD.md stay with the files, and changed files say that they were changed.

The starting weights stay under their own licence as far as they are contained unchanged.

THE FILES ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED
TO THE WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE. IN NO EVENT SHALL THE AUTHORS BE
LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY ARISING FROM THE FILES OR THEIR USE.
"""
