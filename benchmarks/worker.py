"""One configuration in a process of its own: loads its model files once, then runs them as often as it is told.

It needs the standard library, numpy and one engine, so that any interpreter can be measured. It reads one JSON object a line
from standard input and answers each with one: first the job ``{"engine", "models", "inputs", "threads"}``, where
``inputs`` is one ``.npy`` of knees (N, H, W, 1) a model, then any number of ``{"seconds": s}`` (run all models in turn for
about so long) and ``{"answers": path, "model": index}`` (write that model's logits of every knee, (N, labels), to a ``.npy``).
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

Run = Callable[[Any], Any]  # one knee (1, H, W, 1) -> logits (labels,)

_MIN_RUNS = 3
_DISTRIBUTIONS = {"onnxruntime": "onnxruntime", "litert": "ai-edge-litert", "openvino": "openvino"}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what an engine prints is no answer
    job = json.loads(sys.stdin.readline())
    worker = _Worker(job)
    print(json.dumps(worker.loaded), file=answers)
    for line in sys.stdin:
        print(json.dumps(worker.obey(json.loads(line))), file=answers)


class _Worker:
    """Loaded models."""

    def __init__(self, job: Mapping[str, Any]) -> None:
        import numpy as np

        self._knees = [np.load(path, mmap_mode="r") for path in job["inputs"]]
        open_model = _OPENERS[job["engine"]]
        self._runs: list[Run] = []
        load_ms, rss_mb = [], [_resident_mb()]
        for model, knees in zip(job["models"], self._knees, strict=True):
            start = time.perf_counter()
            self._runs.append(open_model(Path(model), job["threads"]))
            load_ms.append((time.perf_counter() - start) * 1000)
            self._runs[-1](np.ascontiguousarray(knees[:1]))
            rss_mb.append(_resident_mb())
        self.loaded = {
            "load_ms": load_ms,
            "rss_mb": rss_mb[1:],
            "version": version(_DISTRIBUTIONS[job["engine"]]),
            "python": platform.python_version(),
        }

    def obey(self, order: Mapping[str, Any]) -> dict[str, Any]:
        return self._answer(**order) if "answers" in order else self._time(order["seconds"])

    def _time(self, seconds: float) -> dict[str, Any]:
        """Median milliseconds of each model; all models run in turn, as for one knee."""
        import numpy as np

        shown = [np.ascontiguousarray(knees[:1]) for knees in self._knees]
        samples: list[list[float]] = [[] for _ in self._runs]
        end = time.perf_counter() + seconds
        while len(samples[0]) < _MIN_RUNS or time.perf_counter() < end:
            for run, knee, taken in zip(self._runs, shown, samples, strict=True):
                start = time.perf_counter()
                run(knee)
                taken.append((time.perf_counter() - start) * 1000)
        return {"milliseconds": [statistics.median(taken) for taken in samples], "runs": len(samples[0])}

    def _answer(self, answers: str, model: int) -> dict[str, Any]:
        import numpy as np

        knees, run = self._knees[model], self._runs[model]
        logits = [np.array(run(np.ascontiguousarray(knees[index : index + 1]))) for index in range(len(knees))]
        np.save(answers, np.stack(logits))
        return {"knees": len(logits)}


def _open_onnxruntime(model: Path, threads: int) -> Run:
    from osteo_edge.engines.onnx import OnnxEngine

    return _by_name(OnnxEngine(model.read_bytes(), threads=threads))


def _open_litert(model: Path, threads: int) -> Run:
    from osteo_edge.engines.litert import LitertEngine

    return _by_name(LitertEngine(model.read_bytes(), threads=threads))


def _by_name(engine: Any) -> Run:
    name = engine.inputs[0].name
    return lambda knee: engine.run({name: knee})["logits"][0]


def _open_openvino(model: Path, threads: int) -> Run:
    import openvino

    # Without the hint OpenVINO computes in bfloat16 on processors that have it.
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
        "INFERENCE_NUM_THREADS": str(threads),
    }
    compiled = openvino.Core().compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    logits = next(output for output in compiled.outputs if len(output.shape) == 2)  # LiteRT's files lose its name here
    return lambda knee: request.infer({0: knee}, share_inputs=True)[logits][0]


_OPENERS = {"onnxruntime": _open_onnxruntime, "litert": _open_litert, "openvino": _open_openvino}


def _resident_mb() -> float:
    """Resident memory in MB (10^6 bytes), as the kernel accounts it."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
