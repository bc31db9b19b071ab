"""``python -m export portability``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.errors import ExportError
from export.progress import track
from osteo_edge.errors import OsteoEdgeError
from osteo_edge.storage import write_file

if TYPE_CHECKING:
    from export.portability.records import Portability

_FOLDER = click.Path(path_type=Path)
_SHOWN = {"native": "natively", "avx512_hidden": "AVX-512 hidden", "arm64": "arm64, emulated"}


@click.command("portability")
@click.option("--bundle", "folder", required=True, help="Folder or name of a bundle.")
@click.option("--data", type=_FOLDER, required=True, help="Folder of radiographs.")
@click.option("--output", type=_FOLDER, required=True, help="The comparison's file (.json).")
@click.option("--arm64", type=_FOLDER, help="Emulated machine made by export/portability/prepare_arm64.sh.")
@click.option("--arm64-cpu", default="cortex-a72", show_default=True, help="Its processor, as qemu knows it.")
@click.option(
    "--arm64-seconds",
    type=click.FloatRange(0),
    default=600,
    show_default=True,
    help="For one file there; knees with the smallest margins come first, and a dozen is run however long it takes.",
)
def portability(folder: str, data: Path, output: Path, arm64: Path | None, arm64_cpu: str, arm64_seconds: float) -> None:
    """Compare every model file of a bundle natively, with AVX-512 hidden, and on emulated arm64; fails where one disagrees."""
    from export.bundle_writer import to_json
    from export.portability.compare import Arm64, compare
    from osteo_edge.bundle import open_bundle
    from osteo_edge.records import to_plain

    try:
        machine = Arm64(arm64, arm64_cpu, arm64_seconds) if arm64 else None
        found = compare(open_bundle(folder), data, track=track, arm64=machine)
        _write(output, to_json(to_plain(found)))
    except (ExportError, OsteoEdgeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo("\n".join(_summary(found)))
    if not found.passes:
        raise click.ClickException("a file does not answer alike on every processor; see above")


def _write(output: Path, data: bytes) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, data)
    except OSError as error:
        raise ExportError(f"{output} cannot be written ({error.strerror}); choose another --output") from error


def _summary(found: Portability) -> Iterator[str]:
    for one in found.environments:
        if one.status != "compared":
            yield f"{_SHOWN[one.form]}: {one.status.replace('_', ' ')}: {one.reason}"
            continue
        versions = ", ".join(f"{name} {version}" for name, version in one.engine_versions.items())
        yield f"{_SHOWN[one.form]}: {one.processor}, {one.architecture}, Python {one.python}, {versions}"
        if one.proof:
            yield f"  {one.proof}"
        for row in found.rows:
            if row.form == one.form:
                yield f"  {'agrees' if row.passes else 'DIFFERS'}  {row.path}  {_figures(row)}"


def _figures(row: Any) -> str:
    if row.fault:
        return str(row.fault)
    return (
        f"{row.knees} knees, off by at most {row.max_difference:.1e}, mean {row.mean_difference:.1e}; "
        f"same label {row.same_label:.2%}, or too close to tell {row.agreement:.2%}"
    )
