"""What a bundle's evidence allows to be said of its reduced files, in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from export.plans import LOST, MemberPlan, Reduced
from export.report.material import BundleMaterial
from osteo_edge.manifest import Metric

Verdict = Literal["shown", "not_shown", "worse"]

ENGINES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


@dataclass(frozen=True)
class Finding:
    """One thing that can be said, and on what it stands; ``verdict`` colours it."""

    sentence: str
    evidence: str
    verdict: Verdict


def findings(material: BundleMaterial) -> tuple[Finding, ...]:
    """One finding a reduced file that was tried, and one an engine that must stay with fp32."""
    found = [finding for name, plan in material.plans.items() for finding in _of_member(material, name, plan)]
    for engine, figures in material.together.items():
        lost = signed(figures.difference[figures.figure])
        sentence = f"All members together, int8 for {ENGINES[engine]}: {LOST[figures.figure]} {lost}."
        found.append(
            Finding(sentence, "out of fold, int8 less fp32, 95 % interval by patient", _of_drop(figures.drop, material))
        )
    return tuple(found)


def signed(metric: Metric) -> str:
    """A difference with its interval, three digits, for example ``-0.002 (-0.010 to +0.006)``."""
    value, low, high = (f"{number:+z.3f}" for number in (metric.value, metric.low, metric.high))
    return f"{value} ({low} to {high})"


def _of_member(material: BundleMaterial, name: str, plan: MemberPlan) -> Iterator[Finding]:
    who = f"{name}, " if len(material.manifest.members) > 1 else ""
    for one in plan.reduced:
        yield _of_file(who, one, plan)
    for engine in plan.int8.engines:
        if engine.chosen is None:
            yield Finding(
                f"{who}int8 for {ENGINES[engine.engine]}: none within the budget, fp32 serves.", engine.reason, "worse"
            )


def _of_file(who: str, one: Reduced, plan: MemberPlan) -> Finding:
    fp32_bytes = plan.int8.fp32_bytes.get(one.engine)
    size = f", {one.bytes / fp32_bytes:.0%} of fp32's size" if fp32_bytes else ""
    kept = f"the same label on {one.agreement.agreement:.1%} of {one.agreement.knees} unlabelled knees"
    verdict = "within the budget" if one.is_accepted else "outside the budget, not packed"
    return Finding(
        f"{who}{one.precision} for {ENGINES[one.engine]}: {verdict}{size}.",
        f"{kept}; {LOST[one.figures.figure]} {signed(one.figures.difference[one.figures.figure])} on held-back pictures",
        "shown" if one.is_accepted else "worse",
    )


def _of_drop(drop: Metric, material: BundleMaterial) -> Verdict:
    budgets = [plan.int8.budget.max_drop for plan in material.plans.values()]
    return "shown" if drop.value <= max(budgets, default=0.0) else "worse"
