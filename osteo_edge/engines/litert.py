"""LiteRT (``ai-edge-litert``), or ``tflite-runtime`` where only that exists, on the CPU."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osteo_edge.engines.base import TensorSpec
from osteo_edge.errors import InferenceError

try:
    from ai_edge_litert.interpreter import Interpreter
except ImportError:
    from tflite_runtime.interpreter import Interpreter

if TYPE_CHECKING:
    from osteo_edge.engines.base import Picture

_STANDARD_ERROR = 2
_GREETING = b"INFO: "
_redirecting = threading.Lock()


class LitertEngine:
    """A model that LiteRT has loaded from verified bytes; its tensors go by the names of its one signature."""

    def __init__(self, model: bytes, *, threads: int) -> None:
        """Load ``model``.

        Raises:
            InferenceError: LiteRT does not take the model.
        """
        try:
            with _without_greeting():
                self._interpreter = Interpreter(model_content=model, num_threads=threads)
                self._interpreter.allocate_tensors()
            self._runner = self._interpreter.get_signature_runner()
        except Exception as error:  # the bindings raise ValueError, RuntimeError and SystemError for a bad model
            raise InferenceError(f"LiteRT cannot load the model: {_first_line(error)}") from error
        self.inputs = _specs(self._runner.get_input_details())
        self.outputs = _specs(self._runner.get_output_details())

    def run(self, feeds: Mapping[str, Picture]) -> dict[str, NDArray[np.float32]]:
        """Run once; see ``Engine.run``."""
        try:
            return dict(self._runner(**feeds))
        except Exception as error:  # as above
            raise InferenceError(f"LiteRT failed: {_first_line(error)}") from error

    def close(self) -> None:
        """Release the interpreter."""
        del self._runner, self._interpreter


def _specs(details: Mapping[str, Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, tuple(int(side) for side in detail["shape"]), np.dtype(detail["dtype"]).name)
        for name, detail in details.items()
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextmanager
def _without_greeting() -> Iterator[None]:
    """Keep LiteRT's word that it has started off standard error, which no setting of its own does.

    Whatever else is written there meanwhile, by any thread, is passed on afterwards.
    """
    if not hasattr(os, "memfd_create"):  # Linux alone
        yield
        return
    with _redirecting, os.fdopen(os.memfd_create("litert"), "rb") as kept:
        try:
            error = os.dup(_STANDARD_ERROR)
        except OSError:  # closed: nobody reads it
            yield
            return
        try:
            os.dup2(kept.fileno(), _STANDARD_ERROR)
            yield
        finally:
            os.dup2(error, _STANDARD_ERROR)
            os.close(error)
            kept.seek(0)
            for line in kept:
                if not line.startswith(_GREETING):
                    os.write(_STANDARD_ERROR, line)
