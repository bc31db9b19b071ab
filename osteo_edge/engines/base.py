"""What the pipeline asks of an inference engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype (numpy's name) of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Engine(Protocol):
    """One loaded model file. Not shared between threads."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, feeds: Mapping[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """Run once.

        Raises:
            InferenceError: the engine failed.
        """
        ...

    def close(self) -> None:
        """Release the model's memory; the engine is not used afterwards."""
        ...
