"""One way to screen a picture file, in a process of its own: osteo-edge itself, or a script on another engine.

It reads one JSON object a line from standard input and answers each with one. First the job: ``{"engine", "model", "threads",
"channels", "spec", "pictures"}``, where ``pictures`` is a list of ``[path, [[x0, y0, x1, y1], ...]]``, a box a knee, ``spec``
the input's record, and ``threads`` null for the engine's own choice. Then any number of

* ``{"picture": index, "seconds": s}``: run it for about so long; median milliseconds of a run;
* ``{"folder": [index, ...]}``: run them all once, in batches where that is the engine's way; seconds of all together;
* ``{"answers": [index, ...]}``: their probabilities;
* ``{"memory": true}``: peak of resident memory so far;
* ``{"stages": index}``, for osteo-edge: median milliseconds of each stage of a prediction.

``python -m benchmarks.peers.worker FILE`` does a job from a file once, for its first picture: a whole process.

A script has the knees' boxes given and so needs no finder; it decodes with cv2.imread, prepares with the very function
that osteo-edge uses, runs, and takes the softmax. Other interpreters need numpy, OpenCV and the engine.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osteo_edge.predictor import OsteoPredictor

Run = Callable[[Any], Any]  # knees (N, H, W, channels) -> logits (N, labels)

KERAS_BATCH = 32  # of Keras' predict, by default
_BATCHING = ("keras", "tensorflow", "torch")
_MIN_RUNS = 3
_STAGE_RUNS = 15


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an engine prints is no answer
    if len(sys.argv) > 1:
        way = open_way(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
        print(json.dumps(way.answers([0])), file=answers)
        return
    way = open_way(json.loads(sys.stdin.readline()))
    print(json.dumps({"version": sys.version.split()[0]}), file=answers)
    for line in sys.stdin:
        print(json.dumps(obey(way, json.loads(line))), file=answers)


def obey(way: Way, order: Mapping[str, Any]) -> dict[str, Any]:
    if "answers" in order:
        return {"probabilities": way.answers(order["answers"])}
    if "folder" in order:
        start = time.perf_counter()
        way.walk(order["folder"])
        return {"seconds": time.perf_counter() - start}
    if "stages" in order:
        return way.stages_ms(order["stages"])
    if "memory" in order:
        return {"peak_mb": _peak_mb()}
    return {"milliseconds": _median_ms(lambda: way.answers([order["picture"]]), order["seconds"])}


def _peak_mb() -> float:
    """Of resident memory, MB (10^6 bytes). What getrusage tells is not below the peak of the process that started this one."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


def _median_ms(work: Callable[[], object], seconds: float) -> float:
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while len(taken) < _MIN_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1000)
    return statistics.median(taken)


class Way(ABC):
    """From picture files to probabilities."""

    @abstractmethod
    def answers(self, pictures: Sequence[int]) -> list[list[float]]:
        """(pictures, labels)"""

    def walk(self, pictures: Sequence[int]) -> None:
        """Through a folder."""
        self.answers(pictures)

    def stages_ms(self, picture: int) -> dict[str, float]:
        """Nothing is known of a script's stages."""
        return {}


