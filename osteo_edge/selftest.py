"""Does a bundle give its recorded numbers on this device?

A synthetic picture travels with the bundle, with the joints that the finder must find on it and the
probabilities that each model file must give. Members are run, not gates: a gate may rightly refuse the
picture. The members see boxes around the recorded joints, so that a finder that is off is told apart from
an engine that is off.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from osteo_edge.errors import EngineError, IncompatibleBundleError, InputError, ManifestError, SelfTestError
from osteo_edge.labels import Laterality
from osteo_edge.records import parse_json, parse_record

if TYPE_CHECKING:
    from osteo_edge.arrays import Pixels, Tensor
    from osteo_edge.bundle import Bundle
    from osteo_edge.engines.select import EngineChoice
    from osteo_edge.joints import Joint
    from osteo_edge.manifest import EngineName, Member

EXPECTED = "reference/expected.json"
FINDER = "finder"

# The most that a record may allow, whatever it says. Over processors, float files were measured to differ by 1.4e-6 in
# probability, and integer ones, whose values may round to the next step, by 0.0096 (docs/portability.md); resizing may round
# a grey level otherwise.
MAX_TOLERANCES: Mapping[str, float] = {"fp32": 0.001, "fp16": 0.001, "int8": 0.02}
# Grey levels that are not rounded at all move a joint by 0.0007 knee widths.
MAX_JOINT_TOLERANCE = 0.005

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True)
class ExpectedJoint:
    """A knee joint of the reference picture, in pixels of that picture.

    Attributes:
        laterality: the side that the finder tells, on which it depends whether a member is shown the mirror image; empty where
            it tells none.
    """

    x_px: float
    y_px: float
    width_px: float
    laterality: Literal["", "left", "right"] = ""


@dataclass(frozen=True)
class ExpectedFile:
    """What one model file must answer for the reference picture: label -> probability, each within ``tolerance``.

    What the record allows above ``MAX_TOLERANCES`` of the file's precision is not allowed.
    """

    probabilities: Mapping[str, float]
    tolerance: float


@dataclass(frozen=True)
class Expected:
    """``reference/expected.json``.

    Attributes:
        picture: path of the reference picture in the bundle.
        joints: left to right; the finder may miss each by ``joint_tolerance`` knee widths, and by ``MAX_JOINT_TOLERANCE``.
        files: path of the model file -> its answer.
        together: engine name -> the answer of all members together, each with its default file of that engine.
    """

    picture: str
    joints: tuple[ExpectedJoint, ...]
    joint_tolerance: float
    files: Mapping[str, ExpectedFile]
    together: Mapping[str, ExpectedFile] = field(default_factory=dict)


@dataclass(frozen=True)
class SelfTestResult:
    """What became of one model file; of the finder, as ``engine`` then says; or of all members together with an engine.

    For the last two ``precision`` is empty.
    """

    path: str
    engine: str
    precision: str
    status: Outcome
    message: str


def run_self_test(bundle: Bundle, *, engines: Collection[EngineName] | None = None) -> tuple[SelfTestResult, ...]:
    """Run the finder and every model file on the reference picture, and compare with the record.

    Args:
        engines: the engines to run; all that are installed by default. Files of others are listed as skipped.

    Returns:
        The finder's result, one a file, and for ensembles one an engine. A file that fails does not stop the others.

    Raises:
        EngineUnavailableError: no engine that the bundle has a file for is installed.
        BundleError: the record is not there, not what its schema asks for, or a file of the bundle is damaged.
    """
    expected = _read_expected(bundle)
    pixels = _read_picture(bundle, expected)
    results = [_test_finder(bundle, expected, pixels)]
    answers: dict[str, Mapping[str, float]] = {}
    for member in bundle.manifest.members:
        tensors = _prepare(member, expected.joints, pixels)
        for choice in model_files(member):
            results.append(_skip(choice, engines) or _test_file(bundle, member, choice, tensors, expected, answers))
    results += [_test_together(bundle, engine, record, answers) for engine, record in expected.together.items()]
    _require_an_engine(bundle)
    return tuple(results)


def require_self_test(bundle: Bundle, *, engines: Collection[EngineName] | None = None) -> tuple[SelfTestResult, ...]:
    """Run the self-test, and return its results when none failed.

    Raises:
        SelfTestError: names what failed.
        OsteoEdgeError: as ``run_self_test``.
    """
    results = run_self_test(bundle, engines=engines)
    failed = [f"{result.path}: {result.message}" for result in results if result.status == "failed"]
    if failed:
        raise SelfTestError(f"the bundle {bundle.manifest.name} fails its self-test on this device ({'; '.join(failed)})")
    return results


def _read_expected(bundle: Bundle) -> Expected:
    expected = parse_record(Expected, parse_json(bundle.read(EXPECTED), what=EXPECTED), where=EXPECTED)
    paths = {choice.path for member in bundle.manifest.members for choice in model_files(member)}
    if set(expected.files) != paths:
        odd = sorted(set(expected.files) ^ paths)
        raise ManifestError(f"{EXPECTED}: files must name every model file of the bundle and no other: {', '.join(odd)[:200]}")
    engines = [engine for member in bundle.manifest.members for engine in member.files]
    if any(engines.count(engine) != len(bundle.manifest.members) for engine in expected.together):
        raise ManifestError(f"{EXPECTED}: together must name engines that all members have files for")
    for path, file in (*expected.files.items(), *expected.together.items()):
        if set(file.probabilities) != set(bundle.manifest.labels):
            raise ManifestError(f"{EXPECTED}: the probabilities of {path} must name the bundle's labels")
    if not expected.joints:
        raise ManifestError(f"{EXPECTED}: joints must hold at least one joint")
    return expected


def _read_picture(bundle: Bundle, expected: Expected) -> Pixels:
    """The reference picture, on which the recorded joints must lie."""
    from osteo_edge.images import reader

    try:
        pixels = reader.read(bundle.read(expected.picture)).pixels
    except InputError as error:
        raise ManifestError(f"{expected.picture} is no picture for a self-test: {error}") from error
    height, width = pixels.shape
    for joint in expected.joints:
        if not (0 <= joint.x_px <= width and 0 <= joint.y_px <= height and 1 <= joint.width_px <= 2 * width):
            raise ManifestError(f"{EXPECTED}: joints must lie on the picture, each with a width of 1 px to twice the picture's")
    return pixels


def model_files(member: Member) -> Iterator[EngineChoice]:
    """Every file of a member, engine by engine."""
    from osteo_edge.engines.select import EngineChoice
    from osteo_edge.manifest import ENGINE_NAMES, PRECISIONS

    for engine in ENGINE_NAMES:
        by_precision = member.files.get(engine, {})
        for precision in PRECISIONS:
            if precision in by_precision:
                yield EngineChoice(engine, precision, by_precision[precision])


def reference_tensors(bundle: Bundle) -> tuple[list[Tensor], ...]:
    """What each member is shown of the reference picture: one tensor a recorded joint.

    Raises:
        BundleError: as ``run_self_test``.
    """
    expected = _read_expected(bundle)
    pixels = _read_picture(bundle, expected)
    return tuple(_prepare(member, expected.joints, pixels) for member in bundle.manifest.members)


def reference_pixels(bundle: Bundle) -> Pixels:
    """The reference picture, (height, width), bone bright.

    Raises:
        BundleError: as ``run_self_test``.
    """
    return _read_picture(bundle, _read_expected(bundle))


def _prepare(member: Member, joints: Sequence[ExpectedJoint], pixels: Pixels) -> list[Tensor]:
    from osteo_edge.images.preprocess import prepare_knee

    return [prepare_knee(pixels, _joint(joint), member.region, member.input) for joint in joints]


def _joint(expected: ExpectedJoint) -> Joint:
    from osteo_edge.joints import Joint

    side = Laterality(expected.laterality) if expected.laterality else None
    return Joint(x_px=expected.x_px, y_px=expected.y_px, width_px=expected.width_px, score=0.0, laterality=side)


def _test_finder(bundle: Bundle, expected: Expected, pixels: Pixels) -> SelfTestResult:
    from osteo_edge.finder.joint_finder import JointFinder

    path = bundle.manifest.finder
    found = JointFinder.from_bytes(bundle.read(path)).find(pixels)
    if len(found) != len(expected.joints):
        message = f"found {len(found)} joints where {len(expected.joints)} were recorded"
        return SelfTestResult(path, FINDER, "", "failed", message)
    for joint, other in zip(found, expected.joints, strict=True):
        if other.laterality not in ("", joint.laterality):
            return SelfTestResult(path, FINDER, "", "failed", f"took a {other.laterality} knee for another")
    worst = max(_distance(joint, other) for joint, other in zip(found, expected.joints, strict=True))
    return SelfTestResult(path, FINDER, "", *_verdict(worst, min(expected.joint_tolerance, MAX_JOINT_TOLERANCE), "knee widths"))


def _distance(found: Joint, expected: ExpectedJoint) -> float:
    """Largest difference of place or width, in knee widths."""
    differences = (found.x_px - expected.x_px, found.y_px - expected.y_px, found.width_px - expected.width_px)
    return max(abs(difference) for difference in differences) / expected.width_px


def _skip(choice: EngineChoice, engines: Collection[EngineName] | None) -> SelfTestResult | None:
    from osteo_edge.engines.select import is_installed

    if not is_installed(choice.engine):
        reason = f"{choice.engine} is not installed"
    elif engines is not None and choice.engine not in engines:
        reason = f"{choice.engine} was not asked for"
    else:
        return None
    return SelfTestResult(choice.path, choice.engine, choice.precision, "skipped", reason)


def _test_file(
    bundle: Bundle,
    member: Member,
    choice: EngineChoice,
    tensors: list[Tensor],
    expected: Expected,
    answers: dict[str, Mapping[str, float]],
) -> SelfTestResult:
    """Test one file, and put its answer into ``answers``."""
    record = expected.files[choice.path]
    try:
        answer = _picture_probabilities(bundle, member, choice, tensors)
    except (EngineError, IncompatibleBundleError) as error:
        return SelfTestResult(choice.path, choice.engine, choice.precision, "failed", str(error))
    answers[choice.path] = answer
    return SelfTestResult(choice.path, choice.engine, choice.precision, *_compare(answer, record, [choice.precision]))


def _test_together(
    bundle: Bundle, engine: str, record: ExpectedFile, answers: Mapping[str, Mapping[str, float]]
) -> SelfTestResult:
    """All members' answers combined; as a cascade would that is sure of nothing."""
    import numpy as np

    from osteo_edge.decision.ensemble import combine
    from osteo_edge.decision.scores import softmax

    manifest = bundle.manifest
    precisions = [member.default_precision[engine] for member in manifest.members]
    paths = [member.files[engine][precision] for member, precision in zip(manifest.members, precisions, strict=True)]
    if any(path not in answers for path in paths):
        return SelfTestResult("all members together", engine, "", "skipped", "a member was not run")
    # Every way of combining takes logits that are moved by a constant for the same, so that these will do.
    logits = np.log([[max(answers[path][label], 1e-30) for label in manifest.labels] for path in paths])
    answer = dict(zip(manifest.labels, softmax(combine(manifest.ensemble, logits)).tolist(), strict=True))
    return SelfTestResult("all members together", engine, "", *_compare(answer, record, precisions))


