"""The page's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from export.plans import Bin, GroupDamage
from osteo_edge.manifest import Metric
from train.judging.pages.figures import COLOURS, tidy

ROW_IN = 0.34
HEAD_IN = 1.1


def drops_figure(differences: Mapping[str, Metric], *, what: str, max_drop: float) -> Figure:
    """``what`` of each reduced file less that of fp32, with 95 % intervals, and the budget.

    Args:
        differences: name of the file for people -> paired difference.
    """
    figure, panel = _rows(list(differences))
    panel.axvline(0, color="0.7", linewidth=1)
    panel.axvline(-max_drop, color=COLOURS[4], linewidth=1, linestyle="--")
    for place, one in enumerate(differences.values()):
        panel.plot([one.low, one.high], [place, place], color=COLOURS[0], linewidth=2)
        panel.plot([one.value], [place], "o", color=COLOURS[0])
    panel.set(title=f"{what}, reduced less fp32, on held-back pictures", xlabel="dashed: what the budget allows")
    return figure


def sizes_figure(megabytes: Mapping[str, float]) -> Figure:
    """Size of every model file."""
    return _bars(
        megabytes, title="Size of the file", unit="MB", number=lambda value: f"{value:.2g}" if value < 10 else f"{value:.0f}"
    )


def speeds_figure(ratios: Mapping[str, float], *, title: str) -> Figure:
    """Times as fast as ONNX Runtime's fp32 file."""
    return _bars(
        ratios, title=title, unit="times as fast as ONNX Runtime fp32, one thread", number=lambda value: f"{value:.2f}"
    )


def damages_figure(damages: Sequence[GroupDamage], *, title: str) -> Figure:
    """Relative error of the log-probabilities when one layer group alone is quantized, the largest first."""
    ordered = sorted(damages, key=lambda one: -one.relative_error)
    values = {f"{one.group} ({one.nodes})": one.relative_error for one in ordered}
    return _bars(
        values,
        title=title,
        unit="relative error of log-probabilities; in brackets: layers",
        number=lambda value: f"{value:.3f}",
    )


def reliability_figure(forms: Mapping[str, Sequence[Bin]]) -> Figure:
    """Confidence against accuracy before and after, out of fold."""
    figure, panel = pyplot.subplots(figsize=(5, 5.2), layout="constrained")
    panel.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for place, (name, bins) in enumerate(forms.items()):
        colour = COLOURS[place % len(COLOURS)]
        confidences, right = [one.confidence for one in bins], [one.right for one in bins]
        panel.plot(confidences, right, "-", color=colour, linewidth=1, alpha=0.7)
        sizes = [16 + 500 * one.share for one in bins]
        panel.scatter(confidences, right, s=sizes, color=colour, alpha=0.5, clip_on=False, zorder=3, label=name)
    panel.set(title="Reliability, out of fold", xlabel="probability of the likeliest class", ylabel="share that is right")
    panel.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    legend = figure.legend(frameon=False, fontsize="small", loc="outside lower center", ncols=2)
    for handle in legend.legend_handles:
        handle.set_sizes([40])  # type: ignore[union-attr]
    tidy(panel)
    return figure


def _bars(values: Mapping[str, float], *, title: str, unit: str, number: object) -> Figure:
    assert callable(number)
    figure, panel = _rows(list(values))
    panel.barh(range(len(values)), list(values.values()), height=0.62, color=COLOURS[0])
    longest = max(values.values(), default=1.0)
    for place, value in enumerate(values.values()):
        panel.text(value + 0.01 * longest, place, number(value), va="center", fontsize="small")
    panel.set(title=title, xlabel=unit, xlim=(0, 1.12 * longest if longest > 0 else 1.0))
    return figure


def _rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    """One row a name, from the top."""
    figure, panel = pyplot.subplots(figsize=(6, HEAD_IN + ROW_IN * max(len(names), 1)), layout="constrained")
    panel.set_yticks(range(len(names)), [name.replace("$", r"\$") for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    tidy(panel)
    return figure, panel
