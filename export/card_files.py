"""What the model card says of the files: against the trained network, in reduced precision, on other processors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from export.members import ExportedMember, ModelFile
from export.plans import LOST, FoldFigures, MemberPlan, Reduced
from osteo_edge.manifest import Metric

_HELD_BACK = {
    "macro_auc": "when each fold's network is reduced by the same recipe and judged on what that fold held back",
    "quadratic_kappa": "on the validation knees that the finder finds",
}
ENGINES = {"onnxruntime": "ONNX Runtime", "litert": "LiteRT"}


@dataclass(frozen=True)
class Pictures:
    """What files are compared on: how many pictures, whether they are radiographs or drawn, and how many were trained on."""

    count: int
    is_real: bool
    trained_on: int = 0

    def __str__(self) -> str:
        if self.is_real:
            most = "most" if 2 * self.trained_on > self.count else f"{self.trained_on}"
            return f"{self.count} radiographs, {most} of them trained on"
        return f"{self.count} synthetic pictures (no radiograph was at hand where this bundle was packed)"


def files_section(members: Sequence[ExportedMember], pictures: Pictures) -> list[str]:
    """Every packed file against the trained network."""
    return [
        "## The files, against the trained network",
        "",
        f"Measured on {members[0].files[0].comparison.knees} knees: those of {pictures}, "
        "and the reference picture. Off: absolute difference of a probability. Clear: knees whose two likeliest classes lie "
        "more than 0.02 apart.",
        "",
        "| file | MB | off, largest | off, mean | same label | same label, clear knees |",
        "|---|---|---|---|---|---|",
        *(_file_row(path, file) for member in members for path, file in member.paths.items()),
        "",
        "fp32 files that miss by more than 0.0001 are never packed. The figures above this section hold for fp32.",
    ]


def precision_section(
    member: ExportedMember, together: Mapping[str, FoldFigures], *, is_alone: bool, is_last: bool
) -> list[str]:
    """What was found about reduced precision; nothing where nobody looked."""
    plan = member.plan
    if plan is None:
        return []
    budget = plan.int8.budget
    return [
        "## Reduced precision" if is_alone else f"## Reduced precision: {member.name}",
        "",
        f"A reduced file is packed when at least {budget.min_agreement:.0%} of unlabelled knees keep fp32's label or have an "
        f"fp32 margin under 0.02, and no more than {budget.max_drop:g} of {LOST[budget.figure]} is lost "
        f"{_HELD_BACK[budget.figure]}. Brackets: 95 % interval by patient.",
        "",
        f"| file | MB | how | label kept | {LOST[budget.figure]}, reduced less fp32 | |",
        "|---|---|---|---|---|---|",
        *(_reduced_row(one) for one in plan.reduced),
        "",
        *_without_int8(plan),
        *_ranges(member),
        *(_together(together) if is_last and together else []),
    ]


def _file_row(path: str, file: ModelFile) -> str:
    off = file.comparison
    return (
        f"| {path.removeprefix('members/')} | {len(file.data) / 1e6:.1f} | {off.max_difference:.1e} "
        f"| {off.mean_difference:.1e} | {off.label_agreement:.1%} | {off.clear_label_agreement:.1%} |"
    )


def _reduced_row(one: Reduced) -> str:
    how = one.recipe.name if one.recipe else "weights of half precision"
    kept = f"{one.agreement.agreement:.1%} of {one.agreement.knees}"
    lost = _difference(one.figures.difference[one.figures.figure])
    verdict = "packed" if one.is_accepted else "**not packed: outside the budget**"
    return f"| {ENGINES[one.engine]} {one.precision} | {one.bytes / 1e6:.1f} | {how} | {kept} | {lost} | {verdict} |"


def _difference(metric: Metric) -> str:
    return f"{metric.value:+.3f} [{metric.low:+.3f}, {metric.high:+.3f}]"


def _without_int8(plan: MemberPlan) -> Iterator[str]:
    for engine in plan.int8.engines:
        if engine.chosen is None:
            yield f"**{ENGINES[engine.engine]} has no int8 file**: {engine.reason}"
            yield ""


def _ranges(member: ExportedMember) -> Iterator[str]:
    if member.representative is not None:
        yield (
            "ONNX files hold int8 weights within 7 bits, so that processors without VNNI compute the same. Where ranges of "
            f"activations are measured beforehand, they come from {member.representative.knees} knees of training radiographs. "
            "Head, softmax, first layer and norms stay in float. For LiteRT, dynamic means 8-bit weights and a dynamic range "
            "of activations."
        )


def _together(together: Mapping[str, FoldFigures]) -> Iterator[str]:
    yield ""
    for engine, figures in together.items():
        difference = _difference(figures.difference[figures.figure])
        told = f"{LOST[figures.figure]} {difference} against fp32, out of fold"
        yield f"All members together in int8 for {ENGINES[engine]}: {told}."
