"""One bundle as one HTML file: everything inside it, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from export.plans import LOST, Agreement, Flip, Lost, Reduced
from export.report import figures
from export.report.findings import ENGINES, findings, signed
from export.report.material import BundleMaterial, PackedFile
from train.judging.pages.environment import page_environment
from train.judging.pages.figures import as_svg
from train.judging.pages.page import Picture
from train.judging.pages.wording import RESEARCH_USE, with_interval

TEMPLATE = "bundle.html.jinja"
MAX_FLIPS = 20
_WIDE_IN = 6
_HELD_BACK = {
    "macro_auc": (
        "Each fold's network is quantized by the same recipe, with ranges from its own training radiographs, and answers for "
        "the radiographs that it never saw."
    ),
    "quadratic_kappa": "The network, quantized with ranges from training radiographs, answers for the validation knees.",
}
_FORMS = {"native": "on this machine", "avx512_hidden": "AVX-512 hidden", "arm64": "arm64, emulated"}


def as_html(material: BundleMaterial) -> str:
    """The page. All text is escaped; figures are inline SVG in the page's colours."""
    environment = page_environment(Path(__file__).parent)
    environment.filters.update(
        interval=with_interval,
        signed=signed,
        engine=lambda name: ENGINES.get(name, name),
        percent=lambda share: f"{share:.1%}",
        megabytes=lambda size: f"{size / 1e6:.2f}",
        small=lambda number: f"{number:.1e}",
    )
    return environment.get_template(TEMPLATE).render(
        material=material,
        manifest=material.manifest,
        findings=findings(material),
        pictures=tuple(_pictures(material)),
        flips=tuple(_flips(material)),
        max_flips=MAX_FLIPS,
        budget=next((plan.int8.budget for plan in material.plans.values()), None),
        judged_by=_judged_by(material),
        judged_by_word=LOST[_judged_by(material)],
        latency=_latency_rows(material.latency),
        forms=_FORMS,
        research_use=RESEARCH_USE,
    )


def _judged_by(material: BundleMaterial) -> Lost:
    """The figure of the bundle that stands first: by which its reduced files are judged, where it has any."""
    return next(figure for figure in LOST if figure in material.manifest.metrics)


def _pictures(material: BundleMaterial) -> Iterator[Picture]:
    reduced = dict(_reduced(material))
    if reduced:
        budget = next(iter(material.plans.values())).int8.budget
        drops = {name: one.figures.difference[budget.figure] for name, one in reduced.items()}
        drops |= {
            f"all members, int8, {ENGINES[engine]}": one.difference[budget.figure] for engine, one in material.together.items()
        }
        caption = f"{_HELD_BACK[budget.figure]} 95 % intervals by patient."
        yield _picture(
            "drop",
            "What reduced precision costs",
            caption,
            figures.drops_figure(drops, what=LOST[budget.figure], max_drop=budget.max_drop),
        )
    yield _picture(
        "size",
        "Size",
        "Every model file of the bundle.",
        figures.sizes_figure({_name(material, one): one.bytes / 1e6 for one in material.files}),
    )
    for form, ratios in _speeds(material).items():
        caption = "Medians of interleaved rounds in one run, as ratios: the machine may have been shared."
        yield _picture(f"speed-{form}", f"Speed, {_FORMS.get(form, form)}", caption, figures.speeds_figure(ratios, title=""))
    yield from _damages(material)
    for member, plan in material.plans.items():
        forms = {"fp32": plan.reliability} | {
            f"{one.precision}, {ENGINES[one.engine]}": one.reliability for one in plan.reduced
        }
        caption = (
            "Before and after. On the grey line probabilities are what they say; the larger a point, the more radiographs."
        )
        title = "Reliability" + (f": {member}" if len(material.plans) > 1 else "")
        yield _picture(f"reliability-{member}", title, caption, figures.reliability_figure(forms))


def _damages(material: BundleMaterial) -> Iterator[Picture]:
    for member, plan in material.plans.items():
        for engine in plan.int8.engines:
            for method in dict.fromkeys(one.method for one in engine.damages):
                of_method = [one for one in engine.damages if one.method == method]
                who = f" of {member}" if len(material.plans) > 1 else ""
                title = f"Layer groups{who}, {ENGINES[engine.engine]}, {method}"
                caption = "Only this group in int8, everything else in fp32, on unlabelled knees."
                name = f"damage-{member}-{engine.engine}-{method}"
                yield _picture(name, title, caption, figures.damages_figure(of_method, title=""))


def _reduced(material: BundleMaterial) -> Iterator[tuple[str, Reduced]]:
    for member, plan in material.plans.items():
        who = f"{member}, " if len(material.plans) > 1 else ""
        for one in plan.reduced:
            yield f"{who}{one.precision}, {ENGINES[one.engine]}", one


def _name(material: BundleMaterial, file: PackedFile) -> str:
    who = f"{file.member}, " if len(material.manifest.members) > 1 else ""
    return f"{who}{file.precision}, {ENGINES[file.engine]}"


def _flips(material: BundleMaterial) -> Iterator[tuple[str, Agreement, tuple[Flip, ...]]]:
    for file in material.files:
        if file.agreement is not None and file.agreement.flips:
            yield _name(material, file), file.agreement, file.agreement.flips[:MAX_FLIPS]


def _speeds(material: BundleMaterial) -> dict[str, dict[str, float]]:
    """Form of the processor -> name of the configuration -> ratio of all members together."""
    rows = _latency_rows(material.latency)
    members = {row["member"] for row in rows}
    by_form: dict[str, dict[str, float]] = {}
    for row in rows:
        if "" not in members or row["member"] == "":
            by_form.setdefault(row["form"], {})[row["name"]] = row["ratio"]
    return by_form


def _latency_rows(latency: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    return [] if latency is None else [dict(row) for row in latency["rows"]]


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    return Picture(title, caption, Markup(as_svg(figure, name=name)), wide=figure.get_figwidth() > _WIDE_IN)
