"""The report as one HTML file: everything inside it, nothing fetched."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from osteo_edge.manifest import Metric
from train.judging.pages.environment import page_environment
from train.judging.pages.wording import RESEARCH_USE, figure_title
from train.research.papers.outcomes import SHOWN
from train.research.papers.table import PAPERS

if TYPE_CHECKING:
    from train.research.papers.report import Report

TEMPLATE = "page.html.jinja"


def as_html(report: Report, *, copies: int, folds: int, seeds: int) -> str:
    """The page; every text is escaped.

    Args:
        copies, folds, seeds: of the demonstration with copies.
    """
    environment = page_environment(Path(__file__).parent)
    environment.filters.update(interval=_interval, share=lambda value: f"{value:.2f}", figure=figure_title)
    return environment.get_template(TEMPLATE).render(
        report=report,
        papers=[(paper, [one for one in report.results if one.row.paper == paper.key]) for paper in PAPERS],
        shown=SHOWN,
        rival=_rival,
        research_use=RESEARCH_USE,
        copies=copies,
        folds=folds,
        seeds=seeds,
    )


def _interval(metric: Metric) -> str:
    return f"{metric.value:.2f} ({metric.low:.2f} to {metric.high:.2f})"


def _rival(baselines: Mapping[str, Mapping[str, Metric]], name: str, figure: str) -> str:
    return f"{baselines[name][figure].value:.2f}" if name in baselines else "not in the table"
