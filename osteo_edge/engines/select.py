"""Which engine and precision to use on this device, and opening it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from osteo_edge.bundle import Bundle
from osteo_edge.cgroups import cpu_quota
from osteo_edge.device import processor
from osteo_edge.engines.base import Engine
from osteo_edge.errors import EngineUnavailableError, IncompatibleBundleError, InferenceError, IntegrityError
from osteo_edge.headroom import require_room, workers_within
from osteo_edge.manifest import ENGINE_NAMES, DeviceChoice, EngineName, Manifest, Member, Precision

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


def require_room_for(engines: Iterable[EngineName] = ENGINE_NAMES, *, threads: int = 1, workers: int = 1) -> None:
    """Refuse to load those of the engines that are installed where a limit of this process leaves no memory for them.

    Raises:
        OutOfMemoryError: names the limit.
    """
    require_room(_modules(engines), threads=threads, workers=workers)


def workers_with_room(engine: EngineName, *, threads: int, workers: int) -> int:
    """As many of the workers, at least one, as the limits of this process leave memory for."""
    return workers_within(_modules((engine,)), threads=threads, workers=workers)


def _modules(engines: Iterable[EngineName]) -> list[str]:
    """Of each engine that is installed, what would be imported."""
    found = (next((package for package in _PACKAGES[engine] if find_spec(package) is not None), None) for engine in engines)
    return [module for module in found if module is not None]


def installed_version(engine: EngineName) -> str | None:
    """Name and version of the engine's distribution, None where it is not installed; nothing is imported.

    Read from the names of the folders beside the package: ``importlib.metadata`` alone takes as long to import as a
    small network takes to load.
    """
    for package in _PACKAGES[engine]:
        spec = find_spec(package)
        if spec is not None:
            return _distribution(package, Path(spec.origin or package))
    return None


def _distribution(package: str, module: Path) -> str:
    """``name-version`` of what installed the package; the time of its file where nothing tells, so that a change is seen."""
    try:
        names = [name.lower() for name in os.listdir(module.parent.parent)]
        found = [name.rpartition(".")[0] for name in names if name.endswith((".dist-info", ".egg-info"))]
        return " ".join(sorted(name for name in found if name.startswith(package))) or f"of {module.stat().st_mtime_ns}"
    except OSError:  # imported from an archive, for one
        return "unknown"


def choose(
    manifest: Manifest,
    *,
    engine: str = AUTO,
    precision: str = AUTO,
    tuned: tuple[EngineName, Precision] | None = None,
) -> tuple[EngineChoice, ...]:
    """One choice a member, all of the same engine.

    What is ``auto`` follows the first of these that goes with what is not: ``tuned``; the bundle's first choice that fits this
    processor; the first installed engine that every member has a file for, and each member's default precision of it. The
    first two are passed over where their engine is not installed or a member does not accept their precision.

    Args:
        tuned: what was measured to be fastest on this device.

    Raises:
        EngineUnavailableError: the engine is unknown or not installed.
        IncompatibleBundleError: a member has no file of that engine or precision.
    """
    members = manifest.members
    if AUTO in (engine, precision):
        for name, its_precision in _preferences(manifest.choices, tuned):
            is_wanted = engine in (AUTO, name) and precision in (AUTO, its_precision)
            if is_wanted and is_installed(name) and is_accepted(members, name, its_precision):
                return tuple(_choose_file(member, name, its_precision) for member in members)
    name = _choose_engine(members) if engine == AUTO else _require_engine(engine)
    return tuple(_choose_file(member, name, precision) for member in members)


def is_accepted(members: Sequence[Member], engine: EngineName, precision: Precision) -> bool:
    """Whether every member has a file of the engine and precision that stands for the trained network."""
    return all(precision in member.accepted.get(engine, ()) for member in members)


def _preferences(
    choices: Sequence[DeviceChoice], tuned: tuple[EngineName, Precision] | None
) -> Iterator[tuple[EngineName, Precision]]:
    if tuned is not None:
        yield tuned
    if choices:
        here = processor()
        for choice in choices:
            if choice.architecture in ("", here.architecture) and set(choice.features) <= set(here.features):
                yield choice.engine, choice.precision


def _choose_file(member: Member, engine: EngineName, precision: str) -> EngineChoice:
    by_precision = member.files.get(engine)
    if not by_precision:
        raise IncompatibleBundleError(
            f"{member.name} of this bundle has no file for {engine}; it has {', '.join(member.files)}"
        )
    wanted = member.default_precision[engine] if precision == AUTO else precision
    if wanted not in by_precision:
        raise IncompatibleBundleError(
            f"{member.name} of this bundle has no {wanted[:40]} file for {engine}; "
            f"it has {', '.join(by_precision)} (--precision)"
        )
    return EngineChoice(engine, wanted, by_precision[wanted])


def open_engine(bundle: Bundle, choice: EngineChoice, *, threads: int) -> Engine:
    """Verify the chosen file and load the very bytes that were verified.

    Raises:
        IntegrityError: the file is not the recorded one, or refers to data in another.
        EngineUnavailableError: the engine is installed but cannot be loaded.
        InferenceError: the engine does not take the file.
    """
    model = bundle.read(choice.path)
    load = _engine_class(choice.engine)
    try:
        return load(model, threads=threads)
    except (IntegrityError, InferenceError) as error:
        raise type(error)(f"{choice.path}: {error}") from error


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
    """Number of processors that this process may use: by its affinity, and by the time that its control groups allow it.

    A part of a processor counts as one: what is left of it is spent before the next period begins.
    """
    quota = cpu_quota()
    processors = _processors()
    return processors if quota is None else max(1, min(processors, math.ceil(quota)))


def _processors() -> int:
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):  # not Linux; or forbidden, as some sandboxes do
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
        raise EngineUnavailableError(f"unknown engine {engine[:40]!r}; one of {', '.join(ENGINE_NAMES)}")
    if not is_installed(engine):
        raise EngineUnavailableError(f"{engine} is not installed; run: {_INSTALL[engine]}")
    return engine
