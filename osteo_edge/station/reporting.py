"""Pages of answers, in a folder of OUTBOX: named as the picture and its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from osteo_edge.errors import StationError

if TYPE_CHECKING:
    from osteo_edge.prediction import Prediction
    from osteo_edge.reports.pages.picture import Read
    from osteo_edge.reports.pages.writing import Wanted


class PageProduct:
    """A ``Product``: a PDF and an HTML file in each language."""

    needs_explanation: Final = False

    def __init__(self, wanted: Wanted, read: Read) -> None:
        """Make the folder, and look whether the languages are there.

        Args:
            read: reads the pictures that are shown.

        Raises:
            StationError: the folder cannot be made.
            ReportError: a catalogue is missing or damaged.
        """
        from osteo_edge.reports.pages.catalogue import catalogue_of

        self._wanted, self._read = wanted, read
        for language in wanted.languages:
            catalogue_of(language)
        try:
            wanted.folder.mkdir(exist_ok=True)
        except OSError as error:
            raise StationError(f"the folder {wanted.folder} cannot be made: {error.strerror}") from error

    def make(self, prediction: Prediction, picture: bytes, stem: str) -> str:
        """Write the pages; there is nothing of which there are none.

        Raises:
            ReportError: one could not be made or written.
        """
        from osteo_edge.reports.pages.answers import as_answered
        from osteo_edge.reports.pages.writing import Pages, stated_time

        Pages(self._wanted, 1, stated_time(), self._read).add(as_answered(prediction.to_dict()), picture, stem=stem)
        return ""
