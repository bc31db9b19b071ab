"""A bundle's models on their way into memory."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from threading import Lock, Thread
from typing import NoReturn

from osteo_edge.bundle import DEFAULT_BUNDLE, Bundle, open_bundle
from osteo_edge.engines import select
from osteo_edge.engines.base import CLOSED, Engine
from osteo_edge.engines.select import EngineChoice
from osteo_edge.engines.stored import find_tuning
from osteo_edge.errors import IncompatibleBundleError, InferenceError
from osteo_edge.headroom import out_of_memory_told
from osteo_edge.manifest import InputSpec, Member
from osteo_edge.questions import require_together

MAX_THREADS = 256


class LoadingModel:
    """An opened bundle and one engine a member, which load beside the caller's thread, one after the other.

    Engines release Python's lock while they plan a model, so that a caller may meanwhile import OpenCV and read
    the first radiograph; several at once would only hold each other and the caller up. A cascade's later members are
    loaded when they are first asked for: pictures of which the first is sure then cost neither their time nor their
    memory. Importing this module loads neither numpy nor an engine.

    Attributes:
        bundle: opened; its manifest was checked.
        choices: the engine, precision and file of each member; the engine is the same for all.
        workers: pictures that are meant to be answered side by side: as many as asked for, or as a limit of this process leaves
            memory for.
        threads: of each engine, for each of these pictures.
        readers: threads that read ahead where there is one worker: as many, or as there is memory for.
    """

    def __init__(
        self,
        bundle: str | Path | Bundle = DEFAULT_BUNDLE,
        *,
        engine: str = select.AUTO,
        precision: str = select.AUTO,
        threads: int | None = None,
        workers: int = 1,
        after: LoadingModel | None = None,
    ) -> None:
        """Open the bundle and start loading; see ``OsteoPredictor`` for the arguments.

        Args:
            bundle: an opened one is taken as it is.
            after: a model whose engines are loaded first.

        Raises:
            BundleError: missing, damaged or incompatible.
            EngineUnavailableError: the engine is not installed.
            OutOfMemoryError: a limit of this process leaves too little memory.
            ValueError: threads or workers is not 1 to 256.
            TypeError: an argument of another kind.
        """
        _require_kinds(bundle, engine=engine, precision=precision)
        for name, number in (("threads", threads), ("workers", workers)):
            if not (number is None and name == "threads"):
                _require_number(name, number)
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle)
        manifest = self.bundle.manifest
        threads = threads or select.available_threads()
        self.workers, self.threads = workers, max(1, threads // workers)
        tuned = find_tuning(self.bundle, threads=self.threads).pair if select.AUTO in (engine, precision) else None
        self.choices = select.choose(manifest, engine=engine, precision=precision, tuned=tuned)
        engine_name = self.choices[0].engine
        if (fewer := select.workers_with_room(engine_name, threads=threads, workers=workers)) < workers:
            self.workers, self.threads = fewer, max(1, threads // fewer)
        select.require_room_for((engine_name,), threads=self.threads, workers=self.workers)
        self.readers = select.workers_with_room(engine_name, threads=self.threads, workers=self.threads)
        self._loading = [
            _LoadingEngine(self.bundle, member, choice, threads=self.threads)
            for member, choice in zip(manifest.members, self.choices, strict=True)
        ]
        self._last: _LoadingEngine | None = after._last if after else None
        for loading in self._loading[: 1 if manifest.ensemble.kind == "cascade" else None]:
            loading.start(self._last)
            self._last = loading

    def engine(self, member: int = 0) -> Engine:
        """The engine of a member, once it is loaded.

        Raises:
            IntegrityError: the model file is not the recorded one.
            IncompatibleBundleError: the model's input or outputs are not those of its member.
            InferenceError: the engine does not take it, or was closed.
        """
        return self._loading[member].engine()

    def wait(self) -> None:
        """Wait for every engine that was started.

        Raises:
            OsteoEdgeError: as ``engine``, for any of them.
        """
        for loading in self._loading:
            if loading.is_started:
                loading.engine()

    def close(self) -> None:
        """Release the engines' memory, once what they run is over. Any thread may, at any time."""
        for loading in self._loading:
            loading.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a predictor holds a loaded engine and can be neither pickled nor copied; let each worker process make its own "
            "(an initializer of the pool), send it the pictures, and take back the predictions"
        )


