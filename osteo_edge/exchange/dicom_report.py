"""An answer as a structured report: Comprehensive SR by template 1500 (PS3.16, TID 1500), preliminary and unverified.

Each answer stands in a group of its own, with the bundle's name, version and digest as its algorithm: of a question that is
asked of knees, a group a knee with the box that the networks were shown. Scores and probabilities do not go into it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from osteo_edge import __version__
from osteo_edge.errors import ReportError
from osteo_edge.exchange.dicom_objects import REPORT_SERIES
from osteo_edge.exchange.dicom_study import INSTALL, MANUFACTURER, Study, as_file, faults_told
from osteo_edge.labels import Status

if TYPE_CHECKING:
    from osteo_edge.answered import Answer, Answered, Knee
    from osteo_edge.joints import Box, Joint

# Private: no published code says what a research test found.
SCHEME: Final = "99OSTEOEDGE"
_MOST_LETTERS: Final = 64
_REFERRED, _REJECTED = "referred", "not_evaluated"
_STATED: Final = {_REFERRED: "not told: the test is not sure", _REJECTED: "not evaluated: the picture is not fit for it"}


def is_available() -> bool:
    """Whether reports can be made here."""
    from importlib.util import find_spec

    return find_spec("highdicom") is not None


def to_report(prediction: Answered, study: Study) -> bytes:
    """The report's file.

    Raises:
        ReportError: highdicom is not installed, or the object cannot be made.
    """
    try:
        import highdicom
    except ImportError as error:
        raise ReportError(f"structured reports need highdicom, which is not installed: {INSTALL}") from error
    with faults_told():
        return as_file(_Writer(highdicom, prediction, study).report())


class _Writer:
    def __init__(self, highdicom: Any, prediction: Answered, study: Study) -> None:
        from pydicom.sr.codedict import codes

        self._sr, self._codes = highdicom.sr, codes
        self._prediction, self._study = prediction, study

    def report(self) -> Any:
        sr, study = self._sr, self._study
        content = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=self._device()),
            procedure_reported=self._codes.SCT.PlainRadiography,
            imaging_measurements=list(self._groups()),
        )
        made = sr.ComprehensiveSR(
            evidence=[study.picture],
            content=content[0],
            series_instance_uid=study.number("SR/series"),
            series_number=REPORT_SERIES,
            sop_instance_uid=study.number("SR/instance"),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
        )
        made.SeriesDescription, made.ManufacturerModelName = "AI research screening aid, report", MANUFACTURER
        made.SoftwareVersions, made.DeviceSerialNumber = __version__, ""
        made.ContentDate, made.ContentTime = study.made.strftime("%Y%m%d"), study.made.strftime("%H%M%S")
        return made

    def _device(self) -> Any:
        identity = self._sr.DeviceObserverIdentifyingAttributes(
            uid=self._study.number("device"),
            name=MANUFACTURER,
            manufacturer_name=MANUFACTURER,
            model_name=f"{MANUFACTURER} {__version__}",
        )
        return self._sr.ObserverContext(observer_type=self._codes.DCM.Device, observer_identifying_attributes=identity)

    def _groups(self) -> Iterator[Any]:
        for answer in self._prediction.answers:
            if answer.asked.unit == "knee" and answer.knees:
                for number, knee in enumerate(answer.knees, start=1):
                    yield self._of_knee(answer, knee, number)
            else:
                yield self._of_picture(answer)

    def _of_picture(self, answer: Answer) -> Any:
        joints = self._prediction.joints
        return self._sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(answer, 0),
            algorithm_id=self._algorithm(answer),
            finding_sites=[self._site(joints[0] if len(joints) == 1 else None)],
            qualitative_evaluations=[self._told(answer, answer.answer)],
            source_images=[self._sr.SourceImageForMeasurementGroup.from_source_image(self._study.picture)],
        )

    def _of_knee(self, answer: Answer, knee: Knee, number: int) -> Any:
        return self._sr.PlanarROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._tracking(answer, number),
            referenced_region=self._region(knee.box),
            algorithm_id=self._algorithm(answer),
            finding_sites=[self._site(knee.joint)],
            qualitative_evaluations=[self._told(answer, knee.answer)],
        )

    def _tracking(self, answer: Answer, number: int) -> Any:
        name = f"{answer.question}{f', knee {number}' if number else ''}"
        return self._sr.TrackingIdentifier(uid=self._study.number(f"{answer.question}/{number}"), identifier=name)

    def _algorithm(self, answer: Answer) -> Any:
        model = answer.model
        parameters = [f"SHA-256 {model.digest}", f"{model.engine} {model.precision}", f"osteo-edge {__version__}"]
        return self._sr.AlgorithmIdentification(
            name=model.bundle, version=model.version, parameters=parameters, manufacturer=MANUFACTURER
        )

    def _site(self, joint: Joint | None) -> Any:
        side = joint.laterality.value.title() if joint and joint.laterality else ""
        laterality = getattr(self._codes.SCT, side) if side else None
        return self._sr.FindingSite(anatomic_location=self._codes.SCT.KneeJoint, laterality=laterality)

    def _region(self, box: Box) -> Any:
        """Inside the picture, from its first corner round to it again: columns and rows."""
        columns, rows = int(self._study.picture.Columns), int(self._study.picture.Rows)
        (left, right), (top, bottom) = _inside(box.x0, box.x1, columns), _inside(box.y0, box.y1, rows)
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        source = self._sr.SourceImageForRegion(self._study.picture.SOPClassUID, self._study.picture.SOPInstanceUID)
        return self._sr.ImageRegion(self._sr.GraphicTypeValues.POLYLINE, np.array(corners, np.float64), source)

    def _told(self, answer: Answer, code: str | None) -> Any:
        """The question and what is said to it, in private codes."""
        stated = code or (_REJECTED if answer.status is Status.REJECTED else _REFERRED)
        return self._sr.QualitativeEvaluation(
            name=self._private(answer.question, answer.title),
            value=self._private(stated, _STATED.get(stated, stated.replace("_", " "))),
        )

    def _private(self, code: str, meaning: str) -> Any:
        return self._sr.CodedConcept(code, SCHEME, meaning[:_MOST_LETTERS])


def _inside(low: int, high: int, size: int) -> tuple[int, int]:
    return min(max(low, 0), size), min(max(high, 0), size)
