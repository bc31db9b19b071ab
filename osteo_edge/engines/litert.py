"""LiteRT (``ai-edge-litert``), or ``tflite-runtime`` where only that exists, on the CPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from osteo_edge.engines.base import CLOSED, TensorSpec
from osteo_edge.errors import InferenceError, first_line

try:
    from ai_edge_litert.interpreter import Interpreter, SignatureRunner
except ImportError:
    from tflite_runtime.interpreter import Interpreter, SignatureRunner

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats, Tensor


class LitertEngine:
    """A model that LiteRT has loaded from verified bytes; its tensors go by the names of its one signature.

    An interpreter runs once at a time. Threads that meet have one each, made when it is needed and kept.
    """

    def __init__(self, model: bytes, *, threads: int) -> None:
        """Load ``model``.

        Raises:
            InferenceError: LiteRT does not take the model.
        """
        self._model: bytes | None = model
        self._threads = threads
        runner = self._open(model)
        self.inputs = _specs(runner.get_input_details())
        self.outputs = _specs(runner.get_output_details())
        self._idle = deque([runner])

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
        """Run once; see ``Engine.run``."""
        model = self._model
        if model is None:
            raise InferenceError(CLOSED)
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = self._open(model)
        try:
            return dict(runner(**feeds))
        except Exception as error:  # as below
            raise InferenceError(f"LiteRT failed: {first_line(error)}") from error
        finally:
            self._idle.append(runner)
            if self._model is None:  # closed meanwhile
                self._idle.clear()

    def close(self) -> None:
        """See ``Engine.close``."""
        self._model = None
        self._idle.clear()

    def _open(self, model: bytes) -> SignatureRunner:
        try:
            interpreter = Interpreter(model_content=model, num_threads=self._threads)
            interpreter.allocate_tensors()
            return interpreter.get_signature_runner()
        except Exception as error:  # the bindings raise ValueError, RuntimeError and SystemError for a bad model
            raise InferenceError(f"LiteRT cannot load the model: {first_line(error)}") from error


def _specs(details: Mapping[str, Mapping[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, tuple(int(side) for side in detail["shape"]), np.dtype(detail["dtype"]).name)
        for name, detail in details.items()
    )
