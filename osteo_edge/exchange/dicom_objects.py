"""An answer as pictures and pages of a study: a Secondary Capture of the overlay, and a PDF (PS3.3, A.8 and A.45)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from osteo_edge.exchange.dicom_study import Study, as_file, faults_told, new_object, reference
from osteo_edge.reports.overlay import draw_overlay
from osteo_edge.wording import BURNED_IN

if TYPE_CHECKING:
    from osteo_edge.answered import Answered

CAPTURE: Final = "1.2.840.10008.5.1.4.1.1.7"
PDF: Final = "1.2.840.10008.5.1.4.1.1.104.1"
# Far from what modalities number theirs by.
REPORT_SERIES, CAPTURE_SERIES, PDF_SERIES = 9901, 9902, 9903
_SIDES: Final = {"right": "R", "left": "L"}


def to_capture(prediction: Answered, study: Study) -> bytes:
    """The overlay as a picture in colours; that it is no radiograph and not for diagnosis is written into it.

    Raises:
        ReportError: the picture was rejected or not explained, or the object cannot be made.
    """
    picture = np.ascontiguousarray(draw_overlay(prediction)[..., ::-1])
    with faults_told():
        made = new_object(study, CAPTURE, modality="OT", series="AI research screening aid", number=CAPTURE_SERIES)
        made.ConversionType, made.BurnedInAnnotation = "WSD", "YES"
        made.ImageType, made.ImageComments = ["DERIVED", "SECONDARY"], BURNED_IN
        made.DerivationDescription, made.SourceImageSequence = BURNED_IN, [reference(study)]
        made.PatientOrientation, made.Laterality = "", _laterality(prediction)
        made.Rows, made.Columns, made.SamplesPerPixel, made.PlanarConfiguration = *picture.shape, 0
        made.PhotometricInterpretation, made.PixelRepresentation = "RGB", 0
        made.BitsAllocated, made.BitsStored, made.HighBit = 8, 8, 7
        data = picture.tobytes()
        made.add_new(0x7FE00010, "OB", data + bytes(len(data) % 2))
        return as_file(made)


def _laterality(prediction: Answered) -> str:
    """The only knee's; empty where there are several, or its side is not known."""
    sides = {joint.laterality.value if joint.laterality else "" for joint in prediction.joints}
    return _SIDES.get(sides.pop(), "") if len(sides) == 1 and len(prediction.joints) == 1 else ""


def to_encapsulated(pdf: bytes, study: Study) -> bytes:
    """A page of the answer.

    Raises:
        ReportError: the object cannot be made.
    """
    with faults_told():
        made = new_object(study, PDF, modality="DOC", series="AI research screening aid, page", number=PDF_SERIES)
        made.ConversionType, made.BurnedInAnnotation = "WSD", "YES"
        made.AcquisitionDateTime, made.DocumentTitle = "", "osteo-edge: research screening aid, not a diagnosis"
        made.ConceptNameCodeSequence = []
        made.SourceInstanceSequence = [reference(study)]
        made.MIMETypeOfEncapsulatedDocument = "application/pdf"
        made.EncapsulatedDocumentLength = len(pdf)
        made.add_new(0x00420011, "OB", pdf + bytes(len(pdf) % 2))
        return as_file(made)
