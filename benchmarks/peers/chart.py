"""The chart of ``benchmarks peers``: time, cold start, memory and disk of every entrant, osteo-edge in colour."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib import pyplot
from matplotlib.ticker import FuncFormatter, NullFormatter

from benchmarks.peers.records import COLD, FOLDER, IMAGE, Peers
from train.judging.pages.figures import COLOURS, save_png, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes


# Of a probability.
WORTH_TELLING = 0.01
OWN_COLOUR, PEER_COLOUR = COLOURS[0], "#b3b3b3"


def draw(found: Peers, target: Path) -> None:
    """Write a PNG or SVG file, by the target's suffix: a part a network, a panel a quantity, on logarithmic scales."""
    own = {one.name for one in found.participants if one.engine == "osteo_edge"}
    off_by = {one.name: one.max_difference for one in found.participants}
    panels = _panels(found)
    networks = list(dict.fromkeys(one.network for one in found.participants))
    groups = [[one.name for one in found.participants if one.network == network] for network in networks]
    figure, grid = pyplot.subplots(
        len(groups),
        len(panels),
        figsize=(3.1 * len(panels) + 2.4, sum(0.3 * len(names) + 0.8 for names in groups) + 0.6),
        gridspec_kw={"height_ratios": [len(names) + 1 for names in groups]},
        squeeze=False,
        sharex="col",
        layout="constrained",
    )
    for place, (network, names) in enumerate(zip(networks, groups, strict=True)):
        for panel, (title, values) in zip(grid[place], panels.items(), strict=True):
            _draw_bars(panel, names, values, own)
            panel.set_title(title if place == 0 else "", fontsize=9)
        labels = [name.replace(f", {network}", "") + _caution(off_by[name]) for name in names]
        grid[place][0].set_yticks(range(len(names)), labels, fontsize=8)
        grid[place][0].set_ylabel(network, fontsize=9)
    figure.suptitle(f"{found.processor}, {found.cores} cores; the peers are given the knees' boxes", fontsize=10)
    if target.suffix == ".png":
        save_png(figure, target)
    else:
        figure.savefig(target, format="svg", bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)


def _panels(found: Peers) -> dict[str, Mapping[str, float]]:
    """Title -> entrant -> value, for what was measured."""

    def medians(task: str, threads: int | None, factor: float) -> dict[str, float]:
        rows = [row for row in found.rows if (row.task, row.threads) == (task, threads)]
        return {row.entrant: row.median_ms * factor for row in rows}

    panels = {
        "one picture, warm,\none thread (ms)": medians(IMAGE, 1, 1),
        f"folder of {found.pictures[FOLDER]},\nall threads (ms a picture)": medians(FOLDER, None, 1),
        "whole process,\none picture (s)": medians(COLD, None, 1e-3),
        "peak memory, whole process (MB)": {
            one.name: one.cold_peak_mb for one in found.participants if one.cold_peak_mb is not None
        },
        "installed (MB)": {one.name: one.total_mb for one in found.participants},
    }
    known = {title: {name: value for name, value in values.items() if value > 0} for title, values in panels.items()}
    return {title: values for title, values in known.items() if values}


def _draw_bars(panel: Axes, names: list[str], values: Mapping[str, float], own: set[str]) -> None:
    for place, name in enumerate(names):
        if name in values:
            colour = OWN_COLOUR if name in own else PEER_COLOUR
            panel.plot(values[name], place, "o", color=colour, markersize=6)
            panel.annotate(
                _told(values[name]), (values[name], place), (6, 0), textcoords="offset points", va="center", fontsize=7
            )
    panel.set_xscale("log")
    panel.set_xlim(
        10 ** math.floor(math.log10(min(values.values()) / 1.1)), 10 ** math.ceil(math.log10(max(values.values()) * 1.5))
    )
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _told(value)))
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_yticks([])
    panel.set_ylim(len(names) - 0.4, -0.6)
    tidy(panel)
    panel.tick_params(labelsize=7)


def _caution(off_by: float | None) -> str:
    """Whoever is fast and answers otherwise is not simply fast."""
    return "" if off_by is None or off_by < WORTH_TELLING else f" (off by {off_by:.2g})"


def _told(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