def load_models(
    bundles: Sequence[str | Path | Bundle],
    *,
    engine: str = select.AUTO,
    precision: str = select.AUTO,
    threads: int | None = None,
    workers: int = 1,
) -> tuple[LoadingModel, ...]:
    """Start to load the models of bundles that are asked of one picture, one bundle after the other.

    Nothing is loaded before all are known to go together.

    Raises:
        BundleError: one is missing, damaged or incompatible; or two answer one question, or are of different body parts.
        OsteoEdgeError, ValueError, TypeError: as ``LoadingModel``.
    """
    for bundle in bundles:
        _require_kinds(bundle)
    opened = [bundle if isinstance(bundle, Bundle) else open_bundle(bundle) for bundle in bundles]
    require_bundles_together(opened)
    models: list[LoadingModel] = []
    try:
        for bundle in opened:
            last = models[-1] if models else None
            model = LoadingModel(bundle, engine=engine, precision=precision, threads=threads, workers=workers, after=last)
            models.append(model)
    except BaseException:
        for model in models:
            model.close()
        raise
    return tuple(models)


def require_bundles_together(bundles: Sequence[Bundle]) -> None:
    """Raise unless these bundles can be asked of one picture.

    Raises:
        IncompatibleBundleError: two answer one question, or are of different body parts.
    """
    require_together([(one.manifest.name, one.manifest.question, one.manifest.body_part) for one in bundles])


def _require_kinds(bundle: object, **names: object) -> None:
    if not isinstance(bundle, (str, Path, Bundle)):
        raise TypeError(f"bundle must be a name or a path, not {type(bundle).__name__}")
    for argument, value in names.items():
        if not isinstance(value, str):
            raise TypeError(f"{argument} must be a name, not {type(value).__name__}")


def _require_number(name: str, number: object) -> None:
    if isinstance(number, bool) or not isinstance(number, int):
        raise TypeError(f"{name} must be a whole number, not {type(number).__name__}")
    if not 1 <= number <= MAX_THREADS:
        shown = number if abs(number) < 10**9 else "such a number"  # Python writes none of thousands of digits
        raise ValueError(f"{name} must be 1 to {MAX_THREADS}, not {shown}")


class _LoadingEngine:
    """One member's engine on its way."""

    def __init__(self, bundle: Bundle, member: Member, choice: EngineChoice, *, threads: int) -> None:
        self._bundle, self._member, self._choice, self._threads = bundle, member, choice, threads
        self._starting = Lock()  # workers ask for a cascade's later members at the same time
        self._thread: Thread | None = None
        self._engine: Engine | None = None
        self._fault: BaseException | None = None
        self._is_closed = False

    @property
    def is_started(self) -> bool:
        return self._thread is not None

    def start(self, before: _LoadingEngine | None = None) -> None:
        """Start to load, once, and not after it was closed; or wait for ``before`` first."""
        with self._starting:
            if self._thread is None and not self._is_closed:
                thread = Thread(target=self._load, args=(before,), name="osteo-edge-engine")
                with out_of_memory_told():  # or a limit on processes, which reads the same
                    # Whole before there are two threads: of those that import it at once one may be handed half of it.
                    import_module("numpy")
                    thread.start()
                self._thread = thread

    def engine(self) -> Engine:
        self.start()
        self.join()
        if self._fault is not None:
            raise self._fault
        engine = self._engine
        if engine is None:
            raise InferenceError(CLOSED)
        return engine

    def close(self) -> None:
        with self._starting:
            self._is_closed = True
        self.join()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _load(self, before: _LoadingEngine | None) -> None:
        try:
            if before is not None:
                before.join()
            with out_of_memory_told():
                self._engine = open_member(self._bundle, self._member, self._choice, threads=self._threads)
        except BaseException as fault:  # handed to the thread that asks for the engine
            self._fault = fault


def open_member(bundle: Bundle, member: Member, choice: EngineChoice, *, threads: int) -> Engine:
    """A member's model file, verified and loaded, which takes and gives what a member must.

    Raises:
        IntegrityError: the file is not the recorded one, or refers to data in another.
        IncompatibleBundleError: its input or outputs are not those of the member.
        EngineError: the engine cannot be loaded, or does not take the file.
    """
    engine = select.open_engine(bundle, choice, threads=threads)
    try:
        _require_form(engine, member.input, labels=len(bundle.manifest.labels), path=choice.path)
    except IncompatibleBundleError:
        engine.close()
        raise
    return engine


def _require_form(engine: Engine, spec: InputSpec, *, labels: int, path: str) -> None:
    taken = [(one.shape, one.dtype) for one in engine.inputs]
    if taken != [((1, spec.height_px, spec.width_px, 1), spec.dtype)]:
        raise IncompatibleBundleError(
            f"{path}: the model must take one {spec.dtype} tensor (1, {spec.height_px}, {spec.width_px}, 1)"
        )
    shapes = {output.name: output.shape for output in engine.outputs}
    if shapes.get("logits") != (1, labels) or len(shapes.get("features", ())) != 4:
        raise IncompatibleBundleError(
            f"{path}: the model must give logits (1, {labels}) and features (1, rows, columns, channels)"
        )
