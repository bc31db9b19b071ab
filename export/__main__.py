"""``python -m export``: from a training run to a bundle that the runtime reads."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from export.errors import ExportError
from export.portability.command import portability
from export.progress import track
from export.signing import keygen, sign
from osteo_edge.errors import OsteoEdgeError

WHEEL_LIMIT_MB = 24

# Read by TensorFlow when it is imported, which happens only inside the commands.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Make a bundle from a training run: a research screening aid, not a diagnosis."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


_FOLDER = click.Path(path_type=Path)
_run = click.option(
    "--run", "run_folder", type=_FOLDER, required=True, help="Folder of a finished run, or of an ensemble of runs."
)
_finder = click.option("--finder", type=_FOLDER, required=True, help="The knee finder's file (.npz).")
_data = click.option("--data", type=_FOLDER, required=True, help="Folder of the radiographs that the runs were trained on.")
_unlabelled_help = "Folder of knees without a bone status, on which reduced files must agree with fp32."


@main.command("plan")
@_run
@_finder
@_data
@click.option("--unlabelled", type=_FOLDER, required=True, help=_unlabelled_help)
@click.option("--output", type=_FOLDER, required=True, help="The plan's file (.json).")
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    default=0.005,
    show_default=True,
    help="Macro AUC that may be lost; of runs of grades, quadratic kappa.",
)
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.99,
    show_default=True,
    help="Share of knees that keep their label.",
)
@click.option(
    "--prefer",
    type=click.Choice(["size", "speed"]),
    default="speed",
    show_default=True,
    help="Which file within the budget wins.",
)
@click.option(
    "--engine", "engines", type=click.Choice(["onnxruntime", "litert"]), multiple=True, help="May be repeated; both by default."
)
@click.option(
    "--tuning-epochs",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of quantization-aware fine-tuning, tried where nothing else meets the budget.",
)
def plan(
    run_folder: Path,
    finder: Path,
    data: Path,
    unlabelled: Path,
    output: Path,
    max_drop: float,
    min_agreement: float,
    prefer: Any,
    engines: tuple[Any, ...],
    tuning_epochs: int,
) -> None:
    """Find the int8 files that a bundle may hold: measure each layer group's damage, search, and judge fold by fold."""
    with _told_in_one_line():
        from export.planning import Task, make_plan
        from export.plans import Budget, write_plan
        from export.source import load_source
        from osteo_edge.finder.joint_finder import JointFinder
        from osteo_edge.manifest import ENGINE_NAMES

        source = load_source(run_folder)
        task = Task(
            source=source,
            finder=JointFinder.from_bytes(_read(finder, "--finder")),
            data=data,
            unlabelled=unlabelled,
            budget=Budget(min_agreement, max_drop, "quadratic_kappa" if source.kind == "grades" else "macro_auc"),
            preference=prefer,
            engines=tuple(engines) or ENGINE_NAMES,
            tuning_epochs=tuning_epochs,
        )
        made = make_plan(task, track)
        write_plan(made, output)
    click.echo("\n".join(_plan_summary(made)))


@main.command("plans")
@click.argument("files", nargs=-1, required=True, type=_FOLDER)
def plans(files: tuple[Path, ...]) -> None:
    """Print several plan.json side by side, as a Markdown table."""
    with _told_in_one_line():
        from export.plan_table import plan_table
        from export.plans import read_any_plan

        click.echo(plan_table([read_any_plan(file) for file in files]))


@main.command("measure")
@_run
@_finder
@_data
@click.option("--plan", "plan_file", type=_FOLDER, required=True, help="What 'python -m export plan' found.")
@click.option("--output", type=_FOLDER, required=True, help="The file of what was measured (.npz).")
def measure(run_folder: Path, finder: Path, data: Path, plan_file: Path, output: Path) -> None:
    """Keep what a plan's int8 files take from training radiographs, so that they are made again, to the byte, without any."""
    with _told_in_one_line():
        from export.measured import measure_source, write_measured
        from export.plans import read_plan
        from export.source import load_source
        from osteo_edge.finder.joint_finder import JointFinder

        source = load_source(run_folder)
        found = JointFinder.from_bytes(_read(finder, "--finder"))
        write_measured(source, measure_source(source, read_plan(plan_file, source), found, data, track=track), output)
    click.echo(output)


