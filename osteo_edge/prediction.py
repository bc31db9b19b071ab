"""What ``OsteoPredictor`` gives back: what was answered of one picture, with the forms in which it is handed on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteo_edge.answered import Answered
from osteo_edge.errors import QualityRejected
from osteo_edge.labels import Status

if TYPE_CHECKING:
    from typing import Self


class Prediction(Answered):
    """What was answered of one picture. A research screening aid, not a diagnosis.

    ``status``, ``message`` and ``joints`` are of the picture; ``answers`` holds all the rest, question by question. The
    properties that an answer has too (``label``, ``probabilities``, ``findings``, ``knees`` ...) are those of the first, which
    is the only one of a predictor with one bundle.

    It can be hashed, copied and pickled, and so be sent from a worker process. Pixels and saliency, which only an explanation
    keeps, go along but take no part in comparing or hashing; ``digest`` stands for them.

    Its attributes are those of ``osteo_edge.answered.Answered``.
    """

    def raise_for_status(self) -> Self:
        """Return self, or raise for callers who prefer exceptions.

        Raises:
            QualityRejected: the picture was rejected.
        """
        if self.status is Status.REJECTED:
            raise QualityRejected("; ".join(finding.message for finding in self.findings), code=self.findings[0].code)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The JSON form, as ``osteo_edge/reports/prediction.schema.json`` describes it."""
        from osteo_edge.reports.structured import to_dict

        return to_dict(self)

    def save_overlay(self, path: str | Path, *, question: str | None = None) -> Path:
        """Write the radiograph with boxes and saliency as a PNG or JPEG.

        Args:
            question: whose scores are shown; the first that was not rejected by default.

        Raises:
            ReportError: nothing was explained (``predict(..., explain=True)``), or the file cannot be written.
            KeyError: the question was not asked.
        """
        from osteo_edge.reports.overlay import save_overlay

        return save_overlay(self, Path(path), question=question)
