"""Models laid beside each other: what each is worth, against its time and its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from osteo_edge.manifest import Metric

# From this ratio of the times on, small ones would lie on top of each other.
_WIDE = 4
_MARKERS = {"fp32": "o", "fp16": "D", "int8": "s"}


@dataclass(frozen=True)
class Point:
    """One file, or one of each member.

    Attributes:
        group: shares a colour, for example the bundle.
        name: of engine and precision for people.
        value: the more the better.
        time: the less the better, in any unit.
    """

    group: str
    name: str
    precision: str
    value: Metric
    time: float
    megabytes: float


def frontier(points: Sequence[Point]) -> tuple[Point, ...]:
    """Points that no other beats in value, time and size at once, the fastest first."""

    def beats(other: Point, point: Point) -> bool:
        mine, others = ((one.value.value, -one.time, -one.megabytes) for one in (point, other))
        return others != mine and all(theirs >= own for theirs, own in zip(others, mine, strict=True))

    best = [point for point in points if not any(beats(other, point) for other in points)]
    return tuple(sorted(best, key=lambda point: point.time))


def size_of(megabytes: float) -> str:
    """Megabytes for people, two digits at least."""
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.2g} MB"


def draw(points: Sequence[Point], path: Path, *, title: str, value: str, time: str, chance: float | None = None) -> None:
    """Value against time, area by size; the frontier is outlined in black.

    Args:
        value, time: names of the axes.
        chance: a value that is worth nothing; dashed.
    """
    from matplotlib import pyplot

    from train.judging.pages.figures import COLOURS, tidy

    figure, panel = pyplot.subplots(figsize=(8, 5), layout="constrained")
    best, groups = frontier(points), list(dict.fromkeys(point.group for point in points))
    if chance is not None:
        panel.axhline(chance, color="0.7", linewidth=1, linestyle="--")
    for point in points:
        colour, one = COLOURS[groups.index(point.group) % len(COLOURS)], point.value
        reach = [[one.value - one.low], [one.high - one.value]]
        panel.errorbar(point.time, one.value, yerr=reach, color=colour, linewidth=0.6, alpha=0.5)
        panel.scatter(
            point.time,
            one.value,
            s=30 + 4 * point.megabytes,
            marker=_MARKERS[point.precision],
            color=colour,
            edgecolors="black" if point in best else "none",
            alpha=0.8,
            zorder=3,
            label=f"{point.group}, {point.name}, {size_of(point.megabytes)}",
        )
    times = [point.time for point in points]
    panel.set_xscale("log" if max(times) > _WIDE * min(times) else "linear")
    panel.xaxis.set_major_formatter("{x:g}")
    if max(times) < 10 * min(times):  # else the powers of ten are enough
        panel.xaxis.set_minor_formatter("{x:g}")
    panel.set(title=title, ylabel=value, xlabel=time)
    legend = figure.legend(frameon=False, fontsize="x-small", loc="outside lower center", ncols=2)
    for handle in legend.legend_handles:
        handle.set_sizes([30])  # type: ignore[union-attr]
    tidy(panel)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    pyplot.close(figure)
