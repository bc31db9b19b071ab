"""The commands of the tree: ``python -m train --help``. What a command needs is imported when it is called."""

from __future__ import annotations

import click

from train.runs.command_line import Commands

_COMMANDS = {
    "collect": ("train.data.collection.commands", "collect", "Make a folder for training of a hospital's table and films."),
    "compare": ("train.judging.commands", "compare", "Compare two runs on the radiographs that both scored."),
    "distil": (
        "train.fitting.beforehand.distil_command",
        "distil",
        "Teach a backbone without ImageNet weights the features of one that has them.",
    ),
    "ensemble": ("train.ensembles.commands", "ensemble", "Combine finished runs by stacking or otherwise."),
    "finder": ("train.finder.commands", "finder", "Make and judge the knee finder."),
    "fit": (
        "train.fitting.commands",
        "fit",
        "Train and measure a network, of classes or of grades, as the configuration says.",
    ),
    "fold-networks": (
        "train.fitting.commands",
        "fold_networks",
        "Train a finished run's folds again, for export to judge quantization on.",
    ),
    "gates": ("train.gates.commands", "gates", "Make and judge the gate behind the finder."),
    "judge-grades": (
        "train.grading.judge_command",
        "judge_grades",
        "Calibrate and judge weights that grade knees, for export to make a bundle of.",
    ),
    "label-sets": (
        "train.judging.commands",
        "label_sets",
        "Count the label sets of finished runs again, by the rules of today.",
    ),
    "pretrain": (
        "train.fitting.beforehand.pretrain_command",
        "pretrain",
        "Teach a backbone the grade of osteoarthritis on unlabelled knees.",
    ),
    "report": ("train.judging.commands", "report", "Write a run's tables and its page."),
    "research": ("train.research.commands", "research", "Experiments that no bundle needs: audit, study, papers and more."),
    "sample-size": ("train.judging.sample_size", "sample_size", "Say how many patients an area under the ROC curve asks for."),
    "synthetic": ("train.synthetic.__main__", "main", "Write one synthetic radiograph, for tests and examples only."),
    "synthetic-hospital": ("train.synthetic.commands", "synthetic_hospital", "Write a made-up hospital's table and films."),
}


@click.group(cls=Commands, elsewhere=_COMMANDS)
def main() -> None:
    """Training of osteo-edge's models. Research use, not a diagnosis."""


if __name__ == "__main__":
    main()
