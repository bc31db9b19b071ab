"""The pipeline: a radiograph in, an answer out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, NoReturn

from osteo_edge.answered import Answer, ModelIdentity
from osteo_edge.bundle import Bundle, bundles_asked
from osteo_edge.covariates import WEIGHT, Given, Person, gather
from osteo_edge.decision.verdict import refuse
from osteo_edge.errors import CovariateError, ImageTooLargeError, InputError
from osteo_edge.finder.joint_finder import JointFinder
from osteo_edge.finder.orientation import Seen
from osteo_edge.findings import PERSON_NOT_UNDERSTOOD, TURNED, Finding
from osteo_edge.gates.joints import look_for_joints
from osteo_edge.gates.knee import embedded_gate
from osteo_edge.headroom import keep_freed_memory, out_of_memory_told
from osteo_edge.images import defects, quality, reader
from osteo_edge.joints import Joint
from osteo_edge.manifest import QualityLimits
from osteo_edge.memory_budget import MemoryBudget, Part, picture_bytes
from osteo_edge.model import LoadingModel, load_models, require_bundles_together
from osteo_edge.prediction import Prediction
from osteo_edge.printable import counted, printable
from osteo_edge.questions import BONE_DENSITY
from osteo_edge.radiograph import Radiograph
from osteo_edge.records import FrozenMapping
from osteo_edge.respondent import Case, Respondent
from osteo_edge.turning import Turn, turned

if TYPE_CHECKING:
    from osteo_edge.arrays import Pixels
    from osteo_edge.clinical.assessment import Assessment
    from osteo_edge.images.reader import ImageSource
    from osteo_edge.images.untrusted import UntrustedReader
    from osteo_edge.respondent import Tensors
    from osteo_edge.tags import Tags

Asked = str | Path | LoadingModel


class OsteoPredictor:
    """Screens knee radiographs with one bundle, or with several of which each answers a question of its own.

    >>> predictor = OsteoPredictor()
    >>> prediction = predictor.predict("image.png")
    >>> prediction.status, prediction.message, [answer.question for answer in prediction.answers]
    """

    def __init__(
        self,
        bundle: Asked | Sequence[Asked] | None = None,
        *,
        questions: str | Sequence[str] = (),
        engine: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        workers: int = 1,
        untrusted: bool = False,
    ) -> None:
        """Open, verify and load a bundle, or several: a picture is then read, checked and searched once for all.

        Args:
            bundle: name of an embedded or installed bundle, or path of a bundle's folder; or a model that is being
                loaded, which settles the other arguments too and whose faults are raised by the first ``predict``; or several
                of these, all models or none. By default the embedded ones whose picture was shown to tell something.
            questions: name of a question, or several: of these bundles, by default of all embedded ones, those that answer them
                are asked, in this order. ``all`` stands for all of them.
            engine: ``auto``, ``onnxruntime`` or ``litert``.
            precision: ``auto``, ``fp32``, ``fp16`` or ``int8``, the same for all members. Both ``auto`` are what 'osteo-edge
                tune' found on this device, else what the bundle chooses for such a processor, else each member's default.
            threads: number of threads of each engine; by default one a processor that the process may use, by its affinity
                and by the time that its container allows it.
            workers: pictures that ``predict_many`` answers side by side, among which the engine's threads are shared out. As
                many as threads get through a list soonest; with one, a single picture is answered soonest.
            untrusted: decode files in processes of their own, with limits of memory and time: a file that makes its decoder
                crash or hang is a picture that cannot be read. Linux and macOS.

        Raises:
            BundleError: missing, damaged or incompatible; two answer one question, or are of different body parts; none answers
                a question.
            EngineError: the engine is not installed or does not take the model.
            DecoderError: no process to decode in can be started.
            OutOfMemoryError: memory runs out, or a limit of this process leaves too little.
            ValueError: threads or workers is not 1 to 256, or no bundle was named.
            TypeError: an argument of another kind.
        """
        asked = () if bundle is None else _as_several(bundle)
        self._untrusted = _untrusted_reader() if untrusted else None
        models = tuple(one for one in asked if isinstance(one, LoadingModel))
        if models:
            if len(models) < len(asked):
                raise TypeError("bundle must be models that are being loaded, or names and paths, not both")
            if questions:
                raise TypeError("questions choose among names and paths, not among models that are being loaded")
            require_bundles_together([model.bundle for model in models])
            self._models = models
        else:
            names = bundles_asked(
                [one for one in asked if not isinstance(one, LoadingModel)],
                (questions,) if isinstance(questions, str) and questions else questions,
            )
            self._models = load_models(names, engine=engine, precision=precision, threads=threads, workers=workers)
            for model in self._models:
                model.wait()
        self._keeps_freed_memory = False
        self._budget = MemoryBudget()
        self._respondents = tuple(Respondent(model) for model in self._models)
        self._finders: dict[str, JointFinder] = {}
        for respondent in self._respondents:
            if respondent.finder_digest not in self._finders:
                self._finders[respondent.finder_digest] = respondent.read_finder()
        is_of_knees = self.bundle.manifest.body_part == "knee"  # bundles that are asked together are of one part of the body
        self._gate = embedded_gate() if is_of_knees else None
        self._known = frozenset[str]().union(*(respondent.known for respondent in self._respondents))

    @property
    def bundle(self) -> Bundle:
        """The first; see ``bundles``."""
        return self._models[0].bundle

    @property
    def bundles(self) -> tuple[Bundle, ...]:
        return tuple(model.bundle for model in self._models)

    @property
    def model(self) -> ModelIdentity:
        """The first; see ``models``."""
        return self._respondents[0].identity

    @property
    def models(self) -> tuple[ModelIdentity, ...]:
        return tuple(respondent.identity for respondent in self._respondents)

    @property
    def questions(self) -> tuple[str, ...]:
        """Names of what is asked of each picture."""
        return tuple(respondent.manifest.question.name for respondent in self._respondents)

    def predict(
        self,
        image: ImageSource,
        *,
        explain: bool = False,
        source: str | None = None,
        age_years: float | None = None,
        sex: str | None = None,
        covariates: Given | None = None,
    ) -> Prediction:
        """Answer for one picture; several threads may call at the same time.

        Pictures that are read at the same time hold at most 256 MiB of file and pixels together, or less in a container that
        allows less, and one picture beyond that: a thread whose picture does not fit waits.

        Args:
            image: path, binary file object, bytes of a file, or array of uint8 or uint16 with bone bright: (H, W),
                (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA without transparency.
            explain: also keep saliency and radiograph, for ``Prediction.save_overlay``.
            source: the name to give the picture.
            age_years, sex: of the person, where they are known; sex is ``female`` or ``male``. Of a DICOM file they are taken
                from its tags where they are not given, and a note tells so.
            covariates: name -> what else is known, as the bundle's ``fusion.covariates`` names it; None for what is not
                known. They take part where the bundle has a fusion and all that it requires is given; a note of the
                answer tells when they did not. With ``weight_kg`` published risk scores are computed beside the answers,
                as ``osteo_edge.clinical.known`` names what they ask for.

        Raises:
            CovariateError: a covariate that no bundle knows, or a value out of its range.
            InputError: the picture cannot be read. What can be read but is unfit, or is too large to be read,
                gives a prediction with status ``rejected``.
            TypeError: the image is of none of these kinds, or the covariates are no mapping of names.
            InferenceError: the engine failed, or the predictor was closed.
            OutOfMemoryError: memory ran out.
        """
        known = gather(age_years, sex, covariates)
        return self._answer(self._look(_Request(image, source, self._describe(known), explain, _assess(known), known)))

    def describe(self, given: Given) -> Person:
        """What the first bundle can use of what is known of a person; all of them check it.

        Raises:
            CovariateError: as ``predict``.
        """
        known = gather(None, None, given)
        _assess(known)
        return self._describe(known)[0]

    def _describe(self, given: Given) -> tuple[Person, ...]:
        """For each bundle; what published scores alone ask for is none of theirs, once a weight lets these be computed."""
        if WEIGHT in given:
            given = {name: value for name, value in given.items() if name in self._known or not _is_asked_by_scores(name)}
        return tuple(respondent.describe(given, self._known) for respondent in self._respondents)

    def predict_many(self, images: Iterable[ImageSource], *, explain: bool = False) -> Iterator[Prediction]:
        """Answer for each picture in turn, in order; one that cannot be read gives a rejected prediction.

        With one worker, pictures of a list are read and prepared ahead of the engine, on ``threads`` threads; with several,
        each is answered by one of them. Only a few are held at once. A generator is asked for its next picture when the
        answer before was taken.

        Raises:
            TypeError: one path or picture was given instead of several.
        """
        if reader.is_picture(images):
            raise TypeError("predict_many takes several pictures, for example a list of paths; use predict for one")
        nobody = self._describe(gather(None, None, None))
        requests = (_Request(image, None, nobody, explain) for image in images)
        return self._answer_each(requests, several=isinstance(images, Sized) and len(images) > 1, explain=explain)

    def predict_files(self, files: Sequence[tuple[str, Given]], *, explain: bool = False) -> Generator[Prediction, None, None]:
        """As ``predict_many`` for paths, each with what is known of its person.

        Raises:
            CovariateError: as ``predict``, when its turn comes.
        """
        requests = (_Request(path, None, self._describe(person), explain, _assess(person), person) for path, person in files)
        return self._answer_each(requests, several=len(files) > 1, explain=explain)

    def _answer_each(self, requests: Iterable[_Request], *, several: bool, explain: bool) -> Generator[Prediction, None, None]:
        readers, workers = (min(numbers) for numbers in zip(*((one.readers, one.workers) for one in self._models), strict=True))
        if not several or readers == workers == 1:
            yield from map(self._try_answer, requests)
            return
        from osteo_edge.ahead import in_order  # a single picture need not wait for this import

        # Only what is to be explained keeps its pixels.
        limits = {"limit_bytes": picture_bytes(), "expected_bytes": reader.MAX_GREY_BYTES if explain else 0}
        with out_of_memory_told():  # no thread could be started, for one
            if workers > 1:
                with closing(in_order(self._try_answer, requests, workers=workers, size=_held_bytes, **limits)) as predictions:
                    yield from predictions
                return
            with closing(in_order(self._try_look, requests, workers=readers, size=_Look.held_bytes, **limits)) as looks:
                yield from map(self._answer, looks)

    def _try_answer(self, request: _Request) -> Prediction:
        return self._answer(self._try_look(request))

    def _try_look(self, request: _Request) -> _Look:
        try:
            return self._look(request)
        except InputError as error:
            name = reader.name_of(request.image)
            return _Look(request, name, None, _Stopwatch(), self._refused(request, _as_finding(error)))

    @out_of_memory_told()
    def _look(self, request: _Request) -> _Look:
        """All that comes before the engines; any thread may. Waits while the pictures of others hold too much memory."""
        with self._budget.picture() as part:
            return self._look_within(request, part)

    def _look_within(self, request: _Request, part: Part) -> _Look:
        clock = _Stopwatch()
        with clock.stage("read"):
            try:
                read = self._untrusted.read if self._untrusted else reader.read
                radiograph = read(request.image, source=request.source, take=part.take)
            except ImageTooLargeError as error:
                name = request.source or reader.name_of(request.image)
                return _Look(request, name, None, clock, self._refused(request, _as_finding(error)))
        if radiograph.tags is not None:
            request = self._with_tags(request, radiograph.tags)
        look = _Look(request, radiograph.source, radiograph.digest, clock, (), tags=radiograph.tags)
        with clock.stage("quality"):
            cases = self._assessed(request, radiograph)
        if all(case.findings for case in cases):
            return replace(look, cases=cases)
        shown = _Shown(radiograph.pixels)
        with clock.stage("region"):
            cases = _judged(self._searched(cases, radiograph), shown, radiograph.jpeg_quality)
        if all(case.findings for case in cases):
            return replace(look, cases=cases)
        tensors: Tensors = {}
        with clock.stage("prepare"):
            for respondent, case in zip(self._respondents, cases, strict=True):
                if not case.findings:
                    respondent.prepare(shown.turned_by(case.turn), case.joints, tensors)
        return replace(look, cases=cases, tensors=tensors, radiograph=radiograph if request.explain else None)

    def _with_tags(self, request: _Request, tags: Tags) -> _Request:
        """What the file says of the person is taken where nothing was given, and where the bundles can take it."""
        from osteo_edge.decision import by_tags  # only DICOM files have tags

        completed = by_tags.complete(request.given, tags)
        try:
            people, assessment = self._describe(completed.given), _assess(completed.given)
        except CovariateError:
            return replace(request, notes=(*tags.notes, Finding(PERSON_NOT_UNDERSTOOD, _OUTSIDE)))
        people = tuple(
            replace(person, unused=tuple(name for name in person.unused if name not in completed.added)) for person in people
        )
        notes = (*tags.notes, *completed.notes)
        return replace(request, people=people, assessment=assessment, notes=notes)

    def _refused(self, request: _Request, *findings: Finding) -> tuple[Case, ...]:
        return tuple(Case(person, findings) for person in request.people)

    def _assessed(self, request: _Request, radiograph: Radiograph) -> tuple[Case, ...]:
        """Each bundle has limits of its own; equal ones are looked at once."""
        found: dict[QualityLimits, tuple[Finding, ...]] = {}
        for respondent in self._respondents:
            limits = respondent.manifest.quality
            if limits not in found:
                found[limits] = quality.assess(radiograph, limits)
        return tuple(
            Case(
                person,
                (*refuse(person), *_by_tags(radiograph, respondent.manifest.body_part), *found[respondent.manifest.quality]),
                notes=request.notes,
            )
            for respondent, person in zip(self._respondents, request.people, strict=True)
        )

    def _searched(self, cases: Sequence[Case], radiograph: Radiograph) -> tuple[Case, ...]:
        """Each finder is run once, for all whose file it is and whose limits the picture keeps."""
        found: dict[str, Seen] = {}
        searched: list[Case] = []
        for respondent, case in zip(self._respondents, cases, strict=True):
            digest = respondent.finder_digest
            if not case.findings and digest not in found:
                found[digest] = look_for_joints(self._finders[digest], self._gate, radiograph.pixels)
            searched.append(case if case.findings else _with_seen(case, found[digest], radiograph))
        return tuple(searched)

    @out_of_memory_told()
    def _answer(self, look: _Look) -> Prediction:
        if look.is_rejected:
            answers = [one.reject(case.findings) for one, case in zip(self._respondents, look.cases, strict=True)]
            return self._as_prediction(look, answers)
        with look.clock.stage("run"):
            runs = [
                None if case.findings else respondent.run(look.tensors)
                for respondent, case in zip(self._respondents, look.cases, strict=True)
            ]
        if not self._keeps_freed_memory:  # not before the models are loaded: what that took is given back
            self._keeps_freed_memory = True
            keep_freed_memory()
        with look.clock.stage("decide"):
            answers = [
                respondent.reject(case.findings) if run is None else respondent.answer(case, run, explain=look.request.explain)
                for respondent, case, run in zip(self._respondents, look.cases, runs, strict=True)
            ]
        return self._as_prediction(look, answers)

    @staticmethod
    def _as_prediction(look: _Look, answers: Iterable[Answer]) -> Prediction:
        joints, turn = next(((case.joints, case.turn) for case in look.cases if case.joints), ((), None))
        prediction = Prediction(
            look.source,
            look.digest,
            tuple(answers),
            joints if turn is None else tuple(map(turn.joint_as_given, joints)),
            look.clock.read(),
            look.radiograph,
            tags=look.tags,
            turned_degrees=turn.degrees if turn else 0,
        )
        return prediction if look.request.assessment is None else _with_risk(prediction, look.request.assessment)

    def reject(self, source: str, error: InputError, given: Given | None = None) -> Prediction:
        """The rejected prediction that stands for a picture which could not be read, of a person of whom this is known."""
        answers = tuple(respondent.reject((_as_finding(error),)) for respondent in self._respondents)
        prediction, assessment = Prediction(source, None, answers, (), _Stopwatch().read()), _assess(given or {})
        return prediction if assessment is None else _with_risk(prediction, assessment)

    def __repr__(self) -> str:
        """What answers, and with how many threads; asks nothing of an engine."""
        threads, workers = self._models[0].threads, self._models[0].workers
        count = f"{workers} workers of {counted(threads, 'thread')}" if workers > 1 else counted(threads, "thread")
        named = "; ".join(f"{one.bundle} {one.version}: {one.engine} {one.precision}" for one in self.models)
        return printable(f"<OsteoPredictor {named}, {count}>")

    def close(self) -> None:
        """Release the engines' memory.

        Other threads may be predicting: what an engine has begun for them ends first, and what comes after raises
        ``InferenceError``, which says that the predictor was closed.
        """
        for model in self._models:
            model.close()
        if self._untrusted:
            self._untrusted.close()

    def __reduce__(self) -> NoReturn:
        self._models[0].__reduce__()

    def __enter__(self) -> OsteoPredictor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _untrusted_reader() -> UntrustedReader:
    from osteo_edge.images.untrusted import UntrustedReader  # most pictures are one's own

    return UntrustedReader()


def _as_several(bundle: Asked | Sequence[Asked]) -> tuple[Asked, ...]:
    if isinstance(bundle, (str, Path, LoadingModel)):
        return (bundle,)
    if not isinstance(bundle, Sequence) or isinstance(bundle, (bytes, bytearray)):
        raise TypeError(f"bundle must be a name, a path or several of them, not {type(bundle).__name__}")
    if not bundle:
        raise ValueError("bundle must name at least one")
    return tuple(bundle)


# What a bundle's own range of ages may be; the file's value is not shown.
_OUTSIDE: Final = "the age in the file's tags is outside of what this test takes, and is not used"


def _by_tags(radiograph: Radiograph, body_part: str) -> tuple[Finding, ...]:
    if radiograph.tags is None:
        return ()
    from osteo_edge.decision import by_tags  # as above

    return by_tags.refuse(radiograph.tags, body_part)


def _doubts(radiograph: Radiograph, joints: Sequence[Joint]) -> tuple[Finding, ...]:
    if radiograph.tags is None:
        return ()
    from osteo_edge.decision import by_tags  # as above

    return by_tags.doubts(radiograph.tags, joints)


def _with_seen(case: Case, seen: Seen, radiograph: Radiograph) -> Case:
    if seen.finding:
        return replace(case, findings=(seen.finding,))
    turn = Turn(seen.degrees, radiograph.height_px, radiograph.width_px) if seen.degrees else None
    return replace(
        case,
        joints=seen.joints,
        turn=turn,
        notes=(*case.notes, *seen.notes, *_turned(seen.degrees), *_doubts(radiograph, seen.joints)),
        doubts=(*case.doubts, seen.doubt) if seen.doubt else case.doubts,
    )


def _judged(cases: Sequence[Case], shown: _Shown, jpeg_quality: int | None) -> tuple[Case, ...]:
    """What is wrong with the joints themselves, once for all that see the same."""
    found: dict[tuple[Joint, ...], defects.Judged] = {}
    judged = []
    for case in cases:
        if not case.findings:
            if case.joints not in found:
                found[case.joints] = defects.judge(shown.turned_by(case.turn), case.joints, jpeg_quality)
            one = found[case.joints]
            case = replace(case, findings=one.unfit, doubts=(*case.doubts, *one.doubtful))
        judged.append(case)
    return tuple(judged)


def _turned(degrees: int) -> tuple[Finding, ...]:
    if not degrees:
        return ()
    how = {90: "lies on its side", 180: "is upside down", 270: "lies on its side"}[degrees]
    turn = {90: "90 degrees clockwise", 180: "180 degrees", 270: "90 degrees counter-clockwise"}[degrees]
    told = f"the picture {how}: it was turned by {turn} to be looked at; boxes are places of the picture as it was given"
    return (Finding(TURNED, told),)


@dataclass
class _Shown:
    """A picture's pixels, turned once for all that want them so."""

    pixels: Pixels
    _turned: dict[int, Pixels] = field(default_factory=dict)

    def turned_by(self, turn: Turn | None) -> Pixels:
        if turn is None:
            return self.pixels
        if turn.degrees not in self._turned:
            self._turned[turn.degrees] = turned(self.pixels, turn.degrees)
        return self._turned[turn.degrees]


@dataclass(frozen=True)
class _Request:
    """One picture that is to be answered for.

    Attributes:
        source: the name to give it, None for its own.
        people: what each bundle can use of what is known of the person.
        assessment: published risk scores; None where no weight is known.
        given: what is known as it was given, to which a file's tags may add.
        notes: what a file's tags are worth telling of.
    """

    image: ImageSource
    source: str | None
    people: tuple[Person, ...]
    explain: bool
    assessment: Assessment | None = None
    given: Given = field(default_factory=dict)
    notes: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Look:
    """One picture as far as the engines.

    Attributes:
        cases: one a bundle: the findings that forbid its answer, or its joints.
        tensors: of all bundles that are to answer.
        radiograph: kept where it is to be explained; of others the pixels are not held while they wait for the engine.
        tags: what a DICOM file says besides.
    """

    request: _Request
    source: str
    digest: str | None
    clock: _Stopwatch
    cases: tuple[Case, ...]
    tensors: Tensors = field(default_factory=dict)
    radiograph: Radiograph | None = None
    tags: Tags | None = None

    @property
    def is_rejected(self) -> bool:
        return all(case.findings for case in self.cases)

    def held_bytes(self) -> int:
        pixels = self.radiograph.pixels.nbytes if self.radiograph else 0
        return pixels + sum(tensor.nbytes for tensors in self.tensors.values() for tensor in tensors)


class _Stopwatch:
    """Wall clock of each stage, in milliseconds."""

    def __init__(self) -> None:
        self._timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self._timings_ms[name] = (time.perf_counter() - start) * 1000

    def read(self) -> FrozenMapping[float]:
        """Stage -> milliseconds of those that are over."""
        return FrozenMapping(self._timings_ms)


def _held_bytes(prediction: Prediction) -> int:
    pixels = prediction.radiograph.pixels.nbytes if prediction.radiograph else 0
    heats = [knee.saliency for answer in prediction.answers for knee in answer.knees if knee.saliency is not None]
    return pixels + sum(heat.nbytes for heat in heats)


def _is_asked_by_scores(name: str) -> bool:
    from osteo_edge.clinical.known import ASKED  # age and sex are not among them

    return name in ASKED


def _assess(given: Given) -> Assessment | None:
    """Published risk scores; None without a weight, which each of them asks for.

    Raises:
        CovariateError: a value that is none, or two that contradict one another.
    """
    if WEIGHT not in given:
        return None
    from osteo_edge.clinical.assessment import assess
    from osteo_edge.clinical.known import read_known

    return assess(read_known(given))


def _with_risk(prediction: Prediction, assessment: Assessment) -> Prediction:
    """Scores beside the answers, and one next step for the person's bones, by all that is known."""
    from osteo_edge.clinical.advice import Risk, next_step, picture_of

    step = next_step(assessment, picture_of(prediction.answers))
    answers = tuple(
        replace(answer, advised=step) if answer.question == BONE_DENSITY.name else answer for answer in prediction.answers
    )
    return replace(prediction, answers=answers, risk=Risk(assessment, step))


def _as_finding(error: InputError) -> Finding:
    return Finding(error.code, str(error))
