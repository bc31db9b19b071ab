"""The pipeline: a radiograph in, an answer out."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from numpy.typing import NDArray

from osteo_edge.budget import MemoryBudget, Part, picture_bytes
from osteo_edge.bundle import DEFAULT_BUNDLE, Bundle
from osteo_edge.covariates import Given, Person, describe, gather
from osteo_edge.decision.ensemble import combine, is_sure, shares
from osteo_edge.decision.explanation import laid_together, read_head_weights, saliency, union
from osteo_edge.decision.scores import likeliest, mean_logits, softmax
from osteo_edge.decision.verdict import decide, refuse
from osteo_edge.errors import ImageTooLargeError, IncompatibleBundleError, InferenceError, InputError
from osteo_edge.images import quality, reader
from osteo_edge.images.preprocess import prepare
from osteo_edge.images.quality import Finding
from osteo_edge.images.reader import ImageSource
from osteo_edge.images.region import Box, Joint, JointFinder, box_around
from osteo_edge.labels import Status
from osteo_edge.manifest import InputSpec, RegionProfile
from osteo_edge.mapping import FrozenMapping
from osteo_edge.model import LoadingModel
from osteo_edge.prediction import Knee, ModelIdentity, Prediction
from osteo_edge.printable import printable
from osteo_edge.radiograph import Radiograph
from osteo_edge.room import out_of_memory_told

if TYPE_CHECKING:
    from osteo_edge.engines.base import Picture


class OsteoPredictor:
    """Screens knee radiographs for low bone density with one bundle.

    >>> predictor = OsteoPredictor()
    >>> prediction = predictor.predict("image.png")
    >>> prediction.status, prediction.label, prediction.message
    """

    def __init__(
        self,
        bundle: str | Path | LoadingModel = DEFAULT_BUNDLE,
        *,
        engine: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
        workers: int = 1,
    ) -> None:
        """Open, verify and load a bundle.

        Args:
            bundle: name of an embedded or installed bundle, or path of a bundle's folder; or a model that is being
                loaded, which settles the other arguments too and whose faults are raised by the first ``predict``.
            engine: ``auto``, ``onnxruntime`` or ``litert``.
            precision: ``auto``, ``fp32``, ``fp16`` or ``int8``, the same for all members. Both ``auto`` are what 'osteo-edge
                tune' found on this device, else what the bundle chooses for such a processor, else each member's default.
            threads: number of threads of the engine; by default one a processor that the process may use, by its affinity
                and by the time that its container allows it.
            workers: pictures that ``predict_many`` answers side by side, among which the engine's threads are shared out. As
                many as threads get through a list soonest; with one, a single picture is answered soonest.

        Raises:
            BundleError: missing, damaged or incompatible.
            EngineError: the engine is not installed or does not take the model.
            OutOfMemoryError: memory runs out, or a limit of this process leaves too little.
            ValueError: threads or workers is not 1 to 256.
            TypeError: an argument of another kind.
        """
        if isinstance(bundle, LoadingModel):
            self._model = bundle
        else:
            self._model = LoadingModel(bundle, engine=engine, precision=precision, threads=threads, workers=workers)
            self._model.wait()
        self._keeps_freed_memory = False
        self._budget = MemoryBudget()
        manifest = self.bundle.manifest
        self._finder = JointFinder.from_bytes(self.bundle.read(manifest.finder))
        self._head_weights = [
            read_head_weights(self.bundle.read(member.head_weights), labels=len(manifest.labels)) for member in manifest.members
        ]

    @property
    def bundle(self) -> Bundle:
        return self._model.bundle

    @property
    def model(self) -> ModelIdentity:
        manifest, choices = self.bundle.manifest, self._model.choices
        precisions = {choice.precision for choice in choices}
        precision = precisions.pop() if len(precisions) == 1 else "mixed"
        return ModelIdentity(
            manifest.name, manifest.version, self.bundle.digest, choices[0].engine, precision, members=len(choices)
        )

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
            age_years, sex: of the person, where they are known; sex is ``female`` or ``male``.
            covariates: name -> what else is known, as the bundle's ``fusion.covariates`` names it; None for what is not
                known. They take part where the bundle has a fusion and all that it requires is given; a note of the
                prediction tells when they did not.

        Raises:
            CovariateError: a covariate that the bundle does not know, or a value out of its range.
            InputError: the picture cannot be read. What can be read but is unfit, or is too large to be read,
                gives a prediction with status ``rejected``.
            TypeError: the image is of none of these kinds, or the covariates are no mapping of names.
            InferenceError: the engine failed, or the predictor was closed.
            OutOfMemoryError: memory ran out.
        """
        person = self.describe(gather(age_years, sex, covariates))
        return self._answer(self._look(_Question(image, source, person, explain)))

    def describe(self, given: Given) -> Person:
        """What the bundle can use of what is known of a person.

        Raises:
            CovariateError: as ``predict``.
        """
        return describe(self.bundle.manifest.fusion, given)

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
        nobody = self.describe(gather(None, None, None))
        questions = (_Question(image, None, nobody, explain) for image in images)
        return self._answer_each(questions, several=isinstance(images, Sized) and len(images) > 1, explain=explain)

    def predict_files(self, files: Sequence[tuple[str, Given]], *, explain: bool = False) -> Generator[Prediction, None, None]:
        """As ``predict_many`` for paths, each with what is known of its person.

        Raises:
            CovariateError: as ``predict``, when its turn comes.
        """
        questions = (_Question(path, None, self.describe(person), explain) for path, person in files)
        return self._answer_each(questions, several=len(files) > 1, explain=explain)

    def _answer_each(
        self, questions: Iterable[_Question], *, several: bool, explain: bool
    ) -> Generator[Prediction, None, None]:
        readers, workers = self._model.readers, self._model.workers
        if not several or readers == workers == 1:
            yield from map(self._try_answer, questions)
            return
        from osteo_edge.ahead import in_order  # a single picture need not wait for this import

        # Only what is to be explained keeps its pixels.
        limits = {"limit_bytes": picture_bytes(), "expected_bytes": reader.MAX_GREY_BYTES if explain else 0}
        with out_of_memory_told():  # no thread could be started, for one
            if workers > 1:
                with closing(in_order(self._try_answer, questions, workers=workers, size=_held_bytes, **limits)) as predictions:
                    yield from predictions
                return
            with closing(in_order(self._try_look, questions, workers=readers, size=_Look.held_bytes, **limits)) as looks:
                yield from map(self._answer, looks)

    def _try_answer(self, question: _Question) -> Prediction:
        return self._answer(self._try_look(question))

    def _try_look(self, question: _Question) -> _Look:
        try:
            return self._look(question)
        except InputError as error:
            return _Look(question, reader.name_of(question.image), None, _Stopwatch(), findings=(_as_finding(error),))

    @out_of_memory_told()
    def _look(self, question: _Question) -> _Look:
        """All that comes before the engine; any thread may. Waits while the pictures of others hold too much memory."""
        with self._budget.picture() as part:
            return self._look_within(question, part)

    def _look_within(self, question: _Question, part: Part) -> _Look:
        clock = _Stopwatch()
        with clock.stage("read"):
            try:
                radiograph = reader.read(question.image, source=question.source, take=part.take)
            except ImageTooLargeError as error:
                name = question.source or reader.name_of(question.image)
                return _Look(question, name, None, clock, findings=(_as_finding(error),))
        look = _Look(question, radiograph.source, radiograph.digest, clock)
        with clock.stage("quality"):
            findings = (*refuse(question.person), *quality.assess(radiograph, self.bundle.manifest.quality))
        if findings:
            return replace(look, findings=findings)
        with clock.stage("region"):
            joints = self._finder.find(radiograph.pixels)
            findings = () if joints else (self._why_no_knee(radiograph),)
        if findings:
            return replace(look, findings=findings)
        with clock.stage("prepare"):
            tensors = self._prepare(radiograph, joints)
        return replace(look, joints=joints, tensors=tensors, radiograph=radiograph if question.explain else None)

    def _why_no_knee(self, radiograph: Radiograph) -> Finding:
        from osteo_edge.images import orientation  # where a knee was found nobody need wait for this import

        return orientation.why_no_knee(self._finder, radiograph.pixels)

    @out_of_memory_told()
    def _answer(self, look: _Look) -> Prediction:
        if look.findings:
            return self._rejection(look.source, look.digest, look.findings, look.clock)
        with look.clock.stage("run"):
            answers = self._run(look.tensors)
        if not self._keeps_freed_memory:  # not before the model is loaded: what that took is given back
            self._keeps_freed_memory = True
            _keep_freed_memory()
        with look.clock.stage("decide"):
            prediction = self._decide(look, answers)
        return replace(prediction, timings_ms=look.clock.read())

    def reject(self, source: str, error: InputError) -> Prediction:
        """The rejected prediction that stands for a picture which could not be read."""
        return self._rejection(source, None, (_as_finding(error),), _Stopwatch())

    def __repr__(self) -> str:
        """What answers, and with how many threads; asks nothing of an engine."""
        model, threads, workers = self.model, self._model.threads, self._model.workers
        shared = f"{workers} workers of {threads}" if workers > 1 else f"{threads}"
        count = f"{shared} thread{'s' if threads > 1 else ''}"
        return printable(f"<OsteoPredictor {model.bundle} {model.version}: {model.engine} {model.precision}, {count}>")

    def close(self) -> None:
        """Release the engine's memory.

        Other threads may be predicting: what the engine has begun for them ends first, and what comes after raises
        ``InferenceError``, which says that the predictor was closed.
        """
        self._model.close()

    def __reduce__(self) -> NoReturn:
        self._model.__reduce__()

    def __enter__(self) -> OsteoPredictor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _prepare(self, radiograph: Radiograph, joints: tuple[Joint, ...]) -> _Tensors:
        """The knees once for each region and input; members that share both share the tensors."""
        tensors: _Tensors = {}
        for member in self.bundle.manifest.members:
            if (member.region, member.input) not in tensors:
                boxes = [box_around(joint, member.region) for joint in joints]
                tensors[member.region, member.input] = [prepare(radiograph.pixels, box, member.input) for box in boxes]
        return tensors

    def _run(self, tensors: _Tensors) -> list[_Answer]:
        """Member by member, all knees of the picture through each; a cascade stops when it is sure."""
        manifest = self.bundle.manifest
        answers: list[_Answer] = []
        for index, member in enumerate(manifest.members):
            answers.append(self._run_member(index, tensors[member.region, member.input]))
            if is_sure(manifest.ensemble, [answer.logits for answer in answers]):
                break
        return answers

    def _run_member(self, index: int, tensors: Sequence[Picture]) -> _Answer:
        engine = self._model.engine(index)
        outputs = [engine.run({engine.inputs[0].name: tensor}) for tensor in tensors]
        if any(output["features"].shape[-1] != len(self._head_weights[index]) for output in outputs):
            raise IncompatibleBundleError("the head weights do not fit the model's features")
        knees = np.stack([output["logits"][0] for output in outputs])
        if not np.isfinite(knees).all():
            raise InferenceError("the model gave a score that is not a number; run: osteo-edge doctor")
        return _Answer(mean_logits(knees), knees, [output["features"] for output in outputs])

    def _decide(self, look: _Look, answers: list[_Answer]) -> Prediction:
        manifest = self.bundle.manifest
        logits = combine(manifest.ensemble, np.stack([answer.logits for answer in answers]))
        verdict = decide(manifest, logits, look.question.person)
        explained = likeliest(verdict.image_probabilities) if look.question.explain else None
        knees = tuple(self._knee(index, joint, answers, explained) for index, joint in enumerate(look.joints))
        return Prediction(
            source=look.source,
            digest=look.digest,
            status=Status.REFERRED if verdict.findings else Status.REPORTED,
            findings=verdict.findings,
            notes=verdict.notes,
            mode=verdict.mode,
            probabilities=verdict.probabilities,
            image_probabilities=verdict.image_probabilities,
            label_set=verdict.label_set,
            covariates_used=verdict.covariates_used,
            members_answered=len(answers),
            knees=knees,
            timings_ms=_NOTHING,  # the decision's own time is not over
            model=self.model,
            intended_use=manifest.intended_use,
            age_years=look.question.person.age_years,
            sex=look.question.person.sex,
            radiograph=look.radiograph,
        )

    def _knee(self, index: int, joint: Joint, answers: list[_Answer], explained: str | None) -> Knee:
        manifest = self.bundle.manifest
        logits = combine(manifest.ensemble, np.stack([answer.knees[index] for answer in answers]))
        probabilities = dict(zip(manifest.labels, softmax(logits).tolist(), strict=True))
        boxes = [box_around(joint, member.region) for member in manifest.members[: len(answers)]]
        heat = self._saliency(index, boxes, answers, manifest.labels.index(explained)) if explained else None
        return Knee(joint=joint, box=union(boxes), probabilities=FrozenMapping(probabilities), saliency=heat)

    def _saliency(self, knee: int, boxes: list[Box], answers: list[_Answer], label_index: int) -> NDArray[np.float32]:
        maps = [
            saliency(answer.features[knee], head, label_index)
            for answer, head in zip(answers, self._head_weights, strict=False)  # the first members' of a cascade
        ]
        return laid_together(maps, boxes, shares(self.bundle.manifest.ensemble, len(answers)))

    def _rejection(self, source: str, digest: str | None, findings: tuple[Finding, ...], clock: _Stopwatch) -> Prediction:
        return Prediction(
            source=source,
            digest=digest,
            status=Status.REJECTED,
            findings=findings,
            notes=(),
            mode=None,
            probabilities=_NOTHING,
            image_probabilities=_NOTHING,
            label_set=(),
            covariates_used=_NOTHING,
            members_answered=0,
            knees=(),
            timings_ms=clock.read(),
            model=self.model,
            intended_use=self.bundle.manifest.intended_use,
        )


