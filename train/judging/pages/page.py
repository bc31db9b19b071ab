"""One run as one HTML file: everything inside it, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.judging.evaluate import confusion
from train.judging.pages import figures
from train.judging.pages.environment import page_environment
from train.judging.pages.headline import findings, headline
from train.judging.pages.reading import RunMaterial
from train.judging.pages.wording import RESEARCH_USE, figure_title, system_title, with_interval
from train.runs.scores import MODEL, Scores

TEMPLATE = "page.html.jinja"
SHOWN = ("macro_auc", "balanced_accuracy")
_LONGEST_LIST = 12
_WIDE_IN = 6


@dataclass(frozen=True)
class Picture:
    """A figure of the page; ``svg`` is made here alone and needs no escaping."""

    title: str
    caption: str
    svg: Markup
    wide: bool


def as_html(material: RunMaterial) -> str:
    """The page. All text from the run is escaped; figures are inline SVG in the page's colours."""
    environment = page_environment(Path(__file__).parent)
    environment.filters.update(
        interval=with_interval, system=system_title, figure=figure_title, cell=_cell, percent=lambda share: f"{share:.0%}"
    )
    return environment.get_template(TEMPLATE).render(
        material=material,
        findings=findings(material),
        headline=headline(findings(material)),
        pictures=tuple(_pictures(material)),
        labels=LABELS,
        shown=SHOWN,
        counted=material.metrics.get("radiographs") or {},
        per_class=_per_class(material.systems[MODEL]),
        class_sizes=_class_sizes(material),
        figure_names=_figure_names(material),
        folds=_folds(material.scores.get(MODEL)),
        label_sets=material.metrics.get("conformal") or (),
        permuted=material.metrics.get("permuted_labels") or {},
        facts=tuple(_flat(material.run)),
        others={name: tuple(_flat(plain)) for name, plain in material.others.items()},
        regions=_regions(material.regions),
        research_use=RESEARCH_USE,
    )


def _pictures(material: RunMaterial) -> Iterator[Picture]:
    yield from _of_systems(material)
    yield from _of_scores(material)
    if material.learning:
        caption = "Linear classifier on frozen features; 95 % intervals by patient. Where it still rises, more data help."
        figure = figures.learning_curve_figure(material.learning)
        yield _picture("learning", "Performance against training radiographs", caption, figure)
    if material.histories:
        caption = "Every inner training of every fold. Where validation does not follow training, the network learns by heart."
        yield _picture("curves", "Training curves", caption, figures.training_curves(material.histories))


def _of_systems(material: RunMaterial) -> Iterator[Picture]:
    systems = {system_title(name): of_one for name, of_one in material.systems.items() if set(SHOWN) <= set(of_one)}
    if systems:
        caption = "Points with 95 % bootstrap intervals by patient; the grey line is chance."
        yield _picture("systems", "Model and baselines", caption, figures.systems_figure(systems))


def _of_scores(material: RunMaterial) -> Iterator[Picture]:
    """The model's figures; a system with repeats is drawn by its mean probabilities."""
    matrix = material.confusions.get(MODEL)
    scores, of_model = material.scores.get(MODEL), material.systems[MODEL]
    if scores is not None:
        probabilities = scores.probabilities.mean(axis=0)
        matrix = matrix or confusion(scores.labels, probabilities)
        if {"auc_low_density", *(f"auc_{label}" for label in LABELS)} <= set(of_model):
            caption = "Sensitivity against false alarms at every threshold; areas with 95 % intervals."
            yield _picture("roc", "ROC", caption, figures.roc_curves(scores.labels, probabilities, of_model))
        if "ece" in of_model:
            caption = "On the diagonal, probabilities are what they say."
            figure = figures.reliability_diagram(scores.labels, probabilities, of_model)
            yield _picture("reliability", "Reliability", caption, figure)
    if matrix:
        caption = "Likeliest class by true class; the network's answer before any referral."
        yield _picture("confusion", "Confusion", caption, figures.confusion_matrix(matrix))


def _picture(name: str, title: str, caption: str, figure: Figure) -> Picture:
    return Picture(title, caption, Markup(figures.as_svg(figure, name=name)), wide=figure.get_figwidth() > _WIDE_IN)


def _per_class(of_model: Mapping[str, Metric]) -> dict[str, dict[str, Metric | None]]:
    return {label: {name: of_model.get(f"{name}_{label}") for name in ("auc", "recall", "precision")} for label in LABELS}


def _class_sizes(material: RunMaterial) -> dict[str, int]:
    """Scored radiographs by label, as far as the run tells."""
    matrix = material.confusions.get(MODEL, ())
    return {label: sum(counts) for label, counts in zip(LABELS, matrix, strict=False)}


def _figure_names(material: RunMaterial) -> list[str]:
    """Every figure of any system, in the order in which the run wrote them."""
    return list(dict.fromkeys(name for of_one in material.systems.values() for name in of_one))


def _folds(scores: Scores | None) -> list[list[int]]:
    """Radiographs by fold (rows) and label (columns), of the first repeat."""
    if scores is None:
        return []
    held_back = [scores.labels[scores.fold_of[0] == fold] for fold in np.unique(scores.fold_of[0])]
    return [np.bincount(labels, minlength=len(LABELS)).tolist() for labels in held_back]


def _regions(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The candidates' names, figures and how often each was chosen inside the folds."""
    if not plain:
        return {}
    chosen = [fold["chosen"] for fold in plain.get("folds", ())]
    rows = [
        {
            "name": one["region"]["name"],
            "size": f"{one['input']['height_px']} x {one['input']['width_px']}",
            **{name: Metric(**one[name]) for name in SHOWN},
            "folds": chosen.count(one["region"]["name"]),
        }
        for one in plain["candidates"]
    ]
    return {"rows": rows, "chosen": plain["chosen"], "method": plain.get("method", ""), "folds": len(chosen)}


def _flat(plain: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Any JSON as lines of a dotted name and a value; figures with their interval, long lists by their length."""
    if isinstance(plain, Mapping) and set(plain) == {"value", "low", "high"}:
        yield name, _cell(plain)
    elif isinstance(plain, Mapping):
        for key, value in plain.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    elif isinstance(plain, Sequence) and not isinstance(plain, str):
        yield name, _listed(plain)
    else:
        yield name, _cell(plain)


def _listed(values: Sequence[Any]) -> str:
    if len(values) > _LONGEST_LIST or any(isinstance(value, (list, dict)) for value in values):
        return f"[{len(values)} values]"
    return ", ".join(_cell(value) for value in values)


def _cell(value: Any) -> str:
    """A cell of a study's table: figures as value and interval, other floats in four digits."""
    if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}:
        return with_interval(Metric(**value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
