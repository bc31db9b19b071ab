"""Headroom in memory: what limits leave, and errors that mean that there is none."""

from __future__ import annotations

import errno
import threading
from pathlib import Path
from typing import Any

import cv2
import pytest

from osteo_edge import OsteoPredictor, OutOfMemoryError, UnreadableImageError, headroom
from osteo_edge.engines import select
from osteo_edge.engines.onnx import OnnxEngine
from osteo_edge.headroom import out_of_memory_told, require_room, shortage, workers_within
from osteo_edge.model import LoadingModel
from tests.bundles import DENSITY


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The kernel's files as they are with these limits and sizes, in MiB."""
    limits, sizes = tmp_path / "limits", tmp_path / "statm"
    monkeypatch.setattr(headroom, "_LIMITS_FILE", str(limits))
    monkeypatch.setattr(headroom, "_SIZES_FILE", str(sizes))
    monkeypatch.setattr(headroom, "_share_one_heap", lambda: None)

    def write(address: int | None, data: int | None, used: int = 100) -> None:
        rows = (("Max data size", data), ("Max open files", 1), ("Max address space", address))
        text = "Limit Soft Limit Hard Limit Units\n"
        for name, limit in rows:
            text += f"{name:<26}{'unlimited' if limit is None else limit << 20:<21}unlimited bytes\n"
        limits.write_text(text)
        pages = (used << 20) // 4096
        sizes.write_text(f"{pages} 10 10 10 0 {pages} 0\n")

    return write


def test_without_limits_nothing_is_refused(limited: Any) -> None:
    limited(None, None)
    require_room(["onnxruntime"], threads=256, workers=256)
    assert workers_within(["onnxruntime"], threads=256, workers=256) == 256


@pytest.mark.parametrize(
    ("address", "data", "option"), [(140, None, "ulimit -v"), (None, 140, "ulimit -d"), (4000, 150, "ulimit -d")]
)
def test_the_refusal_names_the_limit(limited: Any, address: int | None, data: int | None, option: str) -> None:
    limited(address, data)
    with pytest.raises(OutOfMemoryError, match=option):
        require_room(["onnxruntime"])
    with pytest.raises(OutOfMemoryError):
        OsteoPredictor(DENSITY, engine="onnxruntime")


def test_what_is_loaded_already_is_not_counted_again(limited: Any) -> None:
    limited(200, None)  # numpy, OpenCV and the engine of these tests alone would take more
    require_room(["onnxruntime", "numpy", "cv2"])


def test_fewer_pictures_side_by_side_where_more_would_not_fit(limited: Any) -> None:
    limited(300, None)
    model = LoadingModel(engine="onnxruntime", precision="fp32", threads=8, workers=8)
    assert (model.workers, model.threads) == (2, 4)
    model.close()


@pytest.mark.parametrize(("limit", "is_refused"), [(47, True), (48, False), (None, False)])
def test_a_container_in_which_nothing_fits(limit: int | None, is_refused: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(headroom, "memory_limit", lambda: limit and limit << 20)
    if is_refused:
        with pytest.raises(OutOfMemoryError, match="this container is limited to 47"):
            require_room(["onnxruntime"])
    else:
        require_room(["onnxruntime"])


@pytest.mark.parametrize(("limit", "is_shared"), [(120, True), (1023, True), (1024, False), (None, False)])
def test_threads_share_one_heap_in_a_small_container(
    limit: int | None, is_shared: bool, limited: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Heaps of their own keep what pictures gave back, so that a picture's memory counts as often as there are threads."""
    limited(None, None)
    monkeypatch.setattr(headroom, "memory_limit", lambda: limit and limit << 20)
    shared: list[None] = []
    monkeypatch.setattr(headroom, "_share_one_heap", lambda: shared.append(None))
    require_room(["onnxruntime"])
    assert bool(shared) == is_shared


def test_where_the_kernel_tells_nothing_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_LIMITS_FILE", "_SIZES_FILE"):
        monkeypatch.setattr(headroom, name, "/nowhere")
    require_room(["onnxruntime"])


def raised_from(cause: BaseException) -> Exception:
    try:
        try:
            raise cause
        except BaseException as error:
            raise UnreadableImageError("cannot be decoded", code="damaged") from error
    except UnreadableImageError as error:
        return error


def opencv_error() -> cv2.error:
    error = cv2.error("OpenCV(5) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 120 bytes")
    error.code = -4  # type: ignore[attr-defined]
    return error


SHORTAGES = (
    MemoryError(), opencv_error(), RuntimeError("std::bad_alloc"), RuntimeError("can't start new thread"),
    ImportError("libopenblas.so: failed to map segment from shared object"), OSError(errno.ENOMEM, "Cannot allocate memory"),
    OSError("libLiteRt.so: failed to map segment from shared object"),
    RuntimeError("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 3"),
)  # fmt: skip


@pytest.mark.parametrize("error", SHORTAGES, ids=repr)
def test_what_means_that_there_is_no_memory_is_told_as_such(error: Exception) -> None:
    for raised in (error, raised_from(error)):
        assert shortage(raised) is not None
        with pytest.raises(OutOfMemoryError, match=r"^too little memory"), out_of_memory_told():
            raise raised


@pytest.mark.parametrize(
    "error", [ValueError("no"), OSError(errno.ENOSPC, "out of memory"), ImportError("no module")], ids=repr
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert shortage(raised_from(error)) is None
    with pytest.raises(type(error)), out_of_memory_told():
        raise error


def test_an_engine_that_runs_out_of_memory_says_so(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("std::bad_alloc")

    with OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=1) as predictor:
        monkeypatch.setattr(OnnxEngine, "run", fail)
        with pytest.raises(OutOfMemoryError, match="bad_alloc"):
            predictor.predict(example)
    monkeypatch.setattr(select, "_engine_class", lambda _: fail)
    with pytest.raises(OutOfMemoryError, match="bad_alloc"):
        OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=1)


def test_a_picture_that_there_is_no_memory_for_is_not_called_damaged(monkeypatch: pytest.MonkeyPatch, example: Path) -> None:
    def fail(*_: object) -> None:
        raise opencv_error()

    with OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=2) as predictor:
        expected = predictor.predict(example)
        monkeypatch.setattr(cv2, "imdecode", fail)
        with pytest.raises(OutOfMemoryError, match="Insufficient memory"):
            list(predictor.predict_many([example, example]))
        monkeypatch.undo()
        assert predictor.predict(example) == expected


def test_where_no_thread_can_be_started_it_is_told(monkeypatch: pytest.MonkeyPatch, example: Path) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32", threads=2, workers=2) as predictor:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(OutOfMemoryError, match="can't start new thread"):
            list(predictor.predict_many([example, example]))
        with pytest.raises(OutOfMemoryError, match="can't start new thread"):
            OsteoPredictor(DENSITY, engine="onnxruntime", precision="fp32")
        monkeypatch.undo()
