"""``python -m train research``: each experiment's module is imported when it is called."""

from __future__ import annotations

import click

from train.runs.command_line import Commands

_COMMANDS = {
    "audit": (
        "train.research.audit.commands",
        "audit",
        "Look for copies, contradictions and shortcuts in a folder of radiographs.",
    ),
    "audit-check": ("train.research.audit.commands", "audit_check", "Measure how well the audit finds planted copies."),
    "coverage": ("train.research.coverage", "command", "Measure how often bootstrap intervals hold the truth."),
    "holdout": ("train.research.holdout.commands", "holdout", "Train any backbone once, on one split, within a time budget."),
    "papers": ("train.research.papers.commands", "papers", "Run the models of the four papers and write the report on them."),
    "risk-scores": (
        "train.research.risk_scores",
        "command",
        "Measure what published risk scores alone tell, beside a run's picture and age and sex.",
    ),
    "segmentation": ("train.research.segmentation.commands", "segmentation", "Train and judge the segmentation of bone."),
    "study": (
        "train.research.study.commands",
        "study",
        "Compare networks, regions, targets, ensembles and covariates on frozen features.",
    ),
    "synthetic-spines": ("train.research.spine", "synthetic_spines", "Write a folder of synthetic spines."),
}


@click.group(cls=Commands, elsewhere=_COMMANDS)
def research() -> None:
    """Experiments that answered a question of their own; no bundle needs them."""
