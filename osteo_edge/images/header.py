"""What a picture file says of itself before anything is decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from osteo_edge.errors import InputError, UnsupportedImageError

FormatName = Literal["PNG", "JPEG", "TIFF", "BMP", "WebP", "DICOM"]


@dataclass(frozen=True)
class ImageHeader:
    """Format and size as stored, before the orientation is applied.

    Attributes:
        memory_bytes: what decoding takes: width x height x samples a pixel x bytes a sample, and more where the
            decoder keeps more than that.
        may_be_transparent: the file has an alpha channel or names a transparent colour.
        may_be_coloured: the pixels have more than one colour channel, or are numbers of a palette.
        orientation: as EXIF numbers it, 1 to 8. JPEG's and WebP's alone, which are applied here; the decoder applies
            the others'.
        jpeg_quality: 1 to 100 as libjpeg counts, by the quantization table; None where there is none.
    """

    format: FormatName
    width_px: int
    height_px: int
    memory_bytes: int
    may_be_transparent: bool = False
    may_be_coloured: bool = False
    orientation: int = 1
    jpeg_quality: int | None = None

    @property
    def pixels(self) -> int:
        return self.width_px * self.height_px


def several_pictures(what: str) -> InputError:
    """The refusal of a file that holds more than one picture."""
    return UnsupportedImageError(f"this is {what}; export one picture a file", code="multi_frame")


def unsupported_pixels(what: str, instead: str) -> InputError:
    """The refusal of pixels that the decoder does not know, or would decode to others without a word."""
    return UnsupportedImageError(f"this is {what}; {instead}", code="unsupported_pixels")
