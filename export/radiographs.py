"""Radiographs as a member sees them: through the runtime's own reader, finder, box and preparation; or drawn ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from export.errors import ExportError
from export.progress import Track
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.images import reader
from osteo_edge.images.preprocess import prepare_knee
from osteo_edge.joints import Joint
from osteo_edge.manifest import InputSpec, RegionProfile
from osteo_edge.radiograph import Radiograph
from train.runs.arrays import Floats
from train.synthetic import render, sample_case

DRAWN = 30
_FIRST_SEED = 1000  # the reference picture has the first ones
_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff"))


@dataclass(frozen=True)
class View:
    """What a member is shown of a knee, and how it is prepared; members that share both share the pixels."""

    region: RegionProfile
    input: InputSpec

    def prepare(self, radiograph: Radiograph, joints: Sequence[Joint]) -> tuple[Floats, ...]:
        """One (1, H, W, 1) float32 a joint."""
        shown = (prepare_knee(radiograph.pixels, joint, self.region, self.input) for joint in joints)
        return tuple(np.asarray(one, np.float32) for one in shown)


@dataclass(frozen=True)
class Case:
    """One radiograph and its knees, in one view.

    Attributes:
        name: its path below the data folder.
        digest: SHA-256 of its bytes.
        tensors: one (1, H, W, 1) float32 a knee, left to right in the picture; none where no knee was found.
    """

    name: str
    digest: str
    joints: tuple[Joint, ...]
    tensors: tuple[Floats, ...] = field(repr=False)


def find_pictures(folder: Path) -> tuple[Path, ...]:
    """Every picture file below ``folder``, sorted.

    Raises:
        ExportError: there is none.
    """
    pictures = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES))
    if not pictures:
        raise ExportError(f"no radiograph in {folder}; give the folder of the real radiographs (--data; DATA=FOLDER for make)")
    return pictures


def read_cases(folder: Path, finder: JointFinder, views: Sequence[View], *, track: Track) -> dict[View, tuple[Case, ...]]:
    """Read every radiograph below ``folder``, once, as each view shows it.

    Raises:
        ExportError: one cannot be read, or no knee is found on any.
    """
    pictures = track(find_pictures(folder), "reading radiographs")
    read = [read_case(path, path.relative_to(folder).as_posix(), finder, views) for path in pictures]
    return by_view(read, views, f"radiograph in {folder}; check --finder and --data")


def draw_cases(finder: JointFinder, views: Sequence[View], *, track: Track) -> dict[View, tuple[Case, ...]]:
    """Synthetic radiographs of one knee, two knees and whole legs, as each view shows them; the same ones every time.

    Raises:
        ExportError: no knee is found on any.
    """
    seeds = track(range(_FIRST_SEED, _FIRST_SEED + DRAWN), "drawing pictures")
    read = [read_case(_draw(seed), f"synthetic {seed}", finder, views) for seed in seeds]
    return by_view(read, views, "synthetic picture; check --finder")


def _draw(seed: int) -> bytes:
    knees, acquisition = sample_case(np.random.default_rng(seed))
    return cv2.imencode(".png", render(knees, acquisition, seed=seed).pixels)[1].tobytes()


def by_view(read: Sequence[Mapping[View, Case]], views: Sequence[View], what: str) -> dict[View, tuple[Case, ...]]:
    """The cases of each view.

    Raises:
        ExportError: there is no knee on any.
    """
    if not any(case.tensors for cases in read for case in cases.values()):
        raise ExportError(f"the finder finds no knee on any {what}")
    return {view: tuple(cases[view] for cases in read) for view in views}


def read_case(image: Path | bytes, name: str, finder: JointFinder, views: Sequence[View]) -> dict[View, Case]:
    """One radiograph as each view shows it.

    Raises:
        ExportError: it cannot be read.
    """
    try:
        radiograph = reader.read(image)
    except OsteoEdgeError as error:
        raise ExportError(f"{name} cannot be read: {error}") from error
    return case_of(radiograph, name, finder, views)


def case_of(radiograph: Radiograph, name: str, finder: JointFinder, views: Sequence[View]) -> dict[View, Case]:
    """A radiograph that was read, as each view shows it."""
    joints = tuple(finder.find(radiograph.pixels))
    return {view: Case(name, radiograph.digest, joints, view.prepare(radiograph, joints)) for view in views}


def knees(cases: Iterable[Case]) -> Floats:
    """The knees of all cases in order, (N, H, W, 1) float32."""
    return np.concatenate([tensor for case in cases for tensor in case.tensors])
