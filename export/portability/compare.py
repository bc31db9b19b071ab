"""One bundle on several processors: every model file's answers for real knees, against the same file's on this machine.

Knees are found, cut and prepared once, here; the places are given finished tensors, so that only engine and processor differ.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from export import radiographs
from export.errors import ExportError
from export.parity import MIN_MARGIN
from export.portability import places
from export.portability.places import EXACT_SUM, Place
from export.portability.records import SCHEMA_VERSION, Environment, Flip, Form, Portability, Row, Tolerances
from export.progress import Track
from export.radiographs import Case, View
from osteo_edge.bundle import Bundle
from osteo_edge.decision.scores import softmax
from osteo_edge.device import processor
from osteo_edge.engines.select import available_threads
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.manifest import EngineName, Precision
from train.runs.arrays import Doubles, Integers

# int8's mean with AVX-512 hidden: files that do not saturate stay five times below or are equal; ConvNeXt-Tiny with 8-bit
# weights, which do, lies at 6e-3, and by its labels alone it would pass, since its classes lie close together. On arm64 nothing
# saturates, but values round at other places, which moves the same network's static int8 file by 4e-3 (docs/portability.md).
TOLERANCES = Tolerances(
    max_difference={"fp32": 1e-4, "fp16": 1e-4},
    min_agreement=0.99,
    max_mean_difference={"avx512_hidden": 0.002, "arm64": 0.01},
    clear_margin=MIN_MARGIN,
)
ARM64_CPUS = ("cortex-a72",)
AT_LEAST_KNEES = 12
SECONDS_A_FILE = 600


@dataclass(frozen=True)
class ModelFile:
    """One model file of the bundle, its bytes verified and written where the places find them.

    Attributes:
        where: path of the file on this machine.
        knees: path of the prepared knees, (N, H, W, 1) float32 (.npy).
    """

    path: str
    sha256: str
    engine: EngineName
    precision: Precision
    where: Path
    knees: Path


@dataclass(frozen=True)
class Answers:
    """Probabilities (knees, labels) for the knees with these numbers, and what the program said of itself."""

    order: Integers
    probabilities: Doubles
    report: Mapping[str, Any]


@dataclass(frozen=True)
class Arm64:
    """How much of the bundle is run on an emulated machine, which is some hundred times slower.

    Attributes:
        folder: made by ``prepare_arm64.sh``.
        cpu: a processor's name as qemu knows it.
        seconds: for one file; knees with the smallest native margins come first.
        at_least: knees that are run however long they take.
    """

    folder: Path
    cpu: str = ARM64_CPUS[0]
    seconds: float = SECONDS_A_FILE
    at_least: int = AT_LEAST_KNEES


@dataclass(frozen=True)
class _Material:
    """The prepared bundle in a temporary folder.

    Attributes:
        knees: digest of the radiograph and number in it, for each knee; the same in all views.
    """

    folder: Path
    files: tuple[ModelFile, ...]
    knees: tuple[tuple[str, int], ...]
    probe: Path
    radiographs: int
    native: dict[str, Answers] = field(default_factory=dict)


def compare(bundle: Bundle, data: Path, *, track: Track, arm64: Arm64 | None = None) -> Portability:
    """Run every model file of ``bundle`` natively, with AVX-512 hidden and, where there is one, on an emulated arm64 machine.

    Args:
        data: folder of the radiographs.

    Raises:
        ExportError: a radiograph cannot be read, a file gives no answers natively, or the emulated machine is none.
        BundleError: a file of the bundle is damaged.
    """
    machine = places.arm64(arm64.folder, arm64.cpu) if arm64 else None
    with tempfile.TemporaryDirectory(prefix="portability-") as folder:
        material = _prepare(bundle, data, Path(folder), track)
        environments = [_measure_native(material, track)]
        rows: list[Row] = []
        for environment, measured in (_measure_hidden(material, track), _measure_arm64(material, machine, arm64, track)):
            environments.append(environment)
            rows += measured
        return Portability(
            schema_version=SCHEMA_VERSION,
            bundle=bundle.manifest.name,
            files={file.path: file.sha256 for file in material.files},
            radiographs=material.radiographs,
            knees=len(material.knees),
            tolerances=TOLERANCES,
            environments=tuple(environments),
            rows=tuple(rows),
            passes=all(row.passes for row in rows),
        )


def model_files(bundle: Bundle) -> Iterator[tuple[str, EngineName, Precision, View]]:
    """Path, engine, precision and view of every model file."""
    for member in bundle.manifest.members:
        view = View(member.region, member.input)
        for engine, by_precision in member.files.items():
            for precision, path in by_precision.items():
                yield path, engine, precision, view  # type: ignore[misc]  # the manifest's check admits no other names


def write_knees(bundle: Bundle, data: Path, folder: Path, track: Track) -> tuple[dict[View, Path], tuple[Case, ...]]:
    """The knees of all radiographs below ``data`` as each member sees them, one ``.npy`` (N, H, W, 1) float32 a view.

    Raises:
        ExportError: a radiograph cannot be read, or no knee is found.
    """
    views = tuple(dict.fromkeys(view for *_, view in model_files(bundle)))
    finder = JointFinder.from_bytes(bundle.read(bundle.manifest.finder))
    cases = radiographs.read_cases(data, finder, views, track=track)
    written = {view: folder / f"knees-{number}.npy" for number, view in enumerate(views)}
    for view, path in written.items():
        np.save(path, radiographs.knees(cases[view]))
    return written, cases[views[0]]


def judge(file: ModelFile, form: Form, native: Answers, here: Answers, knees: Sequence[tuple[str, int]]) -> Row:
    """Compare one file's answers with its native ones, on the knees that were run here."""
    if not np.isfinite(here.probabilities).all():
        return fault(file, form, "its scores are not numbers")
    reference = native.probabilities[here.order]
    difference = np.abs(here.probabilities - reference)
    same = here.probabilities.argmax(axis=1) == reference.argmax(axis=1)
    margin = margins(reference)
    kept = float((same | (margin < TOLERANCES.clear_margin)).mean())
    limit = TOLERANCES.max_difference.get(file.precision)
    changed = sorted(np.flatnonzero(~same), key=lambda row: -margin[row])
    return Row(
        form=form,
        path=file.path,
        engine=file.engine,
        precision=file.precision,
        knees=len(here.order),
        max_difference=float(f"{difference.max():.3g}"),
        mean_difference=float(f"{difference.mean():.3g}"),
        same_label=round(float(same.mean()), 4),
        agreement=round(kept, 4),
        flips=tuple(
            _flip(knees[here.order[row]], float(margin[row]), reference[row], here.probabilities[row]) for row in changed
        ),
        passes=bool(kept >= TOLERANCES.min_agreement and difference.mean() <= TOLERANCES.max_mean_difference[form])
        if limit is None
        else bool(difference.max() <= limit),
        fault="",
    )


