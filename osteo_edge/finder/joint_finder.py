"""Find each knee joint of a radiograph, and the box around it.

The picture goes the way of the classical detectors. It is shrunk and described by the directions of its
edges (histograms of oriented gradients, Dalal & Triggs, CVPR 2005), so that exposure, borders and padding
matter little. One learned linear template and its mirror image search it at several scales. Each hit is
pulled onto the joint by a few linear regressions (supervised descent, Xiong & De la Torre, CVPR 2013), and
two more linear functions say whether it is a knee and which one. Only numpy and OpenCV take part: every
inference engine is shown exactly the same crop.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from osteo_edge.finder.borders import Inside, inside_black_border, moved_out
from osteo_edge.finder.copies import halvings, pixel_size, shrink
from osteo_edge.finder.edges import LinearFunctions
from osteo_edge.finder.poses import CLOSE_UP, DIRECTIONS, MAX_HITS, SEARCH, Hit, Pose, choose, fills, is_shown, moved, strongest
from osteo_edge.finder.search import search
from osteo_edge.joints import Joint
from osteo_edge.labels import Laterality
from osteo_edge.learned import read_arrays

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from osteo_edge.arrays import Floats, Pixels

    KneesIn = Callable[[list[Floats]], list[Hit]]

STAGES: Final = 3
# A knee's score, about 1 for a clear one, from which on no other view is looked at: turned radiographs show no false knee as
# clear, but for 8 of 1,672 that were turned upside down (`python -m benchmarks turned`).
SURE_SCORE: Final = 0.7
MIN_FILLING_SCORE: Final = -0.2
# Below this the two mirror images fit about equally well and no side is named.
SURE_SIDE: Final = 0.1
# Name, shape and type of every array of a finder's file. A linear function's last weight is its constant.
LAYOUT: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "template": ((SEARCH.cells, SEARCH.cells, DIRECTIONS), "float16"),
    "template_constant": ((), "float32"),
    "descent": ((STAGES, CLOSE_UP.features + 1, 3), "float16"),
    "knee": ((CLOSE_UP.features + 1,), "float16"),
    "side": ((CLOSE_UP.features + 1,), "float16"),
    "threshold": ((), "float32"),
}


class Finder(Protocol):
    """What finds joints: a ``JointFinder``, or one of whose hits not all pass."""

    @property
    def threshold(self) -> float: ...

    def find(self, pixels: Pixels) -> tuple[Joint, ...]: ...

    def examine(self, pyramid: list[Floats]) -> list[Hit]: ...

    def is_sure(self, joints: Sequence[Joint]) -> bool:
        """Whether these, which it has just found, are so clear that no other view of the picture need be looked at."""
        ...


@dataclass(frozen=True)
class JointFinder:
    """Learned weights; `train/finder/` makes them.

    Attributes:
        template: (11, 11, 8) float32, fits a knee whose fibula stands at its left in the picture.
        template_constant: added to the template's response.
        descent: (3, 969, 3) float32, per stage from a close-up's features to dx, dy (knee widths) and
            the logarithm of the width's change.
        knee: (969,) float32, about 1 for a knee and -1 for anything else.
        side: (969,) float32, about 1 where the fibula is at the left in the picture and -1 at the right.
        threshold: a hit with a lower `knee` is none.
    """

    template: Floats
    template_constant: float
    descent: Floats
    knee: Floats
    side: Floats
    threshold: float

    @classmethod
    def from_bytes(cls, data: bytes) -> JointFinder:
        """Read an .npz file.

        Raises:
            ManifestError: it is damaged or does not hold what `LAYOUT` asks for.
        """
        arrays = read_arrays(data, LAYOUT, what="The joint finder", remedy="install the bundle again")
        return cls(
            template=arrays["template"].astype(np.float32),
            template_constant=float(arrays["template_constant"]),
            descent=arrays["descent"].astype(np.float32),
            knee=arrays["knee"].astype(np.float32),
            side=arrays["side"].astype(np.float32),
            threshold=float(arrays["threshold"]),
        )

    def find(self, pixels: Pixels, knees_in: KneesIn | None = None) -> tuple[Joint, ...]:
        """Find one knee or two.

        Args:
            pixels: (height, width), upright, bone bright.
            knees_in: which of what is hit in a working copy and its halves are knees; by default as the finder alone has it.

        Returns:
            left to right in the picture; empty when there is no knee.
        """
        work = shrink(pixels)
        inside = inside_black_border(work, pixels.shape)
        chosen = knees_in or self.knees_in
        return (_find_inside(pixels, inside, chosen) if inside else ()) or _find(work, pixels.shape, chosen)

    def knees_in(self, pyramid: list[Floats]) -> list[Hit]:
        """The best knee and the best plausible second one, left to right; or the weak one that fills the picture."""
        hits = self.examine(pyramid)
        return choose(hits, self.threshold) or self._filling(hits, pyramid[0])

    def is_sure(self, joints: Sequence[Joint]) -> bool:
        """Whether one of these is so clear that no other view of the picture need be looked at."""
        return any(joint.score >= SURE_SCORE for joint in joints)

    def _filling(self, hits: list[Hit], work: Floats) -> list[Hit]:
        """The best hit that fills the picture, where nothing fits the picture turned or inverted as well."""
        filling = [hit for hit in hits if hit.score >= MIN_FILLING_SCORE and fills(hit.pose, work.shape)]
        if not filling:
            return []
        from osteo_edge.finder.orientation import best_of_other_views  # a knee that is clear need not wait for this import

        return filling[:1] if best_of_other_views(self, work) < filling[0].score else []

    def examine(self, pyramid: list[Floats], hits: int = MAX_HITS) -> list[Hit]:
        """The template's strongest hits, pulled onto a joint and scored as a knee, best first."""
        found = search(pyramid, self.template, self.template_constant, hits)
        ends = self.descend(pyramid, [hit.pose for hit in found])
        poses = [pose for pose in ends if is_shown(pose, pyramid[0])]
        judged = zip(poses, self._judgement.answers(pyramid, poses).tolist(), strict=True)
        return strongest([Hit(pose, knee, _laterality(side)) for pose, (knee, side) in judged], hits)

    def descend(self, pyramid: list[Floats], poses: Sequence[Pose]) -> list[Pose]:
        """Follow the learned regressions to the joints."""
        for stage in self._stages:
            steps = stage.answers(pyramid, poses)
            poses = [moved(pose, step) for pose, step in zip(poses, steps, strict=True)]
        return list(poses)

    @cached_property
    def _stages(self) -> list[LinearFunctions]:
        return [LinearFunctions.of(stage) for stage in self.descent]

    @cached_property
    def _judgement(self) -> LinearFunctions:
        return LinearFunctions.of(np.stack([self.knee, self.side], axis=1))


def _find(work: Floats, shape: tuple[int, ...], knees_in: KneesIn) -> tuple[Joint, ...]:
    return as_joints(knees_in(halvings(work)), work.shape, shape)


def _find_inside(pixels: Pixels, inside: Inside, knees_in: KneesIn) -> tuple[Joint, ...]:
    part = pixels[inside]
    return tuple(moved_out(joint, inside) for joint in _find(shrink(part), part.shape, knees_in))


def as_joints(hits: Iterable[Hit], work_shape: tuple[int, ...], shape: tuple[int, ...]) -> tuple[Joint, ...]:
    """Hits in the working copy as joints of the picture, of these shapes."""
    pixel_width, pixel_height = pixel_size(shape, work_shape)
    return tuple(
        Joint(
            x_px=hit.pose.x * pixel_width,
            y_px=hit.pose.y * pixel_height,
            width_px=hit.pose.width * pixel_width,
            score=hit.score,
            laterality=hit.laterality,
        )
        for hit in hits
    )


def _laterality(fibula_left: float) -> Laterality | None:
    """Seen from the front, a right knee has its fibula at the left of the picture."""
    if abs(fibula_left) < SURE_SIDE:
        return None
    return Laterality.RIGHT if fibula_left > 0 else Laterality.LEFT
