"""What there is of knees, by clinic, and of anything else, by kind; each in a part to fit on and one to judge on.

Of pictures at hand every other one is for either part; of what is drawn, each part has seeds of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar

import numpy as np

from osteo_edge.arrays import Floats
from osteo_edge.finder.copies import pixel_size, shrink
from osteo_edge.finder.poses import Pose
from train.data.dataset import read_dataset
from train.finder.pictures import pose_of, read_annotations, read_pixels, read_without_transparency
from train.gates import bones, drawn
from train.grading.knees import TRAINING, VALIDATION, read_index
from train.synthetic import render, sample_case
from train.synthetic.cases import scaled

Part = Literal["fit", "judge"]
Thing = TypeVar("Thing")

# The clinics of knees. What is drawn is none: it is there so that examples and self-tests are answered, and never judged on.
WHOLE_FILMS, CROPS, STRETCHED, DRAWN_KNEES = "knee", "knee_oa", "knee_unlabelled", "drawn knees"
BONE = "drawn bones"
_KINDS_OF_FILES: Final = {"chest_xray": "other radiograph", "document_text": "document", "natural_photo": "photograph"}
_ENDINGS: Final = (".png", ".jpg", ".jpeg", ".dcm", ".webp")
# Knees of a clinic that are read, evenly drawn: as many as there are, but for the thousands of graded ones.
MOST_OF_A_CLINIC: Final = 500
DRAWN_OF_A_KIND: Final = 75
_SEEDS: Final = {"fit": 1, "judge": 2}


@dataclass(frozen=True)
class Knees:
    """A picture of knees.

    Attributes:
        work: the finder's working copy.
        joints: where the knees are, in its pixels; empty where nobody said, so that the finder's surest hit is taken.
    """

    clinic: str
    name: str
    work: Floats
    joints: tuple[Pose, ...] = ()


@dataclass(frozen=True)
class Other:
    """A picture without a knee that can be answered."""

    kind: str
    name: str
    work: Floats
    is_drawn: bool = True


def knees(data: Path, part: Part, most: int = MOST_OF_A_CLINIC) -> Iterator[Knees]:
    """All clinics' knees of one part, of each clinic at most so many, evenly drawn.

    Raises:
        DatasetError: a folder or picture cannot be read.
    """
    yield from _whole_films(data / "knee", part, most)
    yield from _crops(data / "knee_oa", part, most)
    yield from _stretched(data / "knee_unlabelled", part, most)
    if part == "fit":
        yield from _drawn_knees()


def others(data: Path, more: Path | None, part: Part) -> Iterator[Other]:
    """Everything else of one part; `more` holds a folder of pictures a kind."""
    yield from others_at_hand(data, more, part)
    rng = np.random.default_rng(_SEEDS[part])
    for kind in drawn.KINDS:
        yield from (Other(kind, f"{kind} {number}", drawn.draw(kind, rng)) for number in range(DRAWN_OF_A_KIND))
    for name in bones.PARTS:
        yield from (
            Other(f"{BONE}: {name}", f"{name} {number}", bones.draw(name, rng)) for number in range(DRAWN_OF_A_KIND // 3)
        )


def others_at_hand(data: Path, more: Path | None, part: Part) -> Iterator[Other]:
    by_kind: dict[str, list[Path]] = {}
    for path in _files(data / "not_a_knee"):
        kind = next(kind for start, kind in _KINDS_OF_FILES.items() if path.name.startswith(start))
        by_kind.setdefault(kind, []).append(path)
    # The hips are one film in several encodings: one is enough, and films of hip and ankle go to either part.
    by_kind["hip or ankle"] = [data / "dicom" / name for name in ("ankle_mono1_j2k_lossless.dcm", "hip_mono2_jpegls.dcm")]
    for folder in sorted(more.iterdir()) if more else ():
        by_kind.setdefault(folder.name.replace("_", " "), []).extend(_files(folder))
    for kind, paths in by_kind.items():
        for path in paths[0 if part == "fit" else 1 :: 2]:
            pixels = read_pixels(path) if path.suffix == ".dcm" else read_without_transparency(path)
            yield Other(kind, path.name, shrink(pixels), is_drawn=False)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)


def _whole_films(folder: Path, part: Part, most: int) -> Iterator[Knees]:
    """The annotated ones are fitted on by half; all others are judged on."""
    annotations = read_annotations()
    films = [(row, annotations.get(row.sha256)) for row in read_dataset(folder).radiographs]
    chosen = [(row, record) for row, record in films if (record is not None and record["half"] == "tune") == (part == "fit")]
    for row, record in evenly(chosen, most):
        pixels = read_pixels(row.path)
        work = shrink(pixels)
        lines = [] if record is None else record["joint_lines"]
        size = 2 * pixel_size(pixels.shape, work.shape)
        yield Knees(WHOLE_FILMS, row.path.name, work, tuple(pose_of(np.array(line) / size) for line in lines))


def _crops(folder: Path, part: Part, most: int) -> Iterator[Knees]:
    rows = [knee for knee in read_index(folder) if knee.part == (TRAINING if part == "fit" else VALIDATION)]
    for knee in evenly(rows, most):
        yield Knees(CROPS, knee.path.name, shrink(read_without_transparency(knee.path)))


def evenly(rows: Sequence[Thing], most: int) -> list[Thing]:
    """At most so many, in their order, from the first to the last."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(most, len(rows))).round().astype(int))
    return [rows[place] for place in places]


def _stretched(folder: Path, part: Part, most: int) -> Iterator[Knees]:
    for path in evenly(_files(folder)[0 if part == "fit" else 1 :: 2], most):
        yield Knees(STRETCHED, path.name, shrink(read_pixels(path)))


def _drawn_knees() -> Iterator[Knees]:
    rng = np.random.default_rng(0)
    for number in range(DRAWN_OF_A_KIND):
        anatomies, exposure = sample_case(rng)
        drawing = render(anatomies, scaled(exposure, 0.5), seed=int(rng.integers(2**31)))
        yield Knees(DRAWN_KNEES, f"drawing {number}", shrink(drawing.pixels))
