"""Finders of what a network is shown, other than the knee's joint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from osteo_edge.errors import OsteoEdgeError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.integrity import sha256_hex
from osteo_edge.joints import Joint
from train.runs.arrays import Pixels
from train.runs.config import from_project

if TYPE_CHECKING:
    from train.data.crops import Finder

# The word in a configuration's place for the finder's file.
WHOLE_PICTURE = "whole"


class WholePicture:
    """One place in the middle, as wide as the picture: for images that are framed already, as those of the spine are."""

    def find(self, pixels: Pixels) -> tuple[Joint, ...]:
        height, width = pixels.shape
        return (Joint(x_px=(width - 1) / 2, y_px=(height - 1) / 2, width_px=float(width), score=1.0, laterality=None),)


def open_configured(finder: str, instead: Path | None = None) -> tuple[Finder, str]:
    """The finder of a configuration, or of another place; as ``open_finder``.

    Args:
        finder: a path seen from the project's root, or ``"whole"``.
    """
    return open_finder(instead or (finder if finder == WHOLE_PICTURE else from_project(finder)))


def open_finder(place: Path | str) -> tuple[Finder, str]:
    """The finder that a configuration names, and what stands for it in digests.

    Raises:
        OsteoEdgeError: its file cannot be read or is none.
    """
    if str(place) == WHOLE_PICTURE:
        return WholePicture(), WHOLE_PICTURE
    try:
        data = Path(place).read_bytes()
    except OSError as error:
        raise OsteoEdgeError(f"{place}: the knee finder cannot be read ({error.strerror})") from error
    return JointFinder.from_bytes(data), sha256_hex(data)
