"""What the integer files of a plan take from radiographs, kept in a file: they are then made again without any."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.graded_knees import read_source_cases
from export.graph import inference_form
from export.plans import MemberPlan, Recipe, SourcePlan, digest_of
from export.progress import Track
from export.quantization import Exact, Maker, Measured, RepresentativeSet, integers, representative_set
from export.quantization.records import Limits
from export.radiographs import Case, View
from export.source import Source
from osteo_edge.errors import ManifestError
from osteo_edge.records import parse_json, parse_record, to_plain
from osteo_edge.storage import write_file
from train.runs.arrays import Floats

if TYPE_CHECKING:
    from osteo_edge.finder.joint_finder import JointFinder
    from train.runs.folder import Run

SCHEMA_VERSION: Literal[1] = 1
_RECORD, _GRID, _SCALE = "record", "/grid", "/scale"


@dataclass(frozen=True)
class MeasuredMember:
    """Of one member: the radiographs that were measured, without their pixels, and what each recipe takes from them."""

    representative: RepresentativeSet
    recipes: Mapping[Recipe, Measured] = field(repr=False)


@dataclass(frozen=True)
class _Set:
    """``RepresentativeSet`` without its pixels."""

    pictures: int
    knees: int
    digests_sha256: str


@dataclass(frozen=True)
class _File:
    """One recipe; its constants are arrays of the same file, named by the member, the recipe's place and their own names."""

    recipe: Recipe
    limits: Mapping[str, Limits]
    constants: tuple[str, ...]


@dataclass(frozen=True)
class _Member:
    weights_sha256: str
    representative: _Set
    files: tuple[_File, ...]


@dataclass(frozen=True)
class _Record:
    schema_version: Literal[1]
    members: Mapping[str, _Member]


def measure_source(
    source: Source, plan: SourcePlan, finder: JointFinder, data: Path, *, track: Track
) -> dict[str, MeasuredMember]:
    """Measure, for every member, what the plan's accepted recipes for ONNX Runtime take from its training radiographs.

    Left out, as no measurement replaces the radiographs: fine-tuning, and LiteRT's converter, which measures by itself.

    Raises:
        ExportError: a radiograph cannot be read, or none was trained on.
    """
    views = [View(run.region, run.input) for run in source.runs]
    cases = read_source_cases(source, data, finder, list(dict.fromkeys(views)), track=track)
    members = list(zip(source.names, source.runs, views, strict=True))
    return {name: _measure(run, plan.members[name], cases[view]) for name, run, view in track(members, "measuring")}


def _measure(run: Run, plan: MemberPlan, cases: Sequence[Case]) -> MeasuredMember:
    representative = representative_set(cases, run.training_digests)
    maker = Maker(Exact.of(inference_form(run.network()), run.input), representative)
    wanted = [one.recipe for one in plan.accepted() if one.recipe and one.engine == "onnxruntime" and not one.is_tuned]
    kept = RepresentativeSet(representative.pictures, representative.knees, representative.digests_sha256)
    return MeasuredMember(kept, {recipe: maker.measured(recipe) for recipe in wanted})


def write_measured(source: Source, members: Mapping[str, MeasuredMember], path: Path) -> None:
    """Write the file; the same measurements give the same bytes.

    Raises:
        ExportError: it cannot be written.
    """
    arrays: dict[str, NDArray[np.generic]] = {}
    record: dict[str, _Member] = {}
    for name, run in zip(source.names, source.runs, strict=True):
        files = []
        for place, (recipe, measured) in enumerate(members[name].recipes.items()):
            files.append(_File(recipe, measured.limits, tuple(measured.constants)))
            for constant, value in measured.constants.items():
                arrays |= _packed(_array_name(name, place, constant), value)
        chosen = members[name].representative
        record[name] = _Member(digest_of(run), _Set(chosen.pictures, chosen.knees, chosen.digests_sha256), tuple(files))
    text = json.dumps(to_plain(_Record(SCHEMA_VERSION, record)), sort_keys=True)
    buffer = io.BytesIO()
    held = {_RECORD: np.frombuffer(text.encode(), np.uint8), **arrays}
    np.savez_compressed(buffer, **held)  # type: ignore[arg-type]  # taken for ``allow_pickle``
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, buffer.getvalue())
    except OSError as error:
        raise ExportError(f"{path} cannot be written ({error.strerror}); choose another --output") from error


def read_measured(path: Path, source: Source) -> dict[str, MeasuredMember]:
    """Read the file, which must be of just these runs.

    Raises:
        ExportError: it cannot be read, or is of other weights.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            record = parse_record(_Record, parse_json(arrays[_RECORD].tobytes(), what=path.name), where=path.name)
            members = {name: _member(name, member, arrays) for name, member in record.members.items()}
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); make it with 'python -m export measure'") from error
    except (ManifestError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ExportError(f"{path}: is not what 'python -m export measure' writes ({error}); make it again") from error
    digests = {name: digest_of(run) for name, run in zip(source.names, source.runs, strict=True)}
    if digests != {name: member.weights_sha256 for name, member in record.members.items()}:
        raise ExportError(f"{path}: was measured for other weights than those of {source.folder}; make it again")
    return members


def _member(name: str, member: _Member, arrays: Mapping[str, NDArray[Any]]) -> MeasuredMember:
    chosen = member.representative
    return MeasuredMember(
        RepresentativeSet(chosen.pictures, chosen.knees, chosen.digests_sha256),
        {
            file.recipe: Measured(
                file.limits, {one: _unpacked(_array_name(name, place, one), arrays) for one in file.constants}
            )
            for place, file in enumerate(member.files)
        },
    )


def _packed(name: str, value: Floats) -> dict[str, NDArray[np.generic]]:
    """A kernel on the grid as its integers and the scale of each output, a fifth of the size; anything else as it is.

    An integer file that is made of either is the same to the byte: it divides by the scale again, which is a peak by 64.
    """
    for axis in range(0, value.ndim if value.ndim > 1 else 0, max(1, value.ndim - 1)):
        grid, scale = integers.seven_bits(value, axis)
        spread = scale.reshape([-1 if place == axis else 1 for place in range(value.ndim)])
        if np.allclose(grid * spread, value, rtol=1e-6, atol=0):
            return {f"{name}{_GRID}": grid, f"{name}{_SCALE}": spread}
    return {name: value}


def _unpacked(name: str, arrays: Mapping[str, NDArray[Any]]) -> Floats:
    return arrays[name] if name in arrays else np.asarray(arrays[f"{name}{_GRID}"] * arrays[f"{name}{_SCALE}"], np.float32)


def _array_name(member: str, place: int, constant: str) -> str:
    return f"{member}/{place}/{constant}"
