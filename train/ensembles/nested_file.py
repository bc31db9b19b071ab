"""Inner and outer held-back logits of a run: ``nested.json``, on which ensembles and fusions are fitted later."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from train.data.dataset import DatasetError
from train.ensembles.nested import NestedLogits, from_stored
from train.runs import cache
from train.runs.arrays import Doubles
from train.runs.folder import RunError, read_json

NESTED_FILE = "nested.json"
SCHEMA_VERSION = 1
DIGITS = 5


def write_nested(folder: Path, digests: Sequence[str], nested: NestedLogits) -> None:
    """Write the logits of one model by the radiographs' SHA-256.

    Args:
        digests: of the radiographs, in the order of ``nested``.
    """
    plain = {
        "schema_version": SCHEMA_VERSION,
        "radiographs": list(digests),
        "fold_of": nested.fold_of.tolist(),
        "outer": np.round(nested.outer[:, 0], DIGITS).tolist(),
        "inner": [np.round(one[:, 0], DIGITS).tolist() for one in nested.inner],
    }
    cache.save_json(folder / NESTED_FILE, plain)


def read_nested(folder: Path, digests: Sequence[str]) -> NestedLogits:
    """A run's logits, as of an ensemble's only member.

    Args:
        digests: of the radiographs wanted; the run must be of these and in this order.

    Raises:
        RunError: there are none, or they are of other radiographs.
    """
    path = folder / NESTED_FILE
    if not path.exists():
        raise RunError(f"{path}: is missing; train the member with as many validation_parts as validation_folds")
    plain = read_json(path)
    try:
        if plain["schema_version"] != SCHEMA_VERSION or plain["radiographs"] != list(digests):
            raise RunError(f"{path}: is of other radiographs or another version; train all members on the same data")
        inner = [_column(one) for one in plain["inner"]]
        return from_stored(inner, _column(plain["outer"]), np.array(plain["fold_of"], np.int64))
    except (KeyError, TypeError, ValueError, IndexError, DatasetError) as error:
        raise RunError(f"{path}: is damaged ({error}); train the member again") from error


def read_digests(folder: Path) -> tuple[str, ...]:
    """The radiographs of a run's nested scores, in their order.

    Raises:
        RunError: there are none.
    """
    try:
        return tuple(read_json(folder / NESTED_FILE)["radiographs"])
    except (KeyError, TypeError) as error:
        raise RunError(f"{folder / NESTED_FILE}: is damaged ({error!r}); train the member again") from error


def together(each: Sequence[NestedLogits]) -> NestedLogits:
    """Several runs' logits side by side.

    Raises:
        RunError: they were cross-validated on different folds.
    """
    first = each[0]
    if any(not np.array_equal(one.fold_of, first.fold_of) for one in each):
        raise RunError("the members were cross-validated on different folds; give them one split (the key 'split')")
    inner = [np.concatenate(parts, axis=1) for parts in zip(*(one.inner for one in each), strict=True)]
    return from_stored(inner, np.concatenate([one.outer for one in each], axis=1), first.fold_of)


def _column(rows: Sequence[Sequence[float]]) -> Doubles:
    return np.array(rows, np.float64)[:, np.newaxis]
