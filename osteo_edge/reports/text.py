"""An answer as text for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from osteo_edge.answered import Answer, Answered, Knee
from osteo_edge.covariates import AGE, SEX
from osteo_edge.findings import Finding
from osteo_edge.labels import Mode, Status
from osteo_edge.printable import counted, printable
from osteo_edge.wording import (
    SPOKEN_NOTES,
    next_step,
    reason,
    sentence_alone,
    sentences_by_knee,
    sentences_of,
    titled,
    told_apart,
    untold_risk,
)

if TYPE_CHECKING:
    from osteo_edge.clinical.advice import Risk
    from osteo_edge.tags import Tags


def to_text(prediction: Answered, *, overlay: str | None = None, is_verbose: bool = False) -> str:
    """Some lines, without a final newline: the answer, why, what to do next, and what else is worth knowing.

    The bundle's intended use belongs below them, once for all pictures.

    Args:
        overlay: name of the overlay picture, where one was written.
        is_verbose: also codes, scores, boxes, times and what answered.
    """
    answers = told_apart(prediction)
    lines = [f"{printable(prediction.source)}: {prediction.status.value}"]
    for answer in answers:
        lines += _block(answer, is_alone=len(answers) == 1, is_verbose=is_verbose)
    if prediction.risk:
        lines += _risk(prediction.risk, with_step=untold_risk(prediction) is not None)
    if overlay:
        lines.append(f"  Overlay: {printable(overlay)}")
    return "\n".join([*lines, *(_details_of_picture(prediction) if is_verbose else ())])


def _block(answer: Answer, *, is_alone: bool, is_verbose: bool) -> list[str]:
    """One question: where there are several, below its title."""
    indent = "  " if is_alone else "    "
    told = [("", said) for said in sentences_by_knee(answer)]
    pieces = (*told, ("Why: ", reason(answer)), ("Next: ", next_step(answer)))
    lines = [] if is_alone else [f"  {printable(titled(answer))}: {answer.status.value}"]
    lines += [f"{indent}{name}{printable(text)}" for name, text in pieces if text]
    lines += [f"{indent}Note: {note}" for note in _notes_of(answer)]
    return [*lines, *(f"{indent}{line}" for line in (_details(answer) if is_verbose else ()))]


def _risk(risk: Risk, *, with_step: bool) -> list[str]:
    """Beside the answers, of which none takes part in them."""
    from osteo_edge.reports.risk import to_lines  # most pictures come without a weight

    return ["  Published risk scores, without the picture:", *(f"    {line}" for line in to_lines(risk, with_step=with_step))]


def to_line(prediction: Answered) -> str:
    """The answer in one line, among others; see ``common_parts`` for what is left out of it."""
    text = prediction.message if _is_its_own(prediction) else sentences_of(prediction)
    return printable(f"{prediction.source}: {prediction.status.value} - {text}")


def common_parts(prediction: Answered) -> list[str]:
    """Each answer with why and what next, for all pictures that have it together; none where its line says all."""
    if _is_its_own(prediction):
        return []
    told = ((sentence_alone(answer), reason(answer), next_step(answer)) for answer in prediction.answers)
    return [f'"{said}" {" ".join(filter(None, rest))}' for said, *rest in told if any(rest)]


def _is_its_own(prediction: Answered) -> bool:
    """What to do with a picture, or what is advised for a person of whom something is known, stands with that picture."""
    is_of_somebody = prediction.age_years is not None or prediction.sex is not None or prediction.risk is not None
    return any(answer.status is Status.REJECTED for answer in prediction.answers) or is_of_somebody


def notes_of(prediction: Answered) -> list[str]:
    """What is worth knowing and the message does not say, each once."""
    return list(dict.fromkeys(note for answer in prediction.answers for note in _notes_of(answer)))


def _notes_of(answer: Answer) -> list[str]:
    return [printable(note.message) for note in answer.notes if note.code not in SPOKEN_NOTES]


def closing_line(statuses: Mapping[str, int], *, passed_over: int = 0) -> str:
    """How many pictures got which answer, and how many files got none as they are no pictures.

    Args:
        statuses: status -> number of pictures.
    """
    by_status = ", ".join(f"{statuses.get(status.value, 0)} {status.value}" for status in Status)
    others = f"; {counted(passed_over, 'other file')} passed over" if passed_over else ""
    return f"{counted(sum(statuses.values()), 'picture')}: {by_status}{others}"


def _details(answer: Answer) -> list[str]:
    model = answer.model
    lines = [f"reason        {_coded(finding)}" for finding in answer.findings]
    lines += [f"note          {_coded(note)}" for note in answer.notes]
    if answer.status is not Status.REJECTED:
        lines += [f"research code {_label(answer)}", f"scores        {scores(answer.probabilities)}"]
        lines += _fused(answer)
        lines += [_knee(number, knee) for number, knee in enumerate(answer.knees, start=1)]
    networks = f", {answer.members_answered} of {model.members} networks" if model.members > 1 else ""
    identity = f"{model.bundle} {model.version} ({model.digest[:12]}), {model.engine} {model.precision}{networks}"
    return [*lines, f"model         {printable(identity)}"]


def _details_of_picture(prediction: Answered) -> list[str]:
    lines = [f"  picture       sha256 {prediction.digest}"] if prediction.digest else []
    lines += [f"  tags          {_said(prediction.tags)}"] if prediction.tags else []
    if prediction.timings_ms:
        lines.append("  time          " + ", ".join(f"{stage} {_ms(ms)} ms" for stage, ms in prediction.timings_ms.items()))
    return lines


def _said(tags: Tags) -> str:
    """For example ``CR, JPEG Lossless, greys by window; knee, ap, right, 0.143 x 0.143 mm a pixel``."""
    spacing = tags.pixel_spacing_mm
    size = f"{spacing[0]:g} x {spacing[1]:g} mm a pixel" if spacing else None
    side = tags.laterality.value if tags.laterality else None
    said = ", ".join(word for word in (tags.body_part, tags.view_position, side, size) if word)
    return f"{tags.kind}, {tags.coding}, greys by {tags.greys}{'; ' if said else ''}{said}"


def _coded(finding: Finding) -> str:
    return f"{printable(finding.message)} [{finding.code}]"


def _ms(ms: float) -> str:
    return f"{ms:.0f}" if ms >= 10 else f"{ms:.1f}"


def scores(probabilities: Mapping[str, float]) -> str:
    """Two decimals: radiographs that differ by less are not told apart by what a bundle was measured on."""
    return ", ".join(f"{label} {_score(probability)}" for label, probability in probabilities.items())


def _score(probability: float) -> str:
    return f"{probability:.2f}" if probability >= 0.005 else "<0.01"


def known(answer: Answer) -> str:
    """What took part beside the picture, for example ``age 67, sex female``."""
    return ", ".join(f"{_name(name)} {_value(name, value)}" for name, value in answer.covariates_used.items())


def _fused(answer: Answer) -> list[str]:
    """What went in besides the picture, and what the picture alone says; nothing where it is alone."""
    if answer.mode is not Mode.FUSED:
        return []
    return [f"together with {known(answer)}", f"picture alone {scores(answer.image_probabilities)}"]


def _name(covariate: str) -> str:
    return "age" if covariate == AGE else covariate.replace("_", " ")


def _value(name: str, value: float) -> str:
    if name == SEX:
        return "female" if value else "male"
    return f"{value:g}"


def _label(answer: Answer) -> str:
    if answer.label:
        return answer.label
    remain = f"cannot be ruled out: {', '.join(answer.label_set)} (likeliest: {answer.likeliest})"
    return f"{answer.answer or 'none'}; {remain}"


def _knee(number: int, knee: Knee) -> str:
    box = knee.box
    side = f" ({knee.joint.laterality.value}?)" if knee.joint.laterality else ""
    remain = f"; cannot be ruled out: {', '.join(knee.label_set)}" if knee.label_set else ""
    return f"knee {number}{side:<9} box x {box.x0}..{box.x1}, y {box.y0}..{box.y1} px; {scores(knee.probabilities)}{remain}"
