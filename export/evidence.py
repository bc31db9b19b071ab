"""What was measured of a bundle's files before this packing: on other processors, of speed, of films that come otherwise.

All of it is measured on a packed bundle and go into its next packing, when the model files are still the same to the byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.bundle_writer import to_json
from export.errors import ExportError
from osteo_edge.errors import ManifestError
from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import DeviceChoice, EngineName, Precision
from osteo_edge.records import parse_json

PORTABILITY = "evidence/portability.json"
LATENCY = "evidence/latency.json"
STABILITY = "evidence/stability.json"
# What engines take their fast integer paths by. A choice asks for what the measuring processor had, or lacked when hidden.
_X86 = "x86_64"
_VNNI = "avx512_vnni"
_WITHOUT = ("avx2",)
# A choice must be worth it: timings of one machine differ by some percent from day to day.
_MIN_GAIN = 1.05
# Nobody sees a picture answered this much sooner, but anybody may meet a label that changed.
_NEAR = 1.2


@dataclass(frozen=True)
class Evidence:
    """The decoded files; None where nothing was measured."""

    portability: Mapping[str, Any] | None = None
    latency: Mapping[str, Any] | None = None
    stability: Mapping[str, Any] | None = None

    def files_of(self, models: Mapping[str, bytes]) -> dict[str, bytes]:
        """The evidence's files for the bundle.

        Args:
            models: path -> bytes of every model file of the bundle.

        Raises:
            ExportError: the evidence is of other files.
        """
        digests = {path: sha256_hex(data) for path, data in models.items()}
        packed: dict[str, bytes] = {}
        for path, plain in ((PORTABILITY, self.portability), (LATENCY, self.latency), (STABILITY, self.stability)):
            if plain is not None:
                _require_same(Path(path).name, plain, digests)
                packed[path] = to_json(plain)
        return packed

    def largest_difference(self, path: str) -> float:
        """By how much a probability of this file differed on another processor; 0 where nothing was measured."""
        rows = self.portability["rows"] if self.portability else ()
        return max((float(row["max_difference"]) for row in rows if row["path"] == path), default=0.0)

    def choices(
        self, accepted: Mapping[EngineName, Sequence[str]], errors: Mapping[tuple[str, str], float]
    ) -> tuple[DeviceChoice, ...]:
        """What ``auto`` shall mean on the measured processor, and with its AVX-512 hidden.

        Of the accepted files that are nearly as fast as the fastest, it is the one nearest to fp32.

        Other architectures get no choice, since nothing was timed there.

        Args:
            accepted: engine -> precisions that every member accepts.
            errors: engine and precision -> relative error; files that are not named are taken as exact.
        """
        if self.latency is None or self.latency["architecture"] != _X86:
            return ()
        found = []
        features = self.latency["features"]
        for form, needed in (("native", (_VNNI,) if _VNNI in features else _WITHOUT), ("avx512_hidden", _WITHOUT)):
            chosen = _chosen(list(_rows(self.latency, form)), accepted, errors)
            if chosen is not None:
                found.append(DeviceChoice(_X86, needed, *chosen))
        return tuple(dict.fromkeys(found))


def read_evidence(*, portability: Path | None, latency: Path | None, stability: Path | None = None) -> Evidence:
    """Read what was measured.

    Raises:
        ExportError: a file cannot be read, or is not what the measuring commands write.
    """
    return Evidence(
        _read(portability, "export portability"), _read(latency, "benchmarks engines"), _read(stability, "benchmarks stability")
    )


def _read(path: Path | None, command: str) -> Mapping[str, Any] | None:
    if path is None:
        return None
    try:
        plain = parse_json(path.read_bytes(), what=path.name)
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); make it with 'python -m {command}'") from error
    except ManifestError as error:
        raise ExportError(f"{path}: {error}") from error
    if not isinstance(plain, dict) or not {"schema_version", "files", "rows"} <= set(plain):
        raise ExportError(f"{path}: is not what 'python -m {command}' writes; make it again")
    return plain


def _require_same(name: str, plain: Mapping[str, Any], digests: Mapping[str, str]) -> None:
    measured = plain["files"]
    if dict(measured) != dict(digests):
        odd = sorted(path for path in {*measured, *digests} if measured.get(path) != digests.get(path))
        raise ExportError(
            f"{name} was measured of other files than these ({', '.join(odd)[:200]}); measure the bundle anew, or leave out "
            f"--{Path(name).stem} (EVIDENCE= for make)"
        )


def _rows(latency: Mapping[str, Any], form: str) -> Iterator[Mapping[str, Any]]:
    """Timings of all members together."""
    rows = [row for row in latency["rows"] if row["form"] == form]
    members = {row["member"] for row in rows}
    whole = "" if "" in members else next(iter(members), "")
    yield from (row for row in rows if row["member"] == whole)


def _chosen(
    rows: Sequence[Mapping[str, Any]],
    accepted: Mapping[EngineName, Sequence[str]],
    errors: Mapping[tuple[str, str], float],
) -> tuple[EngineName, Precision] | None:
    """None where nothing beats ONNX Runtime's fp32, which needs no choice, by enough."""
    known = [row for row in rows if row["precision"] in accepted.get(row["engine"], ())]
    fastest = max((row["ratio"] for row in known), default=0.0)
    near = [row for row in known if row["ratio"] >= max(fastest / _NEAR, _MIN_GAIN)]
    best = min(near, key=lambda row: (errors.get((row["engine"], row["precision"]), 0.0), -row["ratio"]), default=None)
    return (best["engine"], best["precision"]) if best else None
