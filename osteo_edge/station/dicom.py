"""DICOM objects of each answer to a DICOM picture: report, capture and page, in a folder from which they are sent or taken."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from osteo_edge.errors import ReportError, StationError
from osteo_edge.exchange import dicom_report
from osteo_edge.exchange.dicom_objects import to_capture, to_encapsulated
from osteo_edge.exchange.dicom_study import Study, study_of
from osteo_edge.labels import Status
from osteo_edge.reports.pages import pdf
from osteo_edge.storage import write_file

if TYPE_CHECKING:
    from osteo_edge.prediction import Prediction
    from osteo_edge.reports.pages.picture import Read


class DicomProduct:
    """A ``Product``. Nothing is made of pictures that are no DICOM, or whose file was not read: its tags are not believed."""

    needs_explanation: Final = True

    def __init__(self, folder: Path, read: Read) -> None:
        """Make the folder.

        Args:
            read: reads the pictures that pages show.

        Raises:
            StationError: it cannot be made.
        """
        self._folder, self._read = folder, read
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StationError(f"the folder {folder} cannot be made: {error.strerror}") from error

    def make(self, prediction: Prediction, picture: bytes, stem: str) -> str:
        """Write the objects; returns why there are none, or not all, of a DICOM picture.

        Raises:
            StationError: one cannot be written.
        """
        if prediction.tags is None:
            return ""
        try:
            self._make(prediction, picture, stem)
        except ReportError as error:
            return str(error)
        return ""

    def _make(self, prediction: Prediction, picture: bytes, stem: str) -> None:
        study = study_of(picture, stem, datetime.now())
        self._write(f"{stem}.sr.dcm", dicom_report.to_report(prediction, study))
        if prediction.status is not Status.REJECTED:
            self._write(f"{stem}.sc.dcm", to_capture(prediction, study))
        if pdf.is_available():
            self._write(f"{stem}.pdf.dcm", to_encapsulated(self._page(prediction, picture, study), study))

    def _page(self, prediction: Prediction, picture: bytes, study: Study) -> bytes:
        from osteo_edge.reports.pages.answers import as_answered
        from osteo_edge.reports.pages.catalogue import ENGLISH, catalogue_of
        from osteo_edge.reports.pages.page import page_of
        from osteo_edge.reports.pages.picture import film_of

        answered = as_answered(prediction.to_dict())
        film = film_of(answered, picture, self._read)
        return pdf.to_pdf(page_of(answered, film, catalogue_of(ENGLISH), made=study.made))

    def _write(self, name: str, data: bytes) -> None:
        try:
            write_file(self._folder / name, data)
        except OSError as error:
            raise StationError(f"{self._folder / name} cannot be written: {error.strerror}") from error
