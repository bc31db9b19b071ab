"""Names of figures and systems for people, and how a figure is written."""

from __future__ import annotations

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS

RESEARCH_USE = (
    "Research use. A screening aid under study, not a diagnosis and not a medical device; its labels are research codes. "
    "Only DXA, read by a professional, tells of bone density."
)

FIGURES = {
    "balanced_accuracy": "Balanced accuracy",
    "macro_auc": "Macro AUC",
    **{f"auc_{label}": f"AUC {label}" for label in LABELS},
    "auc_low_density": "AUC any low density",
    "accuracy": "Accuracy",
    "macro_f1": "Macro F1",
    "quadratic_kappa": "Quadratic kappa",
    **{f"recall_{label}": f"Recall {label}" for label in LABELS},
    **{f"precision_{label}": f"Precision {label}" for label in LABELS},
    "brier": "Brier score",
    "ece": "Calibration error (ECE)",
}

SYSTEMS = {
    "model": "The model",
    "majority": "Class shares alone",
    "age_sex": "Age and sex alone",
    "file_metadata": "File metadata alone",
    "border_ring": "Border of the picture alone",
    "thumbnail": "Thumbnail",
    "frozen_features": "Frozen features, linear head",
    "image": "The image alone",
    "covariates": "Covariates alone",
    "fused": "Picture and covariates",
    "ost": "OST index",
}


def system_title(name: str) -> str:
    """A system's name for people; one that is not known keeps its own."""
    return SYSTEMS.get(name, name.replace("_", " "))


def figure_title(name: str) -> str:
    return FIGURES.get(name, name.replace("_", " "))


def with_interval(metric: Metric, *, signed: bool = False) -> str:
    """For example ``0.56 (0.49 to 0.63)``; signed for differences."""
    sign = "+" if signed else ""
    # The z of the format writes no negative zero.
    value, low, high = (f"{number:{sign}z.2f}" for number in (metric.value, metric.low, metric.high))
    return f"{value} ({low} to {high})"
