"""Label sets: every class that the probabilities cannot rule out at the bundle's coverage.

Split-conformal prediction with the score 1 - p(class) (Sadinle, Lei and Wasserman, JASA 2019), each class against a threshold
of its own. Where the thresholds are equal the coverage holds on average over pictures like those that they were fitted on, not
for each class apart; where each was fitted on the pictures of its class, it holds for these. It holds for any score of a
class: with that of ``standings`` sets part between a question's answers rather than within one.

Two rules only ever add classes, so that the coverage holds with them too. What is nearly as likely as the likeliest class
cannot be told from it, whatever the threshold: a score that is nearly flat leaves all classes. And classes are
degrees of one thing: where two of them remain, so does what lies between them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from osteo_edge.manifest import Conformal
from osteo_edge.questions import Question

# A class this near to the likeliest one is as likely for all that can be told: a file of reduced precision, or another
# processor's rounding, moves a probability by up to 0.03 and may swap two such classes.
TIE = 0.05


def label_set(probabilities: Mapping[str, float], conformal: Conformal, question: Question) -> tuple[str, ...]:
    """Classes that cannot be ruled out, in the bundle's order and without a gap.

    Args:
        probabilities: label -> probability, in the bundle's order, which is that of the degrees that they are.
    """
    scores = standings(probabilities, question) if conformal.by_answer else probabilities
    enough = dict(zip(probabilities, conformal.min_probabilities, strict=True))
    kept = {label for label, score in scores.items() if score >= enough[label]}
    return without_gap(kept.union(nearly_likeliest(probabilities)), list(probabilities))


def standings(probabilities: Mapping[str, float], question: Question) -> Mapping[str, float]:
    """Of each class the geometric mean of its probability and that of the answer in which it lies."""
    of_answer = {
        label: sum(probabilities[one] for one in answer.labels) for answer in question.answers for label in answer.labels
    }
    return {label: math.sqrt(probability * of_answer[label]) for label, probability in probabilities.items()}


def nearly_likeliest(probabilities: Mapping[str, float]) -> tuple[str, ...]:
    """The likeliest class and what cannot be told from it, in the bundle's order and without a gap."""
    lowest = max(probabilities.values()) - TIE
    return without_gap([label for label, one in probabilities.items() if one >= lowest], list(probabilities))


def without_gap(labels: Collection[str], order: Sequence[str]) -> tuple[str, ...]:
    """``labels`` and all that lies between them in ``order``, in that order."""
    places = [place for place, label in enumerate(order) if label in labels]
    return tuple(order[places[0] : places[-1] + 1]) if places else ()