@main.command("bundle")
@_run
@_finder
@click.option(
    "--data",
    type=_FOLDER,
    help="Folder of the radiographs that the runs were trained on; without it, files are compared on synthetic pictures.",
)
@click.option("--output", type=_FOLDER, required=True, help="Folder of the bundle; its name is the bundle's.")
@click.option(
    "--data-card",
    type=_FOLDER,
    required=True,
    help="What the documents say of the training radiographs (.toml), see export/data_cards.",
)
@click.option("--coverage", type=float, help="Coverage of the label sets; the first of the run's configuration by default.")
@click.option(
    "--plan", "plan_file", type=_FOLDER, help="What 'python -m export plan' found; without it the bundle holds fp32 alone."
)
@click.option(
    "--measured",
    "measured_file",
    type=_FOLDER,
    help="What 'python -m export measure' kept; without it, int8 files are measured on --data.",
)
@click.option("--unlabelled", type=_FOLDER, help=_unlabelled_help)
@click.option(
    "--precisions",
    type=click.Choice(["fp32", "fp16", "int8"]),
    multiple=True,
    default=["fp32", "fp16", "int8"],
    show_default=True,
    help="Which of the plan's files are packed; may be repeated; fp32 always is.",
)
@click.option("--portability", type=_FOLDER, help="What 'python -m export portability' measured of just these files.")
@click.option("--latency", type=_FOLDER, help="What 'python -m benchmarks engines' measured of just these files.")
@click.option("--stability", type=_FOLDER, help="What 'python -m benchmarks stability' measured of just these files.")
@click.option("--zip", "is_zipped", is_flag=True, help="Also write OUTPUT.zip, for 'osteo-edge bundles install'.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
def bundle(
    run_folder: Path,
    finder: Path,
    data: Path | None,
    output: Path,
    data_card: Path,
    coverage: float | None,
    plan_file: Path | None,
    measured_file: Path | None,
    unlabelled: Path | None,
    precisions: tuple[str, ...],
    portability: Path | None,
    latency: Path | None,
    stability: Path | None,
    is_zipped: bool,
    force: bool,
) -> None:
    """Export a run, or an ensemble of runs, to ONNX and LiteRT, compare every file with it, and pack a bundle."""
    with _told_in_one_line():
        from export.bundle_writer import write_zip
        from export.evidence import read_evidence
        from export.measured import read_measured
        from export.pipeline import Material, export_bundle
        from export.plans import read_plan
        from export.reference import draw_reference
        from export.source import load_source
        from osteo_edge.finder.joint_finder import JointFinder

        finder_bytes = _read(finder, "--finder")
        source = load_source(run_folder)
        material = Material(
            source=source,
            finder=finder_bytes,
            reference=draw_reference(JointFinder.from_bytes(finder_bytes)),
            data=data,
            data_card=data_card,
            coverage=coverage,
            plan=read_plan(plan_file, source) if plan_file else None,
            measured=read_measured(measured_file, source) if measured_file else None,
            unlabelled=unlabelled,
            precisions=frozenset(precisions),
            evidence=read_evidence(portability=portability, latency=latency, stability=stability),
        )
        exported = export_bundle(material, output, force=force, track=track)
        if is_zipped:
            write_zip(exported.bundle, output.with_name(f"{output.name}.zip"))
    click.echo(_summary(exported))


@main.command("report")
@click.option("--bundle", "folder", type=_FOLDER, required=True, help="Folder or name of a bundle.")
@click.option("--output", type=_FOLDER, required=True, help="The page (.html).")
def report(folder: Path, output: Path) -> None:
    """Write one HTML page of a bundle's evidence: precision, size, speed, damage, reliability, other processors."""
    with _told_in_one_line():
        from export.report.material import read_material
        from export.report.page import as_html
        from osteo_edge.bundle import open_bundle
        from osteo_edge.storage import write_file

        page = as_html(read_material(open_bundle(str(folder))))
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            write_file(output, page.encode())
        except OSError as error:
            raise ExportError(f"{output} cannot be written ({error.strerror}); choose another --output") from error
    click.echo(output)


@contextmanager
def _told_in_one_line() -> Iterator[None]:
    try:
        yield
    except (ExportError, OsteoEdgeError) as error:
        raise click.ClickException(str(error)) from error


def _read(path: Path, option: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} cannot be read ({error.strerror}); check {option}") from error


def _summary(exported: Any) -> str:
    lines = [f"{exported.bundle.root}  {exported.bundle.digest}"]
    for member in exported.members:
        lines += _member_summary(member)
    lines.append(f"compared on {exported.pictures}")
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


def _plan_summary(made: Any) -> Iterator[str]:
    from export.plans import LOST

    for name, member in made.members.items():
        yield name
        for one in member.reduced:
            drop, kept = one.figures.drop, one.agreement
            yield (
                f"  {one.engine:<11} {one.precision}  {one.bytes / 1e6:6.2f} MB  "
                f"{'accepted' if one.is_accepted else 'refused '}  "
                f"label kept on {kept.agreement:.2%} of {kept.knees} knees, {LOST[one.figures.figure]} lost {drop.value:+.4f} "
                f"({drop.low:+.4f} to {drop.high:+.4f})  {one.recipe.name if one.recipe else 'half precision'}"
            )
        for engine in member.int8.engines:
            yield f"  {engine.engine:<11} {engine.reason}"
    for engine, figures in made.together.items():
        yield f"all members, int8 for {engine}: {LOST[figures.figure]} lost {figures.drop.value:+.4f}"


main.add_command(portability)
main.add_command(keygen)
main.add_command(sign)

if __name__ == "__main__":
    main()
