"""The commands of the room: ``python -m train --help``. What a command needs is imported when it is called."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from train.command_line import quieten_tensorflow, told_in_one_line

_ELSEWHERE = {
    "audit": ("train.audit.commands", "audit", "Look for copies, contradictions and shortcuts in a folder of radiographs."),
    "audit-check": ("train.audit.commands", "audit_check", "Measure how well the audit finds planted copies."),
    "collect": ("train.collection.commands", "collect", "Make a folder for training of a hospital's table and films."),
    "compare": ("train.reports.commands", "compare", "Compare two runs on the radiographs that both scored."),
    "coverage": ("train.reports.commands", "coverage", "Measure how often bootstrap intervals hold the truth."),
    "distil": (
        "train.distil_command",
        "distil",
        "Teach a backbone without ImageNet weights the features of one that has them.",
    ),
    "ensemble": ("train.ensembles.commands", "ensemble", "Combine finished runs by stacking or otherwise."),
    "finder": ("train.finder.commands", "finder", "Make and judge the knee finder."),
    "holdout": ("train.holdout.commands", "holdout", "Train any backbone once, on one split, within a time budget."),
    "judge-grades": (
        "train.grading.judge_command",
        "judge_grades",
        "Calibrate and judge weights that grade knees, for export to make a bundle of.",
    ),
    "label-sets": (
        "train.reports.commands",
        "label_sets",
        "Count the label sets of finished runs again, by the rules of today.",
    ),
    "papers": ("train.papers.commands", "papers", "Run the models of the four papers and write the report on them."),
    "pretrain": ("train.pretrain_command", "pretrain", "Teach a backbone the grade of osteoarthritis on unlabelled knees."),
    "report": ("train.reports.commands", "report", "Write a run's tables and its page."),
    "risk-scores": (
        "train.risk_scores",
        "command",
        "Measure what published risk scores alone tell, beside a run's picture and age and sex.",
    ),
    "sample-size": ("train.sample_size", "sample_size", "Say how many patients an area under the ROC curve asks for."),
    "segmentation": ("train.segmentation.commands", "segmentation", "Train and judge the segmentation of bone."),
    "study": (
        "train.study.commands",
        "study",
        "Compare networks, regions, targets, ensembles and covariates on frozen features.",
    ),
    "synthetic-hospital": ("train.synthetic.commands", "synthetic_hospital", "Write a made-up hospital's table and films."),
    "synthetic-spines": ("train.synthetic.commands", "synthetic_spines", "Write a folder of synthetic spines."),
    "synthetic": ("train.synthetic.__main__", "main", "Write one synthetic radiograph, for tests and examples only."),
}


class _Commands(click.Group):
    """The commands written here, and those of other rooms, whose modules are imported when they are called."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *_ELSEWHERE])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in _ELSEWHERE:
            return super().get_command(context, name)
        module, attribute, _ = _ELSEWHERE[name]
        return getattr(importlib.import_module(module), attribute)  # type: ignore[no-any-return]

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing a single one of other rooms."""
        here = {name: command.get_short_help_str(limit=100) for name, command in self.commands.items()}
        there = {name: help_text for name, (_, _, help_text) in _ELSEWHERE.items()}
        with formatter.section("Commands"):
            formatter.write_dl(sorted({**here, **there}.items()))


@click.group(cls=_Commands)
def main() -> None:
    """Training of osteo-edge's models. Research use, not a diagnosis."""


@main.command()
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the run.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder of the table, instead of the configured one.")
@click.option("--output", type=click.Path(path_type=Path), help="The run's folder, instead of the configured one.")
@click.option("--finder", type=click.Path(path_type=Path), help="The knee finder's file, instead of the configured one.")
@click.option("--keep-cache", is_flag=True, help="Keep prepared knees and checkpoints, which are removed at the end.")
def fit(config_file: Path, data: Path | None, output: Path | None, finder: Path | None, keep_cache: bool) -> None:
    """Train and measure a network, of classes or of grades, as the configuration says; a stopped run goes on where it was."""
    with told_in_one_line():
        from train.grading.config import is_grading_config

        if is_grading_config(config_file):
            from train.grading.commands import fit_grades

            fit_grades(config_file, data, output, finder, keep_cache=keep_cache)
        else:
            _fit_classes(config_file, data, output, finder, keep_cache=keep_cache)


def _fit_classes(config_file: Path, data: Path | None, output: Path | None, finder: Path | None, *, keep_cache: bool) -> None:
    from train.config import from_project, read_config
    from train.dataset import read_dataset
    from train.places import open_configured

    config = read_config(config_file)
    opened, digest = open_configured(config.finder, finder)
    # Here already: a faulty folder is refused before TensorFlow takes its seconds to start.
    dataset = read_dataset(data or from_project(config.data))

    quieten_tensorflow()
    from train.fit import fit as run

    run(
        config,
        opened,
        digest,
        dataset=dataset,
        output=output or from_project(config.output),
        config_text=config_file.read_text(encoding="utf-8"),
        keep_cache=keep_cache,
    )


@main.command("fold-networks")
@click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="TOML file of the finished run.")
@click.option("--data", type=click.Path(path_type=Path), help="Folder with labels.csv, instead of the configured one.")
@click.option("--run", "folder", type=click.Path(path_type=Path), help="The run's folder, instead of the configured one.")
@click.option("--keep-cache", is_flag=True, help="Keep prepared knees and checkpoints, which are removed at the end.")
def fold_networks(config_file: Path, data: Path | None, folder: Path | None, keep_cache: bool) -> None:
    """Train a finished run's folds again, for export to judge quantization on; new runs keep theirs."""
    with told_in_one_line():
        from train.config import from_project, read_config
        from train.dataset import read_dataset
        from train.places import open_configured

        config = read_config(config_file)
        opened, digest = open_configured(config.finder)
        dataset = read_dataset(data or from_project(config.data))
        quieten_tensorflow()
        from train.refitting import refit_folds

        run = folder or from_project(config.output)
        off = refit_folds(config, opened, digest, dataset=dataset, run=run, keep_cache=keep_cache)
        click.echo(f"{run}: every fold's network again, off its recorded probabilities by at most {off:.1e}")


if __name__ == "__main__":
    main()
