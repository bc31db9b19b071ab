"""Label sets: every class that the probabilities cannot rule out at the bundle's coverage.

Split-conformal prediction with the score 1 - p(class) (Sadinle, Lei and Wasserman, JASA 2019), each class against a threshold
of its own. Where the thresholds are equal the coverage holds on average over pictures like those that they were fitted on, not
for each class apart; where each was fitted on the pictures of its class, it holds for these.

Two rules only ever add classes, so that the coverage holds with them too. What is nearly as likely as the likeliest class
cannot be told from it, whatever the threshold: a score that is nearly flat leaves all classes. And classes are
degrees of one thing: where two of them remain, so does what lies between them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from osteo_edge.manifest import Conformal

# A class this near to the likeliest one is as likely for all that can be told: a file of reduced precision, or another
# processor's rounding, moves a probability by up to 0.03 and may swap two such classes.
TIE = 0.05


def label_set(probabilities: Mapping[str, float], conformal: Conformal) -> tuple[str, ...]:
    """Classes that cannot be ruled out, in the bundle's order and without a gap.

    Args:
        probabilities: label -> probability, in the bundle's order, which is that of the degrees that they are.
    """
    tie = _lowest_tie(probabilities)
    return _at_least([min(enough, tie) for enough in conformal.min_probabilities], probabilities)


def nearly_likeliest(probabilities: Mapping[str, float]) -> tuple[str, ...]:
    """The likeliest class and what cannot be told from it, as ``label_set`` gives them."""
    return _at_least([_lowest_tie(probabilities)] * len(probabilities), probabilities)


def without_gap(labels: Collection[str], order: Sequence[str]) -> tuple[str, ...]:
    """``labels`` and all that lies between them in ``order``, in that order."""
    places = [place for place, label in enumerate(order) if label in labels]
    return tuple(order[places[0] : places[-1] + 1]) if places else ()


def _lowest_tie(probabilities: Mapping[str, float]) -> float:
    return max(probabilities.values()) - TIE


def _at_least(thresholds: Sequence[float], probabilities: Mapping[str, float]) -> tuple[str, ...]:
    pairs = zip(probabilities.items(), thresholds, strict=True)
    return without_gap([label for (label, probability), enough in pairs if probability >= enough], list(probabilities))
