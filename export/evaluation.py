"""What a bundle's figures are, and whether they prove anything: of runs of classes and of runs of grades."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Conformal, Metric
from osteo_edge.records import parse_record

if TYPE_CHECKING:
    from export.source import Source

# Baselines that see the picture's file and border, but no knee.
SHORTCUTS = ("file_metadata", "border_ring")
CHANCE = 0.5  # AUC of scores that know nothing


@dataclass(frozen=True)
class Evaluation:
    """What the manifest says of the scores from the picture alone; see its fields."""

    conformal: Conformal
    is_proven: bool
    metrics: Mapping[str, Metric]
    baselines: Mapping[str, Mapping[str, Metric]]


@dataclass(frozen=True)
class _Names:
    """Where ``metrics.json`` of a kind of run holds what is asked for."""

    figures: str
    less_baseline: str
    auc: str


_NAMES = {
    "classes": _Names("model", "model_less_baseline", "macro_auc"),
    "grades": _Names("figures", "less_baseline", "auc_definite"),
}


def evaluate(source: Source, coverage: float | None) -> Evaluation:
    """Read the figures of a run, and choose the label sets of ``coverage``.

    Args:
        coverage: None for that which a run of grades was calibrated for, or the first that a run of classes measured.

    Raises:
        ExportError: the run has no such label sets, or its figures cannot be read.
    """
    metrics, names = source.metrics, _NAMES[source.kind]
    try:
        return Evaluation(
            conformal=_choose(_fitted(source), coverage),
            is_proven=_is_proven(metrics, names),
            metrics=_metrics(metrics[names.figures], names.figures),
            baselines={system: _metrics(figures, system) for system, figures in metrics["baselines"].items()},
        )
    except (KeyError, TypeError) as error:
        raise ExportError(f"{source.folder}: metrics.json is not what its run writes ({error!r}); make it again") from error


def _fitted(source: Source) -> list[Conformal]:
    if source.calibration:
        return [source.calibration.conformal]
    return [
        Conformal(float(one["coverage"]), tuple(map(float, one["min_probabilities"])), int(one["calibration_size"]))
        for one in source.metrics.get("conformal", ())
    ]


def _choose(fitted: list[Conformal], coverage: float | None) -> Conformal:
    wanted = [one for one in fitted if coverage is None or abs(one.coverage - coverage) < 1e-9]
    if not wanted:
        known = ", ".join(f"{one.coverage:g}" for one in fitted) or "none"
        raise ExportError(f"the run has no label sets of the coverage asked for; it has: {known} (--coverage)")
    return wanted[0]


def _is_proven(metrics: Mapping[str, Any], names: _Names) -> bool:
    """Whether the picture was shown to tell more than chance, and more than its file and its border do."""
    ahead = [metrics[names.less_baseline].get(name) for name in SHORTCUTS]
    beats_shortcuts = all(one is not None and one[names.auc]["low"] > 0 for one in ahead)
    return bool(metrics[names.figures][names.auc]["low"] > CHANCE and beats_shortcuts)


def _metrics(plain: Mapping[str, Any], system: str) -> dict[str, Metric]:
    try:
        found = {name: parse_record(Metric, value, where=f"metrics.json: {system}.{name}") for name, value in plain.items()}
    except ManifestError as error:
        raise ExportError(f"the run's figures cannot be read: {error}") from error
    return {name: Metric(*(round(number, 4) for number in (m.value, m.low, m.high))) for name, m in found.items()}
