"""Figures of a run as PNG files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from osteo_edge.manifest import Metric
from train.dataset import LABELS
from train.evaluate import NORMAL, confusion, reliability
from train.finetune import Epoch

matplotlib.use("Agg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

DOTS_PER_INCH = 150
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#000000")

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def draw_figures(
    folder: Path,
    histories: Sequence[Sequence[Sequence[Epoch]]],
    labels: Integers,
    probabilities: Floats,
    figures: Mapping[str, Metric],
) -> None:
    """Write ``curves.png``, ``roc.png``, ``confusion.png`` and ``reliability.png``."""
    _draw_curves(folder / "curves.png", histories)
    _draw_roc(folder / "roc.png", labels, probabilities, figures)
    _draw_confusion(folder / "confusion.png", labels, probabilities)
    _draw_reliability(folder / "reliability.png", labels, probabilities, figures)


def _draw_curves(path: Path, histories: Sequence[Sequence[Sequence[Epoch]]]) -> None:
    """One thin line per inner training, one colour per fold; the inner validation parts are small, hence the scatter."""
    figure, panels = pyplot.subplots(1, 3, figsize=(12, 3.8), layout="constrained")
    titles = ("Training loss (nats, classes balanced)", "Validation loss (nats, classes balanced)", "Validation macro AUC")
    for panel, title, field in zip(panels, titles, ("loss", "validation_loss", "validation_macro_auc"), strict=True):
        for fold, trainings in enumerate(histories):
            _draw_fold(panel, trainings, field, fold)
        panel.set(title=title, xlabel="epoch (0: before fine-tuning)")
        panel.xaxis.get_major_locator().set_params(integer=True)
        _tidy(panel)
    panels[0].legend(title="outer fold", frameon=False, ncols=2)
    _save(figure, path)


def _draw_fold(panel: Axes, trainings: Sequence[Sequence[Epoch]], field: str, fold: int) -> None:
    for number, history in enumerate(trainings):
        panel.plot(
            [line.epoch for line in history],
            [getattr(line, field) for line in history],
            color=COLOURS[fold % len(COLOURS)],
            linewidth=1.2,
            alpha=0.8,
            label=str(fold) if number == 0 else None,
        )


def _draw_roc(path: Path, labels: Integers, probabilities: Floats, figures: Mapping[str, Metric]) -> None:
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
    _tidy(panel)
    _save(figure, path)


def _draw_one_roc(
    panel: Axes, truth: NDArray[np.bool_], scores: Floats, name: str, auc: Metric, colour: str, style: str = "-"
) -> None:
    false_positives, true_positives, _ = roc_curve(truth, scores, drop_intermediate=False)
    label = f"{name}: {auc.value:.2f} ({auc.low:.2f} to {auc.high:.2f})"
    panel.plot(false_positives, true_positives, style, color=colour, linewidth=1.6, label=label)


def _draw_confusion(path: Path, labels: Integers, probabilities: Floats) -> None:
    counts = np.array(confusion(labels, probabilities))
    shares = counts / counts.sum(axis=1, keepdims=True)
    figure, panel = pyplot.subplots(figsize=(5, 4.4), layout="constrained")
    image = panel.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        panel.text(column, row, f"{count}\n{shares[row, column]:.0%}", ha="center", va="center", color=colour)
    panel.set(title="Confusion, out of fold", xlabel="likeliest class", ylabel="true class")
    panel.set_xticks(range(len(LABELS)), LABELS)
    panel.set_yticks(range(len(LABELS)), LABELS, rotation=90, va="center")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    _save(figure, path)


def _draw_reliability(path: Path, labels: Integers, probabilities: Floats, figures: Mapping[str, Metric]) -> None:
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
    panel.text(0.98, 0.03, "the larger a point, the more radiographs", ha="right", fontsize="small", color="0.4")
    _tidy(panel)
    _save(figure, path)


def _tidy(panel: Axes) -> None:
    panel.spines[["top", "right"]].set_visible(False)
    panel.grid(color="0.92", linewidth=0.8)
    panel.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=DOTS_PER_INCH, bbox_inches="tight")
    pyplot.close(figure)
