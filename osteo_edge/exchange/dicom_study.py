"""The study that a DICOM picture belongs to, and new objects of it: same patient and study, a new series.

What stands here of a patient goes back to where it came from and nowhere else. Errors name kinds of faults, never values.
"""

from __future__ import annotations

import io
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from osteo_edge import __version__
from osteo_edge.errors import ReportError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

INSTALL: Final = 'pip install "osteo-edge[dicom-out]"'
MANUFACTURER: Final = "osteo-edge"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
# Of nobody's root: made of a number that is unique by itself (PS3.5, B.2).
_IMPLEMENTATION: Final = "2.25.329800735698586629295641978511506172918"
_COPIED: Final = (
    *("SpecificCharacterSet", "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex"),
    *("StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber"),
    *("ReferringPhysicianName", "TimezoneOffsetFromUTC"),
)
_OF_PICTURE: Final = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "Modality", "Rows", "Columns")
_NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
# Type 2: they stand there, be they empty.
_MAY_BE_EMPTY: Final = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"),
)


@dataclass(frozen=True)
class Study:
    """Where an answer belongs.

    Attributes:
        picture: what the answered picture's file says of patient, study, series and itself; without pixels.
        key: from which the numbers of new objects are made: the same key, the same numbers.
        made: the time that new objects state.
    """

    picture: Dataset
    key: str
    made: datetime

    def number(self, what: str) -> str:
        """A UID of its own (PS3.5, B.2)."""
        return f"2.25.{uuid.UUID(bytes=sha256(f'{self.key}/{what}'.encode()).digest()[:16], version=5).int}"


def study_of(data: bytes, key: str, made: datetime) -> Study:
    """Of a DICOM file that ``images.reader`` has read.

    Raises:
        ReportError: pydicom is not installed, or the file does not say what it belongs to.
    """
    pydicom = require_pydicom()
    with faults_told():
        wanted = [*_COPIED, *_OF_PICTURE]
        picture = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, specific_tags=wanted)
        missing = [keyword for keyword in _NEEDED if not picture.get(keyword)]
        if missing:
            raise ReportError(f"the picture's file has no {missing[0]}: no DICOM object can be made that belongs to it")
        for keyword in _MAY_BE_EMPTY:
            if keyword not in picture:
                setattr(picture, keyword, "")
    return Study(picture, key, made)


def require_pydicom() -> Any:
    """The module.

    Raises:
        ReportError: it is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise ReportError(f"DICOM objects need pydicom, which is not installed: {INSTALL}") from error
    return pydicom


@contextmanager
def faults_told() -> Iterator[None]:
    """What pydicom and highdicom find wrong in a file; neither their errors' text nor their warnings, which quote it, pass.

    Raises:
        ReportError: in place of any other error.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except ReportError:
            raise
        except Exception as error:
            kind = type(error).__name__
            raise ReportError(
                f"no DICOM object can be made for this picture's study ({kind}): its tags are not sound"
            ) from None


def new_object(study: Study, kind: str, *, modality: str, series: str, number: int) -> Dataset:
    """The beginning of a new object: patient, study, a series of its own, and what made it.

    Args:
        kind: SOP class.
        series: what the series is called.
        number: of the series.
    """
    from pydicom.dataset import Dataset

    made = Dataset()
    for keyword in _COPIED:
        if keyword in study.picture:
            made[keyword] = study.picture[keyword]
    made.SOPClassUID, made.SOPInstanceUID = kind, study.number(f"{modality}/instance")
    made.SeriesInstanceUID, made.SeriesNumber, made.InstanceNumber = study.number(f"{modality}/series"), number, 1
    made.Modality, made.SeriesDescription = modality, series
    made.Manufacturer, made.ManufacturerModelName, made.SoftwareVersions = MANUFACTURER, MANUFACTURER, __version__
    made.DeviceSerialNumber = ""
    for day, time in (
        ("SeriesDate", "SeriesTime"),
        ("ContentDate", "ContentTime"),
        ("InstanceCreationDate", "InstanceCreationTime"),
    ):
        setattr(made, day, study.made.strftime("%Y%m%d"))
        setattr(made, time, study.made.strftime("%H%M%S"))
    return made


def reference(study: Study) -> Dataset:
    """To the picture that was answered."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = study.picture.SOPClassUID, study.picture.SOPInstanceUID
    return item


def as_file(made: Dataset) -> bytes:
    """The bytes of its file (PS3.10)."""
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = made.SOPClassUID, made.SOPInstanceUID
    meta.TransferSyntaxUID, meta.ImplementationClassUID = UID(EXPLICIT), UID(_IMPLEMENTATION)
    made.file_meta = meta
    target = io.BytesIO()
    pydicom.dcmwrite(target, made, enforce_file_format=True)
    return target.getvalue()
