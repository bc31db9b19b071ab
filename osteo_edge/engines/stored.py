"""What was measured to be fastest on this device: stored by ``osteo-edge tune``, read where ``auto`` is asked for.

A stored choice holds while the bundle, the processor, the engines, the number of threads and osteo-edge itself stay the
same; else it is passed over. It never brings in a file that the bundle does not accept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from osteo_edge import __version__
from osteo_edge.bundle import Bundle
from osteo_edge.device import Processor, processor
from osteo_edge.engines.select import installed_version, is_accepted
from osteo_edge.errors import BundleError, TuningError
from osteo_edge.integrity import read_regular_file
from osteo_edge.manifest import ENGINE_NAMES, EngineName, Precision
from osteo_edge.records import parse_json, parse_record, to_plain

SCHEMA_VERSION = 2
MAX_TUNING_BYTES = 1 << 16


@dataclass(frozen=True)
class Timing:
    """One engine and precision, all members.

    Attributes:
        median_ms: of one run over the reference picture.
        times_as_fast: as the first that was measured.
        scatter: half of the range of the middle half of its runs, as a share of the median.
    """

    engine: EngineName
    precision: Precision
    median_ms: float
    times_as_fast: float
    scatter: float


@dataclass(frozen=True)
class Circumstances:
    """All that must stay the same for a measurement to hold.

    Attributes:
        osteo_edge: version.
        bundle_digest: SHA-256 of the manifest.
        engines: installed engine -> distribution and version.
    """

    osteo_edge: str
    bundle_digest: str
    processor: Processor
    threads: int
    engines: Mapping[str, str]


@dataclass(frozen=True)
class Tuning:
    """A measurement, and the engine and precision that are kept of it: the most exact that none was measurably faster than."""

    schema_version: int
    circumstances: Circumstances
    engine: EngineName
    precision: Precision
    timings: tuple[Timing, ...]


@dataclass(frozen=True)
class Found:
    """A stored measurement that holds here; or why the one that is stored does not; or neither."""

    tuning: Tuning | None = None
    ignored_because: str | None = None

    @property
    def pair(self) -> tuple[EngineName, Precision] | None:
        """The engine and precision that were kept."""
        return (self.tuning.engine, self.tuning.precision) if self.tuning else None


def tuning_folder() -> Path | None:
    """Where measurements are stored: ``OSTEO_EDGE_TUNING``, or ``osteo-edge/tuning`` in the user's configuration folder.

    That is ``XDG_CONFIG_HOME``, or ``~/.config``. It need not exist. None where the user has no home.
    """
    if named := os.environ.get("OSTEO_EDGE_TUNING"):
        return Path(named).absolute()
    configuration = os.environ.get("XDG_CONFIG_HOME", "")
    try:
        base = Path(configuration) if os.path.isabs(configuration) else Path.home() / ".config"
    except RuntimeError:
        return None
    return base / "osteo-edge" / "tuning"


def circumstances(bundle: Bundle, *, threads: int) -> Circumstances:
    """Those of this device, now."""
    versions = {name: installed_version(name) for name in ENGINE_NAMES}
    engines: dict[str, str] = {name: version for name, version in versions.items() if version is not None}
    return Circumstances(__version__, bundle.digest, processor(), threads, engines)


def find_tuning(bundle: Bundle, *, threads: int) -> Found:
    """The stored measurement of the bundle, if it holds here; a damaged one never does any harm."""
    folder = tuning_folder()
    name = _file_name(bundle)
    if folder is None or not os.path.lexists(folder / name):
        return Found()
    try:
        data = read_regular_file(folder, name, max_bytes=MAX_TUNING_BYTES)
        tuning = parse_record(Tuning, parse_json(data, what=name), where=name)
    except BundleError as error:
        return Found(ignored_because=f"it cannot be read ({error})")
    if tuning.schema_version != SCHEMA_VERSION:
        return Found(ignored_because="it was stored by another version of osteo-edge")
    for reason in _reasons(tuning.circumstances, circumstances(bundle, threads=threads)):
        return Found(ignored_because=reason)
    if not is_accepted(bundle.manifest.members, tuning.engine, tuning.precision):
        return Found(ignored_because=f"the bundle does not accept {tuning.engine} {tuning.precision}")
    return Found(tuning)


def require_tuning_folder() -> Path:
    """Make the folder, before anything is measured.

    Raises:
        TuningError: it cannot be made or written to.
    """
    folder = tuning_folder()
    if folder is None:
        raise TuningError("this user has no home; name a folder for measurements in OSTEO_EDGE_TUNING")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TuningError(f"the folder {folder} cannot be made: {error.strerror}; name another in OSTEO_EDGE_TUNING") from error
    if not os.access(folder, os.W_OK):
        raise TuningError(f"the folder {folder} may not be written to; name another in OSTEO_EDGE_TUNING")
    return folder


def store_tuning(bundle: Bundle, tuning: Tuning) -> Path:
    """Write the measurement in one step, in place of an older one; returns its file.

    Raises:
        TuningError: it cannot be written.
    """
    from osteo_edge.storage import write_file  # whoever only reads a measurement need not wait for it

    target = require_tuning_folder() / _file_name(bundle)
    try:
        write_file(target, (json.dumps(to_plain(tuning), indent=2) + "\n").encode())
    except OSError as error:
        raise TuningError(f"{target} cannot be written: {error.strerror}") from error
    return target


def forget_tuning(bundle: Bundle) -> bool:
    """Remove the bundle's stored measurement; whether there was one.

    Raises:
        TuningError: it cannot be removed.
    """
    folder = tuning_folder()
    if folder is None:
        return False
    try:
        (folder / _file_name(bundle)).unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise TuningError(f"{folder / _file_name(bundle)} cannot be removed: {error.strerror}") from error
    return True


def _file_name(bundle: Bundle) -> str:
    return f"{bundle.manifest.name}.json"


def _reasons(stored: Circumstances, now: Circumstances) -> Iterator[str]:
    """What changed, one reason each."""
    if stored.bundle_digest != now.bundle_digest:
        yield "the bundle changed"
    if stored.processor != now.processor:
        yield "the processor changed"
    if dict(stored.engines) != dict(now.engines):
        yield "the installed engines changed"
    if stored.threads != now.threads:
        yield f"it was measured with {stored.threads} threads"
    if stored.osteo_edge != now.osteo_edge:
        yield "osteo-edge changed"
