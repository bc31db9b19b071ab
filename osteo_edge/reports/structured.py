"""An answer for machines: one JSON object a picture, one CSV row a picture and question.

The JSON form is described by ``prediction.schema.json`` beside this file; a change of meaning raises its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from osteo_edge import __version__
from osteo_edge.answered import Answer, Answered, Knee
from osteo_edge.labels import Status
from osteo_edge.printable import printable
from osteo_edge.records import to_plain
from osteo_edge.wording import next_step, reasons, said_by_knee, sentence_of_knee

if TYPE_CHECKING:
    from osteo_edge.joints import Joint
    from osteo_edge.tags import Tags

SCHEMA_VERSION = 6

CSV_COLUMNS = (
    "source",
    "sha256",
    "question",
    "status",
    "answer",
    "message",
    "reasons",
    "notes",
    "mode",
    "label",
    "likeliest",
    "label_set",
    "probabilities",
    "image_probabilities",
    "covariates_used",
    "knees",
    "knee_answers",
    "knee_label_sets",
    "total_ms",
    "bundle",
    "bundle_version",
    "bundle_sha256",
    "engine",
    "precision",
    "members",
    "members_answered",
    "intended_use",
    "overlay",
)


def to_dict(prediction: Answered) -> dict[str, Any]:
    """The JSON object: types of JSON alone."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "software": f"osteo-edge {__version__}",
        "source": prediction.source,
        "sha256": prediction.digest,
        "status": prediction.status.value,
        "message": prediction.message,
        "findings": to_plain(prediction.findings) if prediction.status is Status.REJECTED else [],
        "turned_degrees": prediction.turned_degrees,
        "side": prediction.side,
        "joints": [_joint(joint) for joint in prediction.joints],
        "answers": [_answer(answer) for answer in prediction.answers],
        "tags": _tags(prediction.tags),
        "timings_ms": {stage: round(ms, 3) for stage, ms in prediction.timings_ms.items()},
    }
    if prediction.risk is None:
        return record
    from osteo_edge.reports.risk import to_dict as risk_to_dict  # most pictures come without a weight

    return record | {"risk": risk_to_dict(prediction.risk)}


def _tags(tags: Tags | None) -> dict[str, Any] | None:
    """What a DICOM file says of its picture; what it says of the person stands with the covariates, where it took part."""
    if tags is None:
        return None
    return {
        "kind": tags.kind,
        "coding": tags.coding,
        "greys": tags.greys,
        "body_part": tags.body_part,
        "view_position": tags.view_position,
        "laterality": tags.laterality.value if tags.laterality else None,
        "pixel_spacing_mm": list(tags.pixel_spacing_mm) if tags.pixel_spacing_mm else None,
        "taken_on": tags.taken_on,
    }


def _answer(answer: Answer) -> dict[str, Any]:
    return {
        "question": answer.question,
        "title": answer.title,
        "status": answer.status.value,
        "answer": answer.answer,
        "message": answer.message,
        "told": {"knees": to_plain(said_by_knee(answer)), "why": list(reasons(answer)), "next_step": next_step(answer)},
        "findings": to_plain(answer.findings),
        "notes": to_plain(answer.notes),
        "mode": answer.mode.value if answer.mode else None,
        "label": answer.label,
        "likeliest": answer.likeliest,
        "label_set": list(answer.label_set),
        "probabilities": _rounded(answer.probabilities),
        "image_probabilities": _rounded(answer.image_probabilities),
        "covariates_used": dict(answer.covariates_used),
        "members_answered": answer.members_answered,
        "knees": [_knee(knee, answer) for knee in answer.knees],
        "lead": answer.lead,
        "model": to_plain(answer.model),
        "intended_use": answer.intended_use,
    }


def to_rows(prediction: Answered, *, overlay: str | None = None) -> list[list[str]]:
    """The CSV rows, one a question, in the order of ``CSV_COLUMNS``; lists are joined by ``;``.

    Args:
        overlay: name of the overlay picture; the cell is empty where there is none.
    """
    return [_row(prediction, answer, overlay or "") for answer in prediction.answers]


def _row(prediction: Answered, answer: Answer, overlay: str) -> list[str]:
    model = answer.model
    return [
        _cell(prediction.source),
        prediction.digest or "",
        answer.question,
        answer.status.value,
        answer.answer or "",
        _cell(answer.message),
        ";".join(finding.code for finding in answer.findings),
        ";".join(note.code for note in answer.notes),
        answer.mode.value if answer.mode else "",
        answer.label or "",
        answer.likeliest or "",
        ";".join(answer.label_set),
        _scores(answer.probabilities),
        _scores(answer.image_probabilities),
        ";".join(f"{name}={value:g}" for name, value in answer.covariates_used.items()),
        str(len(answer.knees)),
        ";".join(f"{_side(knee)}={knee.answer or ''}" for knee in answer.knees if knee.label_set),
        ";".join(f"{_side(knee)}={','.join(knee.label_set)}" for knee in answer.knees if knee.label_set),
        f"{sum(prediction.timings_ms.values()):.3f}",
        model.bundle,
        _cell(model.version),
        model.digest,
        model.engine,
        model.precision,
        str(model.members),
        str(answer.members_answered),
        _cell(answer.intended_use),
        _cell(overlay),
    ]


def _scores(probabilities: Mapping[str, float]) -> str:
    return ";".join(f"{label}={probability:.6f}" for label, probability in probabilities.items())


def _side(knee: Knee) -> str:
    """What the fibula suggests."""
    return knee.joint.laterality.value if knee.joint.laterality else "unknown"


def _cell(text: str) -> str:
    """A path or sentence that no spreadsheet takes for a formula, without line ends or escapes."""
    is_formula = text.startswith(("=", "+", "@")) or (text.startswith("-") and len(text) > 1)  # - alone is standard input
    return printable(f"./{text}" if is_formula else text)


def _knee(knee: Knee, answer: Answer) -> dict[str, Any]:
    return {
        "box": to_plain(knee.box),
        "joint": _joint(knee.joint),
        "answer": knee.answer,
        "message": None if answer.lead is None else sentence_of_knee(knee, answer),
        "likeliest": knee.likeliest,
        "median": knee.median,
        "label_set": list(knee.label_set),
        "probabilities": _rounded(knee.probabilities),
    }


def _joint(joint: Joint) -> dict[str, Any]:
    return {
        "x_px": round(joint.x_px, 2),
        "y_px": round(joint.y_px, 2),
        "width_px": round(joint.width_px, 2),
        "score": round(joint.score, 4),
        "laterality": joint.laterality.value if joint.laterality else None,
    }


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {label: round(probability, 6) for label, probability in probabilities.items()}
