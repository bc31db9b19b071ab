"""A model file's answers for prepared knees: the program that runs in each place, natively or not.

It needs the standard library, numpy and the engine alone, so that an emulated machine can run it. It reads one job (JSON) from
standard input and writes one report to standard output. Jobs:

``{"probe": model}``: the answer of the one-layer model of ``places.saturation_probe``.
``{"engine", "model", "knees", "order", "at_least", "seconds", "threads", "answers"}``: logits (N, labels) float32 of the
knees in that order, until the seconds are over but not before ``at_least`` knees, written to ``answers`` (.npy).
"""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from osteo_edge.engines.base import Engine

PACKAGES = {"onnxruntime": ("onnxruntime", "onnxruntime"), "litert": ("ai_edge_litert", "ai-edge-litert")}


def main() -> None:
    job = json.load(sys.stdin)
    report = _probe(job) if "probe" in job else _answer(job)
    json.dump(report, sys.stdout)


def _probe(job: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    engine = open_file("onnxruntime", Path(job["probe"]).read_bytes(), threads=1)
    tensor = engine.inputs[0]
    (answer,) = engine.run({tensor.name: np.full(tensor.shape, 255, np.uint8)}).values()
    return {"answer": int(answer.item())}


def _answer(job: Mapping[str, Any]) -> dict[str, Any]:
    import numpy as np

    engine = open_file(job["engine"], Path(job["model"]).read_bytes(), threads=job["threads"])
    name = engine.inputs[0].name
    knees = np.load(job["knees"], mmap_mode="r")
    answers, start = [], time.monotonic()
    for number, index in enumerate(job["order"]):
        if number >= job["at_least"] and time.monotonic() - start > job["seconds"]:
            break
        answers.append(engine.run({name: np.ascontiguousarray(knees[index : index + 1])})["logits"][0])
    np.save(job["answers"], np.stack(answers))
    package, distribution = PACKAGES[job["engine"]]
    return {
        "engine": job["engine"],
        "architecture": platform.machine(),
        "python": platform.python_version(),
        "engine_version": version(distribution),
        "engine_folder": str(Path(sys.modules[package].__file__ or "").resolve().parent),
        "knees": len(answers),
    }


def open_file(engine: str, model: bytes, *, threads: int) -> Engine:
    """The runtime's own engine; neither needs the other's package."""
    if engine == "onnxruntime":
        from osteo_edge.engines.onnx import OnnxEngine

        return OnnxEngine(model, threads=threads)
    from osteo_edge.engines.litert import LitertEngine

    return LitertEngine(model, threads=threads)


if __name__ == "__main__":
    main()