def _flip(knee: tuple[str, int], margin: float, native: Doubles, here: Doubles) -> Flip:
    return Flip(knee[0], knee[1], round(margin, 5), _plain(native), _plain(here))


def fault(file: ModelFile, form: Form, reason: str) -> Row:
    """A file that gave no answers."""
    return Row(form, file.path, file.engine, file.precision, 0, 0.0, 0.0, 0.0, 0.0, (), False, reason)


def margins(probabilities: Doubles) -> Doubles:
    """Likeliest class less the second, (N,)."""
    ordered = np.sort(probabilities, axis=1)
    return np.asarray(ordered[:, -1] - ordered[:, -2])


def _plain(probabilities: Doubles) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in probabilities)


def _prepare(bundle: Bundle, data: Path, folder: Path, track: Track) -> _Material:
    knees, cases = write_knees(bundle, data, folder, track)
    files = []
    for number, (path, engine, precision, view) in enumerate(model_files(bundle)):
        where = folder / f"model-{number}"
        where.write_bytes(bundle.read(path))
        files.append(ModelFile(path, bundle.manifest.files[path].sha256, engine, precision, where, knees[view]))
    probe = folder / "probe"
    probe.write_bytes(places.saturation_probe())
    numbered = tuple((case.digest, number) for case in cases for number in range(len(case.tensors)))
    return _Material(folder, tuple(files), numbered, probe, len(cases))


