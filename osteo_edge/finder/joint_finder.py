"""Find each knee joint of a radiograph, and the box around it.

The picture goes the way of the classical detectors. It is shrunk and described by the directions of its
edges (histograms of oriented gradients, Dalal & Triggs, CVPR 2005), so that exposure, borders and padding
matter little. One learned linear template and its mirror image search it at several scales. Each hit is
pulled onto the joint by a few linear regressions (supervised descent, Xiong & De la Torre, CVPR 2013), and
two more linear functions say whether it is a knee and which one. Only numpy and OpenCV take part: every
inference engine is shown exactly the same crop.
"""

from __future__ import annotations

import io
import math
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from osteo_edge.errors import ManifestError
from osteo_edge.finder.borders import Inside, inside_black_border, moved_out
from osteo_edge.finder.copies import halvings, pixel_size, shrink
from osteo_edge.finder.edges import LinearFunctions
from osteo_edge.finder.poses import CLOSE_UP, DIRECTIONS, MAX_HITS, SEARCH, Hit, Pose, choose, fills, is_shown, moved, strongest
from osteo_edge.finder.search import search
from osteo_edge.joints import Joint
from osteo_edge.labels import Laterality

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from osteo_edge.arrays import Floats, Pixels

STAGES: Final = 3
MIN_FILLING_SCORE: Final = -0.2
# Below this the two mirror images fit about equally well and no side is named.
SURE_SIDE: Final = 0.1
_REMEDY = "install the bundle again"
# A .npy file's own header, which says what type and shape the numbers have.
_MAX_HEADER_BYTES = 1 << 10
# Name, shape and type of every array of a finder's file. A linear function's last weight is its constant.
LAYOUT: Final[dict[str, tuple[tuple[int, ...], str]]] = {
    "template": ((SEARCH.cells, SEARCH.cells, DIRECTIONS), "float16"),
    "template_constant": ((), "float32"),
    "descent": ((STAGES, CLOSE_UP.features + 1, 3), "float16"),
    "knee": ((CLOSE_UP.features + 1,), "float16"),
    "side": ((CLOSE_UP.features + 1,), "float16"),
    "threshold": ((), "float32"),
}


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
        arrays = _read_arrays(data)
        for name, (shape, dtype) in LAYOUT.items():
            _check_array(name, arrays[name], shape, dtype)
        return cls(
            template=arrays["template"].astype(np.float32),
            template_constant=float(arrays["template_constant"]),
            descent=arrays["descent"].astype(np.float32),
            knee=arrays["knee"].astype(np.float32),
            side=arrays["side"].astype(np.float32),
            threshold=float(arrays["threshold"]),
        )

    def find(self, pixels: Pixels) -> tuple[Joint, ...]:
        """Find one knee or two.

        Args:
            pixels: (height, width), upright, bone bright.

        Returns:
            left to right in the picture; empty when there is no knee.
        """
        work = shrink(pixels)
        inside = inside_black_border(work, pixels.shape)
        return (self._find_inside(pixels, inside) if inside else ()) or self._find(work, pixels.shape)

    def _find(self, work: Floats, shape: tuple[int, ...]) -> tuple[Joint, ...]:
        return as_joints(self.knees_in(halvings(work)), work.shape, shape)

    def _find_inside(self, pixels: Pixels, inside: Inside) -> tuple[Joint, ...]:
        part = pixels[inside]
        return tuple(moved_out(joint, inside) for joint in self._find(shrink(part), part.shape))

    def knees_in(self, pyramid: list[Floats]) -> list[Hit]:
        """The best knee and the best plausible second one, left to right; or the weak one that fills the picture."""
        hits = self.examine(pyramid)
        return choose(hits, self.threshold) or self._filling(hits, pyramid[0])

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


def _read_arrays(data: bytes) -> dict[str, NDArray[np.generic]]:
    # Of bytes that are no archive of plain arrays, zipfile, zlib and numpy raise a dozen classes, none of which they promise.
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            held = {name.removesuffix(".npy") for name in archive.namelist()}
            if held == set(LAYOUT):
                return {name: _read_array(archive.getinfo(f"{name}.npy"), archive, *LAYOUT[name]) for name in LAYOUT}
    except Exception as error:
        raise ManifestError(f"The joint finder is no readable .npz file; {_REMEDY}.") from error
    raise ManifestError(f"The joint finder holds {_enumerated(held)} where {_enumerated(LAYOUT)} are needed; {_REMEDY}.")


def _read_array(entry: zipfile.ZipInfo, archive: zipfile.ZipFile, shape: tuple[int, ...], dtype: str) -> NDArray[np.generic]:
    if entry.file_size > math.prod(shape) * np.dtype(dtype).itemsize + _MAX_HEADER_BYTES:
        raise ValueError(f"{entry.filename} is larger than what it should hold")
    array = np.load(io.BytesIO(archive.read(entry)), allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"{entry.filename} is no array")
    return array


def _enumerated(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))[:200] or "nothing"


def _check_array(name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: str) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ManifestError(f"The joint finder's {name} is {array.dtype} {array.shape} and must be {dtype} {shape}; {_REMEDY}.")
    if not np.isfinite(array.astype(np.float64)).all():
        raise ManifestError(f"The joint finder's {name} holds numbers that are not finite; {_REMEDY}.")
