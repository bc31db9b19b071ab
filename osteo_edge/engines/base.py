"""What the pipeline asks of an inference engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from osteo_edge.arrays import Floats, Tensor

CLOSED = "the predictor was closed; make a new one"


@dataclass(frozen=True)
class TensorSpec:
    """Name, shape and dtype (numpy's name) of one input or output."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Engine(Protocol):
    """One loaded model file, which several threads may run at the same time."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def run(self, feeds: Mapping[str, Tensor]) -> dict[str, Floats]:
        """Run once.

        Raises:
            InferenceError: the engine failed, or was closed before.
        """
        ...

    def close(self) -> None:
        """Release the model's memory: at once, or as soon as the runs that have begun are over. May be called again."""
        ...
