"""ONNX Runtime, on the CPU."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from osteo_edge.engines.base import CLOSED, TensorSpec
from osteo_edge.engines.telemetry import switch_off
from osteo_edge.errors import InferenceError, IntegrityError, first_line

switch_off()
import onnxruntime as ort  # noqa: E402  not before

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats, Tensor

# Every external-data entry of ONNX has a key of this name (StringStringEntryProto in onnx.proto), so bytes
# without the word cannot point to another file. The exporter keeps the word out of its own names.
_EXTERNAL_DATA_KEY = b"location"
_SILENT_BUT_FATAL = 4
_DESCRIPTORS = "/proc/self/fd"
# The name of a file in memory tells nobody anything.
_LOADING = re.compile(rf"Load model from {_DESCRIPTORS}/\d+ failed: ?")


class OnnxEngine:
    """A model that ONNX Runtime has loaded from verified bytes. Its sessions are run by several threads at once."""

    def __init__(self, model: bytes, *, threads: int) -> None:
        """Load ``model``.

        Raises:
            IntegrityError: the model refers to data outside its own file.
            InferenceError: ONNX Runtime does not take the model.
        """
        if _EXTERNAL_DATA_KEY in model:
            raise IntegrityError("the ONNX model may refer to data in another file; only self-contained models are loaded")
        try:
            with _as_file(model) as source:
                session = ort.InferenceSession(source, _options(threads), providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen unrelated classes; all mean the same here
            raise InferenceError(f"ONNX Runtime {ort.__version__} cannot load the model: {_reason(error)}") from error
        self.inputs = tuple(_spec(node) for node in session.get_inputs())
        self.outputs = tuple(_spec(node) for node in session.get_outputs())
        self._session: ort.InferenceSession | None = session
        self._output_names = [output.name for output in self.outputs]

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
        """Run once; see ``Engine.run``."""
        session = self._session  # kept until this run is over, whoever closes the engine meanwhile
        if session is None:
            raise InferenceError(CLOSED)
        try:
            results = session.run(self._output_names, dict(feeds))
        except Exception as error:  # as above
            raise InferenceError(f"ONNX Runtime failed: {_reason(error)}") from error
        return dict(zip(self._output_names, results, strict=True))

    def close(self) -> None:
        """See ``Engine.close``."""
        self._session = None


@contextmanager
def _as_file(model: bytes) -> Iterator[str | bytes]:
    """The same bytes as a file in memory that nobody can change, where the system has such files.

    Of a file a session keeps nothing; the bytes it would hold for good, and parse from a copy of them: twice the model's size.
    The caller's bytes are best let go after the session was made: a block so large, given back before, makes glibc keep
    what the session needs only while it loads.
    """
    try:
        file = _write_to_memory(model)
    except (AttributeError, OSError):  # not Linux; or forbidden, by a sandbox or by a limit on the size of files
        yield model
        return
    with file:
        yield f"{_DESCRIPTORS}/{file.fileno()}"


def _write_to_memory(model: bytes) -> BinaryIO:
    file = os.fdopen(os.memfd_create("model", os.MFD_CLOEXEC), "wb", buffering=0)
    try:
        left = memoryview(model)
        while left:
            left = left[file.write(left) :]
        with open(f"{_DESCRIPTORS}/{file.fileno()}", "rb"):
            return file  # the runtime will find it by this name as well
    except BaseException:
        file.close()
        raise


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = _SILENT_BUT_FATAL
    return options


def _spec(node: ort.NodeArg) -> TensorSpec:
    dtype = {"tensor(float)": "float32", "tensor(uint8)": "uint8"}.get(node.type, node.type)
    return TensorSpec(node.name, tuple(side if isinstance(side, int) else -1 for side in node.shape), dtype)


def _reason(error: Exception) -> str:
    return _LOADING.sub("", first_line(error))
