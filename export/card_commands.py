"""The commands that make a bundle again, as its model card gives them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from export.origin import Origin, data_of
from export.source import Source
from osteo_edge.manifest import Manifest

_FINDER = "--finder train/results/knee-finder/finder.npz"
_UNLABELLED = "--unlabelled ../shared/data/knee_unlabelled"
# They lie in the package; others are packed for ``bundles install``.
EMBEDDED = ("knee-mobilenet_v2", "knee-osteoarthritis")


def commands_section(manifest: Manifest, source: Source, origins: Sequence[Origin]) -> list[str]:
    """From the starting weights to the bundle."""
    common = f"{_FINDER} --data {data_of(source)}"
    software = {
        key.removeprefix("software_"): value for key, value in manifest.provenance.items() if key.startswith("software_")
    }
    return [
        "## How to make it again",
        "",
        "```",
        *dict.fromkeys(command for origin in origins for command in origin.commands),
        *_training_commands(manifest),
        *_plan(manifest, common),
        f"python -m export bundle --run train/results/{manifest.provenance['training_run']} \\",
        f"    {common} \\",
        f"    --data-card export/data_cards/{manifest.provenance['data_card']} \\",
        *_evidence(manifest),
        f"    --coverage {manifest.conformal.coverage:g} {_output(manifest.name)} --force",
        "```",
        "",
        f"With {', '.join(f'{name} {number}' for name, number in sorted(software.items()))}. "
        "The same input gives the same bytes; ranges of int8, measured anew, depend on the machine in their last digits.",
    ]


def _evidence(manifest: Manifest) -> Iterator[str]:
    """The options that name what was measured before."""
    if any(path.endswith("quantization.json") for path in manifest.files):
        yield f"    --plan {_plan_file(manifest)} {_UNLABELLED} \\"
        yield f"    --measured {_measured_file(manifest)} \\"
    for name in ("portability", "latency", "stability"):
        if f"evidence/{name}.json" in manifest.files:
            yield f"    --{name} export/results/{manifest.name}/{name}.json \\"


def _training_commands(manifest: Manifest) -> Iterator[str]:
    """The configurations bear the names of the runs."""
    run = manifest.provenance["training_run"]
    members = manifest.provenance.get("member_runs", run).split(", ")
    yield from (f"python -m train fit --config train/configs/{member}.toml" for member in members)
    if run not in members:
        yield f"python -m train ensemble --config train/configs/{run}.toml"


def _plan(manifest: Manifest, common: str) -> Iterator[str]:
    """How the reduced files were found; nothing for bundles of fp32 alone."""
    if any(path.endswith("quantization.json") for path in manifest.files):
        yield f"python -m export plan --run train/results/{manifest.provenance['training_run']} \\"
        yield f"    {common} {_UNLABELLED} \\"
        yield f"    --output {_plan_file(manifest)}"
        yield f"python -m export measure --run train/results/{manifest.provenance['training_run']} \\"
        yield f"    {common} --plan {_plan_file(manifest)} --output {_measured_file(manifest)}"


def _plan_file(manifest: Manifest) -> str:
    return f"export/results/{manifest.name}/plan.json"


def _measured_file(manifest: Manifest) -> str:
    return f"export/results/{manifest.name}/measured.npz"


def _output(name: str) -> str:
    return f"--output osteo_edge/bundles/{name}" if name in EMBEDDED else f"--output dist/{name} --zip"
