"""Which engine and precision to use on this device, and opening it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from osteo_edge.bundle import Bundle
from osteo_edge.engines.base import Engine
from osteo_edge.errors import EngineUnavailableError, IncompatibleBundleError
from osteo_edge.manifest import ENGINE_NAMES, EngineName, Member

AUTO = "auto"
_PACKAGES: dict[EngineName, tuple[str, ...]] = {
    "onnxruntime": ("onnxruntime",),
    "litert": ("ai_edge_litert", "tflite_runtime"),
}
_INSTALL: dict[EngineName, str] = {
    "onnxruntime": "pip install onnxruntime",
    "litert": 'pip install "osteo-edge[litert]"',
}


@dataclass(frozen=True)
class EngineChoice:
    """An engine, the precision of the member's file, and the file's path in the bundle."""

    engine: EngineName
    precision: str
    path: str


def is_installed(engine: EngineName) -> bool:
    """Whether the engine's package is there; nothing is imported."""
    return any(find_spec(package) is not None for package in _PACKAGES[engine])


def choose(members: Sequence[Member], *, engine: str = AUTO, precision: str = AUTO) -> tuple[EngineChoice, ...]:
    """One choice a member. All take the same engine: for ``auto`` the first installed one that every member has a file for.

    A precision of ``auto`` is each member's default of that engine.

    Raises:
        EngineUnavailableError: the engine is unknown or not installed.
        IncompatibleBundleError: a member has no file of that engine or precision.
    """
    name = _choose_engine(members) if engine == AUTO else _require_engine(engine)
    return tuple(_choose_file(member, name, precision) for member in members)


def _choose_file(member: Member, engine: EngineName, precision: str) -> EngineChoice:
    by_precision = member.files.get(engine)
    if not by_precision:
        raise IncompatibleBundleError(
            f"{member.name} of this bundle has no file for {engine}; it has {', '.join(member.files)}"
        )
    wanted = member.default_precision[engine] if precision == AUTO else precision
    if wanted not in by_precision:
        raise IncompatibleBundleError(
            f"{member.name} of this bundle has no {wanted} file for {engine}; it has {', '.join(by_precision)} (--precision)"
        )
    return EngineChoice(engine, wanted, by_precision[wanted])


def open_engine(bundle: Bundle, choice: EngineChoice, *, threads: int) -> Engine:
    """Verify the chosen file and load the very bytes that were verified.

    Raises:
        IntegrityError: the file is not the recorded one.
        EngineUnavailableError: the engine is installed but cannot be loaded.
        InferenceError: the engine does not take the file.
    """
    model = bundle.read(choice.path)
    return _engine_class(choice.engine)(model, threads=threads)


def _engine_class(name: EngineName) -> Callable[..., Engine]:
    """The engine's class, its package imported only now."""
    try:
        if name == "onnxruntime":
            from osteo_edge.engines.onnx import OnnxEngine

            return OnnxEngine
        from osteo_edge.engines.litert import LitertEngine

        return LitertEngine
    except ImportError as error:
        raise EngineUnavailableError(
            f"{name} is installed but cannot be loaded ({error}); run: {_INSTALL[name]} --force-reinstall"
        ) from error


def available_threads() -> int:
    """Number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def _choose_engine(members: Sequence[Member]) -> EngineName:
    shared = [name for name in ENGINE_NAMES if all(name in member.files for member in members)]
    for name in shared:
        if is_installed(name):
            return name
    wanted = " or ".join(_INSTALL[name] for name in shared)
    raise EngineUnavailableError(f"no inference engine that this bundle has files for is installed; run: {wanted}")


def _require_engine(engine: str) -> EngineName:
    if engine not in ENGINE_NAMES:
        raise EngineUnavailableError(f"unknown engine {engine!r}; one of {', '.join(ENGINE_NAMES)}")
    if not is_installed(engine):
        raise EngineUnavailableError(f"{engine} is not installed; run: {_INSTALL[engine]}")
    return engine
