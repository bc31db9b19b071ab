"""Label sets: every class that the probabilities cannot rule out at the bundle's coverage.

Split-conformal prediction with the score 1 - p(class) (LAC; Sadinle, Lei and Wasserman, JASA 2019). The
coverage holds on average over pictures like those the threshold was fitted on, not for each class apart.
"""

from __future__ import annotations

from collections.abc import Mapping

from osteo_edge.manifest import Conformal


def label_set(probabilities: Mapping[str, float], conformal: Conformal) -> tuple[str, ...]:
    """Classes that cannot be ruled out, in the bundle's order; the likeliest class is always one of them."""
    likeliest = max(probabilities.values())
    return tuple(
        label
        for label, probability in probabilities.items()
        if probability >= conformal.min_probability or probability == likeliest
    )
