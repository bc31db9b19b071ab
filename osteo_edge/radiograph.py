"""The record at the pipeline's start: one decoded radiograph."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osteo_edge.arrays import Pixels
    from osteo_edge.tags import Tags


@dataclass(frozen=True)
class Radiograph:
    """Pixels as stored, upright, bone bright.

    Attributes:
        pixels: (height, width) uint8 or uint16, read-only. Kept as integers: a 40-megapixel film as
            floats would take 160 MB.
        source: the name by which the caller knows the picture.
        digest: SHA-256 of the bytes that were decoded (of the pixels, for an array). It stands for the pixels where two are
            compared or one is hashed.
        coloured_share: share of the pixels that were plainly coloured before they were made grey.
        tags: what a DICOM file says besides; None of other files.
        jpeg_quality: 1 to 100 as libjpeg counts, by the file's quantization table; None where it has none.
    """

    pixels: Pixels = field(repr=False, compare=False)
    source: str
    digest: str
    coloured_share: float = 0.0
    tags: Tags | None = None
    jpeg_quality: int | None = None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Copied or unpickled: an array's own copy may be written to."""
        self.__dict__.update(state)
        self.pixels.setflags(write=False)

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def bit_depth(self) -> int:
        return int(self.pixels.dtype.itemsize) * 8
