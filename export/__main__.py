"""``python -m export``: from a training run to a bundle that the runtime reads."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

from export.errors import ExportError
from osteo_edge.errors import OsteoEdgeError

WHEEL_LIMIT_MB = 24

# Read by TensorFlow when it is imported, which happens only inside the commands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make a bundle from a training run: a research screening aid, not a diagnosis."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


@main.command("bundle")
@click.option("--run", "run_folder", type=click.Path(path_type=Path), required=True, help="Folder of a finished training run.")
@click.option("--finder", type=click.Path(path_type=Path), required=True, help="The knee finder's file (.npz).")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Folder of real radiographs to measure on.")
@click.option(
    "--output", type=click.Path(path_type=Path), required=True, help="Folder of the bundle; its name is the bundle's."
)
@click.option(
    "--data-card",
    type=click.Path(path_type=Path),
    required=True,
    help="What the documents say of the training radiographs (.toml), see export/data_cards.",
)
@click.option("--coverage", type=float, help="Coverage of the label sets; the first of the run's configuration by default.")
@click.option(
    "--precisions",
    type=click.Choice(["fp32", "fp16", "int8"]),
    multiple=True,
    default=["fp32", "fp16", "int8"],
    show_default=True,
    help="May be repeated; fp32 is always packed.",
)
@click.option("--accepted-only", is_flag=True, help="Leave out reduced files that are not close enough to fp32.")
@click.option("--zip", "is_zipped", is_flag=True, help="Also write OUTPUT.zip, for 'osteo-edge bundles install'.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
def bundle(
    run_folder: Path,
    finder: Path,
    data: Path,
    output: Path,
    data_card: Path,
    coverage: float | None,
    precisions: tuple[str, ...],
    accepted_only: bool,
    is_zipped: bool,
    force: bool,
) -> None:
    """Export a run, or an ensemble of runs, to ONNX and LiteRT, compare every file with it, and pack a bundle."""
    from export.bundle_writer import write_zip
    from export.members import Wish
    from export.pipeline import Material, export_bundle
    from export.reference import draw_reference
    from export.source import load_source
    from osteo_edge.images.region import JointFinder

    try:
        finder_bytes = _read(finder, "--finder")
        reference = draw_reference(JointFinder.from_bytes(finder_bytes))
        wish = Wish(frozenset(precisions), accepted_only)
        material = Material(load_source(run_folder), finder_bytes, reference, data, data_card, coverage, wish)
        exported = export_bundle(material, output, force=force, track=_track)
        if is_zipped:
            write_zip(exported.bundle, output.with_name(f"{output.name}.zip"))
    except (ExportError, OsteoEdgeError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(_summary(exported))


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); check {option}") from error


def _track(items: Sequence[Any], label: str) -> Iterator[Any]:
    with click.progressbar(items, label=label.ljust(20), file=click.get_text_stream("stderr")) as bar:
        yield from bar


def _summary(exported: Any) -> str:
    lines = [f"{exported.bundle.root}  {exported.bundle.digest}"]
    for member in exported.members:
        lines += _member_summary(member)
    lines.append(f"zipped {exported.zipped_bytes / 1e6:.1f} MB; the wheel may take {WHEEL_LIMIT_MB}")
    return "\n".join(lines)


def _member_summary(member: Any) -> Iterator[str]:
    yield member.name
    for file in member.files:
        off = file.comparison
        yield (
            f"{file.engine:<11} {file.precision}  {len(file.data) / 1e6:6.2f} MB  off by at most {off.max_difference:.1e}, "
            f"mean {off.mean_difference:.1e}; same label on {off.label_agreement:.1%} of {off.knees} knees"
        )
    if member.integer:
        chosen = member.integer.chosen
        verdict = "accepted" if chosen.is_accepted else "not close enough to fp32 to be the default"
        yield f"int8 recipe {chosen.recipe.name}: {verdict}"


if __name__ == "__main__":
    main()