_NOTHING: FrozenMapping[float] = FrozenMapping()
_Tensors = dict[tuple[RegionProfile, InputSpec], "list[Picture]"]


@dataclass(frozen=True)
class _Question:
    """One picture and what is asked of it; `source` is the name to give it, None for its own."""

    image: ImageSource
    source: str | None
    person: Person
    explain: bool


@dataclass(frozen=True)
class _Look:
    """One picture as far as the engine: the findings that reject it, or its joints and tensors.

    Attributes:
        radiograph: kept where it is to be explained; of others the pixels are not held while they wait for the engine.
    """

    question: _Question
    source: str
    digest: str | None
    clock: _Stopwatch
    findings: tuple[Finding, ...] = ()
    joints: tuple[Joint, ...] = ()
    tensors: _Tensors = field(default_factory=dict)
    radiograph: Radiograph | None = None

    def held_bytes(self) -> int:
        pixels = self.radiograph.pixels.nbytes if self.radiograph else 0
        return pixels + sum(tensor.nbytes for tensors in self.tensors.values() for tensor in tensors)


@dataclass(frozen=True)
class _Answer:
    """One member's answer for one picture.

    Attributes:
        logits: (labels,) of the picture.
        knees: (knees, labels).
        features: one (1, rows, columns, features) a knee.
    """

    logits: NDArray[np.float64]
    knees: NDArray[np.float32]
    features: list[NDArray[np.float32]]


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


def _keep_freed_memory() -> None:
    """Let the next picture have the last one's memory.

    glibc gives freed memory back to the system above a limit that follows the largest block that was ever freed, and at
    first every picture's pages would come and go: a fifth of the work beside decoding. A block of which no page is
    touched moves the limit up to 64 MiB. Nothing happens elsewhere.
    """
    with suppress(MemoryError):  # it is a matter of speed alone
        np.empty(31 << 20, np.uint8)


def _held_bytes(prediction: Prediction) -> int:
    pixels = prediction.radiograph.pixels.nbytes if prediction.radiograph else 0
    return pixels + sum(knee.saliency.nbytes for knee in prediction.knees if knee.saliency is not None)


def _as_finding(error: InputError) -> Finding:
    return Finding(error.code, str(error))
