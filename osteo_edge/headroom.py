"""Headroom in memory: what the limits of this process leave, what loading takes, and errors that mean that there is none.

Libraries do not all tell when they get no memory: OpenBLAS ends the process, the C library aborts it, engines crash. Where
a limit is set (``ulimit -v``, ``ulimit -d``), it is therefore looked at before they are loaded.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Literal

from osteo_edge.cgroups import memory_limit
from osteo_edge.errors import OsteoEdgeError, OutOfMemoryError, first_line

MIB = 1 << 20
_M_ARENA_MAX = -8  # malloc.h
_OPENCV_NO_MEMORY = -4  # cv2.Error.StsNoMem
# What engines, the loader of shared libraries and Python's threads say, in small letters. Only words tell.
_WORDS = (
    "bad_alloc", "bad allocation", "insufficient memory", "cannot allocate memory", "failed to allocate", "out of memory",
    "unable to allocate", "failed to map segment", "can't start new thread",
)  # fmt: skip
ADVICE = "raise the limit of memory, end other programs, or give fewer --threads"

Kind = Literal["address", "data"]
_LIMITS_FILE, _SIZES_FILE = "/proc/self/limits", "/proc/self/statm"


@dataclass(frozen=True)
class _Limit:
    """One limit of the process: the system's and the shell's words for it, and where ``statm`` counts what it limits."""

    kind: Kind
    name: bytes
    option: str
    column: int


_LIMITS = (_Limit("address", b"Max address space", "ulimit -v", 0), _Limit("data", b"Max data size", "ulimit -d", 5))
# MiB, found by limiting fresh processes step by step until all answered (x86-64, the embedded bundle).
_OF_LIBRARIES: dict[str, dict[Kind, int]] = {
    "numpy": {"address": 86, "data": 46},
    "cv2": {"address": 172, "data": 14},
    "onnxruntime": {"address": 40, "data": 10},
    "ai_edge_litert": {"address": 24, "data": 4},
    "tflite_runtime": {"address": 24, "data": 4},
}
_OF_WORK: dict[Kind, int] = {"address": 50, "data": 60}
_BEFORE_ENGINES = ("numpy", "cv2")
_OF_A_THREAD = 9  # its stack
# Resident, as control groups count it; the kernel would end the process without a word.
_OF_CONTAINER = 48
# Below it, what threads' own heaps keep of pictures that are over is more than can be spared.
_SMALL_CONTAINER = 1024
_OF_ANOTHER_WORKER = 64  # a picture, and what OpenBLAS takes for each thread that multiplies matrices


def require_room(modules: Sequence[str], *, threads: int = 1, workers: int = 1) -> None:
    """Refuse to load what this process' or its container's limits leave no room for; does nothing where there is none.

    Within a limit, numpy and OpenCV are loaded here, and threads get no heaps of their own: beside what needs address space, an
    engine's threads would reserve 64 MiB each, or all that is left. In a small container they get none either: each would keep
    the memory of a picture that is over.

    Args:
        modules: the engines' packages, which are loaded beside numpy and OpenCV.
        threads: of an engine for each worker.
        workers: pictures that are answered side by side.

    Raises:
        OutOfMemoryError: names the limit.
    """
    container = memory_limit()
    if container is not None and container < _OF_CONTAINER * MIB:
        raise OutOfMemoryError(
            f"too little memory: about {_OF_CONTAINER} MiB are needed, and this container is limited to {container // MIB}; "
            f"{ADVICE}"
        )
    if container is not None and container < _SMALL_CONTAINER * MIB:
        _share_one_heap()
    left = _left()
    for limit, room in left.items():
        needed = _needed(limit.kind, modules, threads, workers)
        if room < needed:
            raise OutOfMemoryError(
                f"too little memory: about {needed} MiB more are needed, and '{limit.option}' leaves {max(room, 0)}; {ADVICE}"
            )
    if left:
        _share_one_heap()
        with out_of_memory_told():
            for library in _BEFORE_ENGINES:
                import_module(library)
            _let_openblas_take_its_memory()


def workers_within(modules: Sequence[str], *, threads: int, workers: int) -> int:
    """As many of the workers, at least one, as this process' limits leave room for; the threads are shared out among them."""
    left = _left()
    while workers > 1 and any(
        room < _needed(limit.kind, modules, max(1, threads // workers), workers) for limit, room in left.items()
    ):
        workers -= 1
    return workers


def _needed(kind: Kind, modules: Sequence[str], threads: int, workers: int) -> int:
    libraries = (name for name in (*_BEFORE_ENGINES, *modules) if name not in sys.modules)
    loading = sum(_OF_LIBRARIES[name][kind] for name in libraries)
    return loading + _OF_WORK[kind] + _OF_A_THREAD * threads * workers + _OF_ANOTHER_WORKER * (workers - 1)


def _let_openblas_take_its_memory() -> None:
    """It does so for its first product, keeps it for the next, and ends the process where a picture has taken it before."""
    import numpy as np

    square = np.ones((256, 256), np.float32)
    np.matmul(square, square)


def _share_one_heap() -> None:
    """Of glibc; others have no such heaps."""
    import ctypes

    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def keep_freed_memory() -> None:
    """Let the next picture have the last one's memory.

    glibc gives freed memory back to the system above a limit that follows the largest block that was ever freed, and at
    first every picture's pages would come and go: a fifth of the work beside decoding. A block of which no page is
    touched moves the limit up to 64 MiB. Nothing happens elsewhere.
    """
    import numpy as np

    with suppress(MemoryError):  # it is a matter of speed alone
        np.empty(31 << 20, np.uint8)


@contextmanager
def out_of_memory_told() -> Iterator[None]:
    """What means that there is no memory left is raised as ``OutOfMemoryError``, whoever noticed it."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        if (reason := shortage(error)) is not None:
            raise OutOfMemoryError(f"too little memory ({reason}); {ADVICE}") from error
        raise


def shortage(error: BaseException) -> str | None:
    """What tells that memory ran out, in the error or in what it was raised from; None where nothing does."""
    cause: BaseException | None = error
    while cause is not None:
        if not isinstance(cause, OsteoEdgeError) and _is_shortage(cause):
            return first_line(cause)
        cause = cause.__cause__ or cause.__context__
    return None


def _is_shortage(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno:
        return error.errno == errno.ENOMEM
    if isinstance(error, MemoryError) or (type(error).__module__ == "cv2" and getattr(error, "code", 0) == _OPENCV_NO_MEMORY):
        return True
    text = str(error).lower()
    return any(words in text for words in _WORDS)


def _left() -> dict[_Limit, int]:
    """MiB that each limit leaves; empty where there is none, or the system does not tell."""
    try:
        with open(_LIMITS_FILE, "rb") as file:
            set_bytes = dict(_soft_limits(file.read()))
        if not set_bytes:
            return {}
        with open(_SIZES_FILE, "rb") as file:
            pages = [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        return {}
    from mmap import PAGESIZE

    return {limit: (soft - pages[limit.column] * PAGESIZE) // MIB for limit, soft in set_bytes.items()}


def _soft_limits(text: bytes) -> Iterator[tuple[_Limit, int]]:
    for line in text.splitlines():
        for limit in _LIMITS:
            if line.startswith(limit.name) and (soft := line.removeprefix(limit.name).split()[0]) != b"unlimited":
                yield limit, int(soft)
