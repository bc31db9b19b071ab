"""What a bundle's documents say of its question: what it is for and what not; a small TOML file, one a question."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.questions import Question
from osteo_edge.records import parse_record

FOLDER = Path(__file__).parent / "question_cards"


@dataclass(frozen=True)
class QuestionCard:
    """Sentences for people.

    Attributes:
        looks_for: as in "a research model that looks at knee radiographs for ...".
        intended_use: the manifest's.
        may_inform: as in "What it may inform: ...".
        must_not: as in "It must not be used ...".
        limits: where its answers fail, whatever data it was trained on.
    """

    looks_for: str
    intended_use: str
    may_inform: str
    must_not: tuple[str, ...]
    limits: tuple[str, ...]


def read_question_card(question: Question, folder: Path = FOLDER) -> QuestionCard:
    """The card of a question; one of neutral words where the folder has none of its name.

    Raises:
        ExportError: it is not TOML, or a field is missing or unknown.
    """
    path = folder / f"{question.name}.toml"
    if not path.is_file():
        return _neutral(question)
    try:
        return parse_record(QuestionCard, tomllib.loads(path.read_text(encoding="utf-8")), where=path.name)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror})") from error
    except (ManifestError, ValueError) as error:
        raise ExportError(f"{path} is not a question's card: {error}") from error


def _neutral(question: Question) -> QuestionCard:
    return QuestionCard(
        looks_for=question.title,
        intended_use=(
            "Research, education and demonstration only. Not a medical device, not validated or cleared by any regulator, not "
            "for clinical use. It is no diagnosis and no substitute for one."
        ),
        may_inform="nothing that was studied yet",
        must_not=("to tell a person that they have or do not have a disease, or to start, change or stop a treatment",),
        limits=(),
    )