def _measure_native(material: _Material, track: Track) -> Environment:
    place = places.native()
    everything = np.arange(len(material.knees))
    for file in track(material.files, "natively"):
        try:
            material.native[file.path] = _answers(material, place, file, everything)
        except ExportError as error:
            raise ExportError(f"{file.path} gives no answers on this machine: {error}") from error
    return _environment(place, [material.native[file.path].report for file in material.files], proof="")


def _measure_hidden(material: _Material, track: Track) -> tuple[Environment, list[Row]]:
    if not places.has_avx512():
        return _absent("avx512_hidden", "not_available", "this processor has no AVX-512; nothing is left to hide"), []
    with ExitStack() as stack:
        try:
            place = stack.enter_context(places.avx512_hidden())
            proof = _prove_hidden(material, place)
        except ExportError as error:
            return _absent("avx512_hidden", "not_compared", str(error)), []
        everything = np.arange(len(material.knees))
        return _measure(material, place, proof, lambda native: everything, track, "AVX-512 hidden")


def _prove_hidden(material: _Material, place: Place) -> str:
    """The copy is in effect when 8-bit products do not fit any more.

    Raises:
        ExportError: they still do, or the probe does not run.
    """
    exact, hidden = (one.run({"probe": str(material.probe)})["answer"] for one in (places.native(), place))
    told = f"the sum of 256 products 255 * 127 is {exact} natively and {hidden} here"
    if exact != EXACT_SUM or hidden == EXACT_SUM:
        raise ExportError(f"hiding AVX-512 had no effect that can be shown: {told}")
    return f"{told}; {place.changed}"


def _measure_arm64(
    material: _Material, place: Place | None, limits: Arm64 | None, track: Track
) -> tuple[Environment, list[Row]]:
    if place is None:
        return _absent("arm64", "not_compared", "no emulated machine was given (--arm64)"), []

    def doubtful_first(native: Answers) -> Integers:
        return np.argsort(margins(native.probabilities), kind="stable")

    return _measure(material, place, place.changed, doubtful_first, track, f"arm64, {place.processor.model}", limits)


def _measure(
    material: _Material,
    place: Place,
    proof: str,
    order_of: Callable[[Answers], Integers],
    track: Track,
    label: str,
    limits: Arm64 | None = None,
) -> tuple[Environment, list[Row]]:
    rows, reports = [], []
    for file in track(material.files, label):
        native = material.native[file.path]
        try:
            here = _answers(material, place, file, order_of(native), limits)
        except ExportError as error:
            rows.append(fault(file, place.form, str(error)))
            continue
        reports.append(here.report)
        rows.append(judge(file, place.form, native, here, material.knees))
    return _environment(place, reports, proof), rows


def _answers(material: _Material, place: Place, file: ModelFile, order: Integers, limits: Arm64 | None = None) -> Answers:
    target = material.folder / "answers.npy"
    job = {
        "engine": file.engine,
        "model": str(file.where),
        "knees": str(file.knees),
        "order": order.tolist(),
        "at_least": limits.at_least if limits else len(order),
        "seconds": limits.seconds if limits else 0,
        "threads": available_threads(),
        "answers": str(target),
    }
    report = place.run(job)
    if place.search and not any(Path(report["engine_folder"]).is_relative_to(folder.resolve()) for folder in place.search):
        raise ExportError(f"the engine was not loaded from {place.form}'s own copy; nothing was compared")
    return Answers(order[: report["knees"]], softmax(np.load(target)), report)


def _environment(place: Place, reports: Sequence[Mapping[str, Any]], proof: str) -> Environment:
    if not reports:
        return _absent(place.form, "not_compared", "no file gave answers")
    return Environment(
        form=place.form,
        status="compared",
        reason="",
        processor=place.processor.model,
        architecture=reports[0]["architecture"],
        features=place.processor.features,
        python=reports[0]["python"],
        engine_versions={report["engine"]: report["engine_version"] for report in reports},
        proof=proof,
    )


def _absent(form: Form, status: Any, reason: str) -> Environment:
    here = processor()
    return Environment(form, status, reason, here.model, here.architecture, (), sys.version.partition(" ")[0], {}, "")
