"""How much faster a file is than another, measured side by side in one process."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from export.errors import ExportError
from export.graph import INPUT_NAME
from osteo_edge.engines.base import Engine
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.manifest import EngineName, InputSpec

ROUNDS = 15
_RUNS_A_ROUND = 3


def paired_speed(
    files: Mapping[str, tuple[EngineName, bytes]], reference: str, *, spec: InputSpec, rounds: int = ROUNDS
) -> Mapping[str, float]:
    """Times as fast as ``reference``, on one thread: the median over rounds in which every file runs in turn.

    What else the machine does slows all files of a round alike, so ratios hold where milliseconds do not.

    Args:
        files: name -> engine and model; ``reference`` is one of the names.

    Raises:
        ExportError: a file cannot be run.
    """
    feeds = {INPUT_NAME: np.full((1, spec.height_px, spec.width_px, 1), 128, spec.dtype)}
    try:
        engines = {name: _open(*file) for name, file in files.items()}
        for engine in engines.values():
            engine.run(feeds)
        seconds = {name: np.empty(rounds) for name in engines}
        for turn in range(rounds):
            for name, engine in engines.items():
                seconds[name][turn] = min(_timed(engine, feeds) for _ in range(_RUNS_A_ROUND))
        for engine in engines.values():
            engine.close()
    except OsteoEdgeError as error:
        raise ExportError(f"a file cannot be run to measure its speed: {error}") from error
    return {name: float(f"{np.median(seconds[reference] / times):.3g}") for name, times in seconds.items()}


def _timed(engine: Engine, feeds: Mapping[str, np.ndarray[tuple[int, ...], np.dtype[Any]]]) -> float:
    start = time.perf_counter()
    engine.run(feeds)
    return time.perf_counter() - start


def _open(name: EngineName, model: bytes) -> Engine:
    if name == "onnxruntime":
        from osteo_edge.engines.onnx import OnnxEngine

        return OnnxEngine(model, threads=1)
    from osteo_edge.engines.litert import LitertEngine

    return LitertEngine(model, threads=1)
