"""Figures of a run, as PNG files and as SVG that takes the colours of the page around it."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import matplotlib
import numpy as np
from sklearn.metrics import roc_curve

from osteo_edge.manifest import Metric
from train.data.dataset import LABELS
from train.judging.evaluate import NORMAL, confusion, reliability
from train.runs.arrays import Booleans, Doubles, Integers

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOTS_PER_INCH = 150
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")

# Ink, greys and the darkest colour, and what stands for them on a page that may be dark.
_PAGE_COLOURS = {
    "#000000": "currentColor",
    "#b3b3b3": "var(--faint, #b3b3b3)",
    "#ebebeb": "var(--grid, #ebebeb)",
    "#0072b2": "var(--blue, #0072b2)",
}


class EpochLine(Protocol):
    """What a learning curve needs of ``train.fitting.finetune.Epoch``, which brings Keras along."""

    @property
    def epoch(self) -> int: ...
    @property
    def loss(self) -> float: ...
    @property
    def validation_loss(self) -> float | None: ...
    @property
    def validation_macro_auc(self) -> float | None: ...


class LearningPoint(Protocol):
    """Figures at one number of training radiographs."""

    @property
    def radiographs(self) -> float: ...
    @property
    def figures(self) -> Mapping[str, Metric]: ...


def draw_figures(
    folder: Path,
    histories: Sequence[Sequence[Sequence[EpochLine]]],
    labels: Integers,
    probabilities: Doubles,
    figures: Mapping[str, Metric],
) -> None:
    """Write ``curves.png``, ``roc.png``, ``confusion.png`` and ``reliability.png``."""
    save_png(training_curves(histories), folder / "curves.png")
    save_png(roc_curves(labels, probabilities, figures), folder / "roc.png")
    save_png(confusion_matrix(confusion(labels, probabilities)), folder / "confusion.png")
    save_png(reliability_diagram(labels, probabilities, figures), folder / "reliability.png")


def training_curves(histories: Sequence[Sequence[Sequence[EpochLine]]]) -> Figure:
    """One thin line per inner training, one colour per fold; the inner validation parts are small, hence the scatter."""
    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    titles = ("Training loss (nats, classes balanced)", "Validation loss (nats, classes balanced)", "Validation macro AUC")
    for panel, title, field in zip(panels, titles, ("loss", "validation_loss", "validation_macro_auc"), strict=True):
        for fold, trainings in enumerate(histories):
            _draw_fold(panel, trainings, field, fold)
        panel.set(title=title, xlabel="epoch (0: before fine-tuning)")
        panel.xaxis.get_major_locator().set_params(integer=True)
        tidy(panel)
    panels[0].legend(title="outer fold", frameon=False, ncols=2)
    return figure


def _draw_fold(panel: Axes, trainings: Sequence[Sequence[EpochLine]], field: str, fold: int) -> None:
    for number, history in enumerate(trainings):
        panel.plot(
            [line.epoch for line in history],
            [np.nan if getattr(line, field) is None else getattr(line, field) for line in history],
            color=COLOURS[fold % len(COLOURS)],
            linewidth=1.2,
            alpha=0.8,
            label=str(fold) if number == 0 else None,
        )


def roc_curves(labels: Integers, probabilities: Doubles, figures: Mapping[str, Metric]) -> Figure:
    """Each class against the rest, and any low density against normal, with the areas and their intervals."""
    figure, panel = pyplot.subplots(figsize=(5, 5.8), layout="constrained")
    for place, label in enumerate(LABELS):
        _draw_one_roc(
            panel, labels == place, probabilities[:, place], f"{label} vs rest", figures[f"auc_{label}"], COLOURS[place]
        )
    low = 1 - probabilities[:, NORMAL]
    _draw_one_roc(panel, labels != NORMAL, low, "any low density vs normal", figures["auc_low_density"], COLOURS[-1], "--")
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    panel.set(title="ROC, out of fold", xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
    figure.legend(frameon=False, fontsize="small", loc="outside lower center")
    tidy(panel)
    return figure


def _draw_one_roc(panel: Axes, truth: Booleans, scores: Doubles, name: str, auc: Metric, colour: str, style: str = "-") -> None:
    false_positives, true_positives, _ = roc_curve(truth, scores, drop_intermediate=False)
    label = f"{name}: {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
    panel.plot(false_positives, true_positives, style, color=colour, linewidth=1.6, label=label)


def confusion_matrix(matrix: Sequence[Sequence[int]]) -> Figure:
    """Counts and shares by true label (rows) and likeliest label (columns)."""
    counts = np.array(matrix)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, panel = pyplot.subplots(figsize=(4.8, 4.8), layout="constrained")
    panel.pcolormesh(shares, cmap="Blues", vmin=0, vmax=1, edgecolors="white", linewidth=1)
    for (row, column), count in np.ndenumerate(counts):
        # Not pure black, which the page would replace: the cells keep their colours.
        colour = "white" if shares[row, column] > 0.5 else "#111111"
        panel.text(column + 0.5, row + 0.5, f"{count}\n{shares[row, column]:.0%}", ha="center", va="center", color=colour)
    panel.set(title="Confusion, out of fold", xlabel="likeliest class", ylabel="true class")
    middles = np.arange(len(LABELS)) + 0.5
    panel.set_xticks(middles, LABELS)
    panel.set_yticks(middles, LABELS, rotation=90, va="center")
    panel.tick_params(length=0)
    panel.invert_yaxis()
    return figure


def reliability_diagram(labels: Integers, probabilities: Doubles, figures: Mapping[str, Metric]) -> Figure:
    """Confidence against accuracy, ten equal bins."""
    shares, confidences, accuracies = zip(*reliability(labels, probabilities), strict=True)
    figure, panel = pyplot.subplots(figsize=(5, 4.8), layout="constrained")
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    panel.plot(confidences, accuracies, "-", color=COLOURS[0], linewidth=1, alpha=0.6)
    panel.scatter(
        confidences, accuracies, s=[20 + 900 * share for share in shares], color=COLOURS[0], alpha=0.6, clip_on=False, zorder=3
    )
    ece = figures["ece"]
    title = f"Reliability, out of fold: ECE {ece.value:.2f} ({ece.low:.2f} to {ece.high:.2f})"
    panel.set(title=title, xlabel="probability of the likeliest class", ylabel="share that is right", aspect="equal")
    panel.set(xlim=(0, 1), ylim=(0, 1))
    panel.text(0.98, 0.03, "the larger a point, the more radiographs", ha="right", fontsize="small")
    tidy(panel)
    return figure


def systems_figure(systems: Mapping[str, Mapping[str, Metric]]) -> Figure:
    """Macro AUC and balanced accuracy of every system (by its name for people), with 95 % intervals and chance."""
    height_in = 1.1 + 0.32 * len(systems)
    figure, panels = pyplot.subplots(1, 2, figsize=(9, height_in), layout="constrained", sharey=True)
    shown = (("macro_auc", "Macro AUC", 0.5), ("balanced_accuracy", "Balanced accuracy", 1 / len(LABELS)))
    for panel, (name, title, chance) in zip(panels, shown, strict=True):
        panel.axvline(chance, color="0.7", linewidth=1)
        for place, figures in enumerate(systems.values()):
            one = figures[name]
            colour = COLOURS[0] if place == 0 else COLOURS[1]
            panel.plot([one.low, one.high], [place, place], color=colour, linewidth=2)
            panel.plot([one.value], [place], "o", color=colour)
        panel.set(title=title, xlim=(0, 1))
        tidy(panel)
    panels[0].set_yticks(range(len(systems)), [name.replace("$", r"\$") for name in systems])
    panels[0].invert_yaxis()
    return figure


def learning_curve_figure(points: Sequence[LearningPoint]) -> Figure:
    """Macro AUC and balanced accuracy against the number of training radiographs, with 95 % intervals and chance."""
    figure, panels = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    sizes = [point.radiographs for point in points]
    shown = (("macro_auc", "Macro AUC", 0.5), ("balanced_accuracy", "Balanced accuracy", 1 / len(LABELS)))
    for panel, (name, title, chance), colour in zip(panels, shown, COLOURS[:2], strict=True):
        metrics = [point.figures[name] for point in points]
        panel.axhline(chance, color="0.7", linewidth=1)
        panel.fill_between(sizes, [one.low for one in metrics], [one.high for one in metrics], color=colour, alpha=0.2)
        panel.plot(sizes, [one.value for one in metrics], "o-", color=colour, linewidth=1.6)
        panel.set(title=f"{title}, out of fold", xlabel="training radiographs")
        tidy(panel)
    return figure


def tidy(panel: Axes) -> None:
    """Without frame, on a light grid."""
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="0.92", linewidth=0.8)
    panel.set_axisbelow(True)


def save_png(figure: Figure, path: Path) -> None:
    """Write the figure and release it."""
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    pyplot.close(figure)


def as_svg(figure: Figure, *, name: str) -> str:
    """The figure as an ``<svg>`` element for an HTML page, and release it.

    Ink and greys become the page's own colours, so that it is readable on a dark page; text stays text. ``name`` keeps
    the identifiers of two figures of one page apart.
    """
    file = io.StringIO()
    # The metadata would hold the date, and two reports of one run would differ.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    text = file.getvalue()
    element = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], count=1, flags=re.DOTALL)
    element = re.sub(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', _svg_start, element, count=1)
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", element)
    for colour, on_page in _PAGE_COLOURS.items():
        element = element.replace(colour, on_page)
    return element


def _svg_start(match: re.Match[str]) -> str:
    """A start tag that takes its width from the page."""
    width = float(match[1].split()[2])
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {names} viewBox="{match[1]}" style="max-width: {width:.0f}pt" aria-hidden="true">'
