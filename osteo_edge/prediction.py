"""The record at the pipeline's end: what is said of one picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from osteo_edge.decision.scores import likeliest
from osteo_edge.errors import QualityRejected
from osteo_edge.images.quality import Finding
from osteo_edge.labels import Mode, Status
from osteo_edge.printable import printable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from osteo_edge.images.region import Box, Joint
    from osteo_edge.radiograph import Radiograph


@dataclass(frozen=True)
class Knee:
    """One knee that was found and scored.

    Attributes:
        joint: centre and width of the joint in pixels of the upright picture.
        box: what the networks were shown, together; may reach beyond the picture.
        probabilities: label -> probability from this knee alone.
        saliency: (rows, columns) float32 over the box, for the class that is likeliest from the picture alone; only when
            asked for. Exact for one network; see ``decision.explanation.laid_together`` for several.
    """

    joint: Joint
    box: Box
    probabilities: Mapping[str, float]
    saliency: NDArray[np.float32] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class ModelIdentity:
    """Which model answered: the bundle and its digest, the engine and precision that ran it.

    Attributes:
        precision: ``mixed`` where the members' differ.
        members: number of networks in the bundle.
    """

    bundle: str
    version: str
    digest: str
    engine: str
    precision: str
    members: int


@dataclass(frozen=True)
class Prediction:
    """The answer for one picture. A research screening aid, not a diagnosis.

    It can be hashed, copied and pickled, and so be sent from a worker process. Pixels and saliency, which only an explanation
    keeps, go along but take no part in comparing or hashing; ``digest`` stands for them.

    Attributes:
        source: the name by which the caller knows the picture.
        digest: SHA-256 of the picture's bytes; None where they could not be read.
        status: reported, referred or rejected.
        findings: the reasons for a referral or rejection.
        notes: what is worth knowing and is no reason for either, for example that covariates took no part.
        mode: what the answer rests on; None when rejected.
        probabilities: label -> probability; empty when rejected.
        image_probabilities: the same from the picture alone; equal to ``probabilities`` in the image mode.
        label_set: the classes that cannot be ruled out; empty when rejected.
        covariates_used: covariate -> number that took part; sex is 1 for female, yes is 1; empty in the image mode.
        members_answered: networks that were run; a cascade stops when it is sure.
        knees: left to right in the picture.
        timings_ms: stage -> milliseconds of wall clock; takes no part in comparing two answers.
        age_years, sex: of the person where they were given, whether or not they took part; the advice follows from them.
        radiograph: kept for the overlay, only when an explanation was asked for.
    """

    source: str
    digest: str | None
    status: Status
    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    mode: Mode | None
    probabilities: Mapping[str, float]
    image_probabilities: Mapping[str, float]
    label_set: tuple[str, ...]
    covariates_used: Mapping[str, float]
    members_answered: int
    knees: tuple[Knee, ...]
    timings_ms: Mapping[str, float] = field(compare=False)
    model: ModelIdentity
    intended_use: str
    age_years: float | None = None
    sex: str | None = None
    radiograph: Radiograph | None = field(default=None, repr=False, compare=False)

    @property
    def label(self) -> str | None:
        """Research code of the class that stands alone; None unless the picture was reported."""
        return self.likeliest if self.status is Status.REPORTED else None

    @property
    def likeliest(self) -> str | None:
        """Research code of the class of the highest probability, which is no answer unless reported; None when rejected."""
        return likeliest(self.probabilities) if self.probabilities else None

    @property
    def message(self) -> str:
        """What a person is told of the picture: the answer, its reason and the next step, as ``reports.wording`` gives them."""
        from osteo_edge.reports import wording

        return wording.message(self)

    def __str__(self) -> str:
        """One line for people, without escapes: the source, the status and the sentence."""
        return printable(f"{self.source}: {self.status.value} - {self.message}")

    def raise_for_status(self) -> Prediction:
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

    def save_overlay(self, path: str | Path) -> Path:
        """Write the radiograph with boxes and saliency as a PNG or JPEG.

        Raises:
            ReportError: nothing was explained (``predict(..., explain=True)``), or the file cannot be written.
        """
        from osteo_edge.reports.overlay import save_overlay

        return save_overlay(self, Path(path))
