"""The few elements of a data set that matter, as they are stored: pydicom's conversions warn, and quote what they warn of."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PERSON: Final = ("PatientAge", "PatientSex")
# When the picture was taken, the nearest first.
DAYS: Final = ("AcquisitionDate", "ContentDate", "StudyDate")
# Free text, in which an implant may be named; nothing else of it is used, and none of it is shown.
DESCRIPTIONS: Final = (
    *("StudyDescription", "SeriesDescription", "ProtocolName", "PerformedProcedureStepDescription"),
    *("RequestedProcedureDescription", "AcquisitionDeviceProcessingDescription", "DerivationDescription", "ImageComments"),
)
KEYWORDS: Final = (
    *("SOPClassUID", "Modality", "PresentationIntentType", "BodyPartExamined", "AnatomicRegionSequence"),
    *("ViewPosition", "ViewCodeSequence", "ImageLaterality", "Laterality", "BurnedInAnnotation"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"),
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "WindowCenter", "WindowWidth"),
    *("VOILUTFunction", "PresentationLUTSequence", "PresentationLUTShape", *DESCRIPTIONS, *PERSON, *DAYS),
)


class Elements:
    """Read by keyword; what is absent is empty or None."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self.is_implicit, self._is_little = bool(dataset.original_encoding[0]), bool(dataset.original_encoding[1])

    def __contains__(self, keyword: str) -> bool:
        return keyword in self._dataset

    def texts(self, keyword: str) -> tuple[str, ...]:
        """The values of a text, without the blanks around them; none where it is empty."""
        raw = self._raw(keyword)
        if not isinstance(raw, (bytes, str)):
            return ()
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        return tuple(part.strip("\0 ") for part in text.split("\\")) if text.strip("\0 ") else ()

    def text(self, keyword: str) -> str:
        """The first value."""
        return next(iter(self.texts(keyword)), "")

    def word(self, keyword: str, known: Collection[str]) -> str:
        """As ``text``, for people: a word that is known, and no other, since anything may stand there."""
        text = self.text(keyword)
        return text if text in known else "unknown"

    def number(self, keyword: str) -> int | None:
        """A whole number of 16 bit without a sign; None also where it is stored as anything else."""
        raw = self._raw(keyword)
        if isinstance(raw, int):
            return raw
        if not isinstance(raw, bytes) or len(raw) != 2:
            return None
        return int(struct.unpack(self._order + "H", raw)[0])

    def numbers(self, keyword: str) -> tuple[int, ...]:
        """Whole numbers of 16 bit without a sign."""
        raw = self._raw(keyword)
        if isinstance(raw, bytes):
            return tuple(struct.unpack(f"{self._order}{len(raw) // 2}H", raw[: len(raw) // 2 * 2]))
        return tuple(int(one) for one in raw) if isinstance(raw, (list, tuple)) else ()

    def decimals(self, keyword: str) -> tuple[float, ...] | None:
        """Decimal strings; none where it is absent, and None where one is no number."""
        numbers = []
        for text in self.texts(keyword):
            try:
                numbers.append(float(text))
            except ValueError:
                return None
        return tuple(numbers) if all(map(math.isfinite, numbers)) else None

    def frames(self) -> int:
        """How many pictures; one where the file does not say."""
        text = self.text("NumberOfFrames")
        return int(text) if text.isdecimal() and len(text) < 12 else 1

    def bytes_of(self, keyword: str) -> bytes:
        """As stored, 16-bit words in the file's order."""
        raw = self._raw(keyword)
        if isinstance(raw, (list, tuple)):
            return struct.pack(f"{self._order}{len(raw)}H", *raw)
        return raw if isinstance(raw, bytes) else b""

    def first_item(self, keyword: str) -> Elements | None:
        """Of a sequence."""
        if keyword not in self._dataset:
            return None
        items = self._dataset[keyword].value
        return Elements._of_item(items[0], self) if items else None

    @property
    def order(self) -> str:
        """Of bytes, as ``struct`` writes it."""
        return self._order

    @property
    def _order(self) -> str:
        return "<" if self._is_little else ">"

    @classmethod
    def _of_item(cls, dataset: Dataset, parent: Elements) -> Elements:
        item = cls.__new__(cls)
        item._dataset, item.is_implicit, item._is_little = dataset, parent.is_implicit, parent._is_little
        return item

    def _raw(self, keyword: str) -> Any:
        if keyword not in self._dataset:
            return None
        element = self._dataset.get_item(keyword)
        return element.value if element is not None else None
