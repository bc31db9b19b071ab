"""Text on pictures, in letters that every release of OpenCV can draw."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from osteo_edge.printable import printable

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]

BACKGROUND_BGR: Colour = (32, 32, 32)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ASCII = str.maketrans(
    {"\u2010": "-", "\u2011": "-", "\u2013": "-", "\u2014": "-", "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"'}
)


@dataclass(frozen=True)
class Letters:
    """A size of letters.

    Attributes:
        scale: OpenCV's; at 1 a capital letter is about 22 px high.
    """

    scale: float

    @property
    def line_px(self) -> int:
        return round(40 * self.scale)

    def width_px(self, text: str) -> int:
        return int(cv2.getTextSize(text, _FONT, self.scale, 1)[0][0])

    def wrap(self, text: str, width_px: int) -> list[str]:
        """The text in lines of at most this width; a word that is wider than a line is divided."""
        lines = [""]
        for word in drawable(text).split():
            for part in self._divided(word, width_px):
                longer = f"{lines[-1]} {part}".strip()
                if self.width_px(longer) <= width_px:
                    lines[-1] = longer
                else:
                    lines.append(part)
        return [line for line in lines if line]

    def draw(self, canvas: Picture, lines: list[str], left: int, top: int, colour: Colour) -> None:
        """Write the lines below each other, in place."""
        for row, line in enumerate(lines, start=1):
            baseline = top + round((row - 0.28) * self.line_px)
            cv2.putText(canvas, line, (left, baseline), _FONT, self.scale, colour, 1, cv2.LINE_AA)

    def _divided(self, word: str, width_px: int) -> list[str]:
        parts = [""]
        for letter in word:
            if parts[-1] and self.width_px(parts[-1] + letter) > width_px:
                parts.append("")
            parts[-1] += letter
        return parts


def drawable(text: str) -> str:
    """In ASCII: accents are left out, and what has no letters there is shown as escapes rather than as question marks."""
    plain = unicodedata.normalize("NFKD", printable(text).translate(_ASCII))
    bare = "".join(character for character in plain if not unicodedata.combining(character))
    return bare.encode("ascii", "backslashreplace").decode("ascii")
