"""Where a training was when it stopped: every variable of model and optimizer, and what its loop wants to remember."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from train.runs.cache import save_arrays

_STATE = "state"


def save_checkpoint(file: Path, variables: Sequence[keras.Variable], state: Any) -> None:
    """Write ``file`` in one step. ``state`` is of JSON's types alone."""
    values = {f"variable_{index}": keras.ops.convert_to_numpy(variable) for index, variable in enumerate(variables)}
    save_arrays(file, {**values, _STATE: np.array(json.dumps(state))})


def read_state(file: Path) -> Any:
    """What the loop remembered; None where there is no checkpoint."""
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as stored:
        return json.loads(str(stored[_STATE]))


def restore(file: Path, variables: Sequence[keras.Variable]) -> None:
    """Set the variables to those of the checkpoint, which must be there."""
    with np.load(file, allow_pickle=False) as stored:
        for index, variable in enumerate(variables):
            variable.assign(stored[f"variable_{index}"])
