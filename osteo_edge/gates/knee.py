"""Is what the finder found a knee, from the front? A small network's answer from the edges around it.

The finder's own score is a linear function and knows a few dozen radiographs; it takes much for a knee that is none. The gate
sees more of the picture around the joint, and was fitted on knees of several clinics against what the finder hits in anything
else, in near misses too: half a joint, a shaft, a knee upside down. Only numpy and OpenCV take part. It belongs to the program,
not to a bundle: no network need be run to know that a page of text is none.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from osteo_edge.errors import ManifestError
from osteo_edge.finder.copies import cut_out
from osteo_edge.finder.edges import describe
from osteo_edge.finder.poses import Window
from osteo_edge.learned import read_arrays

if TYPE_CHECKING:
    from collections.abc import Sequence

    from osteo_edge.arrays import Floats
    from osteo_edge.finder.poses import Hit, Pose

# A knee and about two thirds of its width to each side.
WINDOW: Final = Window(knee_px=28, cell_px=4, cells=16)
HIDDEN: Final = 48
LAYOUT: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "first": ((WINDOW.features, HIDDEN), "float16"),
    "first_constant": ((HIDDEN,), "float32"),
    "second": ((HIDDEN,), "float32"),
    "second_constant": ((), "float32"),
    "by_score": ((), "float32"),
    "limit": ((), "float32"),
}
WHAT: Final = "The gate for knees"
_FILE: Final = Path(__file__).with_name("knee.npz")


@dataclass(frozen=True)
class KneeGate:
    """Learned weights; `train/gates/` makes them.

    Attributes:
        first: (features, hidden) float32; second: (hidden,).
        by_score: how much the finder's own score counts.
        limit: what looks less like a knee is refused.
    """

    first: Floats
    first_constant: Floats
    second: Floats
    second_constant: float
    by_score: float
    limit: float

    @classmethod
    def from_bytes(cls, data: bytes) -> KneeGate:
        """Read an .npz file.

        Raises:
            ManifestError: it is damaged or does not hold what `LAYOUT` asks for.
        """
        arrays = read_arrays(data, LAYOUT, what=WHAT, remedy="install osteo-edge again")
        return cls(
            first=arrays["first"].astype(np.float32),
            first_constant=arrays["first_constant"].astype(np.float32),
            second=arrays["second"].astype(np.float32),
            second_constant=float(arrays["second_constant"]),
            by_score=float(arrays["by_score"]),
            limit=float(arrays["limit"]),
        )

    def likenesses(self, pyramid: list[Floats], hits: Sequence[Hit]) -> list[float]:
        """How much what the finder hit looks like a knee, 0 to 1.

        Args:
            pyramid: the finder's working copy of the picture, and its halves.
        """
        if not hits:
            return []
        features = np.stack([edges(pyramid, hit.pose) for hit in hits])
        hidden = np.maximum(features @ self.first + self.first_constant, 0)
        scores = np.array([hit.score for hit in hits], np.float32)
        logits = np.clip(hidden @ self.second + self.second_constant + self.by_score * scores, -30, 30)
        likenesses: list[float] = (1 / (1 + np.exp(-logits))).tolist()
        return likenesses


def edges(pyramid: list[Floats], pose: Pose) -> Floats:
    """(features,) float32 of the window around a pose."""
    features: Floats = describe(cut_out(pyramid, pose, WINDOW), WINDOW.cell_px).reshape(-1)
    return features


@cache
def embedded_gate() -> KneeGate:
    """The program's own.

    Raises:
        ManifestError: its file is missing or damaged.
    """
    try:
        data = _FILE.read_bytes()
    except OSError as error:
        raise ManifestError(f"{WHAT} cannot be read ({error.strerror}); install osteo-edge again.") from error
    return KneeGate.from_bytes(data)
