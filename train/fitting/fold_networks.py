"""The networks of a run's folds: ``fold_networks.npz``.

Export quantizes each as it does the final network, and judges it on the radiographs that its fold held back.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from osteo_edge.integrity import sha256_hex
from osteo_edge.manifest import InputSpec, RegionProfile
from train.runs.arrays import Reals
from train.runs.folder import WEIGHTS_FILE, Run, RunError, read_candidates
from train.runs.scores import MODEL, read_scores

if TYPE_CHECKING:
    import keras

FOLD_NETWORKS_FILE = "fold_networks.npz"

_REGIONS = "regions"
_FINAL = "final_weights_sha256"

Weights = Mapping[str, Reals]


@dataclass(frozen=True)
class FoldNetwork:
    """One fold's network.

    Attributes:
        region, input: what it is shown; each fold chose its own.
        training, held_back: SHA-256 of the radiographs that it was trained on, and of those that judge it.
        weights: as ``train.networks.network.weights_of`` gives them.
    """

    fold: int
    backbone: str
    labels: tuple[str, ...]
    region: RegionProfile
    input: InputSpec
    training: frozenset[str]
    held_back: frozenset[str]
    weights: Weights = field(repr=False)

    def network(self) -> keras.Model:
        """``image`` to ``{"logits", "features"}``, as ``Run.network``."""
        from train.networks.network import assign_weights, build_network

        spec = self.input
        network = build_network(self.backbone, height_px=spec.height_px, width_px=spec.width_px, labels=len(self.labels))
        assign_weights(network, self.weights)
        return network


def write_fold_networks(folder: Path, regions: Sequence[str], networks: Sequence[Weights]) -> None:
    """Write what each fold's network has other than the final one, which must be in ``folder`` already.

    Args:
        regions, networks: name of the region and weights of each fold.
    """
    final = _read_arrays(folder / WEIGHTS_FILE)
    arrays: dict[str, NDArray[np.generic]] = {
        f"{fold}/{path}": array
        for fold, weights in enumerate(networks)
        for path, array in weights.items()
        if not np.array_equal(array, final[path])
    }
    arrays |= {_REGIONS: np.array(regions), _FINAL: np.array(_digest(folder / WEIGHTS_FILE))}
    np.savez_compressed(folder / FOLD_NETWORKS_FILE, **arrays)  # type: ignore[arg-type]


def load_fold_networks(run: Run) -> Iterator[FoldNetwork]:
    """The network of each fold of a run, one after the other.

    Raises:
        RunError: there are none, or they are of another run.
    """
    path = run.folder / FOLD_NETWORKS_FILE
    if not path.is_file():
        raise RunError(f"{path}: is missing; 'python -m train fold-networks' makes it from the run's configuration")
    arrays = _read_arrays(path)
    if str(arrays.get(_FINAL, "")) != _digest(run.folder / WEIGHTS_FILE):
        raise RunError(f"{path}: belongs to other weights than {WEIGHTS_FILE}; make it again (python -m train fold-networks)")
    final = _read_arrays(run.folder / WEIGHTS_FILE)
    scores, candidates = read_scores(run.folder)[MODEL], read_candidates(run.folder)
    fold_of, digests = scores.fold_of[0], np.array(scores.digests)
    for fold, name in enumerate(arrays[_REGIONS].tolist()):
        region, spec = candidates[name]
        own = {key.removeprefix(f"{fold}/"): array for key, array in arrays.items() if key.startswith(f"{fold}/")}
        held_back = frozenset(digests[fold_of == fold].tolist())
        yield FoldNetwork(
            fold, run.backbone, run.labels, region, spec, run.training_digests - held_back, held_back, {**final, **own}
        )


def _read_arrays(path: Path) -> dict[str, Reals]:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return dict(stored)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def _digest(path: Path) -> str:
    return sha256_hex(path.read_bytes())
