"""A bundle's model on its way into memory."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

from osteo_edge.bundle import DEFAULT_BUNDLE, open_bundle
from osteo_edge.engines import select
from osteo_edge.engines.base import Engine


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
        """
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
            InferenceError: the engine does not take it.
        """
        self._thread.join()
        for fault in self._faults:
            raise fault
        return self._loaded[0]

    def close(self) -> None:
        """Release the engine's memory."""
        self._thread.join()
        while self._loaded:
            self._loaded.pop().close()

    def _load(self) -> None:
        try:
            self._loaded.append(select.open_engine(self.bundle, self.choice, threads=self._threads))
        except BaseException as fault:  # handed to the thread that asks for the engine
            self._faults.append(fault)