def _compare(answer: Mapping[str, float], record: ExpectedFile, precisions: Sequence[str]) -> tuple[Outcome, str]:
    allowed = min(record.tolerance, max(MAX_TOLERANCES[precision] for precision in precisions))
    worst = max(abs(answer[label] - probability) for label, probability in record.probabilities.items())
    return _verdict(worst, allowed, "in probability")


def _picture_probabilities(
    bundle: Bundle, member: Member, choice: EngineChoice, tensors: Collection[Tensor]
) -> Mapping[str, float]:
    """Label -> probability of one picture by one model file, as the pipeline combines its knees."""
    from osteo_edge.decision.scores import mean_logits, softmax
    from osteo_edge.model import open_member

    engine = open_member(bundle, member, choice, threads=1)
    try:
        name = engine.inputs[0].name
        logits = [engine.run({name: tensor})["logits"][0] for tensor in tensors]
    finally:
        engine.close()
    return dict(zip(bundle.manifest.labels, softmax(mean_logits(logits)).tolist(), strict=True))


def _verdict(worst: float, tolerance: float, unit: str) -> tuple[Outcome, str]:
    """Not a number is a failure: it compares as not within any tolerance."""
    status: Outcome = "passed" if worst <= tolerance else "failed"
    return status, f"off by {worst:.2g} {unit}, {tolerance:g} allowed"


def _require_an_engine(bundle: Bundle) -> None:
    from osteo_edge.engines.select import choose

    choose(bundle.manifest)
