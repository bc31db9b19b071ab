"""Which knees are drawn by hand: a seeded choice, as many of every label and acquisition in either half."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import numpy as np

from train.data.dataset import Dataset, DatasetError

Half = Literal["tune", "report"]
HALVES: tuple[Half, ...] = ("tune", "report")

SEED = 20
PER_STRATUM_AND_HALF = 2
DRAWN_TWICE = 6


@dataclass(frozen=True)
class Chosen:
    """One knee to draw.

    Attributes:
        radiograph: index in the dataset.
        place: a number in 0 to 1; of two knees the left one in the picture is drawn where it is below 0.5.
        is_drawn_twice: drawn a second time, for the annotator's own agreement.
    """

    radiograph: int
    half: Half
    place: float
    is_drawn_twice: bool


def choose_knees(
    dataset: Dataset, with_knee: Collection[int], *, seed: int = SEED, count: int = PER_STRATUM_AND_HALF
) -> tuple[Chosen, ...]:
    """``count`` radiographs of each label and acquisition for either half; no patient group stands in both.

    Args:
        with_knee: indices of the radiographs in which the finder sees a knee; others are not chosen.

    Raises:
        DatasetError: a label of an acquisition has too few patient groups.
    """
    strata: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for index, row in sorted(enumerate(dataset.radiographs), key=lambda item: item[1].sha256):
        if index in with_knee:
            strata[row.acquisition, row.label].setdefault(row.patient_group, index)
    rng = np.random.default_rng(seed)
    chosen = []
    for (acquisition, label), groups in sorted(strata.items()):
        if len(groups) < 2 * count:
            raise DatasetError(f"{label} of {acquisition} has {len(groups)} patient groups; the choice needs {2 * count}")
        order = rng.permutation(list(groups.values()))[: 2 * count]
        chosen += [(int(index), HALVES[rank // count], float(rng.random())) for rank, index in enumerate(order)]
    again = set(rng.permutation(len(chosen))[:DRAWN_TWICE].tolist())
    return tuple(Chosen(index, half, place, rank in again) for rank, (index, half, place) in enumerate(chosen))
