"""Plans side by side, as a Markdown table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from export.plans import MemberPlan, Reduced, SourcePlan
from osteo_edge.manifest import Metric

_ENGINES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


def plan_table(plans: Sequence[SourcePlan]) -> str:
    """A row for every file that was judged, and for every engine for which there is none."""
    lines = [
        "| run | engine, precision | how | MB (of fp32) | label kept | macro AUC (grades: kappa) lost | speed | in budget |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for plan in plans:
        for member, made in plan.members.items():
            run = plan.source if len(plan.members) == 1 else f"{plan.source}: {member}"
            lines += [f"| {run} | {row} |" for row in _rows(made)]
        for engine, figures in plan.together.items():
            drop = _told(figures.drop)
            lines.append(f"| {plan.source}: together | {_ENGINES[engine]} int8 | all members | | | {drop} | | |")
    return "\n".join(lines)


def _rows(made: MemberPlan) -> Iterator[str]:
    for one in made.reduced:
        kept, drop = f"{one.agreement.agreement:.2%}", _told(one.figures.drop)
        share = one.bytes / made.int8.fp32_bytes[one.engine]
        size = f"{one.bytes / 1e6:.3g} ({share:.0%})"
        told = "yes" if one.is_accepted else "**no**"
        yield f"{_ENGINES[one.engine]} {one.precision} | {_how(one)} | {size} | {kept} | {drop} | {_speed(made, one)} | {told}"
    for engine in made.int8.engines:
        if engine.chosen is None:
            yield f"{_ENGINES[engine.engine]} int8 | {engine.reason} | | | | | **none**"


def _how(one: Reduced) -> str:
    if one.recipe is None:
        return "half-precision weights"
    kept = ", ".join(group for group in one.recipe.float_groups if group not in ("stem", "head"))
    return one.recipe.name + (f"; also in float: {kept}" if kept else "")


def _speed(made: MemberPlan, one: Reduced) -> str:
    tried = [attempt for engine in made.int8.engines for attempt in engine.tried if one.recipe == attempt.recipe]
    found = [attempt.speed_ratio for attempt in tried if attempt.speed_ratio is not None]
    return f"{found[-1]:.2f}" if found else ""


def _told(metric: Metric) -> str:
    value, low, high = (round(one, 4) + 0.0 for one in (metric.value, metric.low, metric.high))
    return f"{value:.4f} ({low:.4f} to {high:.4f})"
