"""From windows to the gate: how much each counts, the network, the limit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from osteo_edge.arrays import Floats
from osteo_edge.finder.edges import describe, mirrored
from osteo_edge.gates.knee import LAYOUT, WINDOW, KneeGate
from train.gates import network
from train.gates.network import Network
from train.gates.windows import Windows

SEED = 20261125
# What the finder hits with a lower score never reaches the gate: its threshold less `osteo_edge.gates.joints.FAINTER_BY`.
_FAINTEST_HIT = -0.41
# Hits so little too faint to reach the gate are fitted on too, with less weight.
_ALMOST = 0.2
_WEIGHT_OF_FAINT_HITS = 0.2
_SHARE_OF_KNEES = 0.5

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Material:
    """Windows as the network takes them.

    Attributes:
        features, turned: (n, features) of each window and of its mirror image.
        kinds: (n,) what it is where it is no knee, else the clinic.
        clinics: (n,) whose film it was cut from; empty for pictures without a knee.
        scores: (n,) the finder's.
    """

    features: Floats
    turned: Floats
    is_knee: Mask
    kinds: NDArray[np.str_]
    clinics: NDArray[np.str_]
    pictures: NDArray[np.str_]
    scores: Floats

    @property
    def counts(self) -> Mask:
        """(n,) which the gate is asked about when pictures are answered."""
        return self.scores >= _FAINTEST_HIT


def save(windows: Windows, path: Path) -> None:
    np.savez(
        path,
        cuts=np.stack(windows.cuts),
        is_knee=np.array(windows.is_knee),
        kinds=np.array(windows.kinds),
        clinics=np.array(windows.clinics),
        pictures=np.array(windows.pictures),
        scores=np.array(windows.scores, np.float32),
    )


def read(*paths: Path) -> Material:
    """The windows of several files that reach the gate, or nearly, described."""
    stored = [np.load(path, allow_pickle=False) for path in paths]
    together = {name: np.concatenate([one[name] for one in stored]) for name in stored[0].files}
    near = together["scores"] >= _FAINTEST_HIT - _ALMOST
    together = {name: values[near] for name, values in together.items()}
    described = [describe(cut.astype(np.float32), WINDOW.cell_px) for cut in together["cuts"]]
    return Material(
        np.stack(described).reshape(len(described), -1),
        np.stack([mirrored(one) for one in described]).reshape(len(described), -1),
        together["is_knee"],
        together["kinds"],
        together["clinics"],
        together["pictures"],
        together["scores"],
    )


def fit(material: Material, chosen: Mask, members: int) -> Network:
    """On the chosen windows, knees and anything else each with half of the weight, and each kind by the root of its number."""
    weights = np.where(material.counts, 1.0, _WEIGHT_OF_FAINT_HITS).astype(np.float32)[chosen]
    kinds, is_knee = material.kinds[chosen], material.is_knee[chosen]
    for kind in np.unique(kinds):
        of_kind = kinds == kind
        weights[of_kind] *= np.sqrt(of_kind.sum()) / weights[of_kind].sum()
    for side, share in ((is_knee, _SHARE_OF_KNEES), (~is_knee, 1 - _SHARE_OF_KNEES)):
        weights[side] *= share / weights[side].sum()
    return network.fit(material.features[chosen], material.turned[chosen], is_knee, weights, SEED, members)


def as_gate(fitted: Network, by_score: float, limit: float) -> KneeGate:
    return KneeGate(fitted.first, fitted.first_constant, fitted.second, fitted.second_constant, by_score, limit)


def in_layout(gate: KneeGate) -> dict[str, NDArray[np.generic]]:
    """Arrays in the types that `osteo_edge/gates/knee.py` reads."""
    return {name: np.asarray(getattr(gate, name), dtype) for name, (_, dtype) in LAYOUT.items()}
