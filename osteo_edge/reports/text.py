"""An answer as text for people."""

from __future__ import annotations

from collections.abc import Mapping

from osteo_edge.covariates import AGE, SEX
from osteo_edge.labels import Mode, Status
from osteo_edge.prediction import Knee, Prediction
from osteo_edge.printable import printable


def to_text(prediction: Prediction, *, overlay: str | None = None) -> str:
    """Several lines, without a final newline."""
    lines = [f"{printable(prediction.source)}: {prediction.status.value}", f"  {printable(prediction.message)}"]
    lines += [f"  reason        {printable(finding.message)} [{finding.code}]" for finding in prediction.findings]
    lines += [f"  note          {printable(note.message)} [{note.code}]" for note in prediction.notes]
    if prediction.status is not Status.REJECTED:
        lines.append(f"  research code {_label(prediction)}")
        lines.append(f"  probabilities {_probabilities(prediction.probabilities)}")
        lines += _fused(prediction)
        lines += [_knee(number, knee) for number, knee in enumerate(prediction.knees, start=1)]
        lines.append("  time          " + ", ".join(f"{stage} {ms:.1f} ms" for stage, ms in prediction.timings_ms.items()))
    if overlay:
        lines.append(f"  overlay       {printable(overlay)}")
    model = prediction.model
    networks = f", {prediction.members_answered} of {model.members} networks" if model.members > 1 else ""
    identity = f"{model.bundle} {model.version} ({model.digest[:12]}), {model.engine} {model.precision}{networks}"
    lines.append(f"  model         {identity}")
    lines.append(f"  {prediction.intended_use}")
    return "\n".join(lines)


def scores(probabilities: Mapping[str, float]) -> str:
    """Two decimals: radiographs that differ by less are not told apart by what a bundle was measured on."""
    return ", ".join(f"{label} {_score(probability)}" for label, probability in probabilities.items())


def _score(probability: float) -> str:
    return f"{probability:.2f}" if probability >= 0.005 else "<0.01"


def known(prediction: Prediction) -> str:
    """What took part beside the picture, for example ``age 67, sex female``."""
    return ", ".join(f"{_name(name)} {_value(name, value)}" for name, value in prediction.covariates_used.items())


def _fused(prediction: Prediction) -> list[str]:
    """What went in besides the picture, and what the picture alone says; nothing where it is alone."""
    if prediction.mode is not Mode.FUSED:
        return []
    return [f"  together with {known(prediction)}", f"  picture alone {_probabilities(prediction.image_probabilities)}"]


def _name(covariate: str) -> str:
    return "age" if covariate == AGE else covariate.replace("_", " ")


def _value(name: str, value: float) -> str:
    if name == SEX:
        return "female" if value else "male"
    return f"{value:g}"


def _label(prediction: Prediction) -> str:
    if prediction.status is Status.REFERRED:
        return f"none; cannot be ruled out: {', '.join(prediction.label_set)} (likeliest: {prediction.likeliest})"
    return str(prediction.label)


def _probabilities(probabilities: Mapping[str, float]) -> str:
    return ", ".join(f"{label} {probability:.3f}" for label, probability in probabilities.items())


def _knee(number: int, knee: Knee) -> str:
    box = knee.box
    side = f" ({knee.joint.laterality.value}?)" if knee.joint.laterality else ""
    return f"  knee {number}{side:<9} box x {box.x0}..{box.x1}, y {box.y0}..{box.y1} px; {_probabilities(knee.probabilities)}"
