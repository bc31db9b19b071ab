"""The annotated radiographs and the pictures without a knee, as they are and varied.

Nobody annotated the side: in a radiograph of both legs the knee at the left is the right one and has its fibula
at the left.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import click
import cv2
import numpy as np

from osteo_edge.arrays import Floats, Pixels
from osteo_edge.errors import InputError
from osteo_edge.finder.copies import halvings, pixel_size, shrink
from osteo_edge.finder.poses import Pose
from osteo_edge.images import reader
from train.data.dataset import LABELS_FILE, DatasetError, read_dataset
from train.runs.arrays import Doubles

ANNOTATIONS = Path(__file__).parent / "knee_joints.json"

Half = Literal["tune", "report"]


@dataclass(frozen=True)
class Example:
    """One picture ready for training or judging.

    Attributes:
        name: the file's path inside the data folder.
        acquisition: code of `labels.csv`; empty for a picture without a knee.
        pyramid: the working copy and its halves, float32.
        joints: true poses in pixels of the working copy, left to right.
        sides: 1 where the fibula stands at the left of the picture, -1 at the right, 0 unknown.
    """

    name: str
    acquisition: str
    pyramid: list[Floats]
    joints: tuple[Pose, ...] = ()
    sides: tuple[int, ...] = ()

    @property
    def work(self) -> Floats:
        return self.pyramid[0]


def read_pixels(path: Path) -> Pixels:
    """(height, width) uint8 or uint16, upright.

    Raises:
        DatasetError: it is no readable picture.
    """
    try:
        return reader.read(path).pixels
    except InputError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_annotations() -> dict[str, dict[str, Any]]:
    """By SHA-256 of the radiograph's file."""
    radiographs: dict[str, dict[str, Any]] = json.loads(ANNOTATIONS.read_text())["radiographs"]
    return radiographs


def read_half(data: Path, half: Half) -> list[Example]:
    """The annotated radiographs of one half, ordered by digest.

    Raises:
        DatasetError: the folder or a file is faulty, or an annotated radiograph is not among them.
    """
    folder = data / "knee"
    paths = {row.sha256: row.path for row in read_dataset(folder).radiographs}
    wanted = sorted((digest, record) for digest, record in read_annotations().items() if record["half"] == half)
    for digest, _ in wanted:
        if digest not in paths:
            raise DatasetError(f"{folder / LABELS_FILE}: the annotated radiograph with the SHA-256 {digest} is not listed")
    with click.progressbar(wanted, label=f"Reading the {half} half") as progress:
        return [read_example(folder, paths[digest], record) for digest, record in progress]


def read_example(folder: Path, path: Path, record: dict[str, Any]) -> Example:
    pixels = read_pixels(path)
    work = shrink(pixels)
    lines = [np.array(line) / (2 * pixel_size(pixels.shape, work.shape)) for line in record["joint_lines"]]
    return Example(
        name=path.relative_to(folder).as_posix(),
        acquisition=record["acquisition"],
        pyramid=halvings(work),
        joints=tuple(pose_of(line) for line in lines),
        sides=(1, -1) if len(lines) == 2 else (0,),
    )


def pose_of(line: Sequence[float] | Doubles) -> Pose:
    """From [x1, y1, x2, y2] at the tibial plateau's outer edges."""
    x1, y1, x2, y2 = (float(value) for value in line)
    return Pose((x1 + x2) / 2, (y1 + y2) / 2, math.hypot(x2 - x1, y2 - y1))


def read_others(data: Path, half: Half) -> list[Example]:
    """Pictures without a knee: every other one of the sorted files for either half.

    Raises:
        DatasetError: the folder is missing or empty, or a file is no readable picture.
    """
    folder = data / "not_a_knee"
    files = sorted(path for path in folder.glob("*") if path.suffix != ".csv")
    chosen = files[0 if half == "tune" else 1 :: 2]
    if not chosen:
        raise DatasetError(f"{folder}: holds no picture for the {half} half")
    return [Example(path.name, "", halvings(shrink(read_without_transparency(path)))) for path in chosen]


def read_without_transparency(path: Path) -> Pixels:
    """As `read_pixels`, but a transparent page, which the runtime refuses, serves as a picture without a knee too."""
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
    if pixels is None:
        raise DatasetError(f"{path}: is no readable picture")
    return cast(Pixels, pixels)


def single_knee_crops(examples: Iterable[Example], rng: np.random.Generator) -> list[Example]:
    """Each knee alone, filling its picture, stretched upwards: how other collections are cut and scaled."""
    return [crop_around(example, index, rng) for example in examples for index in range(len(example.joints))]


def crop_around(example: Example, index: int, rng: np.random.Generator) -> Example:
    joint = example.joints[index]
    left, right = rng.uniform(0.55, 0.95, 2) * joint.width
    above, below = rng.uniform(0.5, 1.2, 2) * joint.width
    x0, y0 = max(0, int(joint.x - left)), max(0, int(joint.y - above))
    crop = example.work[y0 : int(joint.y + below), x0 : int(joint.x + right)]
    stretch = float(np.exp(rng.uniform(-0.1, 0.7)))
    stretched = cv2.resize(crop, None, fx=1, fy=stretch, interpolation=cv2.INTER_LINEAR)
    pose = Pose(joint.x - x0, (joint.y - y0) * stretched.shape[0] / crop.shape[0], joint.width)
    pyramid = halvings(stretched.astype(np.float32))
    return replace(example, pyramid=pyramid, joints=(pose,), sides=(example.sides[index],))


def in_mirror(example: Example) -> Example:
    width = example.work.shape[1]
    return replace(
        example,
        pyramid=[np.ascontiguousarray(copy[:, ::-1]) for copy in example.pyramid],
        joints=tuple(Pose(width - joint.x, joint.y, joint.width) for joint in example.joints),
        sides=tuple(-side for side in example.sides),
    )


def jittered(pose: Pose, rng: np.random.Generator, shift: float, growth: float) -> Pose:
    """Moved by about `shift` knee widths, its width changed by about a factor of exp(`growth`)."""
    dx, dy, log_width = rng.normal(0, (shift, shift, growth))
    return Pose(pose.x + dx * pose.width, pose.y + dy * pose.width, pose.width * math.exp(log_width))
