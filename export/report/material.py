"""A bundle's evidence, read back as the records that it was written from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from export.errors import ExportError
from export.plans import Agreement, FoldFigures, MemberPlan, Reduced
from osteo_edge.bundle import Bundle
from osteo_edge.errors import ManifestError
from osteo_edge.manifest import Manifest, Member
from osteo_edge.records import parse_json, parse_record

TOGETHER = "evidence/ensemble_int8.json"
PORTABILITY = "evidence/portability.json"
LATENCY = "evidence/latency.json"


@dataclass(frozen=True)
class PackedFile:
    """One model file of the bundle.

    Attributes:
        share: of the size of the same engine's fp32 file.
        against_network: ``Comparison`` as plain mapping: with the trained network on labelled radiographs.
        agreement: with fp32 on unlabelled knees; None for fp32 itself.
        judged: fold by fold; None for fp32 itself.
    """

    member: str
    engine: str
    precision: str
    path: str
    bytes: int
    share: float
    against_network: Mapping[str, Any]
    agreement: Agreement | None
    judged: Reduced | None

    @property
    def recipe(self) -> str:
        if self.precision == "fp32":
            return "the reference"
        return self.judged.recipe.name if self.judged and self.judged.recipe else "weights of half precision"


@dataclass(frozen=True)
class BundleMaterial:
    """What a page is made of.

    Attributes:
        plans: member -> its plan; empty for bundles of fp32 alone.
        together: engine -> figures of the whole ensemble in int8.
        portability, latency: as measured; None where they were not.
    """

    bundle: Bundle
    files: tuple[PackedFile, ...]
    plans: Mapping[str, MemberPlan]
    together: Mapping[str, FoldFigures]
    portability: Mapping[str, Any] | None
    latency: Mapping[str, Any] | None

    @property
    def manifest(self) -> Manifest:
        return self.bundle.manifest


def read_material(bundle: Bundle) -> BundleMaterial:
    """Read the evidence of a bundle.

    Raises:
        ExportError: it was made by an earlier version, whose evidence is of another form.
        IntegrityError: a file is damaged.
    """
    manifest = bundle.manifest
    try:
        plans = {member.name: plan for member in manifest.members if (plan := _plan(bundle, member))}
        files = tuple(file for member in manifest.members for file in _files(bundle, member, plans.get(member.name)))
        plain = _read(bundle, TOGETHER) or {}
        together = {engine: parse_record(FoldFigures, one, where=TOGETHER) for engine, one in plain.items()}
    except (ManifestError, KeyError, TypeError) as error:
        raise ExportError(f"{bundle.root}: its evidence is not what this version writes ({error}); export it again") from error
    return BundleMaterial(bundle, files, plans, together, _read(bundle, PORTABILITY), _read(bundle, LATENCY))


def _evidence(bundle: Bundle, member: Member, name: str) -> Any:
    prefix = "evidence/" if len(bundle.manifest.members) == 1 else f"evidence/{member.name}."
    return _read(bundle, f"{prefix}{name}")


def _plan(bundle: Bundle, member: Member) -> MemberPlan | None:
    plain = _evidence(bundle, member, "quantization.json")
    return parse_record(MemberPlan, plain["plan"], where="quantization.json: plan") if plain else None


def _files(bundle: Bundle, member: Member, plan: MemberPlan | None) -> Iterator[PackedFile]:
    parity = _evidence(bundle, member, "parity.json")["files_against_trained_network"]
    judged_here = (_evidence(bundle, member, "quantization.json") or {"files": {}})["files"]
    sizes = {path: entry.size for path, entry in bundle.manifest.files.items()}
    for engine, by_precision in member.files.items():
        for precision, path in by_precision.items():
            agreement = judged_here.get(path)
            yield PackedFile(
                member=member.name,
                engine=engine,
                precision=precision,
                path=path,
                bytes=sizes[path],
                share=sizes[path] / sizes[by_precision["fp32"]],
                against_network=parity[path],
                agreement=parse_record(Agreement, agreement["agreement"], where=path) if agreement else None,
                judged=_judged(plan, engine, precision),
            )


def _judged(plan: MemberPlan | None, engine: str, precision: str) -> Reduced | None:
    found = [one for one in (plan.reduced if plan else ()) if (one.engine, one.precision) == (engine, precision)]
    return found[0] if found else None


def _read(bundle: Bundle, path: str) -> Any:
    return parse_json(bundle.read(path), what=path) if path in bundle.manifest.files else None
