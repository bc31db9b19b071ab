"""An answer for machines: one JSON object or one CSV row a picture.

The JSON form is described by ``prediction.schema.json`` beside this file; a change of meaning raises its version.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from osteo_edge.labels import BoneStatus
from osteo_edge.prediction import Knee, Prediction
from osteo_edge.printable import printable
from osteo_edge.records import to_plain

SCHEMA_VERSION = 3

CSV_COLUMNS = (
    "source",
    "sha256",
    "status",
    "message",
    "reasons",
    "notes",
    "mode",
    "label",
    "likeliest",
    "label_set",
    *(f"p_{status.value}" for status in BoneStatus),
    *(f"image_p_{status.value}" for status in BoneStatus),
    "covariates_used",
    "knees",
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


def to_dict(prediction: Prediction) -> dict[str, Any]:
    """The JSON object: types of JSON alone."""
    return {
        "schema_version": SCHEMA_VERSION,
        "source": prediction.source,
        "sha256": prediction.digest,
        "status": prediction.status.value,
        "message": prediction.message,
        "findings": to_plain(prediction.findings),
        "notes": to_plain(prediction.notes),
        "mode": prediction.mode.value if prediction.mode else None,
        "label": prediction.label,
        "likeliest": prediction.likeliest,
        "label_set": list(prediction.label_set),
        "probabilities": _rounded(prediction.probabilities),
        "image_probabilities": _rounded(prediction.image_probabilities),
        "covariates_used": dict(prediction.covariates_used),
        "members_answered": prediction.members_answered,
        "knees": [_knee(knee) for knee in prediction.knees],
        "timings_ms": {stage: round(ms, 3) for stage, ms in prediction.timings_ms.items()},
        "model": to_plain(prediction.model),
        "intended_use": prediction.intended_use,
    }


def to_row(prediction: Prediction, *, overlay: str | None = None) -> list[str]:
    """The CSV row, in the order of ``CSV_COLUMNS``; lists are joined by ``;``.

    Args:
        overlay: name of the overlay picture; the cell is empty where there is none.
    """
    model = prediction.model
    return [
        _cell(prediction.source),
        prediction.digest or "",
        prediction.status.value,
        _cell(prediction.message),
        ";".join(finding.code for finding in prediction.findings),
        ";".join(note.code for note in prediction.notes),
        prediction.mode.value if prediction.mode else "",
        prediction.label or "",
        prediction.likeliest or "",
        ";".join(prediction.label_set),
        *_probability_cells(prediction.probabilities),
        *_probability_cells(prediction.image_probabilities),
        ";".join(f"{name}={value:g}" for name, value in prediction.covariates_used.items()),
        str(len(prediction.knees)),
        f"{sum(prediction.timings_ms.values()):.3f}",
        model.bundle,
        _cell(model.version),
        model.digest,
        model.engine,
        model.precision,
        str(model.members),
        str(prediction.members_answered),
        _cell(prediction.intended_use),
        _cell(overlay or ""),
    ]


def _probability_cells(probabilities: Mapping[str, float]) -> list[str]:
    found = [probabilities.get(status.value) for status in BoneStatus]
    return ["" if probability is None else f"{probability:.6f}" for probability in found]


def _cell(text: str) -> str:
    """A path or sentence that no spreadsheet takes for a formula, without line ends or escapes."""
    return printable(f"./{text}" if text.startswith(("=", "+", "@")) else text)


def _knee(knee: Knee) -> dict[str, Any]:
    joint = knee.joint
    return {
        "box": to_plain(knee.box),
        "joint": {
            "x_px": round(joint.x_px, 2),
            "y_px": round(joint.y_px, 2),
            "width_px": round(joint.width_px, 2),
            "score": round(joint.score, 4),
            "laterality": joint.laterality.value if joint.laterality else None,
        },
        "probabilities": _rounded(knee.probabilities),
    }


def _rounded(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {label: round(probability, 6) for label, probability in probabilities.items()}
