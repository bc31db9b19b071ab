"""Graded knees as files of bundles are compared on: all of the validation part, and of the training part enough for ranges."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from export.progress import Track
from export.quantization.representative import MAX_REPRESENTATIVE_PICTURES
from export.radiographs import Case, View, by_view, case_of, read_cases
from export.source import Source
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.radiograph import Radiograph
from train.grading.knees import TRAINING, VALIDATION, GradedKnee, read_index, read_part

# So many training knees are read that ranges have their number although the finder misses some.
_TRAINING_KNEES = 2 * MAX_REPRESENTATIVE_PICTURES


def read_source_cases(
    source: Source, folder: Path, finder: JointFinder, views: Sequence[View], *, track: Track
) -> dict[View, tuple[Case, ...]]:
    """The radiographs of a source's kind: all below the folder, or the graded knees of its index.

    Raises:
        DatasetError: as ``read_graded_cases``.
        ExportError: one cannot be read, or no knee is found on any.
    """
    read = read_graded_cases if source.kind == "grades" else read_cases
    return read(folder, finder, views, track=track)


def read_graded_cases(
    folder: Path, finder: JointFinder, views: Sequence[View], *, track: Track
) -> dict[View, tuple[Case, ...]]:
    """The validation knees in the order of the index, then training knees in that of their digests, as each view shows them.

    Raises:
        DatasetError: the folder's table or a picture is not as it should be.
        ExportError: no knee is found on any.
    """
    knees = read_index(folder)
    read = [part for chosen in (_validation(knees), _training(knees)) for part in _read(chosen)]
    cases = [case_of(radiograph, name, finder, views) for name, radiograph in track(read, "finding knees")]
    return by_view(cases, views, f"graded knee in {folder}; check --finder and --data")


def _validation(knees: Sequence[GradedKnee]) -> list[GradedKnee]:
    return [knee for knee in knees if knee.part == VALIDATION]


def _training(knees: Sequence[GradedKnee]) -> list[GradedKnee]:
    trained = sorted((knee for knee in knees if knee.part == TRAINING), key=lambda knee: knee.sha256)
    return trained[:_TRAINING_KNEES]


def _read(knees: Sequence[GradedKnee]) -> list[tuple[str, Radiograph]]:
    part = read_part(knees, knees[0].part)
    return [
        (f"{knee.part}/{knee.path.name}", Radiograph(picture, str(knee.path), knee.sha256))
        for knee, picture in zip(part.knees, part.pictures, strict=True)
    ]
