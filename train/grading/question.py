"""What grades of osteoarthritis answer: the question of a bundle, its labels and its sentences."""

from __future__ import annotations

from typing import Final

from osteo_edge.questions import PossibleAnswer, Question
from train.grading.knees import GRADES

# From this grade on there are definite signs (Kellgren and Lawrence, Annals of the Rheumatic Diseases 1957).
FIRST_DEFINITE: Final = 2
LABELS: Final = tuple(f"kl{grade}" for grade in range(GRADES))

QUESTION: Final = Question(
    name="osteoarthritis",
    title="osteoarthritis",
    unit="knee",
    answers=(
        PossibleAnswer(
            "no_definite_signs",
            LABELS[:FIRST_DEFINITE],
            "No definite signs of osteoarthritis found by this test; it misses cases.",
        ),
        PossibleAnswer("signs", LABELS[FIRST_DEFINITE:], "Signs of osteoarthritis."),
    ),
    unsure="This test cannot tell whether there are signs of osteoarthritis.",
    next_step="What a picture shows and how a knee feels often differ: if a knee troubles you, ask a doctor.",
    degrees=tuple(str(grade) for grade in range(GRADES)),
    scale=f"grade {{}} of {GRADES - 1} (Kellgren-Lawrence)",
)
