"""Where a training was when it stopped: every variable of model and optimizer, and what its loop wants to remember."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from train.runs.cache import save_arrays

_STATE = "state"


@dataclass(frozen=True)
class Stopped:
    """What a loop remembered: ``state`` of JSON's types, ``arrays`` by name."""

    state: Any
    arrays: Mapping[str, NDArray[Any]]


def save_checkpoint(file: Path, variables: Sequence[keras.Variable], state: Any, **arrays: NDArray[Any]) -> None:
    """Write ``file`` in one step. ``state`` is of JSON's types alone."""
    values = {_name(index): keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}
    save_arrays(file, {**values, **arrays, _STATE: np.array(json.dumps(state))})


def resume(file: Path, variables: Sequence[keras.Variable]) -> Stopped | None:
    """Set the variables to those of the checkpoint and say what the loop remembered; None where there is no checkpoint."""
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as stored:
        found = dict(stored)
    for index, variable in enumerate(variables):
        variable.assign(found.pop(_name(index)))
    return Stopped(json.loads(str(found.pop(_STATE))), found)


def read_state(file: Path) -> Any:
    """What the loop remembered, for who must know it before there are variables; None where there is no checkpoint."""
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as stored:
        return json.loads(str(stored[_STATE]))


def restore(file: Path, variables: Sequence[keras.Variable]) -> None:
    """Set the variables to those of the checkpoint, which must be there."""
    with np.load(file, allow_pickle=False) as stored:
        for index, variable in enumerate(variables):
            variable.assign(stored[_name(index)])


def _name(index: int) -> str:
    return f"variable_{index}"
