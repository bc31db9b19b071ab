"""The pipeline: a radiograph in, an answer out."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np
from numpy.typing import NDArray

from osteo_edge.bundle import DEFAULT_BUNDLE, Bundle
from osteo_edge.decision.conformal import label_set
from osteo_edge.decision.explanation import read_head_weights, saliency
from osteo_edge.decision.scores import mean_logits, softmax
from osteo_edge.errors import ImageTooLargeError, IncompatibleBundleError, InferenceError, InputError
from osteo_edge.images import quality, reader
from osteo_edge.images.preprocess import prepare
from osteo_edge.images.quality import Finding
from osteo_edge.images.reader import ImageSource
from osteo_edge.images.region import Box, Joint, JointFinder, box_around
from osteo_edge.labels import Status
from osteo_edge.manifest import Manifest
from osteo_edge.model import LoadingModel
from osteo_edge.prediction import Knee, ModelIdentity, Prediction
from osteo_edge.radiograph import Radiograph
from osteo_edge.reports.wording import UNPROVEN


class OsteoPredictor:
    """Screens knee radiographs for low bone density with one bundle. Not shared between threads.

    >>> predictor = OsteoPredictor()
    >>> prediction = predictor.predict("image.png")
    >>> prediction.status, prediction.label, dict(prediction.probabilities)
    """

    def __init__(
        self,
        bundle: str | Path | LoadingModel = DEFAULT_BUNDLE,
        *,
        engine: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        """Open, verify and load a bundle.

        Args:
            bundle: name of an embedded bundle or path of a bundle's folder; or a model that is being loaded, which
                settles the other arguments too and whose faults are raised by the first ``predict``.
            engine: ``auto``, ``onnxruntime`` or ``litert``.
            precision: ``auto``, ``fp32``, ``fp16`` or ``int8`` (for LiteRT: dynamic range).
            threads: number of threads of the engine; all processors of the process by default.

        Raises:
            BundleError: missing, damaged or incompatible.
            EngineError: the engine is not installed or does not take the model.
            ValueError: threads is not 1 to 256.
        """
        if isinstance(bundle, LoadingModel):
            self._model = bundle
        else:
            self._model = LoadingModel(bundle, engine=engine, precision=precision, threads=threads)
            self._model.engine()
        manifest = self.bundle.manifest
        self._region, self._input = self._model.member.region, self._model.member.input
        self._finder = JointFinder.from_bytes(self.bundle.read(manifest.finder))
        self._head_weights = read_head_weights(self.bundle.read(self._model.member.head_weights), labels=len(manifest.labels))

    @property
    def bundle(self) -> Bundle:
        return self._model.bundle

    @property
    def model(self) -> ModelIdentity:
        manifest, choice = self.bundle.manifest, self._model.choice
        return ModelIdentity(manifest.name, manifest.version, self.bundle.digest, choice.engine, choice.precision)

    def predict(self, image: ImageSource, *, explain: bool = False, source: str | None = None) -> Prediction:
        """Answer for one picture.

        Args:
            image: path, bytes of a file, or array (H, W) or (H, W, 3) RGB of uint8 or uint16 with bone bright.
            explain: also keep saliency and radiograph, for ``Prediction.save_overlay``.
            source: the name to give the picture.

        Raises:
            InputError: the picture cannot be read. What can be read but is unfit, or is too large to be read,
                gives a prediction with status ``rejected``.
            InferenceError: the engine failed.
        """
        clock = _Stopwatch()
        with clock.stage("read"):
            try:
                radiograph = reader.read(image, source=source)
            except ImageTooLargeError as error:
                return self._rejection(source or _name_of(image), None, (_as_finding(error),), clock)
        with clock.stage("quality"):
            findings = quality.assess(radiograph, self.bundle.manifest.quality)
        if findings:
            return self._rejection(radiograph.source, radiograph.digest, findings, clock)
        with clock.stage("region"):
            joints = self._finder.find(radiograph.pixels)
            boxes = [box_around(joint, self._region) for joint in joints]
        if not joints:
            return self._rejection(radiograph.source, radiograph.digest, (quality.no_knee(),), clock)
        with clock.stage("prepare"):
            tensors = [prepare(radiograph.pixels, box, self._input) for box in boxes]
        with clock.stage("run"):
            outputs = [self._run(tensor) for tensor in tensors]
        with clock.stage("decide"):
            return self._decide(radiograph, joints, boxes, outputs, clock, explain=explain)

    def predict_many(self, images: Iterable[ImageSource], *, explain: bool = False) -> Iterator[Prediction]:
        """Answer for each picture in turn, in order; one that cannot be read gives a rejected prediction.

        Raises:
            TypeError: one path or picture was given instead of several.
        """
        if isinstance(images, (str, bytes, Path, np.ndarray)):
            raise TypeError("predict_many takes several pictures, for example a list of paths; use predict for one")
        return self._predict_each(images, explain=explain)

    def _predict_each(self, images: Iterable[ImageSource], *, explain: bool) -> Iterator[Prediction]:
        for image in images:
            try:
                yield self.predict(image, explain=explain)
            except InputError as error:
                yield self.reject(_name_of(image), error)

    def reject(self, source: str, error: InputError) -> Prediction:
        """The rejected prediction that stands for a picture which could not be read."""
        return self._rejection(source, None, (_as_finding(error),), _Stopwatch())

    def close(self) -> None:
        """Release the engine's memory."""
        self._model.close()

    def __enter__(self) -> OsteoPredictor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _run(self, tensor: NDArray[np.float32]) -> _Output:
        engine = self._model.engine()
        outputs = engine.run({engine.inputs[0].name: tensor})
        logits = outputs["logits"][0]
        if outputs["features"].shape[-1] != len(self._head_weights):
            raise IncompatibleBundleError("the head weights do not fit the model's features")
        if not np.isfinite(logits).all():
            raise InferenceError("the model gave a score that is not a number; run: osteo-edge doctor")
        return _Output(logits, outputs["features"])

    def _decide(
        self,
        radiograph: Radiograph,
        joints: tuple[Joint, ...],
        boxes: list[Box],
        outputs: list[_Output],
        clock: _Stopwatch,
        *,
        explain: bool,
    ) -> Prediction:
        manifest = self.bundle.manifest
        probabilities = self._named(softmax(mean_logits([output.logits for output in outputs])))
        labels = label_set(probabilities, manifest.conformal)
        label = max(probabilities, key=lambda name: probabilities[name])
        knees = tuple(
            Knee(
                joint=joint,
                box=box,
                probabilities=self._named(softmax(output.logits)),
                saliency=saliency(output.features, self._head_weights, manifest.labels.index(label)) if explain else None,
            )
            for joint, box, output in zip(joints, boxes, outputs, strict=True)
        )
        doubts = _doubts(labels, manifest)
        return Prediction(
            source=radiograph.source,
            digest=radiograph.digest,
            status=Status.REFERRED if doubts else Status.REPORTED,
            findings=doubts,
            label=label,
            probabilities=probabilities,
            label_set=labels,
            knees=knees,
            timings_ms=clock.timings_ms,
            model=self.model,
            intended_use=manifest.intended_use,
            radiograph=radiograph if explain else None,
        )

    def _rejection(self, source: str, digest: str | None, findings: tuple[Finding, ...], clock: _Stopwatch) -> Prediction:
        return Prediction(
            source=source,
            digest=digest,
            status=Status.REJECTED,
            findings=findings,
            label=None,
            probabilities=MappingProxyType({}),
            label_set=(),
            knees=(),
            timings_ms=clock.timings_ms,
            model=self.model,
            intended_use=self.bundle.manifest.intended_use,
        )

    def _named(self, probabilities: NDArray[np.float64]) -> Mapping[str, float]:
        return MappingProxyType(dict(zip(self.bundle.manifest.labels, probabilities.tolist(), strict=True)))


@dataclass(frozen=True)
class _Output:
    logits: NDArray[np.float32]
    features: NDArray[np.float32]


class _Stopwatch:
    """Wall clock of each stage, in milliseconds."""

    def __init__(self) -> None:
        self.timings_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.timings_ms[name] = (time.perf_counter() - start) * 1000


def _as_finding(error: InputError) -> Finding:
    return Finding(error.code, str(error))


def _doubts(labels: tuple[str, ...], manifest: Manifest) -> tuple[Finding, ...]:
    """Why the picture is referred; empty when one class stands alone and the bundle is proven."""
    doubts = []
    if not manifest.is_proven:
        doubts.append(
            Finding(UNPROVEN, "this bundle was not shown to be better than chance; its scores are for research alone")
        )
    if len(labels) > 1:
        told = (
            f"the picture does not tell {' from '.join(labels)} at the bundle's coverage of {manifest.conformal.coverage:.0%}"
        )
        doubts.append(Finding("not_sure", told))
    return tuple(doubts)


def _name_of(image: ImageSource) -> str:
    if isinstance(image, np.ndarray):
        return "<array>"
    return "<bytes>" if isinstance(image, bytes) else str(image)