class OsteoEdge(Way):
    """``OsteoPredictor.predict``, end to end; it finds the knees itself."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        from osteo_edge import OsteoPredictor

        self._open = partial(OsteoPredictor, Path(job["model"]), threads=job["threads"])
        self._predictor = self._open()
        self._paths = [path for path, _ in job["pictures"]]

    def answers(self, pictures: Sequence[int]) -> list[list[float]]:
        predictions = [self._predictor.predict(self._paths[index]) for index in pictures]
        return [list(prediction.image_probabilities.values()) for prediction in predictions]

    def walk(self, pictures: Sequence[int]) -> None:
        for _ in self._for_lists.predict_many([self._paths[index] for index in pictures]):
            pass

    @cached_property
    def _for_lists(self) -> OsteoPredictor:
        """As ``osteo-edge predict FOLDER`` opens it: all processors, a picture each."""
        from osteo_edge.engines.select import available_threads

        return self._open(workers=available_threads())

    def stages_ms(self, picture: int) -> dict[str, float]:
        timings = [self._predictor.predict(self._paths[picture]).timings_ms for _ in range(_STAGE_RUNS)]
        return {stage: statistics.median(one[stage] for one in timings) for stage in timings[0]}


class Script(Way):
    """What a user would write with another engine."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        self._run: Run = _OPENERS[job["engine"]](job["model"], job["threads"])
        self._batch = KERAS_BATCH if job["engine"] in _BATCHING else 1
        self._channels, self._pictures = job["channels"], job["pictures"]
        from osteo_edge.manifest import InputSpec

        self._spec = InputSpec(**job["spec"])

    def answers(self, pictures: Sequence[int]) -> list[list[float]]:
        import numpy as np

        knees, owners = [], []
        logits: list[Any] = []
        for place, index in enumerate(pictures):
            shown = self._knees(*self._pictures[index])
            knees += shown
            owners += [place] * len(shown)
            while len(knees) >= self._batch:
                logits.append(self._run(np.concatenate(knees[: self._batch])))
                del knees[: self._batch]
        if knees:
            logits.append(self._run(np.concatenate(knees)))
        scores, owner = np.concatenate(logits).astype(np.float64), np.array(owners)
        return [_softmax(scores[owner == place].mean(axis=0)) for place in range(len(pictures))]

    def _knees(self, path: str, boxes: Sequence[Sequence[int]]) -> list[Any]:
        import cv2
        import numpy as np

        from osteo_edge.images.preprocess import prepare
        from osteo_edge.joints import Box

        pixels: Any = cv2.imread(path, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
        knees = [prepare(pixels, Box(*box), self._spec) for box in boxes]
        return [np.repeat(knee, self._channels, axis=3) for knee in knees] if self._channels > 1 else knees


def open_way(job: Mapping[str, Any]) -> Way:
    return OsteoEdge(job) if job["engine"] == "osteo_edge" else Script(job)


def _softmax(logits: Any) -> list[float]:
    import numpy as np

    powers = np.exp(logits - logits.max())
    return (powers / powers.sum()).tolist()  # type: ignore[no-any-return]


def _open_keras(model: str, threads: int | None) -> Run:
    """``model.predict``, as the papers' code does."""
    network = _load_keras(model, "tensorflow", threads)
    return lambda knees: network.predict(knees, verbose=0)


def _open_tensorflow(model: str, threads: int | None) -> Run:
    network = _load_keras(model, "tensorflow", threads)
    import tensorflow as tf

    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32)]
    graph = tf.function(lambda knees: network(knees, training=False), input_signature=signature)
    return lambda knees: graph(tf.constant(knees)).numpy()


def _open_torch(model: str, threads: int | None) -> Run:
    network = _load_keras(model, "torch", threads)
    import torch

    def run(knees: Any) -> Any:
        with torch.inference_mode():
            return network(torch.from_numpy(knees), training=False).numpy()

    return run


def _load_keras(model: str, backend: str, threads: int | None) -> Any:
    os.environ |= {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    if threads and backend == "torch":
        import torch

        torch.set_num_threads(threads)
    elif threads:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    import keras

    import train.networks.architectures.layers  # noqa: F401  # registers the project's own two layers

    return keras.models.load_model(model, compile=False)


def _open_onnxruntime(model: str, threads: int | None) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    if threads:
        options.intra_op_num_threads = threads
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda knees: session.run(["logits"], {name: knees})[0]


def _open_litert(model: str, threads: int | None) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    signature = Interpreter(model_path=model, num_threads=threads or os.cpu_count()).get_signature_runner()
    (name,) = signature.get_input_details()
    return lambda knees: signature(**{name: knees})["logits"]


def _open_openvino(model: str, threads: int | None) -> Run:
    import openvino

    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    logits = next(output for output in compiled.outputs if len(output.shape) == 2)
    return lambda knees: compiled({0: knees})[logits]


_OPENERS: Mapping[str, Callable[[str, int | None], Run]] = {
    "keras": _open_keras,
    "tensorflow": _open_tensorflow,
    "torch": _open_torch,
    "onnxruntime": _open_onnxruntime,
    "litert": _open_litert,
    "openvino": _open_openvino,
}

if __name__ == "__main__":
    main()
