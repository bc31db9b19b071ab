"""Tables of figures in a model card."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from osteo_edge.manifest import Conformal, Metric


def table(names: Mapping[str, str], rows: Mapping[str, Mapping[str, Metric]]) -> Iterator[str]:
    """Figure -> its word, and name of the row -> its figures, as a Markdown table; a missing figure is left empty."""
    yield f"| | {' | '.join(names.values())} |"
    yield f"|---|{'---|' * len(names)}"
    for name, figures in rows.items():
        yield f"| {name} | {' | '.join(shown(figures[one]) if one in figures else '' for one in names)} |"


def shown(metric: Metric) -> str:
    """With its interval."""
    return f"{metric.value:.2f} [{metric.low:.2f}, {metric.high:.2f}]"


def enough(conformal: Conformal, labels: Sequence[str]) -> str:
    """The threshold of the label sets; where they differ, each with its class."""
    thresholds = conformal.min_probabilities
    if len(set(thresholds)) == 1:
        return f"{thresholds[0]:.3f}"
    return ", ".join(f"{one:.3f} ({label})" for label, one in zip(labels, thresholds, strict=True))
