"""A bundle's model on its way into memory."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

from osteo_edge.bundle import DEFAULT_BUNDLE, open_bundle
from osteo_edge.engines import select
from osteo_edge.engines.base import Engine
from osteo_edge.errors import IncompatibleBundleError, InferenceError

MAX_THREADS = 256


class LoadingModel:
    """An opened bundle and the engine for it, which loads on a thread of its own.

    Engines release Python's lock while they plan a model, so that a caller may meanwhile import OpenCV and read
    the first radiograph. Importing this module loads neither numpy nor an engine.

    Attributes:
        bundle: opened; its manifest was checked.
        member: the member that is run.
        choice: the engine, precision and file.
    """

    def __init__(
        self,
        bundle: str | Path = DEFAULT_BUNDLE,
        *,
        engine: str = select.AUTO,
        precision: str = select.AUTO,
        threads: int | None = None,
    ) -> None:
        """Open the bundle and start loading; see ``OsteoPredictor`` for the arguments.

        Raises:
            BundleError: missing, damaged or incompatible.
            EngineUnavailableError: the engine is not installed.
            ValueError: threads is not 1 to 256.
        """
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads must be 1 to {MAX_THREADS}, not {threads}")
        self.bundle = open_bundle(bundle)
        self.member = self.bundle.manifest.members[0]
        self.choice = select.choose(self.member, engine=engine, precision=precision)
        self._threads = threads or select.available_threads()
        self._loaded: list[Engine] = []
        self._faults: list[BaseException] = []
        self._thread = Thread(target=self._load, name="osteo-edge-engine")
        self._thread.start()

    def engine(self) -> Engine:
        """The engine, once it is loaded.

        Raises:
            IntegrityError: the model file is not the recorded one.
            IncompatibleBundleError: the model's outputs are not those of a member.
            InferenceError: the engine does not take it, or was closed.
        """
        self._thread.join()
        for fault in self._faults:
            raise fault
        if not self._loaded:
            raise InferenceError("the predictor was closed; make a new one")
        return self._loaded[0]

    def close(self) -> None:
        """Release the engine's memory."""
        self._thread.join()
        while self._loaded:
            self._loaded.pop().close()

    def _load(self) -> None:
        try:
            engine = select.open_engine(self.bundle, self.choice, threads=self._threads)
            _require_outputs(engine, labels=len(self.bundle.manifest.labels))
            self._loaded.append(engine)
        except BaseException as fault:  # handed to the thread that asks for the engine
            self._faults.append(fault)


def _require_outputs(engine: Engine, *, labels: int) -> None:
    shapes = {output.name: output.shape for output in engine.outputs}
    if len(engine.inputs) != 1 or shapes.get("logits") != (1, labels) or len(shapes.get("features", ())) != 4:
        raise IncompatibleBundleError(
            f"the model must take one tensor and give logits (1, {labels}) and features (1, rows, columns, channels)"
        )
