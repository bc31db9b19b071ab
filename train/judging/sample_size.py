"""How many patients a figure asks for: the standard error of an area under the ROC curve, and its inverse."""

from __future__ import annotations

import math

import click

# Of a normal distribution, on either side of 95 %.
TWO_SIDED_95 = 1.959964
MOST_PATIENTS = 1_000_000


def auc_standard_error(auc: float, positives: float, negatives: float) -> float:
    """Standard error of an area under the ROC curve (Hanley & McNeil, Radiology 143:29-36, 1982, their equation 1).

    Both groups' scores are taken for exponential, as they propose: then two with the disease rank above one without with a
    probability of A / (2 - A), and one with it above two without with 2 A^2 / (1 + A).

    Args:
        auc: the area A, between 0.5 and 1.
        positives, negatives: patients with and without what is looked for. Several films of one patient count once.

    Raises:
        ValueError: an area outside, or a group of less than one.
    """
    if not 0.5 <= auc < 1 or min(positives, negatives) < 1:
        raise ValueError("an area of 0.5 to below 1 and one patient at least in both groups are needed")
    two_above_one, one_above_two = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = auc * (1 - auc) + (positives - 1) * (two_above_one - auc**2) + (negatives - 1) * (one_above_two - auc**2)
    return math.sqrt(variance / (positives * negatives))


def patients_needed(auc: float, prevalence: float, half_width: float) -> int:
    """The fewest patients with whom the 95 % interval of an area reaches no further than ``half_width`` to either side.

    Args:
        auc: what the area is expected to be.
        prevalence: share of the patients who have what is looked for.

    Raises:
        ValueError: a prevalence or width outside of 0 to 1, an area as for ``auc_standard_error``, or more than a million.
    """
    if not (0 < prevalence < 1 and 0 < half_width < 1):
        raise ValueError("a prevalence and a half width between 0 and 1 are needed")
    low, high = math.ceil(1 / min(prevalence, 1 - prevalence)), MOST_PATIENTS
    if not _suffice(high, auc, prevalence, half_width):
        raise ValueError(f"more than {MOST_PATIENTS:,} patients would be needed")
    while low < high:
        middle = (low + high) // 2
        if _suffice(middle, auc, prevalence, half_width):
            high = middle
        else:
            low = middle + 1
    return low


def _suffice(patients: int, auc: float, prevalence: float, half_width: float) -> bool:
    positives = patients * prevalence
    return TWO_SIDED_95 * auc_standard_error(auc, positives, patients - positives) <= half_width


@click.command("sample-size")
@click.option(
    "--auc", "aucs", type=click.FloatRange(0.5, 1, max_open=True), multiple=True, default=(0.7, 0.75, 0.8, 0.85, 0.88),
    show_default=True, help="Area under the ROC curve that is expected; may be repeated.",
)  # fmt: skip
@click.option(
    "--prevalence", "prevalences", type=click.FloatRange(0, 1, min_open=True, max_open=True), multiple=True,
    default=(0.1, 0.2, 0.3, 0.5), show_default=True, help="Share of the patients with the condition; may be repeated.",
)  # fmt: skip
@click.option("--half-width", type=click.FloatRange(0.001, 0.5), default=0.04, show_default=True, help="Of the 95 % interval.")
def sample_size(aucs: tuple[float, ...], prevalences: tuple[float, ...], half_width: float) -> None:
    """Say how many patients an area under the ROC curve asks for, to be known within a half width."""
    click.echo(f"Patients for a 95 % interval of +-{half_width:g} (Hanley & McNeil, Radiology 1982)")
    click.echo("AUC    " + "".join(f"{f'{100 * share:g} %':>9}" for share in prevalences) + "   have the condition")
    for auc in aucs:
        counts = (patients_needed(auc, share, half_width) for share in prevalences)
        click.echo(f"{auc:<7g}" + "".join(f"{count:>9}" for count in counts))
